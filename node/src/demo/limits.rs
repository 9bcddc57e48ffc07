//! How many files a process may have open: many nodes need more than most systems allow at first.

use super::DemoError;

/// A connection, its other end, and another one that is not closed yet.
const PER_NODE: u64 = 3;
/// Everything else.
const BESIDES: u64 = 64;

/// Allows this process as many files as `nodes` need, if it does not have them yet.
///
/// # Errors
/// The system does not let it.
#[cfg(unix)]
pub(super) fn make_room(nodes: u32) -> Result<(), DemoError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let wanted = u64::from(nodes) * PER_NODE + BESIDES;
    let limit = getrlimit(Resource::Nofile);
    // None is no limit.
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let allowed = limit.maximum.is_none_or(|maximum| maximum >= wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok();
    if allowed {
        return Ok(());
    }
    let maximum = limit.maximum.or(limit.current).unwrap_or(0);
    let possible = maximum.saturating_sub(BESIDES) / PER_NODE;
    Err(DemoError::OpenFiles { nodes, wanted, maximum, possible })
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(super) fn make_room(_: u32) -> Result<(), DemoError> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_does_not_allow_is_refused_with_what_it_does() {
        make_room(3).unwrap();
        let text = make_room(u32::MAX).unwrap_err().to_string();
        assert!(text.contains("ulimit -Hn") && text.contains("--nodes "), "{text}");
    }
}
