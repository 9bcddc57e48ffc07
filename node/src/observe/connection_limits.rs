//! Limits the connections of the HTTP server, per client address and in total. A new connection is always admitted: it
//! replaces one of its own address if that is at its limit, otherwise one of the address with the most connections.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio_util::sync::CancellationToken;

use crate::metrics::lock;

const MAX_CONNECTIONS: usize = 64;
const MAX_PER_ADDRESS: usize = 16;

#[derive(Debug)]
struct Connection {
    address: IpAddr,
    has_request: AtomicBool,
    revoked: CancellationToken,
}

/// Limits of the open connections, which are listed the oldest first. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionLimits(Arc<Mutex<Vec<Arc<Connection>>>>);

/// Permit of one connection, released when dropped.
#[derive(Debug)]
pub(super) struct Permit {
    limits: ConnectionLimits,
    connection: Arc<Connection>,
}

impl ConnectionLimits {
    /// Admits a connection. Revokes the permit of another one if a limit is reached.
    pub(super) fn admit(&self, address: IpAddr) -> Permit {
        let mut open = lock(&self.0);
        let address = network(address);
        if let Some(victim) = victim(&open, address) {
            open.remove(victim).revoked.cancel();
        }
        let (has_request, revoked) = (AtomicBool::new(false), CancellationToken::new());
        let connection = Arc::new(Connection { address, has_request, revoked });
        open.push(Arc::clone(&connection));
        Permit { limits: self.clone(), connection }
    }
}

fn count(open: &[Arc<Connection>], address: IpAddr) -> usize {
    open.iter().filter(|connection| connection.address == address).count()
}

/// Returns the index of the connection that a new one from `address` replaces: the oldest one without a request, or the
/// oldest one.
fn victim(open: &[Arc<Connection>], address: IpAddr) -> Option<usize> {
    let address = if count(open, address) >= MAX_PER_ADDRESS {
        address
    } else if open.len() >= MAX_CONNECTIONS {
        // `max_by_key` returns the last maximum, so that of several addresses the one with the oldest connection is
        // taken.
        let addresses = open.iter().rev().map(|connection| connection.address);
        addresses.max_by_key(|other| count(open, *other))?
    } else {
        return None;
    };
    let candidates = open.iter().enumerate().filter(|(_, connection)| connection.address == address);
    // The first of equal keys: the oldest.
    candidates
        .min_by_key(|(_, connection)| connection.has_request.load(Ordering::Relaxed))
        .map(|(index, _)| index)
}

impl Permit {
    pub(super) fn request_received(&self) {
        self.connection.has_request.store(true, Ordering::Relaxed);
    }

    /// Waits until the connection must be closed for another one.
    pub(super) async fn revoked(&self) {
        self.connection.revoked.cancelled().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        lock(&self.limits.0).retain(|connection| !Arc::ptr_eq(connection, &self.connection));
    }
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
        permits[0].request_received();
        let last = limits.admit(address(1));
        assert!(permits[1].connection.revoked.is_cancelled(), "the oldest without a request");
        let others = [&permits[0], &permits[2], &last, &other];
        assert!(others.iter().all(|permit| !permit.connection.revoked.is_cancelled()));
    }

    #[test]
    fn connection_beyond_the_total_replaces_one_of_the_address_with_the_most() {
        let limits = ConnectionLimits::default();
        let mut permits = Vec::new();
        for (last, count) in [(1, 15), (2, 16), (3, 16), (4, 16), (5, 1)] {
            permits.extend((0..count).map(|_| limits.admit(address(last))));
        }
        assert!(permits.iter().all(|permit| !permit.connection.revoked.is_cancelled()));
        let newcomer = limits.admit(address(6));
        assert!(permits[15].connection.revoked.is_cancelled() && !newcomer.connection.revoked.is_cancelled());
        drop(permits);
        drop(newcomer);
        assert!(lock(&limits.0).is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_limit() {
        let limits = ConnectionLimits::default();
        let admit = |last: u16| limits.admit(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        let first = admit(0);
        let _others: Vec<_> = (1..=16).map(admit).collect();
        assert!(first.connection.revoked.is_cancelled());
    }

    proptest! {
        #[test]
        fn connection_limits_hold(clients in prop::collection::vec((0..9_u8, any::<bool>()), 0..300)) {
            let limits = ConnectionLimits::default();
            let mut permits = Vec::new();
            for (last, has_request) in clients {
                let permit = limits.admit(address(last));
                if has_request {
                    permit.request_received();
                }
                prop_assert!(!permit.connection.revoked.is_cancelled());
                permits.push(permit);
                let open = lock(&limits.0);
                prop_assert!(open.len() <= MAX_CONNECTIONS);
                prop_assert!((0..9).all(|last| count(&open, address(last)) <= MAX_PER_ADDRESS));
            }
        }
    }
}
