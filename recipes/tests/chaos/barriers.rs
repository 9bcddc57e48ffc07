//! Barriers: nobody passes a generation that is closed all the while, and nobody stays behind an open barrier.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Barrier, Error};
use proptest::prelude::*;

use crate::schedule::{CROWD, try_schedules};
use crate::stage::{Doing, Person, Play, Stage};
use crate::witness::Witness;

const PATH: &str = "/chaos/start";

#[derive(Clone, Debug)]
pub(crate) enum Act {
    Wait,
    WaitWithin(Duration),
    /// For one of the generations that are known, counted from the newest.
    WaitForGeneration(usize),
    Close,
    Open,
    /// So too.
    OpenGeneration(usize),
}

/// Whoever opens, closes and waits at one barrier.
#[derive(Default)]
pub(crate) struct Crowd {
    generations: Mutex<Vec<i64>>,
    waits: [AtomicBool; CROWD],
    /// The generation that each of them was told to wait for.
    behind: [Mutex<Option<i64>>; CROWD],
}

impl Crowd {
    fn generation(&self, back: usize) -> Option<i64> {
        self.generations.lock().unwrap().iter().rev().nth(back).copied()
    }

    fn knows(&self, generation: i64) {
        let mut generations = self.generations.lock().unwrap();
        if !generations.contains(&generation) {
            generations.push(generation);
        }
    }
}

/// What was closed before `wait` and is after it has not been open in between.
async fn is_fair(
    witness: &Witness,
    what: &str,
    over: impl Future<Output = Result<bool, Error>>,
) -> Result<(), String> {
    let before = witness.czxid(PATH).await;
    let is_over = over.await.map_err(|error| error.to_string())?;
    if is_over && before.is_some() && witness.czxid(PATH).await == before {
        return Err(format!("{what}: over, though generation {before:?} was closed all the while"));
    }
    Ok(())
}

/// A generation that is over is not closed.
async fn is_past(
    witness: &Witness,
    what: &str,
    generation: i64,
    over: impl Future<Output = Result<(), Error>>,
) -> Result<(), String> {
    over.await.map_err(|error| error.to_string())?;
    match witness.czxid(PATH).await {
        Some(closed) if closed == generation => Err(format!("{what}: over, though {generation} is closed")),
        _ => Ok(()),
    }
}

impl Play for Crowd {
    type Act = Act;

    fn acts() -> BoxedStrategy<Act> {
        prop_oneof![
            8 => Just(Act::Wait),
            2 => (0u64..40).prop_map(|ms| Act::WaitWithin(Duration::from_millis(ms))),
            3 => (0..3_usize).prop_map(Act::WaitForGeneration),
            6 => Just(Act::Close),
            3 => Just(Act::Open),
            3 => (0..3_usize).prop_map(Act::OpenGeneration),
        ]
        .boxed()
    }

    fn act(self: &Arc<Self>, person: &Person, act: Act) -> Option<Doing> {
        if person.busy {
            return None;
        }
        let (this, witness) = (self.clone(), person.witness.clone());
        let barrier = Barrier::new(person.session.clone(), PATH);
        self.waits[person.who].store(false, Ordering::Relaxed);
        let waits = || self.waits[person.who].store(true, Ordering::Relaxed);
        Some(match act {
            Act::Wait => {
                waits();
                *self.behind[person.who].lock().unwrap() = None;
                Box::pin(async move {
                    is_fair(&witness, "wait", async { barrier.wait().await.map(|()| true) }).await
                })
            }
            Act::WaitWithin(time) => {
                Box::pin(async move { is_fair(&witness, "wait", barrier.wait_within(time)).await })
            }
            Act::WaitForGeneration(back) => {
                let generation = self.generation(back)?;
                waits();
                *self.behind[person.who].lock().unwrap() = Some(generation);
                Box::pin(async move {
                    is_past(&witness, "wait", generation, barrier.wait_for_generation(generation)).await
                })
            }
            Act::Close => Box::pin(async move {
                let closed = barrier.close().await.map_err(|error| error.to_string())?;
                this.knows(closed);
                Ok(())
            }),
            Act::Open => Box::pin(async move {
                is_fair(&witness, "open", async { barrier.open().await.map(|_| true) }).await
            }),
            Act::OpenGeneration(back) => {
                let generation = self.generation(back)?;
                let opened = async move { barrier.open_generation(generation).await.map(drop) };
                Box::pin(async move { is_past(&witness, "open", generation, opened).await })
            }
        })
    }

    /// Whoever opens or closes comes to an end; whoever has waited all the while passes, and so does everyone who
    /// begins to wait now, once it is open and not before.
    async fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> Result<(), String> {
        let this = self.clone();
        stage
            .until("only those who wait are left", async |stage| {
                let waits = |who: usize| this.waits[who].load(Ordering::Relaxed);
                (0..CROWD).all(|who| waits(who) || !stage.is_busy(who)).then_some(())
            })
            .await?;
        let closed = stage.witness.czxid(PATH).await;
        let passed = async |stage: &mut Stage<Self>| {
            let missed =
                |who: &usize| this.behind[*who].lock().unwrap().is_some_and(|behind| Some(behind) != closed);
            (0..CROWD).filter(missed).all(|who| !stage.is_busy(who)).then_some(())
        };
        stage.until("those pass whose generation is over", passed).await?;
        let barrier = Barrier::new(stage.witness.0.clone(), PATH);
        for closed_again in [false, true] {
            let closed = barrier.close().await.map_err(|error| error.to_string())?;
            (0..CROWD).filter(|who| !stage.is_busy(*who)).collect::<Vec<_>>().into_iter().for_each(|who| {
                stage.act(who, Act::Wait);
            });
            stage
                .until("all of them have looked", async |stage| {
                    let waiting = (0..CROWD).filter(|who| stage.is_busy(*who)).count();
                    (stage.faults.figures().await.unwrap().watches >= waiting).then_some(())
                })
                .await?;
            if barrier.generation().await.map_err(|error| error.to_string())? != Some(closed) {
                return Err("a generation that nobody opens any more is open".into());
            }
            if closed_again {
                // Nobody can look between the two.
                let open = Write::Delete { path: PATH, version: None };
                let close = Write::Create { path: PATH, data: b"", mode: CreateMode::Persistent };
                stage
                    .witness
                    .0
                    .connection()
                    .await
                    .multi(&[open, close])
                    .await
                    .map_err(|error| error.to_string())?;
            } else {
                barrier.open_generation(closed).await.map_err(|error| error.to_string())?;
            }
            stage.until_idle().await?;
            // None of those who have passed watches any more: whoever does next has begun to wait.
            let unwatched = async |stage: &mut Stage<Self>| {
                (stage.faults.figures().await.unwrap().watches == 0).then_some(())
            };
            stage.until("nobody watches", unwatched).await?;
        }
        barrier.open().await.map_err(|error| error.to_string())?;
        match stage.witness.czxid(PATH).await {
            None => Ok(()),
            Some(_) => Err("it is closed although it was opened".into()),
        }
    }
}

#[test]
fn nobody_passes_early_or_stays_behind() {
    try_schedules(Crowd::default);
}
