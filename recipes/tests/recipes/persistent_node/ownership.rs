use std::time::{Duration, Instant};

use atalaya_recipes::persistent_node::Conflict;
use atalaya_recipes::{Connection, PersistentNode};
use tokio::sync::watch;

use crate::support::election::{SLACK, TIMEOUT, TestBed, wait_until};

const PATH: &str = "/mediciones/1";

#[test]
fn node_of_a_live_session_that_writes_is_not_taken_over() {
    let bed = TestBed::apache();
    let holder = hold(&bed, &bed.connect_string());
    let mut version = 0;
    let (conflict, after) = bed.wait(async {
        let contest = contest(&bed);
        tokio::pin!(contest);
        let mut period = tokio::time::interval(TIMEOUT / 10);
        loop {
            tokio::select! {
                conflict = &mut contest => return conflict,
                // Fails if another client has written in between.
                _ = period.tick() => {
                    version = holder.set(PATH, b"its own", Some(version)).await.unwrap().version;
                }
            }
        }
    });
    assert_eq!(conflict, Conflict::Held { session: holder.session_id() });
    assert!((TIMEOUT..TIMEOUT * 5 / 4 + SLACK).contains(&after), "{after:?}");
    let (data, stat) = bed.wait(holder.get(PATH)).unwrap();
    assert_eq!((data.as_slice(), stat.version), (b"its own".as_slice(), version));
}

#[test]
fn node_of_a_live_session_that_is_silent_is_not_taken_over() {
    let bed = TestBed::apache();
    let holder = hold(&bed, &bed.connect_string());
    let (conflict, after) = bed.wait(contest(&bed));
    assert_eq!(conflict, Conflict::Held { session: holder.session_id() });
    assert!((TIMEOUT * 3 / 2..TIMEOUT * 3 / 2 + SLACK).contains(&after), "{after:?}");
    let (data, stat) = bed.wait(holder.get(PATH)).unwrap();
    assert_eq!((data.as_slice(), stat.version), (b"first".as_slice(), 0));
}

#[test]
fn node_of_an_expiring_session_is_taken_over() {
    let (bed, proxy) = TestBed::behind_proxy();
    let holder = hold(&bed, &proxy.connect_string());
    proxy.freeze(true);
    let session = bed.session();
    let connection = bed.wait(session.connection());
    let node = PersistentNode::new(session, PATH);
    let state = node.state();
    let (_data, newest) = watch::channel(Some(b"ours".to_vec()));
    let run = bed.spawn(node.run(newest));
    wait_until("the znode is ours", || state.borrow().held);
    assert!(!run.is_finished());
    let (data, stat) = bed.wait(connection.get(PATH)).unwrap();
    assert_eq!((data.as_slice(), stat.ephemeral_owner), (b"ours".as_slice(), connection.session_id()));
    assert_ne!(holder.session_id(), connection.session_id());
}

#[test]
fn persistent_znode_is_a_conflict() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    probe.create(PATH, b"a monument", false).unwrap();
    let (conflict, after) = bed.wait(contest(&bed));
    assert_eq!(conflict, Conflict::Persistent);
    assert!(after < SLACK, "{after:?}");
    let (data, stat) = probe.get(PATH).unwrap();
    assert_eq!((data.as_slice(), stat.version, stat.ephemeral_owner), (b"a monument".as_slice(), 0, 0));
}

/// Creates a session that owns the znode at version 0.
#[track_caller]
fn hold(bed: &TestBed, servers: &str) -> Connection {
    let connection = bed.wait(bed.session_to(servers).connection());
    bed.wait(async {
        connection.ensure("/mediciones").await.unwrap();
        connection.create_ephemeral(PATH, b"first").await.unwrap();
    });
    connection
}

/// Runs a second persistent node for the path. Returns its conflict and the time from the connection to it.
async fn contest(bed: &TestBed) -> (Conflict, Duration) {
    let session = bed.session();
    session.connection().await;
    let began = Instant::now();
    let (_data, newest) = watch::channel(Some(b"ours".to_vec()));
    let conflict = PersistentNode::new(session, PATH).run(newest).await;
    (conflict, began.elapsed())
}
