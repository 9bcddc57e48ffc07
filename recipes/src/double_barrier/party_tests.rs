#![allow(clippy::unwrap_used, reason = "serves tests only")]

use proptest::prelude::*;

use super::*;

fn members(all: &[(&str, i64)]) -> Vec<Member> {
    all.iter().map(|(name, czxid)| Member { name: (*name).to_owned(), czxid: *czxid }).collect()
}

#[test]
fn a_party_is_complete_by_count_or_by_a_newer_ready() {
    assert_eq!(entering("a", 2, &members(&[]), None), Entering::Join);
    assert_eq!(entering("a", 2, &members(&[("a", 5)]), None), Entering::Wait);
    let two = members(&[("a", 5), ("b", 6)]);
    assert_eq!(entering("a", 2, &two, None), Entering::MakeReady { replace: false });
    assert_eq!(entering("a", 3, &two, Some(7)), Entering::Pass(7));
}

#[test]
fn a_stale_ready_lets_nobody_pass() {
    assert_eq!(entering("a", 3, &members(&[("a", 5), ("b", 6)]), Some(4)), Entering::RemoveReady);
    // One of the party before is still leaving: it does not count.
    let three = members(&[("a", 5), ("b", 6), ("old", 1)]);
    assert_eq!(entering("a", 3, &three, Some(4)), Entering::Wait);
    assert_eq!(entering("a", 2, &three, Some(4)), Entering::MakeReady { replace: true });
}

#[test]
fn the_first_leaves_last_and_nobody_waits_for_the_next_party() {
    let all = members(&[("b", 2), ("a", 3), ("c", 1), ("new", 9)]);
    assert_eq!(leaving("a", 5, &all, Some(5)), Leaving::WaitFor("c".into()));
    assert_eq!(leaving("b", 5, &all, Some(5)), Leaving::Remove);
    assert_eq!(leaving("gone", 5, &all, Some(5)), Leaving::WaitFor("a".into()));
    let last = members(&[("a", 3), ("new", 9)]);
    assert_eq!(leaving("a", 5, &last, Some(5)), Leaving::RemoveLast { ready: true });
    assert_eq!(leaving("a", 5, &last, Some(10)), Leaving::RemoveLast { ready: false });
    assert_eq!(leaving("b", 5, &members(&[("new", 9)]), None), Leaving::Done { ready: false });
}

/// A barrier, and those at it. Between a look and what is done after it anything may happen.
#[derive(Debug, Default)]
struct World {
    zxid: i64,
    /// How often `ready` was changed.
    version: i32,
    members: Vec<Member>,
    ready: Option<i64>,
    crowd: [One; 4],
}

#[derive(Clone, Debug, Default)]
enum One {
    #[default]
    Out,
    /// Wants to enter; what it made of its last look, and the version then.
    Enters(Option<(Entering, i32)>),
    DoubleBarrierGuard(i64),
    Leaves(i64, Option<(Leaving, i32)>),
}

const SIZE: usize = 2;

impl World {
    fn make(&mut self) -> i64 {
        self.zxid += 1;
        self.zxid
    }

    /// Changes `ready`, if nobody did since the version that was seen. Whoever it was made for has passed, or still can.
    fn set_ready(&mut self, ready: Option<i64>, version: i32) -> bool {
        if version != self.version {
            return false;
        }
        if let (Some(old), None) = (self.ready, ready) {
            let stuck = |member: &&Member| {
                let who: usize = member.name.parse().unwrap();
                member.czxid < old && matches!(self.crowd[who], One::Enters(_))
            };
            assert_eq!(self.members.iter().find(stuck), None, "its ready is taken away: {self:?}");
        }
        self.version += 1;
        self.ready = ready;
        true
    }

    fn leave(&mut self, name: &str) {
        self.members.retain(|member| member.name != name);
    }

    /// One of them begins something, looks, or does what follows from its last look.
    fn step(&mut self, who: usize) {
        let name = who.to_string();
        let next = match self.crowd[who].clone() {
            One::Out => One::Enters(None),
            One::Enters(None) => {
                One::Enters(Some((entering(&name, SIZE, &self.members, self.ready), self.version)))
            }
            One::Enters(Some((entering, version))) => match entering {
                Entering::Pass(party) => One::DoubleBarrierGuard(party),
                Entering::Join => {
                    let czxid = self.make();
                    self.members.push(Member { name, czxid });
                    One::Enters(None)
                }
                Entering::MakeReady { .. } => {
                    let ready = self.make();
                    self.set_ready(Some(ready), version);
                    One::Enters(None)
                }
                Entering::RemoveReady => {
                    self.set_ready(None, version);
                    One::Enters(None)
                }
                Entering::Wait => One::Enters(None),
            },
            One::DoubleBarrierGuard(party) => One::Leaves(party, None),
            One::Leaves(party, None) => {
                One::Leaves(party, Some((leaving(&name, party, &self.members, self.ready), self.version)))
            }
            One::Leaves(party, Some((leaving, version))) => match leaving {
                Leaving::Done { ready: true } if !self.set_ready(None, version) => One::Leaves(party, None),
                Leaving::Done { .. } => One::Out,
                Leaving::RemoveLast { ready: true } if !self.set_ready(None, version) => {
                    One::Leaves(party, None)
                }
                Leaving::RemoveLast { .. } | Leaving::Remove => {
                    self.leave(&name);
                    One::Leaves(party, None)
                }
                Leaving::WaitFor(_) => One::Leaves(party, None),
            },
        };
        self.crowd[who] = next;
    }
}

proptest! {
    #[test]
    fn nobody_loses_the_ready_that_it_was_counted_for(
        stale in any::<bool>(),
        steps in prop::collection::vec((0..4_usize, 1..6_usize, prop::bool::weighted(0.05)), 0..120),
    ) {
        let mut world = World::default();
        if stale {
            world.ready = Some(world.make());
        }
        for (who, times, vanishes) in steps {
            if vanishes {
                // With its session.
                world.leave(&who.to_string());
                world.crowd[who] = One::Out;
            }
            (0..times).for_each(|_| world.step(who));
        }
    }
}
