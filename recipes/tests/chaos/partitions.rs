//! Set partitioners: an item never has two owners, and each has one when the party is stable.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::SetPartitioner;
use atalaya_recipes::set_partitioner::share;
use proptest::prelude::*;

use crate::runner::{ActFuture, Client, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/set";
const PARTY: &str = "/chaos/set/party";
const ITEMS: [&str; 3] = ["a", "b", "c"];
const LOCKS: [&str; 3] = ["/chaos/set/locks/a", "/chaos/set/locks/b", "/chaos/set/locks/c"];

/// Joins and works on its items.
#[derive(Clone, Debug)]
pub(crate) struct Join;

/// Owner of each item.
#[derive(Default)]
pub(crate) struct Members(Mutex<BTreeMap<String, usize>>);

/// Work on a set of items.
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

impl Scenario for Members {
    type Act = Join;

    fn acts() -> BoxedStrategy<Join> {
        Just(Join).boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, _: Join) -> Option<ActFuture> {
        if client.busy {
            return None;
        }
        let (this, who) = (self.clone(), client.who);
        let items = ITEMS.map(String::from);
        let partitioner = SetPartitioner::new(client.session.clone(), PATH, items, who.to_string())
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

    /// All items are with their owners as members join and leave; then no znode is left.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        for gone in [0, 1, CLIENTS - 1] {
            for who in 0..gone {
                runner.cancel(who).await;
            }
            for who in (gone..CLIENTS).filter(|who| !runner.is_busy(*who)).collect::<Vec<_>>() {
                runner.act(who, Join);
            }
            let members: Vec<String> = (gone..CLIENTS).map(|who| who.to_string()).collect();
            let whole: BTreeMap<String, usize> = (gone..CLIENTS)
                .flat_map(|who| {
                    let items = share(&who.to_string(), &members, &ITEMS.map(String::from));
                    items.into_iter().map(move |item| (item, who))
                })
                .collect();
            let settled = runner
                .until("the set is divided", async |_| (*self.0.lock().unwrap() == whole).then_some(()))
                .await;
            settled.map_err(|what| format!("{what}: {:?}", self.0.lock().unwrap()))?;
        }
        for who in 0..CLIENTS {
            runner.cancel(who).await;
        }
        for place in LOCKS.into_iter().chain([PARTY]) {
            runner.until_empty(place).await?;
        }
        Ok(())
    }
}

#[test]
fn set_partitioner_item_has_one_owner() {
    try_schedules(Members::default);
}
