//! How long a session's owner may act without asking: the local lease. Pure; used by [`crate::session`].
//!
//! ZooKeeper tells a client last that its session is over. So whoever acts on the strength of a session (a leader) has
//! to stop by itself, before the servers can have given the session up. The lease says until when.
//!
//! # Why half the session timeout
//! The lease runs from the moment a request was *sent* that ZooKeeper's leader has answered (a write or a `sync`; a
//! plain read is answered by a follower that may have lost the ensemble, and proves nothing). The servers count the
//! session timeout `T` from the last sign of life that reached *their* leader. A follower passes signs of life on every
//! half tick, and the client gives one at least every 0.15 T (its pings), so that last sign is at most `tick/2 + 0.15 T`
//! older than our request. Servers grant `T >= 2 ticks`, hence `tick/2 <= T/4`, and no session ends earlier than
//! `T - T/4 - 0.15 T = 0.6 T` after the request was sent. Half of `T` leaves a tenth for clocks that run unevenly.

use std::time::Duration;

use crate::clock::BootInstant;

/// Until when a session may be acted on.
#[derive(Clone, Debug)]
pub struct SessionValidity {
    length: Duration,
    until: Option<BootInstant>,
}

impl SessionValidity {
    /// The lease of a session that the servers granted `session_timeout`; it holds from its first renewal on.
    pub fn new(session_timeout: Duration) -> SessionValidity {
        SessionValidity { length: session_timeout / 2, until: None }
    }

    /// How long it lasts from a renewal on.
    pub fn length(&self) -> Duration {
        self.length
    }

    /// A request sent at `sent` was answered by the ensemble's leader. Answers may come out of order: a lease is never
    /// shortened by one.
    pub fn renew(&mut self, sent: BootInstant) {
        self.until = self.until.max(Some(sent + self.length));
    }

    /// The session is over, or may be: nothing holds until the next renewal.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// What is left at `now`; zero when it does not hold.
    pub fn remaining(&self, now: BootInstant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// Whether it holds at `now`. At its very end it does not.
    pub fn holds(&self, now: BootInstant) -> bool {
        !self.remaining(now).is_zero()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> BootInstant {
        BootInstant::at(Duration::from_millis(ms))
    }

    #[test]
    fn holds_only_between_a_renewal_and_half_a_timeout_later() {
        let mut lease = SessionValidity::new(Duration::from_secs(10));
        assert!(!lease.holds(ms(0)));
        lease.renew(ms(1_000));
        assert!(lease.holds(ms(5_999)));
        assert!(!lease.holds(ms(6_000)));
        lease.end();
        assert!(!lease.holds(ms(1_001)));
    }

    proptest! {
        /// Whatever order the answers come in, the lease ends half a timeout after the latest *sending*, and so before
        /// 0.6 of the timeout, the earliest that servers may end the session.
        #[test]
        fn never_outlives_the_session(timeout in 100u64..60_000, sent in prop::collection::vec(0u64..1_000_000, 1..20), probe in 0u64..2_000_000) {
            let mut lease = SessionValidity::new(Duration::from_millis(timeout));
            for at in &sent { lease.renew(ms(*at)); }
            let latest = sent.iter().max().copied().unwrap_or(0);
            let earliest_expiry = latest + timeout * 6 / 10;
            if lease.holds(ms(probe)) { prop_assert!(probe < earliest_expiry); }
            prop_assert_eq!(lease.holds(ms(probe)), probe < latest + timeout / 2 || (timeout % 2 == 1 && probe == latest + timeout / 2));
        }
    }
}
