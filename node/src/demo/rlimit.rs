//! The limit on open files of the process. Many nodes need more than the default of most systems.

use super::DemoError;

/// Open files per node: both ends of its connection, and an old connection that is not closed yet.
const FILES_PER_NODE: u64 = 3;
/// Open files of the rest of the demo.
const OTHER_FILES: u64 = 64;

/// Raises the limit if `nodes` nodes need more open files. Fails if the system does not allow as many.
#[cfg(unix)]
pub(super) fn raise_open_files_limit(nodes: u32) -> Result<(), DemoError> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let wanted = u64::from(nodes) * FILES_PER_NODE + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    // None means unlimited.
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let allowed = limit.maximum.is_none_or(|maximum| maximum >= wanted)
        && setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum }).is_ok();
    if allowed {
        return Ok(());
    }
    let maximum = limit.maximum.or(limit.current).unwrap_or(0);
    let possible = maximum.saturating_sub(OTHER_FILES) / FILES_PER_NODE;
    Err(DemoError::OpenFiles { nodes, wanted, maximum, possible })
}

/// Does nothing: Windows has no such limit.
#[cfg(not(unix))]
pub(super) fn raise_open_files_limit(_: u32) -> Result<(), DemoError> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn too_many_nodes_are_refused_with_the_possible_number() {
        raise_open_files_limit(3).unwrap();
        let text = raise_open_files_limit(u32::MAX).unwrap_err().to_string();
        assert!(text.contains("ulimit -Hn") && text.contains("--nodes "), "{text}");
    }
}
