//! Double barriers: members enter only when all are present, leave only when all leave, and none hangs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{DoubleBarrier, DoubleBarrierError, DoubleBarrierGuard};
use proptest::prelude::*;

use crate::observer::Observer;
use crate::runner::{ActFuture, Client, DEADLINE, Runner, Scenario};
use crate::schedule::{CLIENTS, try_schedules};

const PATH: &str = "/chaos/together";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Enter(Duration),
    Leave(Duration),
    Drop,
}

/// Clients that enter and leave one double barrier.
pub(crate) struct Crowd {
    size: usize,
    /// Members that may be at the barrier: the number of their entry, and the highest number of members during it.
    standing: Mutex<Vec<(usize, usize)>>,
    entered: AtomicUsize,
    inside: [Mutex<Option<Within>>; CLIENTS],
    leaving: [AtomicBool; CLIENTS],
}

struct Within {
    inside: DoubleBarrierGuard,
    standing: Standing,
}

/// A member that may be at the barrier, until its znode is certainly gone.
struct Standing {
    clients: Arc<Crowd>,
    number: usize,
    observer: Observer,
}

impl Drop for Standing {
    fn drop(&mut self) {
        let (clients, number, observer) = (self.clients.clone(), self.number, self.observer.clone());
        tokio::spawn(async move {
            while let Some(znode) = find(&observer, number).await {
                observer.until_deleted(&znode).await;
            }
            clients.standing.lock().unwrap().retain(|(other, _)| *other != number);
        });
    }
}

/// Returns the znode of the member with this number, if it is at the barrier.
async fn find(observer: &Observer, number: usize) -> Option<String> {
    for name in observer.children(PATH).await {
        let znode = format!("{PATH}/{name}");
        if observer.data(&znode).await == Some(number.to_string().into_bytes()) {
            return Some(znode);
        }
    }
    None
}

impl Crowd {
    pub(crate) fn of(size: usize) -> Crowd {
        Crowd {
            size,
            standing: Mutex::default(),
            entered: AtomicUsize::default(),
            inside: Default::default(),
            leaving: Default::default(),
        }
    }

    fn stands(self: &Arc<Self>, observer: &Observer) -> Standing {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let mut standing = self.standing.lock().unwrap();
        standing.push((number, 0));
        let all = standing.len();
        standing.iter_mut().for_each(|(_, most)| *most = all.max(*most));
        Standing { clients: self.clone(), number, observer: observer.clone() }
    }

    async fn enter(
        self: Arc<Self>,
        client: (usize, atalaya_recipes::Session, Observer),
        time: Duration,
    ) -> Result<(), String> {
        let (who, session, observer) = client;
        let standing = self.stands(&observer);
        let barrier = DoubleBarrier::new(session, PATH, self.size, standing.number.to_string());
        let inside = match barrier.enter(time).await {
            Ok(inside) => inside,
            Err(DoubleBarrierError::Incomplete { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let most = |(number, most): &(usize, usize)| (*number == standing.number).then_some(*most);
        let most = self.standing.lock().unwrap().iter().find_map(most);
        if most.is_none_or(|most| most < self.size) {
            return Err(format!("entered, though {most:?} of {} were there at the most", self.size));
        }
        *self.inside[who].lock().unwrap() = Some(Within { inside, standing });
        Ok(())
    }

    async fn leave(self: Arc<Self>, who: usize, time: Duration) -> Result<(), String> {
        let Some(Within { inside, standing }) = self.inside[who].lock().unwrap().take() else {
            return Ok(());
        };
        let party = inside.generation();
        match inside.leave(time).await {
            Ok(()) => {}
            Err(DoubleBarrierError::OthersInside { .. }) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        }
        for other in &self.inside {
            let znode = other.lock().unwrap().as_ref().and_then(|within| {
                let same = party.is_some() && within.inside.generation() == party;
                same.then(|| within.inside.znode().to_owned())
            });
            if let Some(znode) = znode
                && standing.observer.czxid(&znode).await.is_some()
                && other.lock().unwrap().as_ref().is_some_and(|within| within.inside.znode() == znode)
            {
                return Err(format!("left, though {znode} of the same party is inside"));
            }
        }
        Ok(())
    }

    async fn until_idle(runner: &mut Runner<Crowd>, when: &str) -> Result<(), String> {
        let observer = runner.observer.clone();
        match runner.until_idle().await {
            Ok(()) => Ok(()),
            Err(what) => Err(format!("{what} {when}; at the barrier: {:?}", observer.children(PATH).await)),
        }
    }

    fn are_inside(&self) -> usize {
        self.inside.iter().filter(|inside| inside.lock().unwrap().is_some()).count()
    }
}

impl Scenario for Crowd {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        let time = || prop_oneof![5 => Just(DEADLINE * 10), 1 => (0u64..60).prop_map(Duration::from_millis)];
        prop_oneof![6 => time().prop_map(Act::Enter), 4 => time().prop_map(Act::Leave), 1 => Just(Act::Drop)]
            .boxed()
    }

    fn act(self: &Arc<Self>, client: &Client, act: Act) -> Option<ActFuture> {
        let (this, who) = (self.clone(), client.who);
        let is_inside = self.inside[who].lock().unwrap().is_some();
        match act {
            Act::Drop => drop(self.inside[who].lock().unwrap().take()),
            Act::Enter(time) if !client.busy && !is_inside => {
                self.leaving[who].store(false, Ordering::Relaxed);
                let client = (who, client.session.clone(), client.observer.clone());
                return Some(Box::pin(this.enter(client, time)));
            }
            Act::Leave(time) if !client.busy && is_inside => {
                self.leaving[who].store(true, Ordering::Relaxed);
                return Some(Box::pin(this.leave(who, time)));
            }
            Act::Enter(_) | Act::Leave(_) => {}
        }
        None
    }

    fn cancelled(&self, who: usize) {
        drop(self.inside[who].lock().unwrap().take());
    }

    /// Members that leave finish once those inside are gone. Then a new party enters in spite of leftovers, and leaves.
    /// Another party enters only when complete and leaves only together. No znode is left.
    async fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> Result<(), String> {
        let leaves = |runner: &Runner<Self>, who: usize| {
            // A member that is entering would wait for members that do not come.
            runner.is_busy(who) && self.leaving[who].load(Ordering::Relaxed)
        };
        for who in 0..CLIENTS {
            if !leaves(runner, who) {
                runner.cancel(who).await;
            }
        }
        Self::until_idle(runner, "leaving").await?;
        for early in [0, self.size - 1] {
            runner
                .until("no member is left", async |_| self.standing.lock().unwrap().is_empty().then_some(()))
                .await?;
            (0..early).for_each(|who| runner.act(who, Act::Enter(DEADLINE * 10)));
            let observer = runner.observer.clone();
            runner
                .until("they are at the barrier", async |_| {
                    let names = observer.children(PATH).await;
                    let here = names.iter().filter(|name| *name != "ready").count();
                    (early == 0 || here == early && names.len() == early).then_some(())
                })
                .await?;
            (early..self.size).for_each(|who| runner.act(who, Act::Enter(DEADLINE * 10)));
            Self::until_idle(runner, "entering in the calm").await?;
            if self.are_inside() != self.size {
                return Err(format!("{} are inside, not {}", self.are_inside(), self.size));
            }
            (0..self.size).for_each(|who| runner.act(who, Act::Leave(DEADLINE * 10)));
            Self::until_idle(runner, "leaving in the calm").await?;
        }
        runner.until_empty(PATH).await
    }
}

#[test]
fn double_barrier_of_two_members() {
    try_schedules(|| Crowd::of(2));
}

#[test]
fn double_barrier_of_three_members() {
    try_schedules(|| Crowd::of(3));
}
