//! Size of the list of a fleet's nodes, which one response of ZooKeeper must carry.
//!
//! A server answers any length, but clients have limits: Java's, such as `zkCli.sh` and Curator, the default of
//! `jute.maxbuffer`, 1 MiB; this node 16 MiB; Kazoo none.

use atalaya_recipes::session::DEFAULT_MAX_RESPONSE;

/// Default of `jute.maxbuffer` in ZooKeeper's Java client (`ZKClientConfig`), in bytes.
const JAVA_LIMIT: usize = 1024 * 1024;
/// Size of a response without names: its length, header, and the number of names.
const EMPTY: usize = 24;

/// Returns the size of a response with these names, in bytes: each name has its length before it.
pub(crate) fn response_size<'a>(names: impl IntoIterator<Item = &'a str>) -> usize {
    names.into_iter().fold(EMPTY, |size, name| size + 4 + name.len())
}

/// Returns a warning with the remedy if a response of this size is above three quarters of a limit.
pub(crate) fn warning(size: usize) -> Option<String> {
    let is_near = |limit: usize| size > limit / 4 * 3;
    let mib = |bytes: usize| bytes as f64 / JAVA_LIMIT as f64;
    let consequence = if is_near(DEFAULT_MAX_RESPONSE) {
        "at 16 MiB no node of Atalaya can lead any more"
    } else if is_near(JAVA_LIMIT) {
        "Java clients need a higher jute.maxbuffer than the default of 1 MiB"
    } else {
        return None;
    };
    Some(format!(
        "the list of nodes has {:.1} MiB: {consequence}. Use shorter ids, or zones: docs/scaling.md",
        mib(size)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_of_nodes_is_reported_before_clients_refuse_it() {
        assert_eq!(response_size(["1", "22"]), 24 + 5 + 6);
        assert_eq!(warning(JAVA_LIMIT / 4 * 3), None);
        let near = warning(JAVA_LIMIT / 4 * 3 + 1).unwrap();
        assert!(near.contains("0.8 MiB") && near.contains("jute.maxbuffer"), "{near}");
        assert!(warning(DEFAULT_MAX_RESPONSE).unwrap().contains("16.0 MiB: at 16 MiB no node"));
    }
}
