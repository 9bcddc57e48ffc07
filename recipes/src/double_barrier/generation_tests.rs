#![allow(clippy::unwrap_used, reason = "serves tests only")]

use proptest::prelude::*;

use super::*;

fn members(all: &[(&str, i64)]) -> Vec<Member> {
    all.iter().map(|(name, czxid)| Member { path: (*name).to_owned(), czxid: *czxid }).collect()
}

#[test]
fn group_is_complete_by_count_or_by_a_newer_ready() {
    assert_eq!(enter_step("a", 2, &members(&[]), None), EnterStep::Join);
    assert_eq!(enter_step("a", 2, &members(&[("a", 5)]), None), EnterStep::Wait);
    let two = members(&[("a", 5), ("b", 6)]);
    assert_eq!(enter_step("a", 2, &two, None), EnterStep::CreateReady { replace: false });
    assert_eq!(enter_step("a", 3, &two, Some(7)), EnterStep::Pass(7));
}

#[test]
fn stale_ready_lets_no_member_pass() {
    assert_eq!(enter_step("a", 3, &members(&[("a", 5), ("b", 6)]), Some(4)), EnterStep::DeleteReady);
    // A member of the previous generation is still leaving: it does not count.
    let three = members(&[("a", 5), ("b", 6), ("old", 1)]);
    assert_eq!(enter_step("a", 3, &three, Some(4)), EnterStep::Wait);
    assert_eq!(enter_step("a", 2, &three, Some(4)), EnterStep::CreateReady { replace: true });
}

#[test]
fn first_member_leaves_last_and_waits_only_for_its_own_generation() {
    let all = members(&[("b", 2), ("a", 3), ("c", 1), ("new", 9)]);
    assert_eq!(leave_step("a", 5, &all, Some(5)), LeaveStep::WaitFor("c".into()));
    assert_eq!(leave_step("b", 5, &all, Some(5)), LeaveStep::Delete);
    assert_eq!(leave_step("gone", 5, &all, Some(5)), LeaveStep::WaitFor("a".into()));
    let last = members(&[("a", 3), ("new", 9)]);
    assert_eq!(leave_step("a", 5, &last, Some(5)), LeaveStep::DeleteLast { delete_ready: true });
    assert_eq!(leave_step("a", 5, &last, Some(10)), LeaveStep::DeleteLast { delete_ready: false });
    assert_eq!(leave_step("b", 5, &members(&[("new", 9)]), None), LeaveStep::Done { delete_ready: false });
}

/// A barrier and its members. Any event may happen between a read and the step that follows from it.
#[derive(Debug, Default)]
struct Model {
    zxid: i64,
    /// Number of changes of `ready`.
    version: i32,
    members: Vec<Member>,
    ready: Option<i64>,
    clients: [Client; 4],
}

#[derive(Clone, Debug, Default)]
enum Client {
    #[default]
    Out,
    /// Enters. Contains the step that follows from its last read, and the version at that time.
    Entering(Option<(EnterStep, i32)>),
    Inside(i64),
    Leaving(i64, Option<(LeaveStep, i32)>),
}

const SIZE: usize = 2;

impl Model {
    fn next_zxid(&mut self) -> i64 {
        self.zxid += 1;
        self.zxid
    }

    /// Changes `ready` unless it was changed since `version`. All members that it was created for must have passed or
    /// must still be able to pass.
    fn set_ready(&mut self, ready: Option<i64>, version: i32) -> bool {
        if version != self.version {
            return false;
        }
        if let (Some(old), None) = (self.ready, ready) {
            let stuck = |member: &&Member| {
                let client: usize = member.path.parse().unwrap();
                member.czxid < old && matches!(self.clients[client], Client::Entering(_))
            };
            assert_eq!(self.members.iter().find(stuck), None, "its ready was deleted: {self:?}");
        }
        self.version += 1;
        self.ready = ready;
        true
    }

    fn leave(&mut self, name: &str) {
        self.members.retain(|member| member.path != name);
    }

    /// Lets one client begin, read, or carry out the step that follows from its last read.
    fn step(&mut self, client: usize) {
        let name = client.to_string();
        let next = match self.clients[client].clone() {
            Client::Out => Client::Entering(None),
            Client::Entering(None) => {
                Client::Entering(Some((enter_step(&name, SIZE, &self.members, self.ready), self.version)))
            }
            Client::Entering(Some((step, version))) => match step {
                EnterStep::Pass(generation) => Client::Inside(generation),
                EnterStep::Join => {
                    let czxid = self.next_zxid();
                    self.members.push(Member { path: name, czxid });
                    Client::Entering(None)
                }
                EnterStep::CreateReady { .. } => {
                    let ready = self.next_zxid();
                    self.set_ready(Some(ready), version);
                    Client::Entering(None)
                }
                EnterStep::DeleteReady => {
                    self.set_ready(None, version);
                    Client::Entering(None)
                }
                EnterStep::Wait => Client::Entering(None),
            },
            Client::Inside(generation) => Client::Leaving(generation, None),
            Client::Leaving(generation, None) => Client::Leaving(
                generation,
                Some((leave_step(&name, generation, &self.members, self.ready), self.version)),
            ),
            Client::Leaving(generation, Some((step, version))) => match step {
                LeaveStep::Done { delete_ready: true } if !self.set_ready(None, version) => {
                    Client::Leaving(generation, None)
                }
                LeaveStep::Done { .. } => Client::Out,
                LeaveStep::DeleteLast { delete_ready: true } if !self.set_ready(None, version) => {
                    Client::Leaving(generation, None)
                }
                LeaveStep::DeleteLast { .. } | LeaveStep::Delete => {
                    self.leave(&name);
                    Client::Leaving(generation, None)
                }
                LeaveStep::WaitFor(_) => Client::Leaving(generation, None),
            },
        };
        self.clients[client] = next;
    }
}

proptest! {
    #[test]
    fn member_never_loses_the_ready_that_it_was_counted_for(
        stale in any::<bool>(),
        steps in prop::collection::vec((0..4_usize, 1..6_usize, prop::bool::weighted(0.05)), 0..120),
    ) {
        let mut model = Model::default();
        if stale {
            model.ready = Some(model.next_zxid());
        }
        for (client, times, vanishes) in steps {
            if vanishes {
                // Its session ends.
                model.leave(&client.to_string());
                model.clients[client] = Client::Out;
            }
            (0..times).for_each(|_| model.step(client));
        }
    }
}
