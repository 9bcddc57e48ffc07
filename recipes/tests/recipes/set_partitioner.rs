//! Set partitioners: each item has one owner at a time, and has an owner once the party is stable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::set_partitioner::Partition;
use atalaya_recipes::{Session, SetPartitioner};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::{TestBed, soon};

const PATH: &str = "/sets/buses";
const ITEMS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// Owner of each item; two owners of one item fail the test.
type Board = Arc<Mutex<BTreeMap<String, String>>>;

struct Share(Board, Vec<String>);

impl Drop for Share {
    fn drop(&mut self) {
        let mut board = self.0.lock().unwrap();
        self.1.iter().for_each(|item| drop(board.remove(item)));
    }
}

struct Member {
    state: watch::Receiver<Partition>,
    run: JoinHandle<()>,
}

impl Member {
    fn new(bed: &TestBed, session: Session, name: &'static str, board: &Board) -> Member {
        let partitioner = SetPartitioner::new(session, PATH, ITEMS.map(String::from), name)
            .with_settle_time(Duration::from_millis(100));
        let (state, board) = (partitioner.state(), board.clone());
        let run = bed.spawn(async move {
            let work = |share: Vec<String>| {
                let board = board.clone();
                async move {
                    for item in &share {
                        let other = board.lock().unwrap().insert(item.clone(), name.to_owned());
                        assert_eq!(other, None, "two work on {item}");
                    }
                    let _share = Share(board, share);
                    std::future::pending().await
                }
            };
            panic!("{}", partitioner.run(work).await);
        });
        Member { state, run }
    }

    async fn has(&mut self, items: &[&str]) {
        let state = Partition::Acquired(items.iter().map(ToString::to_string).collect());
        soon(self.state.wait_for(|now| *now == state)).await.unwrap();
    }
}

#[test]
fn partitions_follow_the_party_and_return_after_a_session() {
    let bed = TestBed::memory();
    let board = Board::default();
    let session = bed.session();
    let mut one = Member::new(&bed, session.clone(), "1", &board);
    bed.wait(one.has(&ITEMS));
    let mut two = Member::new(&bed, bed.session(), "2", &board);
    bed.wait(async {
        one.has(&["a", "c", "e"]).await;
        two.has(&["b", "d"]).await;
        one.state.mark_unchanged();
        bed.faults().expire(session.connection().await.session_id()).await;
        soon(one.state.changed()).await.unwrap();
        one.has(&["a", "c", "e"]).await;
        two.has(&["b", "d"]).await;
        two.run.abort();
        one.has(&ITEMS).await;
        assert!(!one.run.is_finished());
    });
}

#[test]
fn partitions_are_shared_with_kazoo() {
    let bed = TestBed::apache();
    let board = Board::default();
    let mut ours = Member::new(&bed, bed.session(), "ours", &board);
    bed.wait(ours.has(&ITEMS));
    let mut args = vec!["theirs"];
    args.extend(ITEMS);
    let mut kazoo = bed.kazoo("partition", PATH, &args);
    bed.wait(ours.has(&["a", "c", "e"]));
    kazoo.call("wait");
    assert_eq!(kazoo.call("list"), "b d");
    kazoo.call("finish");
    bed.wait(ours.has(&ITEMS));
}
