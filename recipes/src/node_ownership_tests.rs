//! Unit tests of the ownership of a znode, and property tests against a model of one znode.

use proptest::prelude::*;

use super::*;

const TIMEOUT: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> BootInstant {
    BootInstant::at(Duration::from_secs(seconds))
}

fn connected(session: i64) -> NodeOwnership {
    let mut ownership = NodeOwnership::default();
    ownership.on(Event::Connected { session, timeout: TIMEOUT }, at(0));
    ownership
}

#[test]
fn ownership_creates_a_missing_znode_and_writes_new_data() {
    let mut ownership = connected(1);
    assert_eq!(ownership.step(), Step::Create);
    ownership.on(Event::Created, at(0));
    assert_eq!(ownership.step(), Step::AwaitData(0));
    ownership.on(Event::NewData, at(1));
    assert_eq!(ownership.step(), Step::Write(0));
    ownership.on(Event::Written { owner: 1, version: 1 }, at(1));
    assert_eq!(ownership.step(), Step::AwaitData(1));
}

#[test]
fn ownership_conflicts_with_a_live_owner_after_one_timeout() {
    let mut ownership = connected(1);
    ownership.on(Event::Exists, at(0));
    assert_eq!(ownership.step(), Step::Inspect);
    ownership.on(Event::Found { owner: 2, version: 5, is_leftover: false }, at(0));
    assert_eq!(ownership.step(), Step::AwaitOwner { session: 2, until: at(15) });
    ownership.on(Event::Waited, at(3));
    ownership.on(Event::Found { owner: 2, version: 6, is_leftover: false }, at(3));
    assert_eq!(
        ownership.step(),
        Step::AwaitOwner { session: 2, until: at(10) },
        "the owner has written, so it is alive"
    );
    ownership.on(Event::Waited, at(10));
    ownership.on(Event::Found { owner: 2, version: 8, is_leftover: false }, at(10));
    assert_eq!(ownership.step(), Step::GiveUp(Conflict::Held { session: 2 }));
    ownership.on(Event::Connected { session: 9, timeout: TIMEOUT }, at(11));
    assert_eq!(ownership.step(), Step::GiveUp(Conflict::Held { session: 2 }), "a conflict is final");
}

#[test]
fn ownership_waits_half_a_timeout_longer_for_a_silent_owner() {
    let mut ownership = connected(1);
    ownership.on(Event::Exists, at(0));
    ownership.on(Event::Found { owner: 2, version: 5, is_leftover: false }, at(0));
    ownership.on(Event::Waited, at(11));
    ownership.on(Event::Found { owner: 2, version: 5, is_leftover: false }, at(11));
    assert_eq!(ownership.step(), Step::AwaitOwner { session: 2, until: at(15) });
    ownership.on(Event::Waited, at(12));
    ownership.on(Event::Missing, at(12));
    assert_eq!(ownership.step(), Step::Create);
}

#[test]
fn ownership_removes_the_znode_of_an_earlier_own_session() {
    let mut ownership = connected(3);
    ownership.on(Event::Exists, at(0));
    ownership.on(Event::Found { owner: 2, version: 5, is_leftover: true }, at(0));
    assert_eq!(ownership.step(), Step::Remove(5));
    ownership.on(Event::Missing, at(0));
    assert_eq!(ownership.step(), Step::Create);
}

#[test]
fn ownership_conflicts_with_a_persistent_znode() {
    let mut ownership = connected(3);
    ownership.on(Event::Exists, at(0));
    ownership.on(Event::Found { owner: 0, version: 0, is_leftover: false }, at(0));
    assert_eq!(ownership.step(), Step::GiveUp(Conflict::Persistent));
}

/// Owner and version of the znode, if it exists.
type Znode = Option<(i64, i32)>;

#[derive(Clone, Copy, Debug)]
enum Fate {
    Works,
    LostAfter,
    LostBefore,
    Expires,
    GivesUp,
    NewData,
    /// Another process creates the znode if it is missing, or writes its own.
    Other,
    /// The other process's session ends.
    OtherGone,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        12 => Just(Fate::Works), 2 => Just(Fate::LostAfter), 2 => Just(Fate::LostBefore), 1 => Just(Fate::Expires),
        1 => Just(Fate::GivesUp), 3 => Just(Fate::NewData), 2 => Just(Fate::Other), 1 => Just(Fate::OtherGone)
    ]
}

const OTHER: i64 = 1_000;

struct Model {
    znode: Znode,
    ownership: NodeOwnership,
    session: i64,
    now: u64,
}

impl Model {
    /// Carries out the current step and returns its event. Panics if another session's znode would be written.
    fn work(&mut self) -> Option<Event> {
        Some(match self.ownership.step() {
            Step::AwaitConnection => Event::Connected { session: self.session, timeout: TIMEOUT },
            Step::Create if self.znode.is_some() => Event::Exists,
            Step::Create => {
                self.znode = Some((self.session, 0));
                Event::Created
            }
            Step::Inspect => match self.znode {
                None => Event::Missing,
                Some((owner, version)) => Event::Found { owner, version, is_leftover: owner < self.session },
            },
            Step::Write(version) => match self.znode {
                None => Event::Missing,
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
                    Event::Missing
                }
                _ => Event::Stale,
            },
            Step::AwaitOwner { .. } => Event::Waited,
            Step::AwaitData(_) | Step::GiveUp(_) => return None,
        })
    }

    fn advance(&mut self, fate: Fate) {
        self.now += 1;
        let now = at(self.now);
        match fate {
            Fate::Works => {
                if let Some(event) = self.work() {
                    self.ownership.on(event, now);
                }
            }
            Fate::LostAfter => {
                let _ = self.work();
                self.ownership.on(Event::Disconnected, now);
            }
            Fate::LostBefore => self.ownership.on(Event::Disconnected, now),
            Fate::Expires => {
                self.znode.take_if(|(owner, _)| *owner != OTHER);
                self.session += 1;
                self.ownership.on(Event::Disconnected, now);
            }
            Fate::GivesUp => {
                self.session += 1;
                self.ownership.on(Event::Disconnected, now);
            }
            Fate::NewData => self.ownership.on(Event::NewData, now),
            // The versions of both znodes differ, as they nearly always do; the check of the version relies on it.
            Fate::Other => match &mut self.znode {
                None => self.znode = Some((OTHER, 10_000)),
                Some((OTHER, version)) => *version += 1,
                Some(_) => {}
            },
            Fate::OtherGone => {
                self.znode.take_if(|(owner, _)| *owner == OTHER);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn ownership_never_writes_another_sessions_znode_and_ends_owned_or_in_conflict(turns in prop::collection::vec(fate(), 0..150)) {
        let mut model = Model { znode: None, ownership: NodeOwnership::default(), session: 1, now: 0 };
        for fate in turns { model.advance(fate); }
        for _ in 0..60 { model.advance(Fate::Works); }
        match model.ownership.step() {
            Step::AwaitData(_) => prop_assert_eq!(model.znode.map(|(owner, _)| owner), Some(model.session)),
            Step::GiveUp(conflict) => prop_assert_eq!(conflict, Conflict::Held { session: OTHER }),
            step => prop_assert!(false, "stuck at {step:?}"),
        }
    }
}
