//! Set partitioners: an item is never with two, and all are with somebody once the party is settled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::SetPartitioner;
use atalaya_recipes::set_partitioner::share;
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, Stage};

const PATH: &str = "/chaos/set";
const PARTY: &str = "/chaos/set/party";
const ITEMS: [&str; 3] = ["a", "b", "c"];
const LOCKS: [&str; 3] = ["/chaos/set/locks/a", "/chaos/set/locks/b", "/chaos/set/locks/c"];

/// It joins, and works on its share.
#[derive(Clone, Debug)]
pub(crate) struct Join;

/// Who works on what.
#[derive(Default)]
pub(crate) struct Members(Mutex<BTreeMap<String, usize>>);

/// Work on a share.
struct Work(Arc<Members>, Vec<String>);

impl Drop for Work {
    fn drop(&mut self) {
        let mut board = self.0.0.lock().unwrap();
        board.retain(|item, _| !self.1.contains(item));
    }
}

impl Members {
    fn begin(self: &Arc<Self>, who: usize, share: &[String]) -> Result<Work, String> {
        let mut board = self.0.lock().unwrap();
        for item in share {
            if let Some(other) = board.get(item) {
                return Err(format!("{other} works on {item} as well"));
            }
        }
        board.extend(share.iter().map(|item| (item.clone(), who)));
        Ok(Work(self.clone(), share.to_vec()))
    }
}

impl Play for Members {
    type Act = Join;

    fn acts() -> BoxedStrategy<Join> {
        Just(Join).boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, _: Join) -> Option<Doing> {
        if person.busy {
            return None;
        }
        let (this, who) = (self.clone(), person.who);
        let items = ITEMS.map(String::from);
        let partitioner = SetPartitioner::new(person.session.clone(), PATH, items, who.to_string())
            .with_settle_time(Duration::from_millis(10));
        Some(Box::pin(async move {
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let work = |share: Vec<String>| {
                let (this, tell) = (this.clone(), tell.clone());
                async move {
                    match this.begin(who, &share) {
                        Ok(_work) => std::future::pending().await,
                        Err(what) => drop(tell.send(what)),
                    }
                }
            };
            tokio::select! {
                error = partitioner.run(work) => Err(error.to_string()),
                what = told.recv() => Err(what.unwrap()),
            }
        }))
    }

    /// All are with those whose share they are, as members come and go; then nothing is left.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        for gone in [0, 1, CROWD - 1] {
            for who in 0..gone {
                stage.cancel(who).await;
            }
            for who in (gone..CROWD).filter(|who| !stage.is_busy(*who)).collect::<Vec<_>>() {
                stage.act(who, Join);
            }
            let members: Vec<String> = (gone..CROWD).map(|who| who.to_string()).collect();
            let whole: BTreeMap<String, usize> = (gone..CROWD)
                .flat_map(|who| {
                    let items = share(&who.to_string(), &members, &ITEMS.map(String::from));
                    items.into_iter().map(move |item| (item, who))
                })
                .collect();
            let settled = stage
                .until("the set is divided", async |_| (*self.0.lock().unwrap() == whole).then_some(()))
                .await;
            settled.map_err(|what| format!("{what}: {:?}", self.0.lock().unwrap()))?;
        }
        for who in 0..CROWD {
            stage.cancel(who).await;
        }
        for place in LOCKS.into_iter().chain([PARTY]) {
            stage.until_empty(place).await?;
        }
        Ok(())
    }
}

#[test]
fn an_item_is_with_one() {
    try_schedules(Members::default);
}
