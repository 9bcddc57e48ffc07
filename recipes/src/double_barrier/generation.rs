//! Decides the next step of a member that enters or leaves a double barrier. No I/O; driven by
//! [`super::DoubleBarrier`].
//!
//! The creation of `ready` separates generations: members that joined before it belong to its generation, members that
//! joined after it to the next one. So a `ready` that was left behind lets no member pass, and members that are still
//! leaving do not count for the next generation.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) czxid: i64,
}

/// Next step of a member that enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EnterStep {
    /// The group is complete. Contains its generation, the `czxid` of `ready`.
    Pass(i64),
    /// Create our znode, which does not exist.
    Join,
    /// Create `ready`: enough members are present. `replace`: delete the one of an earlier generation first.
    CreateReady { replace: bool },
    /// Delete the `ready` of an earlier generation whose members are all gone.
    DeleteReady,
    /// Wait until `ready` is created or replaced.
    Wait,
}

pub(crate) fn enter_step(own: &str, size: usize, members: &[Member], ready: Option<i64>) -> EnterStep {
    let Some(own) = members.iter().find(|member| member.path == own) else { return EnterStep::Join };
    match ready {
        Some(ready) if ready > own.czxid => EnterStep::Pass(ready),
        Some(ready) => {
            let next = members.iter().filter(|member| member.czxid > ready).count();
            if next >= size {
                EnterStep::CreateReady { replace: true }
            } else if next == members.len() {
                EnterStep::DeleteReady
            } else {
                EnterStep::Wait
            }
        }
        None if members.len() >= size => EnterStep::CreateReady { replace: false },
        None => EnterStep::Wait,
    }
}

/// Next step of a member that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LeaveStep {
    /// All members have left. `delete_ready`: delete `ready`, which belongs to our generation.
    Done {
        delete_ready: bool,
    },
    /// Delete our znode, the last one. `delete_ready`: delete `ready` with it, which belongs to our generation.
    DeleteLast {
        delete_ready: bool,
    },
    Delete,
    /// Wait until the znode of this member is deleted.
    WaitFor(String),
}

/// Returns the next step of a member that leaves, in Kazoo's order: the member with the first path leaves last and
/// waits for the one with the last path. The others delete their znodes and wait for the first.
pub(crate) fn leave_step(own: &str, generation: i64, members: &[Member], ready: Option<i64>) -> LeaveStep {
    let mut inside: Vec<&str> = members
        .iter()
        .filter(|member| member.czxid < generation)
        .map(|member| member.path.as_str())
        .collect();
    inside.sort_unstable();
    let delete_ready = ready == Some(generation);
    match inside.as_slice() {
        [] => LeaveStep::Done { delete_ready },
        [only] if *only == own => LeaveStep::DeleteLast { delete_ready },
        [first, .., last] if *first == own => LeaveStep::WaitFor((*last).to_owned()),
        inside if inside.contains(&own) => LeaveStep::Delete,
        [first, ..] => LeaveStep::WaitFor((*first).to_owned()),
    }
}

#[cfg(test)]
#[path = "generation_tests.rs"]
mod tests;
