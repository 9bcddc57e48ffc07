//! Several holders of one lease with one clock, under random schedules of lost requests, replies, connections and
//! sessions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use atalaya_recipes::{Acquire, Session};
use proptest::prelude::*;
use tokio::sync::watch;

use crate::lease::{PATH, Wall, wait_until_queue_is_empty};
use crate::support::{SessionFault, TestBed, schedules, session_fault};

/// The time until which each holder relies on its lease.
struct ClaimedLeases {
    wall: Wall,
    ends: Mutex<Vec<Option<SystemTime>>>,
}

impl ClaimedLeases {
    /// Records that `who` relies on its lease until `end`.
    fn set(&self, who: usize, end: Option<SystemTime>) {
        let mut ends = self.ends.lock().unwrap();
        ends[who] = end;
        let now = self.wall.now();
        let holders = ends.iter().flatten().filter(|end| **end > now).count();
        assert!(holders <= 1, "{ends:?} at {now:?}");
        self.wall.pass(Duration::from_millis(700));
    }
}

/// Runs several holders, each with its own session, under a schedule of faults.
fn under(faults: &[(usize, SessionFault)], holders: usize) -> Result<(), TestCaseError> {
    let bed = TestBed::memory();
    let wall = Wall::new();
    let ends = Mutex::new(vec![None; holders]);
    let beliefs = Arc::new(ClaimedLeases { wall: wall.clone(), ends });
    let (stop, stopped) = watch::channel(false);
    let sessions: Vec<Session> = (0..holders).map(|_| bed.session()).collect();
    let tasks: Vec<_> = sessions
        .iter()
        .enumerate()
        .map(|(who, session)| {
            let lease = wall.lease(session, &format!("holder {who}"));
            let (beliefs, stopped) = (beliefs.clone(), stopped.clone());
            bed.spawn(async move {
                let mut times = 0;
                while !*stopped.borrow() {
                    let Acquire::Acquired(mut held) = lease.acquire().await.unwrap() else {
                        beliefs.set(who, None);
                        continue;
                    };
                    times += 1;
                    beliefs.set(who, Some(held.end()));
                    if held.renew().await.unwrap() {
                        beliefs.set(who, Some(held.end()));
                    }
                    beliefs.set(who, None);
                    // In every other round, the other holders have to wait for the end of the lease.
                    if times % 2 == 0 {
                        held.release().await.unwrap();
                    }
                }
                times
            })
        })
        .collect();
    let times: i32 = bed.wait(async {
        for (whom, session_fault) in faults {
            session_fault.inject(&bed.faults(), &sessions[whom % holders]).await;
        }
        bed.faults().clear().await;
        stop.send_replace(true);
        let mut times = 0;
        for task in tasks {
            times += task.await.unwrap();
        }
        times
    });
    prop_assert!(faults.is_empty() || times > 0);
    let connection = bed.connection();
    bed.wait(wait_until_queue_is_empty(&connection, PATH));
    Ok(())
}

#[test]
fn lease_has_at_most_one_holder_on_any_schedule() {
    let faults = prop::collection::vec((0..4_usize, session_fault()), 0..16);
    schedules(8, faults, |faults| under(&faults, 4));
}
