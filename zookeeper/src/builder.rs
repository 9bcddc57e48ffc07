//! Configuration of a server, before its start.

use std::io;
use std::time::Duration;

use super::sasl::Users;
use super::server::Server;

/// Builder of a server.
#[derive(Clone, Debug)]
#[must_use = "nothing runs until it is started"]
pub struct Builder {
    tick: Duration,
    longest: Option<Duration>,
    sweep: Duration,
    listen: String,
    enforce_quota: bool,
    sasl_users: Users,
}

/// Effective settings, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tick: i64,
    /// Session timeouts.
    pub(crate) shortest: i32,
    pub(crate) longest: i32,
    /// Interval between checks for expired containers and TTLs.
    pub(crate) sweep: i64,
    pub(crate) enforce_quota: bool,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(2),
            longest: None,
            sweep: Duration::from_secs(60),
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
    pub fn longest_session_timeout(mut self, longest: Duration) -> Self {
        self.longest = Some(longest);
        self
    }

    /// Sets the interval between checks for containers without children and znodes with an expired TTL: 60 s by
    /// default.
    pub fn sweep_every(mut self, interval: Duration) -> Self {
        self.sweep = interval;
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

    /// Starts the server, in tasks of the current tokio runtime.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot listen on the address.
    ///
    /// # Panics
    ///
    /// Panics outside a tokio runtime with I/O and time.
    pub async fn start(self) -> io::Result<Server> {
        Server::start(self).await.map(|(server, _)| server)
    }

    /// Starts the server in its own thread, for programs without a tokio runtime, and for tests that block theirs.
    /// Dropping the server ends the thread.
    ///
    /// # Errors
    ///
    /// Returns an error if it cannot listen on the address or cannot start a thread.
    pub fn start_thread(self) -> io::Result<Server> {
        let (tell, told) = std::sync::mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serve = async move {
            match Server::start(self).await {
                Ok((server, running)) => {
                    // If the caller is gone, the server is dropped and stops.
                    let _ = tell.send(Ok(server));
                    let _ = running.await;
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        };
        std::thread::Builder::new().name("zookeeper".to_owned()).spawn(move || runtime.block_on(serve))?;
        told.recv().map_err(|_| io::Error::other("the server's thread ended while starting"))?
    }

    pub(super) fn address(&self) -> &str {
        &self.listen
    }

    pub(super) fn users(&self) -> &Users {
        &self.sasl_users
    }

    pub(super) fn limits(&self) -> Limits {
        let milliseconds =
            |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX).max(1);
        let tick = milliseconds(self.tick);
        let shortest = tick.saturating_mul(2);
        let longest = self.longest.map_or(tick.saturating_mul(20), milliseconds).max(shortest);
        Limits {
            tick: tick.into(),
            shortest,
            longest,
            sweep: milliseconds(self.sweep).into(),
            enforce_quota: self.enforce_quota,
        }
    }
}
