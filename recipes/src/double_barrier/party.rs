//! Whether a party is complete, and whether it has left. Pure; driven by [`super::DoubleBarrier`].
//!
//! `ready` divides time: who joined before it was made is of the party that it stands for, who joined after is of the
//! next one. So a `ready` that was left behind lets nobody pass, and members that are still leaving do not count for the
//! next party.

/// A member's znode, or `ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) czxid: i64,
}

/// What one that wants to enter is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entering {
    /// The party is complete: pass. The `czxid` of its `ready`.
    Pass(i64),
    /// Our znode is not there.
    Join,
    /// The party is complete by count: make `ready`. True: instead of one that was left behind.
    MakeReady { replace: bool },
    /// Remove a `ready` that was left behind by a party of which nobody is there any more.
    RemoveReady,
    /// Wait until `ready` is made, or replaced.
    Wait,
}

pub(crate) fn entering(own: &str, size: usize, members: &[Member], ready: Option<i64>) -> Entering {
    let Some(own) = members.iter().find(|member| member.name == own) else { return Entering::Join };
    match ready {
        Some(ready) if ready > own.czxid => Entering::Pass(ready),
        Some(ready) => {
            let next = members.iter().filter(|member| member.czxid > ready).count();
            if next >= size {
                Entering::MakeReady { replace: true }
            } else if next == members.len() {
                Entering::RemoveReady
            } else {
                Entering::Wait
            }
        }
        None if members.len() >= size => Entering::MakeReady { replace: false },
        None => Entering::Wait,
    }
}

/// What one that wants to leave is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Everybody has left. True: take `ready` away, it is this party's.
    Done { ready: bool },
    /// The last one: remove our znode. True: and `ready`, which is this party's.
    RemoveLast { ready: bool },
    /// Remove our znode.
    Remove,
    /// Wait until this one's is gone.
    WaitFor(String),
}

/// As Kazoo leaves: the first by name goes last and waits for the last by name, the others go and wait for the first.
/// `party` is the `czxid` of the `ready` that we passed with.
pub(crate) fn leaving(own: &str, party: i64, members: &[Member], ready: Option<i64>) -> Leaving {
    let mut inside: Vec<&str> =
        members.iter().filter(|member| member.czxid < party).map(|member| member.name.as_str()).collect();
    inside.sort_unstable();
    let ready = ready == Some(party);
    match inside.as_slice() {
        [] => Leaving::Done { ready },
        [only] if *only == own => Leaving::RemoveLast { ready },
        [first, .., last] if *first == own => Leaving::WaitFor((*last).to_owned()),
        inside if inside.contains(&own) => Leaving::Remove,
        [first, ..] => Leaving::WaitFor((*first).to_owned()),
    }
}

#[cfg(test)]
#[path = "party_tests.rs"]
mod tests;
