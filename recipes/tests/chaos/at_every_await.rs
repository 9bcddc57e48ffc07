//! Whoever is cancelled, at each await in turn, leaves nothing behind, and the recipe works on for the others.
//!
//! Not at random: an act is dropped when it has been polled once, twice, and so on, until it is done or waits for
//! somebody else; and so again with the first request lost, or its reply. What a guard needs is done by a task of its own,
//! whatever is polled: such an act is also dropped after each turn of everybody.

use std::time::Duration;

use atalaya_recipes::Party;
use atalaya_recipes::node_names::Naming;
use atalaya_sim::zookeeper::Cut;

use crate::holders::How;
use crate::schedule::Deed;
use crate::stage::{Play, Played, play};
use crate::{
    barriers, counters, double_barriers, elections, holders, locking_queues, parties, partitions, queues,
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(100);
/// More polls than anything here needs.
const DONE: usize = 1000;
/// More turns than a guard needs, where there is no loss.
const MOST: usize = 40;
/// After a loss it takes some milliseconds until there is another connection: not each poll is tried then.
const STEP: usize = 5;

/// Drops what `who` does after `before`, at every await.
#[track_caller]
fn dropped_at_every_await<P: Play>(
    begin: impl Fn() -> P,
    before: &[(usize, P::Act)],
    who: usize,
    act: P::Act,
) {
    let before: Vec<_> = before.iter().map(|(who, act)| Deed::ActFor(*who, act.clone(), DONE)).collect();
    for cut in [None, Some(Cut::BeforeEffect), Some(Cut::BeforeReply)] {
        let mut dropped = 0;
        for polls in (1..DONE).step_by(if cut.is_some() { STEP } else { 1 }) {
            let mut deeds = before.clone();
            deeds.extend(cut.map(|cut| Deed::Cut(who, cut, None)));
            deeds.extend([Deed::ActFor(who, act.clone(), polls), Deed::Cancel(who)]);
            match play(begin(), deeds) {
                Ok(played) if played.dropped == 0 => break,
                Ok(Played { waited: false, .. }) => dropped += 1,
                Ok(_) => break,
                Err(what) => panic!("{act:?}, dropped after {polls} polls, {cut:?}: {what}"),
            }
        }
        assert!(dropped > 0, "{act:?} is done at once");
    }
}

/// Drops what `who` does after `before`, after each turn of everybody.
#[track_caller]
fn dropped_after_every_turn<P: Play>(
    begin: impl Fn() -> P,
    before: &[(usize, P::Act)],
    who: usize,
    act: P::Act,
) {
    let before: Vec<_> = before.iter().map(|(who, act)| Deed::ActFor(*who, act.clone(), DONE)).collect();
    for turns in 0..MOST {
        let mut deeds = before.clone();
        deeds.extend([Deed::Act(who, act.clone()), Deed::Turns(turns), Deed::Cancel(who)]);
        if let Err(what) = play(begin(), deeds) {
            panic!("{act:?}, dropped after {turns} turns: {what}");
        }
    }
}

#[test]
fn additions() {
    let add = counters::Act::Add { in_haste: false };
    for is_exact in [|_| true, |_| false] {
        let begin = || counters::Adders::of(is_exact);
        dropped_at_every_await(begin, &[], 0, add.clone());
        dropped_at_every_await(begin, &[(0, add.clone()), (1, add.clone())], 0, add.clone());
    }
}

#[test]
fn putting_and_taking() {
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
fn holding_and_consuming() {
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
fn waiting_opening_and_closing() {
    use barriers::{Act, Crowd};
    dropped_at_every_await(Crowd::default, &[], 0, Act::Close);
    dropped_at_every_await(Crowd::default, &[(1, Act::Close)], 0, Act::Wait);
    dropped_at_every_await(Crowd::default, &[(1, Act::Close)], 0, Act::Open);
    dropped_at_every_await(Crowd::default, &[(1, Act::Close)], 0, Act::OpenGeneration(0));
}

#[test]
fn entering_and_leaving_together() {
    use double_barriers::{Act, Crowd};
    let two = || Crowd::of(2);
    dropped_at_every_await(two, &[], 0, Act::Enter(LONG));
    dropped_at_every_await(two, &[(1, Act::Enter(LONG))], 0, Act::Enter(LONG));
    let inside = [(1, Act::Enter(LONG)), (0, Act::Enter(LONG))];
    dropped_at_every_await(two, &inside, 0, Act::Leave(LONG));
}

#[test]
fn standing_in_an_election() {
    use elections::{Act, Contenders};
    let begin = || Contenders::of(Naming::Kazoo);
    dropped_at_every_await(begin, &[], 0, Act::Run);
    dropped_at_every_await(begin, &[(1, Act::Run)], 0, Act::Run);
}

#[test]
fn reading_and_writing() {
    let begin = || holders::Holders::of(holders::ReadersAndWriters);
    let acquire = || holders::Act::Acquire(How::Wait);
    // The even ones read, the odd ones write.
    for who in [0, 1] {
        dropped_at_every_await(begin, &[], who, acquire());
        dropped_after_every_turn(begin, &[], who, acquire());
        dropped_after_every_turn(begin, &[(3, acquire())], who, acquire());
    }
    dropped_after_every_turn(begin, &[(2, acquire())], 1, acquire());
}

#[test]
fn acquiring_a_place() {
    let begin = || holders::Holders::of(holders::Few);
    let acquire = || holders::Act::Acquire(How::Wait);
    dropped_at_every_await(begin, &[], 0, acquire());
    dropped_after_every_turn(begin, &[], 0, acquire());
    dropped_after_every_turn(begin, &[(1, acquire()), (2, acquire())], 0, acquire());
}

#[test]
fn joining() {
    let party = || parties::Members::of(|session, path, who| Party::new(session, path, who));
    dropped_at_every_await(party, &[], 0, parties::Act::Join);
    let set = partitions::Members::default;
    dropped_at_every_await(set, &[], 0, partitions::Join);
    dropped_at_every_await(set, &[(1, partitions::Join)], 0, partitions::Join);
}
