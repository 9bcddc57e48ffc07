//! Double barriers: a party enters only when it is complete, nobody has left before all have, and nothing hangs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{DoubleBarrier, DoubleBarrierError, DoubleBarrierGuard};
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, SOON, Stage};
use crate::witness::Witness;

const PATH: &str = "/chaos/together";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Enter(Duration),
    Leave(Duration),
    Drop,
}

/// Whoever enters and leaves one double barrier.
pub(crate) struct Crowd {
    size: usize,
    /// Those who may stand at the barrier: the number of their entering, and how many there ever were while they did.
    standing: Mutex<Vec<(usize, usize)>>,
    entered: AtomicUsize,
    inside: [Mutex<Option<Within>>; CROWD],
    leaving: [AtomicBool; CROWD],
}

struct Within {
    inside: DoubleBarrierGuard,
    standing: Standing,
}

/// One of those who may stand there; until its znode is gone for certain.
struct Standing {
    crowd: Arc<Crowd>,
    number: usize,
    witness: Witness,
}

impl Drop for Standing {
    fn drop(&mut self) {
        let (crowd, number, witness) = (self.crowd.clone(), self.number, self.witness.clone());
        tokio::spawn(async move {
            while is_there(&witness, number).await {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            crowd.standing.lock().unwrap().retain(|(other, _)| *other != number);
        });
    }
}

/// Whether the member of this number stands at the barrier.
async fn is_there(witness: &Witness, number: usize) -> bool {
    for name in witness.children(PATH).await {
        if witness.data(&format!("{PATH}/{name}")).await == Some(number.to_string().into_bytes()) {
            return true;
        }
    }
    false
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

    fn stands(self: &Arc<Self>, witness: &Witness) -> Standing {
        let number = self.entered.fetch_add(1, Ordering::Relaxed);
        let mut standing = self.standing.lock().unwrap();
        standing.push((number, 0));
        let all = standing.len();
        standing.iter_mut().for_each(|(_, most)| *most = all.max(*most));
        Standing { crowd: self.clone(), number, witness: witness.clone() }
    }

    async fn enter(
        self: Arc<Self>,
        person: (usize, atalaya_recipes::Session, Witness),
        time: Duration,
    ) -> Result<(), String> {
        let (who, session, witness) = person;
        let standing = self.stands(&witness);
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
                && standing.witness.czxid(&znode).await.is_some()
                && other.lock().unwrap().as_ref().is_some_and(|within| within.inside.znode() == znode)
            {
                return Err(format!("left, though {znode} of the same party is inside"));
            }
        }
        Ok(())
    }

    async fn until_idle(stage: &mut Stage<Crowd>, when: &str) -> Result<(), String> {
        let witness = stage.witness.clone();
        match stage.until_idle().await {
            Ok(()) => Ok(()),
            Err(what) => Err(format!("{what} {when}; at the barrier: {:?}", witness.children(PATH).await)),
        }
    }

    fn are_inside(&self) -> usize {
        self.inside.iter().filter(|inside| inside.lock().unwrap().is_some()).count()
    }
}

impl Play for Crowd {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        let time = || prop_oneof![5 => Just(SOON * 10), 1 => (0u64..60).prop_map(Duration::from_millis)];
        prop_oneof![6 => time().prop_map(Act::Enter), 4 => time().prop_map(Act::Leave), 1 => Just(Act::Drop)]
            .boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        let (this, who) = (self.clone(), person.who);
        let is_inside = self.inside[who].lock().unwrap().is_some();
        match act {
            Act::Drop => drop(self.inside[who].lock().unwrap().take()),
            Act::Enter(time) if !person.busy && !is_inside => {
                self.leaving[who].store(false, Ordering::Relaxed);
                let person = (who, person.session.clone(), person.witness.clone());
                return Some(Box::pin(this.enter(person, time)));
            }
            Act::Leave(time) if !person.busy && is_inside => {
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

    /// Whoever leaves comes to an end once those inside are gone. Then a party enters, whatever was left behind, and
    /// leaves; and another one does not enter before it is complete, nor leave before all do. Nothing is left.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        let leaves = |stage: &Stage<Self>, who: usize| {
            // Whoever enters would wait for a party that does not come.
            stage.is_busy(who) && self.leaving[who].load(Ordering::Relaxed)
        };
        for who in 0..CROWD {
            if !leaves(stage, who) {
                stage.cancel(who).await;
            }
        }
        Self::until_idle(stage, "leaving").await?;
        for early in [0, self.size - 1] {
            stage
                .until("nobody stands there", async |_| {
                    self.standing.lock().unwrap().is_empty().then_some(())
                })
                .await?;
            (0..early).for_each(|who| stage.act(who, Act::Enter(SOON * 10)));
            let witness = stage.witness.clone();
            stage
                .until("they stand there", async |_| {
                    let names = witness.children(PATH).await;
                    let here = names.iter().filter(|name| *name != "ready").count();
                    (early == 0 || here == early && names.len() == early).then_some(())
                })
                .await?;
            (early..self.size).for_each(|who| stage.act(who, Act::Enter(SOON * 10)));
            Self::until_idle(stage, "entering in the calm").await?;
            if self.are_inside() != self.size {
                return Err(format!("{} are inside, not {}", self.are_inside(), self.size));
            }
            (0..self.size).for_each(|who| stage.act(who, Act::Leave(SOON * 10)));
            Self::until_idle(stage, "leaving in the calm").await?;
        }
        stage.until_empty(PATH).await
    }
}

#[test]
fn two_enter_and_leave_together() {
    try_schedules(|| Crowd::of(2));
}

#[test]
fn three_enter_and_leave_together() {
    try_schedules(|| Crowd::of(3));
}
