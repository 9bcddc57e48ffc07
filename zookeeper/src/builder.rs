//! Configuration of a server, before its start.

use std::time::Duration;

use super::sasl::Users;

/// Builder of a server.
#[derive(Clone, Debug)]
#[must_use = "nothing runs until it is started"]
pub struct Builder {
    tick: Duration,
    max_session_timeout: Option<Duration>,
    container_check_interval: Duration,
    listen: String,
    enforce_quota: bool,
    sasl_users: Users,
}

/// Effective settings, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) tick: i64,
    /// Minimum session timeout.
    pub(crate) min_timeout: i32,
    /// Maximum session timeout.
    pub(crate) max_timeout: i32,
    /// Interval between checks for expired containers and TTLs.
    pub(crate) container_check_interval: i64,
    pub(crate) enforce_quota: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(2),
            max_session_timeout: None,
            container_check_interval: Duration::from_secs(60),
            listen: "127.0.0.1:0".to_owned(),
            enforce_quota: false,
            sasl_users: Users::default(),
        }
    }
}

impl Builder {
    /// Sets the tick, the unit of time: 2 s by default, at least 1 ms. Session timeouts last from 2 to 20 ticks, and
    /// sessions expire on a tick.
    pub fn tick(mut self, tick: Duration) -> Self {
        self.tick = tick;
        self
    }

    /// Sets the maximum session timeout, instead of 20 ticks.
    pub fn max_session_timeout(mut self, timeout: Duration) -> Self {
        self.max_session_timeout = Some(timeout);
        self
    }

    /// Sets the interval between checks for containers without children and znodes with an expired TTL: 60 s by
    /// default.
    pub fn container_check_interval(mut self, interval: Duration) -> Self {
        self.container_check_interval = interval;
        self
    }

    /// Sets whether writes beyond a quota's hard limits are refused, as with `enforceQuota` of Apache ZooKeeper: false
    /// by default.
    pub fn enforce_quota(mut self, enforce: bool) -> Self {
        self.enforce_quota = enforce;
        self
    }

    /// Sets names and passwords, in ASCII, of the users that SASL DIGEST-MD5 authenticates. Without users, SASL is
    /// refused.
    pub fn sasl_users(mut self, users: impl IntoIterator<Item = (String, String)>) -> Self {
        self.sasl_users = users.into_iter().collect();
        self
    }

    /// Sets the address to listen on: by default `127.0.0.1:0`, a free port.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = address.into();
        self
    }

    pub(crate) fn address(&self) -> &str {
        &self.listen
    }

    pub(crate) fn users(&self) -> &Users {
        &self.sasl_users
    }

    pub(crate) fn settings(&self) -> Settings {
        let milliseconds =
            |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX).max(1);
        let tick = milliseconds(self.tick);
        let min_timeout = tick.saturating_mul(2);
        let max_timeout =
            self.max_session_timeout.map_or(tick.saturating_mul(20), milliseconds).max(min_timeout);
        Settings {
            tick: tick.into(),
            min_timeout,
            max_timeout,
            container_check_interval: milliseconds(self.container_check_interval).into(),
            enforce_quota: self.enforce_quota,
        }
    }
}
