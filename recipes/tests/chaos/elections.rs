//! Elections: never two leaders, increasing fencing tokens, every contender leads in turn, and no znode is left.

use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Leadership};
use proptest::prelude::*;
use tokio::sync::watch;

use crate::runner::{ActFuture, Client, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/election";
const LINE: &str = "/chaos/line";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    /// Contends and leads.
    Run,
    /// Lets the leader code return now, or as soon as it leads.
    Resign,
}

/// Contenders of one election.
pub(crate) struct Contenders {
    naming: Naming,
    /// Maximum number of contenders, if there is one.
    limit: Option<NonZeroUsize>,
    leads: [Mutex<Option<Leadership>>; CLIENTS],
    resigned: [watch::Sender<bool>; CLIENTS],
    /// Number of completed leader runs of each contender.
    turns: [Mutex<usize>; CLIENTS],
    highest: Mutex<(i64, usize)>,
}

/// A running leader.
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
            limit: None,
            leads: Default::default(),
            resigned: Default::default(),
            turns: Default::default(),
            highest: Mutex::default(),
        }
    }

    /// Returns contenders of an election that at most `limit` of them join at once.
    fn with_limit(limit: usize) -> Contenders {
        Contenders { limit: NonZeroUsize::new(limit), ..Contenders::of(Naming::Kazoo) }
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

impl Scenario for Contenders {
    type Act = Act;
    const STAYS_WITH_SESSION: bool = true;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![2 => Just(Act::Run), 1 => Just(Act::Resign)].boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        let who = client.who;
        match act {
            Act::Run if client.busy => None,
            Act::Run => {
                let election = Election::new(client.session.clone(), PATH, who.to_string(), self.naming);
                let election = match self.limit {
                    Some(limit) => election.with_limit(LINE, limit),
                    None => election,
                };
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
        let leaders: Vec<usize> = (0..CLIENTS).filter(holds).collect();
        // The check takes time: only contenders that still lead at its end led throughout.
        let leaders: Vec<usize> = leaders.into_iter().filter(holds).collect();
        (leaders.len() <= 1).then_some(()).ok_or_else(|| format!("{leaders:?} lead at once"))
    }

    /// Every contender leads, those that were queued before too; then no znode is left.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        let turns = || (0..CLIENTS).map(|who| *self.turns[who].lock().unwrap()).collect::<Vec<_>>();
        let before = turns();
        let all = runner.until("everyone has led", async |runner| {
            for (who, turns) in turns().into_iter().enumerate() {
                if turns == before[who] && !runner.is_busy(who) {
                    runner.act(who, Act::Run);
                }
                runner.act(who, Act::Resign);
            }
            turns().iter().zip(&before).all(|(now, before)| now > before).then_some(())
        });
        all.await.map_err(|what| format!("{what}: {before:?} then {:?}", turns()))?;
        runner.until_idle().await?;
        runner.until_empty(LINE).await?;
        runner.until_empty(PATH).await
    }
}

#[test]
fn election_has_one_leader() {
    try_schedules(|| Contenders::of(Naming::Kazoo));
}

#[test]
fn election_with_curator_names_has_one_leader() {
    try_schedules(|| Contenders::of(Naming::CuratorLatch));
}

#[test]
fn election_with_a_limit_of_one_has_one_leader() {
    try_schedules(|| Contenders::with_limit(1));
}

#[test]
fn election_with_a_limit_of_two_has_one_leader() {
    try_schedules(|| Contenders::with_limit(2));
}
