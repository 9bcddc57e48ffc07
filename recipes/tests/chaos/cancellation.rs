//! Cancellation at every await point: nothing is left behind, and the recipe works on for other clients.
//!
//! Not random: an act is dropped after one poll, two polls, and so on, until it completes or waits for another client;
//! and again with its first request or reply lost. A guard is served by a task of its own, so such acts are also
//! dropped after each turn of all tasks.

use std::time::Duration;

use atalaya_recipes::Party;
use atalaya_recipes::node_names::Naming;
use atalaya_zookeeper::Disconnect;

use crate::holders::How;
use crate::runner::{DropCounts, Scenario, play};
use crate::schedule::Step;
use crate::{
    barriers, counters, double_barriers, elections, holders, locking_queues, parties, partitions, queues,
};

const LONG: Duration = Duration::from_secs(100);
/// Upper bound of the polls of an act.
const DONE: usize = 1000;
/// Upper bound of the turns of a guard's task, without faults.
const MOST: usize = 40;
/// After a fault, the next connection takes some milliseconds, so not every poll is tried.
const STEP: usize = 5;

/// Drops the act of client `who` at every await point, each time after `before`.
#[track_caller]
fn dropped_at_every_await<P: Scenario>(
    begin: impl Fn() -> P,
    before: &[(usize, P::Act)],
    who: usize,
    act: P::Act,
) {
    let before: Vec<_> = before.iter().map(|(who, act)| Step::ActFor(*who, act.clone(), DONE)).collect();
    for cut in [None, Some(Disconnect::BeforeEffect), Some(Disconnect::BeforeReply)] {
        let mut dropped = 0;
        for polls in (1..DONE).step_by(if cut.is_some() { STEP } else { 1 }) {
            let mut steps = before.clone();
            steps.extend(cut.map(|cut| Step::Cut(who, cut, None)));
            steps.extend([Step::ActFor(who, act.clone(), polls), Step::Cancel(who)]);
            match play(begin(), steps) {
                Ok(played) if played.dropped == 0 => break,
                Ok(DropCounts { waited: false, .. }) => dropped += 1,
                Ok(_) => break,
                Err(what) => panic!("{act:?}, dropped after {polls} polls, {cut:?}: {what}"),
            }
        }
        assert!(dropped > 0, "{act:?} is done at once");
    }
}

/// Drops the act of client `who` after each turn of all tasks, each time after `before`.
#[track_caller]
fn dropped_after_every_turn<P: Scenario>(
    begin: impl Fn() -> P,
    before: &[(usize, P::Act)],
    who: usize,
    act: P::Act,
) {
    let before: Vec<_> = before.iter().map(|(who, act)| Step::ActFor(*who, act.clone(), DONE)).collect();
    for turns in 0..MOST {
        let mut steps = before.clone();
        steps.extend([Step::Act(who, act.clone()), Step::Turns(turns), Step::Cancel(who)]);
        if let Err(what) = play(begin(), steps) {
            panic!("{act:?}, dropped after {turns} turns: {what}");
        }
    }
}

#[test]
fn cancelled_addition() {
    let add = counters::Act::Add { in_haste: false };
    for is_exact in [|_| true, |_| false] {
        let begin = || counters::Adders::of(is_exact);
        dropped_at_every_await(begin, &[], 0, add.clone());
        dropped_at_every_await(begin, &[(0, add.clone()), (1, add.clone())], 0, add.clone());
    }
}

#[test]
fn cancelled_queue_put_and_take() {
    use queues::{Act, Workers};
    let put = Act::Put { priority: 1, in_haste: false };
    let take = Act::Take { in_haste: false };
    dropped_at_every_await(Workers::new, &[], 0, put.clone());
    dropped_at_every_await(Workers::new, &[(0, put.clone())], 0, put.clone());
    dropped_at_every_await(Workers::new, &[(1, put.clone())], 0, take.clone());
    dropped_at_every_await(Workers::new, &[(1, put.clone()), (2, put)], 0, take);
    dropped_at_every_await(Workers::new, &[], 0, Act::TakeWithin(LONG));
}

#[test]
fn cancelled_locking_queue_take_and_consume() {
    use locking_queues::{Act, Workers};
    let put = Act::Put { in_haste: false };
    let take = Act::Take { in_haste: false };
    dropped_at_every_await(Workers::new, &[(1, put.clone())], 0, take.clone());
    dropped_at_every_await(Workers::new, &[], 0, Act::TakeWithin(LONG));
    let taken = [(1, put), (0, take)];
    dropped_at_every_await(Workers::new, &taken, 0, Act::Consume);
    dropped_at_every_await(Workers::new, &taken, 0, Act::Release);
    dropped_at_every_await(Workers::new, &taken, 1, Act::TakeWithin(LONG));
}

#[test]
fn cancelled_barrier_wait_open_and_close() {
    use barriers::{Act, Crowd};
    dropped_at_every_await(Crowd::default, &[], 0, Act::Close);
    dropped_at_every_await(Crowd::default, &[(1, Act::Close)], 0, Act::Wait);
    dropped_at_every_await(Crowd::default, &[(1, Act::Close)], 0, Act::Open);
    dropped_at_every_await(Crowd::default, &[(1, Act::Close)], 0, Act::OpenGeneration(0));
}

#[test]
fn cancelled_double_barrier_enter_and_leave() {
    use double_barriers::{Act, Crowd};
    let two = || Crowd::of(2);
    dropped_at_every_await(two, &[], 0, Act::Enter(LONG));
    dropped_at_every_await(two, &[(1, Act::Enter(LONG))], 0, Act::Enter(LONG));
    let inside = [(1, Act::Enter(LONG)), (0, Act::Enter(LONG))];
    dropped_at_every_await(two, &inside, 0, Act::Leave(LONG));
}

#[test]
fn cancelled_election() {
    use elections::{Act, Contenders};
    let begin = || Contenders::of(Naming::Kazoo);
    dropped_at_every_await(begin, &[], 0, Act::Run);
    dropped_at_every_await(begin, &[(1, Act::Run)], 0, Act::Run);
}

#[test]
fn cancelled_read_and_write_locks() {
    let begin = || holders::Holders::of(holders::ReadersAndWriters);
    let acquire = || holders::Act::Acquire(How::Wait);
    // Even numbers read, odd numbers write.
    for who in [0, 1] {
        dropped_at_every_await(begin, &[], who, acquire());
        dropped_after_every_turn(begin, &[], who, acquire());
        dropped_after_every_turn(begin, &[(3, acquire())], who, acquire());
    }
    dropped_after_every_turn(begin, &[(2, acquire())], 1, acquire());
}

#[test]
fn cancelled_semaphore_acquire() {
    let begin = || holders::Holders::of(holders::Few);
    let acquire = || holders::Act::Acquire(How::Wait);
    dropped_at_every_await(begin, &[], 0, acquire());
    dropped_after_every_turn(begin, &[], 0, acquire());
    dropped_after_every_turn(begin, &[(1, acquire()), (2, acquire())], 0, acquire());
}

#[test]
fn cancelled_party_join() {
    let party = || parties::Members::of(|session, path, who| Party::new(session, path, who));
    dropped_at_every_await(party, &[], 0, parties::Act::Join);
    let set = partitions::Members::default;
    dropped_at_every_await(set, &[], 0, partitions::Join);
    dropped_at_every_await(set, &[(1, partitions::Join)], 0, partitions::Join);
}
