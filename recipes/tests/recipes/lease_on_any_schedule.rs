//! Several holders of one lease, by one clock, under random schedules of lost requests, replies, connections and sessions.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use atalaya_recipes::{Acquire, Session};
use proptest::prelude::*;
use tokio::sync::watch;

use crate::lease::{PATH, Wall, until_nobody_waits};
use crate::support::{Bed, Blow, blow, schedules};

/// Who believes until when that it holds.
struct Beliefs {
    wall: Wall,
    ends: Mutex<Vec<Option<SystemTime>>>,
}

impl Beliefs {
    /// Time passes, and `who` holds until then.
    fn set(&self, who: usize, end: Option<SystemTime>) {
        let mut ends = self.ends.lock().unwrap();
        ends[who] = end;
        let now = self.wall.now();
        let holders = ends.iter().flatten().filter(|end| **end > now).count();
        assert!(holders <= 1, "{ends:?} at {now:?}");
        self.wall.pass(Duration::from_millis(700));
    }
}

/// Several holders, each with a session of its own, and a schedule of blows that come down on them.
fn under(blows: &[(usize, Blow)], holders: usize) -> Result<(), TestCaseError> {
    let bed = Bed::memory();
    let wall = Wall::new();
    let ends = Mutex::new(vec![None; holders]);
    let beliefs = Arc::new(Beliefs { wall: wall.clone(), ends });
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
                    // Every other time the others have to wait for its end.
                    if times % 2 == 0 {
                        held.release().await.unwrap();
                    }
                }
                times
            })
        })
        .collect();
    let times: i32 = bed.wait(async {
        for (whom, blow) in blows {
            blow.deal(&bed.faults(), &sessions[whom % holders]).await;
        }
        bed.faults().clear().await;
        stop.send_replace(true);
        let mut times = 0;
        for task in tasks {
            times += task.await.unwrap();
        }
        times
    });
    prop_assert!(blows.is_empty() || times > 0);
    let connection = bed.connection();
    bed.wait(until_nobody_waits(&connection, PATH));
    Ok(())
}

#[test]
fn never_do_two_hold_it_whatever_befalls_them() {
    let blows = prop::collection::vec((0..4_usize, blow()), 0..16);
    schedules(8, blows, |blows| under(&blows, 4));
}
