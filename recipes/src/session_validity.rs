//! The local lease: the time for which a session certainly exists without another request. No I/O; used by
//! [`crate::session`].
//!
//! A client is the last to learn that its session has expired. A process that relies on its session, such as a leader,
//! must therefore stop by itself before the servers can have expired the session. The local lease is the time until
//! then.
//!
//! # Length: half of the session timeout
//! The lease starts when a request is *sent* to which ZooKeeper's leader has responded (a write or a `sync`; a plain
//! read proves nothing, because the responding follower may have lost the ensemble). The servers count the session
//! timeout `T` from the last contact that reached *their* leader. A follower reports contacts every half tick, and the
//! client makes one at least every 0.15 T (its pings), so the last contact is at most `tick/2 + 0.15 T` older than the
//! request. Servers grant `T >= 2 ticks`, hence `tick/2 <= T/4`, and no session expires earlier than `T - T/4 - 0.15 T
//! = 0.6 T` after the request was sent. Half of `T` leaves a tenth for clocks that run at different rates.

use std::time::Duration;

use crate::clock::BootInstant;

/// Local lease of a session. See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct SessionValidity {
    length: Duration,
    until: Option<BootInstant>,
}

impl SessionValidity {
    /// Creates the lease of a session with this timeout. It is not valid before its first renewal.
    pub fn new(session_timeout: Duration) -> SessionValidity {
        SessionValidity { length: session_timeout / 2, until: None }
    }

    /// Renews the lease: ZooKeeper's leader has responded to a request sent at `sent`. Responses may arrive out of
    /// order, so an older one does not shorten the lease.
    pub fn renew(&mut self, sent: BootInstant) {
        self.until = self.until.max(Some(sent + self.length));
    }

    /// Ends the lease, because the session has ended, or may have.
    pub fn end(&mut self) {
        self.until = None;
    }

    /// Returns the time from `now` to the expiry; zero if the lease is not valid.
    pub fn remaining(&self, now: BootInstant) -> Duration {
        self.until.map_or(Duration::ZERO, |until| until.since(now))
    }

    /// Returns true if the lease is valid at `now`. It is not valid at the instant of its expiry.
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
    fn local_lease_is_valid_for_half_a_session_timeout_after_a_renewal() {
        let mut lease = SessionValidity::new(Duration::from_secs(10));
        assert!(!lease.holds(ms(0)));
        lease.renew(ms(1_000));
        assert!(lease.holds(ms(5_999)));
        assert!(!lease.holds(ms(6_000)));
        lease.end();
        assert!(!lease.holds(ms(1_001)));
    }

    proptest! {
        /// In any order of responses, the lease expires half a session timeout after the newest request was *sent*,
        /// which is before 0.6 of the timeout, the earliest expiry of the session.
        #[test]
        fn local_lease_expires_before_the_session(timeout in 100u64..60_000, sent in prop::collection::vec(0u64..1_000_000, 1..20), probe in 0u64..2_000_000) {
            let mut lease = SessionValidity::new(Duration::from_millis(timeout));
            for at in &sent { lease.renew(ms(*at)); }
            let latest = sent.iter().max().copied().unwrap_or(0);
            let earliest_expiry = latest + timeout * 6 / 10;
            if lease.holds(ms(probe)) { prop_assert!(probe < earliest_expiry); }
            prop_assert_eq!(lease.holds(ms(probe)), probe < latest + timeout / 2 || (timeout % 2 == 1 && probe == latest + timeout / 2));
        }
    }
}
