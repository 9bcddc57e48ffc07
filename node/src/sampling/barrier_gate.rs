//! Measuring in step: the leader keeps the barrier closed, and every node measures once for each closing of it.
//!
//! A closing is a *generation*, told apart by the `czxid` of the znode. The leader ends one and begins the next in a single
//! transaction, so there is no moment at which the barrier is open between two cycles; a leader that dies leaves it closed, and
//! everyone waiting, until the next one has finished that cycle. Kazoo's `Barrier` sees the same: it waits for the znode to be deleted.

use std::time::Duration;

use atalaya_hal::boards::SyncMode;
use atalaya_recipes::{Backoff, Connection, EventType, Session, WrongZnode, WrongZnodeReporter};
use tokio::sync::watch;
use tracing::debug;

use crate::leader::fenced_store::BARRIER;
use crate::settings::Settings;

/// What the barrier was last seen to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Barrier {
    /// It was not looked at yet.
    #[default]
    Unseen,
    /// Nobody sets the pace.
    Open,
    /// Closed; its generation.
    Closed(i64),
    /// The generation that was closed is over; what comes next is not seen yet.
    Released,
}

/// When to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SamplingMode {
    /// By the own clock once in this time; in step, as long as a cycle is expected to take at most.
    pub period: Duration,
    /// In step, what the barrier was last seen to be.
    pub step: Option<Barrier>,
}

/// For which generation a node has measured last. Pure.
#[derive(Clone, Copy, Debug, Default)]
pub struct BarrierGate {
    begun: bool,
    measured_for: Option<i64>,
    /// The transaction that published the newest measurement.
    published: i64,
}

impl BarrierGate {
    /// Whether to measure now: at the start, and once for each generation, as soon as the one before is over. What was measured
    /// for one and published too late, in the next, counts for that one.
    pub fn lets_through(&self, barrier: Barrier) -> bool {
        match barrier {
            Barrier::Closed(generation) => {
                self.measured_for != Some(generation) && self.published < generation
            }
            // What comes next is another one in any case. It is to be published there.
            Barrier::Released => true,
            // Who has not published is not there, and is waited for by nobody.
            Barrier::Unseen | Barrier::Open => !self.begun,
        }
    }

    /// A measurement is published next, while the barrier is seen to be this; or there is nothing to publish.
    pub fn measured(&mut self, barrier: Barrier) {
        self.begun = true;
        if let Barrier::Closed(generation) = barrier {
            self.measured_for = Some(generation);
        }
    }

    /// The measurement was published, in this transaction.
    pub fn published(&mut self, zxid: i64) {
        self.published = zxid;
    }
}

/// Keeps `pace` at what the settings say and, in step, at what the barrier is, until it is dropped.
pub(crate) async fn follow(
    session: &Session,
    mut settings: watch::Receiver<Settings>,
    pace: &watch::Sender<SamplingMode>,
) {
    loop {
        let Settings { sampling_period: period, sync, .. } = *settings.borrow_and_update();
        let in_step = sync == SyncMode::Barrier;
        let tell = |step: Option<Barrier>| {
            pace.send_if_modified(|known| {
                let now = SamplingMode { period, step };
                std::mem::replace(known, now) != now
            });
        };
        let known = pace.borrow().step.unwrap_or_default();
        tell(in_step.then_some(known));
        let watching = async {
            if in_step {
                watch(session, |barrier| tell(Some(barrier))).await;
            }
            std::future::pending::<()>().await;
        };
        let other = settings.wait_for(|now| (now.sampling_period, now.sync) != (period, sync));
        tokio::select! {
            () = watching => {}
            Ok(_) = other => {}
            else => return std::future::pending().await,
        }
    }
}

/// Watches the barrier over whichever connection there is.
async fn watch(session: &Session, mut tell: impl FnMut(Barrier)) {
    let (mut trouble, mut sightings) = (Backoff::default(), WrongZnodeReporter::default());
    loop {
        let connection = session.connection().await;
        trouble.reconnected();
        tokio::select! {
            biased;
            () = connection.lost() => {}
            () = watch_over(&connection, &mut tell, &mut trouble, &mut sightings) => {}
        }
    }
}

async fn watch_over(
    connection: &Connection,
    tell: &mut impl FnMut(Barrier),
    trouble: &mut Backoff,
    sightings: &mut WrongZnodeReporter,
) {
    loop {
        match connection.stat_and_watch(BARRIER).await {
            Ok((stat, watcher)) => {
                trouble.over();
                let wrong = stat.as_ref().and_then(|stat| {
                    WrongZnode::not_childless(BARRIER, stat).or(WrongZnode::not_persistent(BARRIER, stat))
                });
                sightings.update(connection.session(), wrong);
                let generation = stat.map(|stat| stat.czxid);
                debug!(generation, "the barrier");
                tell(generation.map_or(Barrier::Open, Barrier::Closed));
                if connection.watch_event(watcher).await == Some(EventType::NodeDeleted) {
                    debug!(over = generation, "released");
                    tell(Barrier::Released);
                }
            }
            Err(error) => {
                trouble.pause(connection.session(), &error).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn once_at_the_start_and_once_for_each_generation() {
        let mut turnstile = BarrierGate::default();
        let mut through = |barrier| {
            let through = turnstile.lets_through(barrier);
            if through {
                turnstile.measured(barrier);
            }
            through
        };
        let seen = [
            (Barrier::Unseen, true),
            (Barrier::Open, false),
            (Barrier::Closed(5), true),
            (Barrier::Closed(5), false),
            (Barrier::Open, false),
            (Barrier::Closed(9), true),
            // Others were missed while there was no connection.
            (Barrier::Closed(30), true),
            (Barrier::Closed(30), false),
        ];
        for (barrier, expected) in seen {
            assert_eq!(through(barrier), expected, "{barrier:?}");
        }
    }

    #[test]
    fn what_is_measured_at_a_release_is_for_the_generation_that_is_seen_next() {
        let mut turnstile = BarrierGate::default();
        turnstile.measured(Barrier::Closed(5));
        assert!(turnstile.lets_through(Barrier::Released));
        turnstile.measured(Barrier::Closed(10));
        assert!(!turnstile.lets_through(Barrier::Closed(10)));
        assert!(turnstile.lets_through(Barrier::Closed(20)));
    }

    #[test]
    fn what_is_published_too_late_counts_for_the_generation_it_is_published_in() {
        let mut turnstile = BarrierGate::default();
        turnstile.measured(Barrier::Closed(5));
        turnstile.published(12);
        assert!(!turnstile.lets_through(Barrier::Closed(9)));
        assert!(turnstile.lets_through(Barrier::Closed(15)));
    }
}
