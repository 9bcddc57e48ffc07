//! Parties and persistent nodes: each member is listed once, and no other.

use std::sync::{Arc, Mutex};

use atalaya_recipes::{Membership, Party};
use proptest::prelude::*;

use crate::runner::{ActFuture, Client, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/party";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Join,
    Leave,
    Drop,
    Look,
}

pub(crate) struct Members {
    make: fn(atalaya_recipes::Session, &str, String) -> Party,
    memberships: [Mutex<Option<Membership>>; CLIENTS],
}

impl Members {
    pub(crate) fn of(make: fn(atalaya_recipes::Session, &str, String) -> Party) -> Members {
        Members { make, memberships: Default::default() }
    }
}

impl Scenario for Members {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![6 => Just(Act::Join), 3 => Just(Act::Leave), 2 => Just(Act::Drop), 2 => Just(Act::Look)]
            .boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        let who = client.who;
        let party = (self.make)(client.session.clone(), PATH, who.to_string());
        let this = self.clone();
        let mut membership = self.memberships[who].lock().unwrap();
        match act {
            Act::Drop => drop(membership.take()),
            _ if client.busy => {}
            Act::Join if membership.is_some() => {}
            Act::Join => {
                return Some(Box::pin(async move {
                    let joined = party.join().await.map_err(|error| error.to_string())?;
                    *this.memberships[who].lock().unwrap() = Some(joined);
                    Ok(())
                }));
            }
            Act::Leave => {
                let membership = membership.take()?;
                return Some(Box::pin(async move {
                    membership.leave().await;
                    Ok(())
                }));
            }
            Act::Look => {
                return Some(Box::pin(async move {
                    party.members().await.map(drop).map_err(|error| error.to_string())
                }));
            }
        }
        None
    }

    fn cancelled(&self, who: usize) {
        drop(self.memberships[who].lock().unwrap().take());
    }

    /// Exactly the joined members are listed, each once; then none.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        runner.until_idle().await?;
        let party = (self.make)(runner.observer.0.clone(), PATH, String::new());
        let joined = || -> Vec<String> {
            let is_in = |who: &usize| self.memberships[*who].lock().unwrap().is_some();
            (0..CLIENTS).filter(is_in).map(|who| who.to_string()).collect()
        };
        for all in [false, true] {
            for who in (0..CLIENTS).filter(|_| all) {
                runner.act(who, Act::Join);
            }
            runner.until_idle().await?;
            let mut seen = Vec::new();
            let there = runner.until("the members are there", async |_| {
                seen = party.members().await.unwrap();
                (seen == joined()).then_some(())
            });
            there.await.map_err(|what| format!("{what}: {seen:?}, not {:?}", joined()))?;
        }
        for who in 0..CLIENTS {
            runner.cancel(who).await;
        }
        runner.until_empty(PATH).await
    }
}

#[test]
fn party_lists_each_member_once() {
    try_schedules(|| Members::of(|session, path, who| Party::new(session, path, who)));
}

#[test]
fn party_with_named_members_lists_each_once() {
    try_schedules(|| Members::of(|session, path, who| Party::shallow(session, path, who)));
}
