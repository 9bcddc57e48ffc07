//! Limits the connections of the HTTP server, per client address and in total. A new connection is always admitted: it
//! replaces one of its own address if that is at its limit, otherwise one of the address with the most connections.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

use tokio_util::sync::CancellationToken;

use crate::metrics::lock;

const MAX_CONNECTIONS: usize = 64;
const MAX_PER_ADDRESS: usize = 16;

/// Permit of one connection, released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    address: IpAddr,
    /// True if a complete request head was received.
    pub(super) has_request: AtomicBool,
    /// Cancelled when the connection must be closed for another one.
    pub(super) revoked: CancellationToken,
}

/// Limits of the open connections, which are listed the oldest first.
#[derive(Debug, Default)]
pub(super) struct ConnectionLimits(Mutex<Vec<Weak<Permit>>>);

impl ConnectionLimits {
    /// Admits a connection. Revokes the permit of another one if a limit is reached.
    pub(super) fn admit(&self, address: IpAddr) -> Arc<Permit> {
        let mut listed = lock(&self.0);
        let mut open: Vec<Arc<Permit>> = listed.iter().filter_map(Weak::upgrade).collect();
        let address = network(address);
        if let Some(victim) = victim(&open, address) {
            open.remove(victim).revoked.cancel();
        }
        let (has_request, revoked) = (AtomicBool::new(false), CancellationToken::new());
        let permit = Arc::new(Permit { address, has_request, revoked });
        *listed = open.iter().chain([&permit]).map(Arc::downgrade).collect();
        permit
    }
}

fn count(open: &[Arc<Permit>], address: IpAddr) -> usize {
    open.iter().filter(|permit| permit.address == address).count()
}

/// Returns the index of the connection that a new one replaces: the oldest without a request, or the oldest.
fn victim(open: &[Arc<Permit>], address: IpAddr) -> Option<usize> {
    let address = if count(open, address) >= MAX_PER_ADDRESS {
        address
    } else if open.len() >= MAX_CONNECTIONS {
        // `max_by_key` returns the last maximum, so that of several addresses the one with the oldest connection is
        // taken.
        open.iter().rev().map(|permit| permit.address).max_by_key(|other| count(open, *other))?
    } else {
        return None;
    };
    let candidates = open.iter().enumerate().filter(|(_, permit)| permit.address == address);
    // The first of equal keys: the oldest.
    let victim = candidates.min_by_key(|(_, permit)| permit.has_request.load(Ordering::Relaxed));
    victim.map(|(index, _)| index)
}

/// Returns the address that is limited: for IPv6 the /64 network, because a client usually owns all of it.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn connection_of_an_address_at_its_limit_replaces_its_oldest_idle_one() {
        let limits = ConnectionLimits::default();
        let other = limits.admit(address(2));
        let permits: Vec<_> = (0..MAX_PER_ADDRESS).map(|_| limits.admit(address(1))).collect();
        permits[0].has_request.store(true, Ordering::Relaxed);
        let last = limits.admit(address(1));
        assert!(permits[1].revoked.is_cancelled(), "the oldest without a request");
        let others = [&permits[0], &permits[2], &last, &other];
        assert!(others.iter().all(|permit| !permit.revoked.is_cancelled()));
    }

    #[test]
    fn connection_beyond_the_total_replaces_one_of_the_address_with_the_most() {
        let limits = ConnectionLimits::default();
        let mut permits = Vec::new();
        for (last, count) in [(1, 15), (2, 16), (3, 16), (4, 16), (5, 1)] {
            permits.extend((0..count).map(|_| limits.admit(address(last))));
        }
        assert!(permits.iter().all(|permit| !permit.revoked.is_cancelled()));
        let newcomer = limits.admit(address(6));
        assert!(permits[15].revoked.is_cancelled() && !newcomer.revoked.is_cancelled());
        drop(permits);
        drop(newcomer);
        assert!(lock(&limits.0).iter().all(|permit| permit.upgrade().is_none()));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_limit() {
        let limits = ConnectionLimits::default();
        let admit = |last: u16| limits.admit(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        let first = admit(0);
        let _others: Vec<_> = (1..=16).map(admit).collect();
        assert!(first.revoked.is_cancelled());
    }

    proptest! {
        #[test]
        fn connection_limits_hold(clients in prop::collection::vec((0..9_u8, any::<bool>()), 0..300)) {
            let limits = ConnectionLimits::default();
            let mut permits = Vec::new();
            for (last, has_request) in clients {
                let permit = limits.admit(address(last));
                permit.has_request.store(has_request, Ordering::Relaxed);
                prop_assert!(!permit.revoked.is_cancelled());
                permits.push(permit);
                let open: Vec<_> = lock(&limits.0).iter().filter_map(Weak::upgrade).collect();
                prop_assert!(open.len() <= MAX_CONNECTIONS);
                prop_assert!((0..9).all(|last| count(&open, address(last)) <= MAX_PER_ADDRESS));
            }
        }
    }
}
