//! Tables and properties of a claim, against a model of one znode.

use proptest::prelude::*;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> BootInstant {
    BootInstant::at(Duration::from_secs(seconds))
}

fn linked(session: i64) -> NodeOwnership {
    let mut claim = NodeOwnership::default();
    claim.on(Event::LinkUp(session, TIMEOUT), at(0));
    claim
}

#[test]
fn a_free_name_is_taken_and_kept_current() {
    let mut claim = linked(1);
    assert_eq!(claim.step(), Step::Create);
    claim.on(Event::Created, at(0));
    assert_eq!(claim.step(), Step::OwnedNode);
    claim.on(Event::NewData, at(1));
    assert_eq!(claim.step(), Step::Write(0));
    claim.on(Event::Written { owner: 1, version: 1 }, at(1));
    assert_eq!(claim.step(), Step::OwnedNode);
}

#[test]
fn a_live_holder_is_a_conflict_after_one_timeout() {
    let mut claim = linked(1);
    claim.on(Event::Exists, at(0));
    assert_eq!(claim.step(), Step::Inspect);
    claim.on(Event::Found { owner: 2, version: 5, leftover: false }, at(0));
    assert_eq!(claim.step(), Step::AwaitOwner { session: 2, until: at(15) });
    claim.on(Event::Waited, at(3));
    claim.on(Event::Found { owner: 2, version: 6, leftover: false }, at(3));
    assert_eq!(claim.step(), Step::AwaitOwner { session: 2, until: at(10) }, "it wrote: it is alive");
    claim.on(Event::Waited, at(10));
    claim.on(Event::Found { owner: 2, version: 8, leftover: false }, at(10));
    assert_eq!(claim.step(), Step::GiveUp(Conflict::Held { session: 2 }));
    claim.on(Event::LinkUp(9, TIMEOUT), at(11));
    assert_eq!(claim.step(), Step::GiveUp(Conflict::Held { session: 2 }), "that is final");
}

#[test]
fn a_silent_holder_gets_the_tick_that_its_expiry_may_take() {
    let mut claim = linked(1);
    claim.on(Event::Exists, at(0));
    claim.on(Event::Found { owner: 2, version: 5, leftover: false }, at(0));
    claim.on(Event::Waited, at(11));
    claim.on(Event::Found { owner: 2, version: 5, leftover: false }, at(11));
    assert_eq!(claim.step(), Step::AwaitOwner { session: 2, until: at(15) });
    claim.on(Event::Waited, at(12));
    claim.on(Event::Gone, at(12));
    assert_eq!(claim.step(), Step::Create);
}

#[test]
fn a_leftover_of_our_own_is_removed() {
    let mut claim = linked(3);
    claim.on(Event::Exists, at(0));
    claim.on(Event::Found { owner: 2, version: 5, leftover: true }, at(0));
    assert_eq!(claim.step(), Step::Remove(5));
    claim.on(Event::Gone, at(0));
    assert_eq!(claim.step(), Step::Create);
}

#[test]
fn a_persistent_znode_in_the_way_is_a_conflict() {
    let mut claim = linked(3);
    claim.on(Event::Exists, at(0));
    claim.on(Event::Found { owner: 0, version: 0, leftover: false }, at(0));
    assert_eq!(claim.step(), Step::GiveUp(Conflict::Persistent));
}

/// One znode: owner and version.
type Znode = Option<(i64, i32)>;

#[derive(Clone, Copy, Debug)]
enum Luck {
    Works,
    LostAfter,
    LostBefore,
    Expires,
    GivesUp,
    NewData,
    /// Another process takes the name, if it is free, and writes to it.
    Other,
    /// The other process's session ends.
    OtherGone,
}

fn luck() -> impl Strategy<Value = Luck> {
    prop_oneof![
        12 => Just(Luck::Works), 2 => Just(Luck::LostAfter), 2 => Just(Luck::LostBefore), 1 => Just(Luck::Expires),
        1 => Just(Luck::GivesUp), 3 => Just(Luck::NewData), 2 => Just(Luck::Other), 1 => Just(Luck::OtherGone)
    ]
}

const OTHER: i64 = 1_000;

struct World {
    znode: Znode,
    claim: NodeOwnership,
    session: i64,
    now: u64,
}

impl World {
    /// Carries out the present step; gives the event of its answer. Panics if another's znode would be written.
    fn work(&mut self) -> Option<Event> {
        Some(match self.claim.step() {
            Step::AwaitLink => Event::LinkUp(self.session, TIMEOUT),
            Step::Create if self.znode.is_some() => Event::Exists,
            Step::Create => {
                self.znode = Some((self.session, 0));
                Event::Created
            }
            Step::Inspect => match self.znode {
                None => Event::Gone,
                Some((owner, version)) => Event::Found { owner, version, leftover: owner < self.session },
            },
            Step::Write(version) => match self.znode {
                None => Event::Gone,
                Some((_, other)) if other != version => Event::Stale,
                Some((owner, _)) => {
                    assert_ne!(owner, OTHER, "wrote into another session's znode");
                    self.znode = Some((owner, version + 1));
                    Event::Written { owner, version: version + 1 }
                }
            },
            Step::Remove(version) => match self.znode {
                Some((owner, other)) if other == version => {
                    assert_ne!(owner, OTHER, "removed another session's znode");
                    self.znode = None;
                    Event::Gone
                }
                _ => Event::Stale,
            },
            Step::AwaitOwner { .. } => Event::Waited,
            Step::OwnedNode | Step::GiveUp(_) => return None,
        })
    }

    fn befall(&mut self, luck: Luck) {
        self.now += 1;
        let now = at(self.now);
        match luck {
            Luck::Works => {
                if let Some(event) = self.work() {
                    self.claim.on(event, now);
                }
            }
            Luck::LostAfter => {
                let _ = self.work();
                self.claim.on(Event::LinkDown, now);
            }
            Luck::LostBefore => self.claim.on(Event::LinkDown, now),
            Luck::Expires => {
                self.znode.take_if(|(owner, _)| *owner != OTHER);
                self.session += 1;
                self.claim.on(Event::LinkDown, now);
            }
            Luck::GivesUp => {
                self.session += 1;
                self.claim.on(Event::LinkDown, now);
            }
            Luck::NewData => self.claim.on(Event::NewData, now),
            // The versions of the two differ, as they do in all but freak cases: that is what the check is for.
            Luck::Other => match &mut self.znode {
                None => self.znode = Some((OTHER, 10_000)),
                Some((OTHER, version)) => *version += 1,
                Some(_) => {}
            },
            Luck::OtherGone => {
                self.znode.take_if(|(owner, _)| *owner == OTHER);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn never_writes_another_sessions_znode_and_ends_as_owner_or_conflict(turns in prop::collection::vec(luck(), 0..150)) {
        let mut world = World { znode: None, claim: NodeOwnership::default(), session: 1, now: 0 };
        for luck in turns { world.befall(luck); }
        for _ in 0..60 { world.befall(Luck::Works); }
        match world.claim.step() {
            Step::OwnedNode => prop_assert_eq!(world.znode.map(|(owner, _)| owner), Some(world.session)),
            Step::GiveUp(conflict) => prop_assert_eq!(conflict, Conflict::Held { session: OTHER }),
            step => prop_assert!(false, "stuck at {step:?}"),
        }
    }
}
