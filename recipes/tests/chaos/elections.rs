//! Elections: never two lead, terms rise, everyone has a turn, and nobody stays in line.

use std::sync::{Arc, Mutex};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Leadership};
use proptest::prelude::*;
use tokio::sync::watch;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, Stage};

const PATH: &str = "/chaos/election";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// It stands in line, and leads.
    Run,
    /// Its code returns as soon as it leads, or now that it does.
    Resign,
}

/// Whoever stands in one election.
pub(crate) struct Contenders {
    naming: Naming,
    leads: [Mutex<Option<Leadership>>; CROWD],
    resigned: [watch::Sender<bool>; CROWD],
    /// How often each has led to the end.
    turns: [Mutex<usize>; CROWD],
    highest: Mutex<(i64, usize)>,
}

/// The leader's code runs.
struct Leading(Arc<Contenders>, usize);

impl Drop for Leading {
    fn drop(&mut self) {
        *self.0.leads[self.1].lock().unwrap() = None;
    }
}

impl Contenders {
    pub(crate) fn of(naming: Naming) -> Contenders {
        Contenders {
            naming,
            leads: Default::default(),
            resigned: Default::default(),
            turns: Default::default(),
            highest: Mutex::default(),
        }
    }

    async fn lead(self: Arc<Self>, who: usize, leadership: Leadership) -> Result<(), String> {
        {
            let mut highest = self.highest.lock().unwrap();
            let (term, whose) = *highest;
            let risen =
                leadership.fencing_token() > term || leadership.fencing_token() == term && who == whose;
            if leadership.holds() && !risen {
                return Err(format!("term {} after {term} of {whose}", leadership.fencing_token()));
            }
            *highest = (*highest).max((leadership.fencing_token(), who));
        }
        *self.leads[who].lock().unwrap() = Some(leadership);
        let _leading = Leading(self.clone(), who);
        let _ = self.resigned[who].subscribe().wait_for(|resigned| *resigned).await;
        Ok(())
    }
}

impl Play for Contenders {
    type Act = Act;
    const STAYS_WITH_SESSION: bool = true;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![2 => Just(Act::Run), 1 => Just(Act::Resign)].boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        let who = person.who;
        match act {
            Act::Run if person.busy => None,
            Act::Run => {
                let election = Election::new(person.session.clone(), PATH, who.to_string(), self.naming);
                let this = self.clone();
                self.resigned[who].send_replace(false);
                Some(Box::pin(async move {
                    election.run(|leadership| this.clone().lead(who, leadership)).await?;
                    *this.turns[who].lock().unwrap() += 1;
                    Ok(())
                }))
            }
            Act::Resign => {
                self.resigned[who].send_replace(true);
                None
            }
        }
    }

    fn look(&self) -> Result<(), String> {
        let holds = |who: &usize| self.leads[*who].lock().unwrap().as_ref().is_some_and(Leadership::holds);
        let leaders: Vec<usize> = (0..CROWD).filter(holds).collect();
        // Time goes by: only who still does has led while the last one was looked at.
        let leaders: Vec<usize> = leaders.into_iter().filter(holds).collect();
        (leaders.len() <= 1).then_some(()).ok_or_else(|| format!("{leaders:?} lead at once"))
    }

    /// Everyone leads, also who has stood in line since before, and then nobody is in line.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        let turns = || (0..CROWD).map(|who| *self.turns[who].lock().unwrap()).collect::<Vec<_>>();
        let before = turns();
        let all = stage.until("everyone has led", async |stage| {
            for (who, turns) in turns().into_iter().enumerate() {
                if turns == before[who] && !stage.is_busy(who) {
                    stage.act(who, Act::Run);
                }
                stage.act(who, Act::Resign);
            }
            turns().iter().zip(&before).all(|(now, before)| now > before).then_some(())
        });
        all.await.map_err(|what| format!("{what}: {before:?} then {:?}", turns()))?;
        stage.until_idle().await?;
        stage.until_empty(PATH).await
    }
}

#[test]
fn one_leads() {
    try_schedules(|| Contenders::of(Naming::Kazoo));
}

#[test]
fn one_leads_as_curator_names_it() {
    try_schedules(|| Contenders::of(Naming::CuratorLatch));
}
