//! Divides the slots of connections among addresses, so that a few addresses cannot keep others out. Pure: time is
//! passed in.
//!
//! * One address (of IPv6: a /64) has at most [`Limits::connections_of_one`] connections. A further one replaces its
//!   own oldest connection that has not sent a request yet or is idle.
//! * A quarter of all connections is reserved for addresses that have few. A supervisor that requests `/healthz` gets
//!   in at once while some addresses hold all others.
//! * If all are in use, the address with the most connections loses one that is stale to an address with fewer.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use crate::limits::{Limits, client_prefix};

/// Age from which a connection without a complete request, or idle between two, may be closed in favour of another
/// address. Longer than a busy machine needs to process a request that has arrived.
const STALE: Duration = Duration::from_secs(3);
/// Age from which an answer may be aborted in favour of another address: longer than any answer takes whose client
/// reads it.
const STALE_ANSWER: Duration = Duration::from_secs(30);
/// Maximum number of connections of an address in the reserve.
const FEW: usize = 4;

/// Progress of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The connection has not sent a request yet: TLS handshake, or the first headers.
    Fresh,
    /// A request is being received or answered.
    Busy,
    /// The request was answered, and the next one has not arrived.
    Idle,
}

/// Number of a connection.
pub(crate) type Id = u64;

#[derive(Debug)]
struct Held {
    /// `None`: a trusted proxy, whose connections are not limited.
    address: Option<IpAddr>,
    phase: Phase,
    since: Instant,
    evict: CancellationToken,
}

impl Held {
    fn age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.since)
    }
}

/// Result of requesting a slot.
#[derive(Debug)]
pub(crate) enum Entry {
    /// The connection is served until the token is cancelled. It must then call [`ConnectionSlots::leave`].
    Admitted(Id, CancellationToken),
    /// The connection may try again once another one has ended.
    Wait,
    /// Its address has too many connections.
    Refused,
}

/// Connections that are being served.
#[derive(Debug)]
pub(crate) struct ConnectionSlots {
    all: usize,
    /// Number of connections outside the reserve.
    common: usize,
    of_one: usize,
    next: Id,
    held: HashMap<Id, Held>,
    evicted: u64,
}

impl ConnectionSlots {
    pub(crate) fn new(limits: &Limits) -> ConnectionSlots {
        let all = limits.connections.max(1);
        let of_one = limits.connections_of_one.max(1);
        ConnectionSlots { all, common: all - all / 4, of_one, next: 0, held: HashMap::new(), evicted: 0 }
    }

    /// Returns the number of connections that have been closed in favour of others.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Admits one more connection, and closes another one for it if necessary. `address` is `None` for a trusted proxy.
    /// `waiting`: number of connections of this address that wait already.
    pub(crate) fn enter(&mut self, address: Option<IpAddr>, waiting: usize, now: Instant) -> Entry {
        let address = address.map(client_prefix);
        let own = self.count(address);
        if address.is_some() && own + waiting >= self.of_one {
            return match self.oldest(address, now, Duration::ZERO, STALE) {
                Some(id) => self.replace(id, address, now),
                None => Entry::Refused,
            };
        }
        let room = if address.is_some() && own < FEW { self.all } else { self.common };
        if self.held.len() < room {
            return self.admit(address, now);
        }
        match self.victim(address, own, now) {
            Some(id) => self.replace(id, address, now),
            None => Entry::Wait,
        }
    }

    /// Records the progress of a connection.
    pub(crate) fn note(&mut self, id: Id, phase: Phase, now: Instant) {
        if let Some(held) = self.held.get_mut(&id) {
            held.phase = phase;
            held.since = now;
        }
    }

    /// Records the end of a connection. One that was closed in favour of another has already left.
    pub(crate) fn leave(&mut self, id: Id) {
        self.held.remove(&id);
    }

    fn count(&self, address: Option<IpAddr>) -> usize {
        self.held.values().filter(|held| held.address == address).count()
    }

    fn admit(&mut self, address: Option<IpAddr>, now: Instant) -> Entry {
        self.next += 1;
        let evict = CancellationToken::new();
        let held = Held { address, phase: Phase::Fresh, since: now, evict: evict.clone() };
        self.held.insert(self.next, held);
        Entry::Admitted(self.next, evict)
    }

    fn replace(&mut self, id: Id, address: Option<IpAddr>, now: Instant) -> Entry {
        if let Some(held) = self.held.remove(&id) {
            held.evict.cancel();
            self.evicted += 1;
        }
        self.admit(address, now)
    }

    /// Returns a stale connection of the address with the most connections, if it has more than the new address will
    /// have; otherwise one of the new address's own.
    fn victim(&self, address: Option<IpAddr>, own: usize, now: Instant) -> Option<Id> {
        let mut counts: HashMap<Option<IpAddr>, usize> = HashMap::new();
        for held in self.held.values().filter(|held| held.address != address) {
            *counts.entry(held.address).or_default() += 1;
        }
        let mut larger: Vec<_> = counts.into_iter().filter(|(_, count)| *count > own.max(1)).collect();
        larger.sort_unstable_by_key(|(_, count)| std::cmp::Reverse(*count));
        let stale = |(other, _): (Option<IpAddr>, usize)| {
            let old_answer =
                || self.first(other, |held| held.phase == Phase::Busy && held.age(now) >= STALE_ANSWER);
            self.oldest(other, now, STALE, STALE).or_else(old_answer)
        };
        larger
            .into_iter()
            .find_map(stale)
            .or_else(|| self.oldest(address, now, STALE, STALE))
            // Each address has only one: a new connection is worth more than one that sends nothing.
            .or_else(|| {
                let stale = |(_, held): &(&Id, &Held)| held.phase != Phase::Busy && held.age(now) >= STALE;
                let held = self.held.iter().filter(stale).min_by_key(|(id, held)| (held.since, **id));
                held.filter(|_| own == 0).map(|(id, _)| *id)
            })
    }

    /// Returns the oldest connection of this address that has sent no request yet and is `fresh` old, or otherwise one
    /// that has been idle for the time `idle`.
    fn oldest(&self, address: Option<IpAddr>, now: Instant, fresh: Duration, idle: Duration) -> Option<Id> {
        self.first(address, |held| held.phase == Phase::Fresh && held.age(now) >= fresh)
            .or_else(|| self.first(address, |held| held.phase == Phase::Idle && held.age(now) >= idle))
    }

    fn first(&self, address: Option<IpAddr>, fits: impl Fn(&Held) -> bool) -> Option<Id> {
        let fitting = self.held.iter().filter(|(_, held)| held.address == address && fits(held));
        fitting.min_by_key(|(id, held)| (held.since, **id)).map(|(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([192, 0, 2, last]))
    }

    fn slots(connections: usize, connections_of_one: usize) -> ConnectionSlots {
        ConnectionSlots::new(&Limits { connections, connections_of_one, ..Limits::default() })
    }

    fn admitted(entry: Entry) -> (Id, CancellationToken) {
        match entry {
            Entry::Admitted(id, evict) => (id, evict),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn slots_are_reserved_for_addresses_with_few_connections() {
        let (mut slots, now) = (slots(16, 8), Instant::now());
        for last in [1, 2] {
            while let Entry::Admitted(..) = slots.enter(address(last), 0, now) {
                if slots.count(address(last)) == 8 {
                    break;
                }
            }
        }
        assert_eq!((slots.count(address(1)), slots.count(address(2))), (8, 4));
        assert!(matches!(slots.enter(address(2), 0, now), Entry::Wait));
        admitted(slots.enter(address(3), 0, now));
        assert_eq!(slots.evicted(), 0);
    }

    #[test]
    fn address_at_its_maximum_replaces_its_own_oldest_slow_connection() {
        let (mut slots, now) = (slots(16, 2), Instant::now());
        let (first, slow) = admitted(slots.enter(address(1), 0, now));
        let (second, busy) = admitted(slots.enter(address(1), 0, now + Duration::from_millis(1)));
        slots.note(second, Phase::Busy, now);
        let (third, _) = admitted(slots.enter(address(1), 0, now));
        assert!(slow.is_cancelled() && !busy.is_cancelled());
        slots.leave(first);
        slots.note(third, Phase::Busy, now);
        assert!(matches!(slots.enter(address(1), 0, now), Entry::Refused), "both are busy");
        slots.note(third, Phase::Idle, now);
        assert!(matches!(slots.enter(address(1), 0, now), Entry::Refused), "it was answered just now");
        admitted(slots.enter(address(1), 0, now + STALE));
        assert_eq!(slots.count(address(1)), 2);
    }

    #[test]
    fn full_slots_are_taken_from_the_address_with_the_most() {
        let (mut slots, now) = (slots(8, 8), Instant::now());
        let crowd: Vec<_> = (0..6).map(|_| admitted(slots.enter(address(1), 0, now))).collect();
        for last in [2, 3] {
            admitted(slots.enter(address(last), 0, now));
        }
        assert!(matches!(slots.enter(address(4), 0, now), Entry::Wait), "none is stale yet");
        admitted(slots.enter(address(4), 0, now + STALE));
        assert_eq!(crowd.iter().filter(|(_, evict)| evict.is_cancelled()).count(), 1);
        assert!(crowd[0].1.is_cancelled(), "the oldest");
        // Answers are aborted only after a long time.
        for (id, _) in &crowd {
            slots.note(*id, Phase::Busy, now + STALE);
        }
        let later = now + STALE + STALE;
        for last in [5, 6] {
            admitted(slots.enter(address(last), 0, later));
        }
        assert_eq!((slots.count(address(1)), slots.count(address(2)), slots.count(address(3))), (5, 0, 0));
        admitted(slots.enter(address(7), 0, now + STALE + STALE_ANSWER));
        assert_eq!(slots.count(address(1)), 4);
    }

    #[test]
    fn trusted_proxy_has_no_maximum_per_address() {
        let (mut slots, now) = (slots(16, 2), Instant::now());
        for _ in 0..12 {
            admitted(slots.enter(None, 0, now));
        }
        assert!(matches!(slots.enter(None, 0, now), Entry::Wait));
        admitted(slots.enter(address(1), 0, now));
    }

    #[test]
    fn slots_of_ended_connections_are_free_again() {
        let (mut slots, now) = (slots(16, 1), Instant::now());
        let enter = |slots: &mut ConnectionSlots, last| {
            let (id, _) = admitted(slots.enter(address(last), 0, now));
            slots.note(id, Phase::Busy, now);
            id
        };
        let (one, other) = (enter(&mut slots, 1), enter(&mut slots, 2));
        assert!(matches!(slots.enter(address(1), 0, now), Entry::Refused));
        slots.leave(one);
        let one = enter(&mut slots, 1);
        assert!(matches!(slots.enter(address(1), 0, now), Entry::Refused));
        for id in [one, other] {
            slots.leave(id);
        }
        assert!(slots.held.is_empty() && slots.evicted() == 0);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Enter(u8),
        Note(usize, Phase),
        Leave(usize),
        Pass(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let phase = prop_oneof![Just(Phase::Fresh), Just(Phase::Busy), Just(Phase::Idle)];
        let step = prop_oneof![
            4 => (0..6_u8).prop_map(Step::Enter),
            3 => (any::<usize>(), phase).prop_map(|(which, phase)| Step::Note(which, phase)),
            1 => any::<usize>().prop_map(Step::Leave),
            1 => (0..5_000_u64).prop_map(Step::Pass),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn slots_are_never_exceeded(steps in steps()) {
            let (mut slots, mut now) = (slots(16, 6), Instant::now());
            let mut open: Vec<(Id, CancellationToken)> = Vec::new();
            for step in steps {
                match step {
                    Step::Enter(last) => {
                        // Address 0 is a proxy.
                        let from = address(last).filter(|_| last > 0);
                        if let Entry::Admitted(id, evict) = slots.enter(from, 0, now) {
                            open.push((id, evict));
                        }
                    }
                    Step::Note(which, phase) if !open.is_empty() => slots.note(open[which % open.len()].0, phase, now),
                    Step::Leave(which) if !open.is_empty() => slots.leave(open.swap_remove(which % open.len()).0),
                    Step::Pass(millis) => now += Duration::from_millis(millis),
                    _ => {}
                }
                open.retain(|(_, evict)| !evict.is_cancelled());
                prop_assert_eq!(slots.held.len(), open.len());
                prop_assert!(slots.held.len() <= 16);
                prop_assert!((1..6).all(|last| slots.count(address(last)) <= 6));
                prop_assert!(slots.count(None) <= 12);
            }
        }
    }
}
