//! Lease on a task: its holder is the only one that performs the task until a given time, connected or not; Kazoo's
//! `NonBlockingLease` and `MultiNonBlockingLease` on the wire.
//!
//! A [`Lock`](crate::Lock) is lost with the connection; a lease is not. It suits tasks that one of many machines
//! performs now and then, such as an hourly job that should stay on one machine while that machine works.
//!
//! # Guarantees
//! Until the end that is stored in ZooKeeper, no other holder acquires the lease. The holder renews it by acquiring it
//! again. [`Lease::acquire`] returns a [`HeldLease`] only if its end is stored, and a `HeldLease` never holds longer
//! than that. With [`Lease::with_slots`], each of several holders has one lease, and none has two.
//!
//! **A lease is only as good as the clocks.** The end is a time of the wall clock, and each client compares it with its
//! own clock: if that is fast by a minute, two holders may work for a minute. Synchronize the clocks, set
//! [`Lease::with_grace`] to their maximum difference, and pass [`HeldLease::fencing_token`] to systems that can reject
//! lower tokens. Setting the wall clock back does not extend a held lease: `HeldLease` also uses a clock that cannot be
//! set and that counts the machine's sleep.
//!
//! **The holder's name is its identity.** Two processes with the same name are one holder, and both have the lease.
//!
//! # Znodes
//! `{path}/lease_holder`, persistent: `{"version": 1, "holder": "node 1", "end": "2026-10-25T01:30:00"}`, in UTC,
//! rounded down to the second. It is written under a Kazoo [lock](crate::lock) at `{path}`, in one `multi` with a check
//! of the own znode in the queue of that lock. With slots: `{path}/0`, `{path}/1` and so on, each a separate lease.
//!
//! # Errors
//! [`LeaseError`]; [`LeaseError::WrongZnode`] if `lease_holder` is ephemeral. Data that is not a lease is not modified,
//! and no holder can acquire the lease until it is deleted; the error contains its beginning.
//!
//! # Disconnect and session expiry
//! A held lease is not affected. Calls retry over new connections and in new sessions until their timeout (30 s, see
//! [`Lease::with_timeout`]), plus at most one session timeout. After a lost reply they join the queue of the lock again
//! and read the znode: at that point no earlier write can still take effect, so the outcome is known.
//!
//! # Cancel safety
//! A cancelled call leaves no znode in the queue of the lock, and has taken effect or not; a `HeldLease` then holds no
//! longer than is stored in either case. Dropping a `HeldLease` does not release it; use [`HeldLease::release`].
//!
//! # Bugs of other implementations
//! * Kazoo deletes the old lease and creates the new one. If it fails in between, another client acquires a lease that
//!   is still held. Here a single write replaces it.
//! * Kazoo does not report the end of the lease to its holder.
//! * `MultiNonBlockingLease` tries the slots in order, so the holder of the second slot also acquires the first one
//!   when that is free, and keeps another client out. Here the holder's own slot comes first.
//! * Kazoo waits for the lock without a time limit.
//!
//! # Example
//! `cargo run -p atalaya-recipes --example lease -- 127.0.0.1:2181`
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::LeaseError> {
//! use std::time::Duration;
//! use atalaya_recipes::{Acquire, Lease};
//!
//! // Longer than an hour, so that the hourly job stays on this machine.
//! let lease = Lease::new(session, "/leases/cleanup", "node 1", Duration::from_secs(70 * 60));
//! match lease.acquire().await? {
//!     Acquire::Acquired(held) => println!("cleaning up, for at most {:?}", held.remaining()),
//!     Acquire::HeldByOther(info) => println!("{} holds the lease until {:?}", info.holder, info.end),
//! }
//! # Ok(())
//! # }
//! ```

mod error;
mod held;
mod multi;
mod record;
mod update;
mod wall_clock;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use self::error::{Acquire, LeaseError, LeaseInfo};
pub use self::held::HeldLease;
pub use self::multi::MultiLease;

use self::record::{LocalExpiry, MAX_HOLDER_LEN, ParseError, Record};
use self::update::Update;
use self::wall_clock::{WallClock, since_epoch};
use crate::error::excerpt;
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::{CreateMode, Write};
use crate::wrong_znode::{WrongZnode, ZnodeProblem, is_ephemeral};
use crate::{Connection, Session, Stat};

/// Lease at a path, for one holder.
#[derive(Clone, Debug)]
pub struct Lease {
    session: Session,
    path: String,
    holder: String,
    duration: Duration,
    timeout: Duration,
    grace: Duration,
    clock: WallClock,
}

/// A lease that was written.
#[derive(Debug)]
struct Written {
    expiry: LocalExpiry,
    fencing_token: i64,
}

impl Lease {
    /// Creates a lease at `path` for a holder called `holder` (at most 4 KiB). Each acquisition lasts for `duration`
    /// (at least one second), up to a second less because the end is rounded down. Does no I/O.
    pub fn new(
        session: Session,
        path: impl Into<String>,
        holder: impl Into<String>,
        duration: Duration,
    ) -> Lease {
        Lease {
            session,
            path: path.into(),
            holder: holder.into(),
            duration,
            timeout: DEFAULT_TIMEOUT,
            grace: Duration::ZERO,
            clock: WallClock(Arc::new(SystemTime::now)),
        }
    }

    /// Sets the maximum duration of a call, including retries. Default: 30 s.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Lease {
        self.timeout = timeout;
        self
    }

    /// Sets the time after its end during which the lease of another holder is still respected. It should cover the
    /// difference of the clocks. Default: zero, as in Kazoo.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Lease {
        self.grace = grace;
        self
    }

    /// Replaces the system's wall clock, for tests and simulations. The function is called often, and must not block.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Lease {
        self.clock = WallClock(Arc::new(clock));
        self
    }

    /// Divides the lease into `count` slots below the path, of which each holder has at most one.
    pub fn with_slots(self, count: u16) -> MultiLease {
        MultiLease { lease: self, slots: count }
    }

    /// Acquires the lease, or renews it, unless another holder has it. Does not wait for the end of another holder's
    /// lease.
    ///
    /// # Errors
    /// See the [module](self). After [`LeaseError::OutcomeUnknown`] the lease may be held until its end; acquiring it
    /// again shows whether it is.
    pub async fn acquire(&self) -> Result<Acquire, LeaseError> {
        Ok(match self.write(|_| {}).await? {
            Ok(written) => Acquire::Acquired(HeldLease { lease: self.clone(), written, attempted_end: None }),
            Err(info) => Acquire::HeldByOther(info),
        })
    }

    /// Reads the lease, as of this call or later. Returns `None` if it is free, or has ended by this machine's clock.
    ///
    /// # Errors
    /// See the [module](self).
    pub async fn current(&self) -> Result<Option<LeaseInfo>, LeaseError> {
        let mut attempts = Attempts::new(&self.session, self.timeout, "read", &self.path);
        let read =
            |connection: Connection| async move { connection.synced().await?.get_opt(&self.znode()).await };
        let Some((found, stat)) = self.parse(attempts.retry(read).await?)? else { return Ok(None) };
        let has_ended = found.has_ended(self.clock.now().wall, Duration::ZERO);
        Ok((!has_ended).then(|| self.info(found, &stat)))
    }

    /// Writes the lease, or returns the lease of another holder. Calls `before_write` before each write, with the
    /// expiry that applies if the write takes effect.
    async fn write(
        &self,
        mut before_write: impl FnMut(LocalExpiry),
    ) -> Result<Result<Written, LeaseInfo>, LeaseError> {
        self.check()?;
        let mut update = Update::new(self, "acquire");
        loop {
            let written = async {
                if !update.may_have_written {
                    // If another holder has the lease, do not join the queue of the lock, where other clients would
                    // wait for us.
                    let connection = update.attempts.connection().await?;
                    if let Some((found, stat)) = self.read(connection.synced().await?).await?
                        && found.blocks(&self.holder, self.clock.now().wall, self.grace)
                    {
                        return Ok(Err(self.info(found, &stat)));
                    }
                }
                let (guard, found) = update.lock().await?;
                let now = self.clock.now();
                let stat = match found {
                    Some((found, stat)) if found.blocks(&self.holder, now.wall, self.grace) => {
                        guard.release().await;
                        return Ok(Err(self.info(found, &stat)));
                    }
                    found => found.map(|(_, stat)| stat),
                };
                let record = Record::new(&self.holder, self.duration, now.wall);
                let expiry = LocalExpiry::new(&record, now);
                before_write(expiry);
                let (path, json) = (self.znode(), record.to_json());
                let set = |version| Write::Set { path: &path, data: json.as_bytes(), version: Some(version) };
                let written = match stat {
                    Some(stat) => update.write(&guard, &[set(stat.version)]).await?,
                    // The set returns the stat. Older servers do not return a usable one for a create in a multi.
                    None => {
                        let create = Write::Create { path: &path, data: b"", mode: CreateMode::Persistent };
                        update.write(&guard, &[create, set(0)]).await?
                    }
                };
                guard.release().await;
                // A set always returns a stat. If it did not, every receiver would reject the token 0.
                Ok(Ok(Written { expiry, fencing_token: written.map_or(0, |stat| stat.mzxid) }))
            };
            match written.await {
                Ok(outcome) => return Ok(outcome),
                Err(error) => update.failed(error).await?,
            }
        }
    }

    async fn read(&self, connection: &Connection) -> Result<Option<(Record, Stat)>, LeaseError> {
        self.parse(connection.get_opt(&self.znode()).await?)
    }

    fn parse(&self, found: Option<(Vec<u8>, Stat)>) -> Result<Option<(Record, Stat)>, LeaseError> {
        let Some((data, stat)) = found else { return Ok(None) };
        if is_ephemeral(stat.ephemeral_owner) {
            return Err(LeaseError::WrongZnode(WrongZnode::new(self.znode(), ZnodeProblem::Ephemeral)));
        }
        let path = self.znode();
        match Record::parse(&data) {
            Ok(record) => Ok(Some((record, stat))),
            Err(ParseError::UnsupportedVersion(version)) => {
                Err(LeaseError::UnsupportedVersion { path, version })
            }
            Err(ParseError::NotALease) => Err(LeaseError::NotALease { path, found: excerpt(&data) }),
        }
    }

    fn check(&self) -> Result<(), LeaseError> {
        let invalid = |reason| Err(LeaseError::Invalid { path: self.path.clone(), reason });
        if self.duration < Duration::from_secs(1) {
            return invalid("its duration is less than one second");
        }
        if self.holder.len() > MAX_HOLDER_LEN {
            return invalid("the name of its holder is longer than 4 KiB");
        }
        Ok(())
    }

    fn znode(&self) -> String {
        format!("{}/lease_holder", self.path)
    }

    fn info(&self, found: Record, stat: &Stat) -> LeaseInfo {
        let Record { holder, end } = found;
        let end = since_epoch(Duration::from_secs(end));
        LeaseInfo { path: self.path.clone(), holder, end, fencing_token: stat.mzxid }
    }
}
