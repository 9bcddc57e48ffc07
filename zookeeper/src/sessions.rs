//! Sessions: their identity, expiry and connection. Pure; the time is an argument, in milliseconds on a monotonic
//! clock. Used by [`state_machine`](super::state_machine).
//!
//! As in Apache ZooKeeper a session expires on a tick: after its timeout has passed since the last message, plus up to
//! one tick. Sessions are grouped by the tick at which they may expire, and a message only updates one number: a
//! session changes its group only when its tick comes.

use std::collections::{BTreeMap, HashMap};

/// Number of a client's connection, in order of arrival.
pub(crate) type ConnectionId = u64;

/// A session.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) password: [u8; 16],
    /// Milliseconds.
    pub(crate) timeout: i32,
    /// Connection of the session; `None` while its client is disconnected.
    pub(crate) connection: Option<ConnectionId>,
    /// Tick at which the session expires without a further message.
    expires: i64,
    /// Tick of the session's group.
    bucket: i64,
}

/// All sessions.
#[derive(Debug)]
pub(crate) struct Sessions {
    tick: i64,
    min_timeout: i32,
    max_timeout: i32,
    next: i64,
    by_id: HashMap<i64, Session>,
    buckets: BTreeMap<i64, Vec<i64>>,
}

impl Sessions {
    /// Creates an empty table. `tick`, `min_timeout` and `max_timeout` are in milliseconds; the first id is made from
    /// `wall`, milliseconds since 1970, so that a restarted server does not reuse an id.
    pub(crate) fn new(tick: i64, min_timeout: i32, max_timeout: i32, wall: i64) -> Self {
        // One byte of server, five of time, two for counting; the server is number 1.
        let next = (1 << 56) | ((wall << 24) as u64 >> 8) as i64;
        Self { tick, min_timeout, max_timeout, next, by_id: HashMap::new(), buckets: BTreeMap::new() }
    }

    /// Returns the granted timeout of a client, in milliseconds.
    pub(crate) fn negotiate(&self, requested: i32) -> i32 {
        requested.clamp(self.min_timeout, self.max_timeout)
    }

    /// Opens a session with a negotiated timeout.
    pub(crate) fn open(
        &mut self,
        timeout: i32,
        password: [u8; 16],
        connection: ConnectionId,
        now: i64,
    ) -> i64 {
        let id = self.next;
        self.next += 1;
        let expires = self.expiry(timeout, now);
        let session = Session { password, timeout, connection: Some(connection), expires, bucket: expires };
        self.by_id.insert(id, session);
        self.buckets.entry(expires).or_default().push(id);
        id
    }

    /// Moves a session to another connection, with a newly negotiated timeout. Has no effect if the password is wrong.
    pub(crate) fn attach(
        &mut self,
        id: i64,
        password: &[u8],
        timeout: i32,
        connection: ConnectionId,
        now: i64,
    ) -> Option<&Session> {
        let expires = self.expiry(timeout, now);
        let session = self.by_id.get_mut(&id).filter(|session| session.password[..] == *password)?;
        session.timeout = timeout;
        session.connection = Some(connection);
        session.expires = expires;
        if expires < session.bucket {
            session.bucket = expires;
            self.buckets.entry(expires).or_default().push(id);
        }
        Some(session)
    }

    /// Extends a session after a message.
    pub(crate) fn touch(&mut self, id: i64, now: i64) {
        let tick = self.tick;
        if let Some(session) = self.by_id.get_mut(&id) {
            session.expires = next_tick(now + i64::from(session.timeout), tick);
        }
    }

    /// Restarts the timeout of all sessions.
    pub(crate) fn restart_timeouts(&mut self, now: i64) {
        for session in self.by_id.values_mut() {
            session.expires = next_tick(now + i64::from(session.timeout), self.tick);
        }
    }

    /// Returns a session by its id.
    pub(crate) fn get(&self, id: i64) -> Option<&Session> {
        self.by_id.get(&id)
    }

    /// Records that the client of a session is disconnected.
    pub(crate) fn detach(&mut self, id: i64) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.connection = None;
        }
    }

    /// Ends a session.
    pub(crate) fn close(&mut self, id: i64) -> Option<Session> {
        self.by_id.remove(&id)
    }

    /// Returns the number of live sessions.
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Returns the ids of live sessions.
    pub(crate) fn ids(&self) -> impl Iterator<Item = i64> {
        self.by_id.keys().copied()
    }

    /// Returns the ids of sessions by the time at which they expire without a further message, the earliest first.
    pub(crate) fn by_expiry(&self) -> BTreeMap<i64, Vec<i64>> {
        let mut by_expiry: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        for (id, session) in &self.by_id {
            by_expiry.entry(session.expires).or_default().push(*id);
        }
        by_expiry.values_mut().for_each(|ids| ids.sort_unstable());
        by_expiry
    }

    /// Returns the timed-out sessions; the caller must close them.
    pub(crate) fn expired(&mut self, now: i64) -> Vec<i64> {
        let mut expired = Vec::new();
        while let Some(bucket) = self.buckets.first_entry().filter(|bucket| *bucket.key() <= now) {
            let (due, ids) = bucket.remove_entry();
            for id in ids {
                let Some(session) = self.by_id.get_mut(&id).filter(|session| session.bucket == due) else {
                    continue;
                };
                if session.expires <= now {
                    expired.push(id);
                } else {
                    session.bucket = session.expires;
                    self.buckets.entry(session.expires).or_default().push(id);
                }
            }
        }
        expired
    }

    /// Returns the time at which to call [`expired`](Self::expired) next.
    pub(crate) fn next_check(&self) -> Option<i64> {
        self.buckets.keys().next().copied()
    }

    fn expiry(&self, timeout: i32, now: i64) -> i64 {
        next_tick(now + i64::from(timeout), self.tick)
    }
}

#[cfg(any(test, fuzzing))]
impl Sessions {
    /// Checks that the group of every session is not later than its expiry.
    ///
    /// # Panics
    ///
    /// Panics if one is later, so that the session would not expire in time.
    pub(crate) fn check(&self) {
        for (id, session) in &self.by_id {
            assert!(session.bucket <= session.expires, "{id:#x} is checked in time");
            assert!(
                self.buckets.get(&session.bucket).is_some_and(|ids| ids.contains(id)),
                "{id:#x} is in its group"
            );
        }
    }
}

/// Returns the first tick after this time.
fn next_tick(time: i64, tick: i64) -> i64 {
    (time / tick + 1) * tick
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PASSWORD: [u8; 16] = [7; 16];

    fn sessions() -> Sessions {
        Sessions::new(500, 1_000, 10_000, 1_790_000_000_000)
    }

    #[test]
    fn negotiated_timeouts_are_within_the_limits() {
        let sessions = sessions();
        let negotiated =
            [-1, 0, 999, 1_000, 5_432, 10_000, i32::MAX].map(|requested| sessions.negotiate(requested));
        assert_eq!(negotiated, [1_000, 1_000, 1_000, 1_000, 5_432, 10_000, 10_000]);
    }

    #[test]
    fn ids_are_positive_and_differ() {
        let mut sessions = sessions();
        let first = sessions.open(1_000, PASSWORD, 1, 0);
        assert_eq!(first >> 56, 1);
        assert_eq!(sessions.open(1_000, PASSWORD, 2, 0), first + 1);
    }

    #[test]
    fn session_is_attached_only_with_its_password() {
        let mut sessions = sessions();
        let id = sessions.open(1_000, PASSWORD, 1, 0);
        assert!(sessions.attach(id, &[8; 16], 1_000, 2, 0).is_none());
        assert!(sessions.attach(id + 1, &PASSWORD, 1_000, 2, 0).is_none());
        assert_eq!(sessions.get(id).unwrap().connection, Some(1));
        assert_eq!(sessions.attach(id, &PASSWORD, 2_000, 2, 0).unwrap().timeout, 2_000);
        assert_eq!(sessions.get(id).unwrap().connection, Some(2));
    }

    #[test]
    fn a_shorter_timeout_takes_effect_at_once() {
        let mut sessions = sessions();
        let id = sessions.open(10_000, PASSWORD, 1, 0);
        sessions.attach(id, &PASSWORD, 1_000, 2, 0).unwrap();
        assert!(sessions.expired(1_499).is_empty());
        assert_eq!(sessions.expired(1_500), [id]);
    }

    proptest! {
        /// For any sequence of messages, a session expires after its timeout and at most a tick later, and once.
        #[test]
        fn session_expires_once_and_within_a_tick_of_its_timeout(timeout in 1_000..10_000_i32, gaps in prop::collection::vec(0..12_000_i64, 0..20)) {
            let mut sessions = sessions();
            let mut last_message = 0;
            let id = sessions.open(timeout, PASSWORD, 1, 0);
            let mut ended = None;
            let mut until = 0;
            for gap in gaps.into_iter().chain([30_000]) {
                until += gap;
                while let Some(check) = sessions.next_check().filter(|check| *check <= until) {
                    for over in sessions.expired(check) {
                        prop_assert_eq!(over, id);
                        prop_assert!(ended.replace(check).is_none());
                        sessions.close(id);
                    }
                }
                if ended.is_some() {
                    break;
                }
                sessions.touch(id, until);
                last_message = until;
            }
            let late = ended.map(|ended| ended - last_message - i64::from(timeout));
            prop_assert!(late.is_some_and(|late| (1..=500).contains(&late)), "{:?}", late);
        }
    }
}
