//! Shares the connections of the HTTP server among addresses. One more always gets in: it replaces one of its own
//! address if that has its share, else one of the address with the most.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// Connections at a time.
const ALL: usize = 64;
/// Connections of one address at a time.
const OF_ONE: usize = 16;

#[derive(Debug)]
struct Open {
    id: u64,
    address: IpAddr,
    /// A whole request has come.
    asked: Arc<AtomicBool>,
    needed: CancellationToken,
}

/// The connections, the oldest first.
#[derive(Debug, Default)]
struct Connections {
    next: u64,
    open: Vec<Open>,
}

/// Connections that are open. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Shares(Arc<Mutex<Connections>>);

/// A connection's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    shares: Shares,
    id: u64,
    asked: Arc<AtomicBool>,
    needed: CancellationToken,
}

impl Shares {
    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Admits one more connection, and closes another one for it if there are too many.
    pub(super) fn enter(&self, address: IpAddr) -> Place {
        let mut connections = self.connections();
        let address = network(address);
        if let Some(victim) = connections.victim(address) {
            connections.open.remove(victim).needed.cancel();
        }
        connections.next += 1;
        let (id, asked, needed) = (connections.next, Arc::default(), CancellationToken::new());
        connections.open.push(Open { id, address, asked: Arc::clone(&asked), needed: needed.clone() });
        Place { shares: self.clone(), id, asked, needed }
    }
}

impl Connections {
    fn count(&self, address: IpAddr) -> usize {
        self.open.iter().filter(|open| open.address == address).count()
    }

    /// Returns the position of the connection that makes room: one without a request before one with, the oldest
    /// first.
    fn victim(&self, address: IpAddr) -> Option<usize> {
        let of = if self.count(address) >= OF_ONE {
            address
        } else if self.open.len() >= ALL {
            // Of several with the most, the one whose connection is the oldest.
            self.open.iter().rev().map(|open| open.address).max_by_key(|other| self.count(*other))?
        } else {
            return None;
        };
        let fits = |open: &Open| open.address == of;
        let silent = self.open.iter().position(|open| fits(open) && !open.asked.load(Ordering::Relaxed));
        silent.or_else(|| self.open.iter().position(fits))
    }
}

impl Place {
    /// Notes that a whole request has come.
    pub(super) fn asks(&self) {
        self.asked.store(true, Ordering::Relaxed);
    }

    /// Waits until another connection needs the place.
    pub(super) async fn needed(&self) {
        self.needed.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shares.connections().open.retain(|open| open.id != self.id);
    }
}

/// Returns the address, of IPv6 its /64: one client has a whole one.
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
    fn address_with_its_share_replaces_its_own_silent_connection() {
        let shares = Shares::default();
        let other = shares.enter(address(2));
        let places: Vec<_> = (0..OF_ONE).map(|_| shares.enter(address(1))).collect();
        places[0].asks();
        let last = shares.enter(address(1));
        assert!(places[1].needed.is_cancelled(), "the oldest without a request");
        let others = [&places[0], &places[2], &last, &other];
        assert!(others.iter().all(|place| !place.needed.is_cancelled()));
    }

    #[test]
    fn newcomer_replaces_a_connection_of_the_address_with_the_most() {
        let shares = Shares::default();
        let mut places = Vec::new();
        for (last, count) in [(1, 15), (2, 16), (3, 16), (4, 16), (5, 1)] {
            places.extend((0..count).map(|_| shares.enter(address(last))));
        }
        assert!(places.iter().all(|place| !place.needed.is_cancelled()));
        let newcomer = shares.enter(address(6));
        assert!(places[15].needed.is_cancelled() && !newcomer.needed.is_cancelled());
        drop(places);
        drop(newcomer);
        assert!(shares.connections().open.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_have_one_share() {
        let shares = Shares::default();
        let place = |last: u16| shares.enter(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
        let first = place(0);
        let _others: Vec<_> = (1..=16).map(place).collect();
        assert!(first.needed.is_cancelled());
    }

    proptest! {
        #[test]
        fn shares_keep_their_bounds(entering in prop::collection::vec((0..9_u8, any::<bool>()), 0..300)) {
            let shares = Shares::default();
            let mut places = Vec::new();
            for (last, asks) in entering {
                let place = shares.enter(address(last));
                if asks {
                    place.asks();
                }
                prop_assert!(!place.needed.is_cancelled());
                places.push(place);
                let connections = shares.connections();
                prop_assert!(connections.open.len() <= ALL);
                prop_assert!((0..9).all(|last| connections.count(address(last)) <= OF_ONE));
            }
        }
    }
}
