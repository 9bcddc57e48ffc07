//! Limit on the number of log lines that clients can cause.

use std::collections::BTreeSet;
use std::net::IpAddr;

/// Maximum number of lines.
const MAX: usize = 64;

/// Addresses and causes that were logged.
#[derive(Debug, Default)]
pub(crate) struct LoggedOnce(BTreeSet<(IpAddr, &'static str)>);

impl LoggedOnce {
    /// Returns true if a cause should be logged: if it is the first occurrence for this address, and fewer than 64
    /// causes were logged.
    pub(crate) fn is_first(&mut self, address: IpAddr, cause: &'static str) -> bool {
        self.0.len() < MAX && self.0.insert((address.to_canonical(), cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_and_cause_is_logged_once_up_to_a_maximum() {
        let mut logged = LoggedOnce::default();
        let address = |n: u32| IpAddr::from(n.to_be_bytes());
        assert!([(1, "a"), (1, "b"), (2, "a")].iter().all(|(n, cause)| logged.is_first(address(*n), cause)));
        assert!(!logged.is_first(address(1), "a"));
        let lines = (0..1_000).filter(|n| logged.is_first(address(*n), "c")).count();
        assert_eq!(lines, MAX - 3);
    }
}
