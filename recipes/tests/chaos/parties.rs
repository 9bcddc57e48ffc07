//! Parties, and the znodes that members are kept by: whoever is in a party is there once, and nobody else is.

use std::sync::{Arc, Mutex};

use atalaya_recipes::{Membership, Party};
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, Stage};

const PATH: &str = "/chaos/party";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Join,
    Leave,
    Drop,
    Look,
}

/// Whoever joins one party.
pub(crate) struct Members {
    make: fn(atalaya_recipes::Session, &str, String) -> Party,
    memberships: [Mutex<Option<Membership>>; CROWD],
}

impl Members {
    pub(crate) fn of(make: fn(atalaya_recipes::Session, &str, String) -> Party) -> Members {
        Members { make, memberships: Default::default() }
    }
}

impl Play for Members {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![6 => Just(Act::Join), 3 => Just(Act::Leave), 2 => Just(Act::Drop), 2 => Just(Act::Look)]
            .boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        let who = person.who;
        let party = (self.make)(person.session.clone(), PATH, who.to_string());
        let this = self.clone();
        let mut membership = self.memberships[who].lock().unwrap();
        match act {
            Act::Drop => drop(membership.take()),
            _ if person.busy => {}
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

    /// Those are there who joined, each once; and then nobody.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        stage.until_idle().await?;
        let party = (self.make)(stage.witness.0.clone(), PATH, String::new());
        let joined = || -> Vec<String> {
            let is_in = |who: &usize| self.memberships[*who].lock().unwrap().is_some();
            (0..CROWD).filter(is_in).map(|who| who.to_string()).collect()
        };
        for all in [false, true] {
            for who in (0..CROWD).filter(|_| all) {
                stage.act(who, Act::Join);
            }
            stage.until_idle().await?;
            let mut seen = Vec::new();
            let there = stage.until("the members are there", async |_| {
                seen = party.members().await.unwrap();
                (seen == joined()).then_some(())
            });
            there.await.map_err(|what| format!("{what}: {seen:?}, not {:?}", joined()))?;
        }
        for who in 0..CROWD {
            stage.cancel(who).await;
        }
        stage.until_empty(PATH).await
    }
}

#[test]
fn members_are_there_once() {
    try_schedules(|| Members::of(|session, path, who| Party::new(session, path, who)));
}

#[test]
fn members_are_there_once_as_their_names_tell() {
    try_schedules(|| Members::of(|session, path, who| Party::shallow(session, path, who)));
}
