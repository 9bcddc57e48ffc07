//! A lease on a task: who has it is the only one to do it, until an hour of the clock, connected or not; Kazoo's
//! `NonBlockingLease` and `MultiNonBlockingLease` on the wire.
//!
//! A [`Lock`](crate::Lock) is lost with the connection; a lease stays. It is for what is done now and then by one of many:
//! an hourly job that should stay on one machine while that lives.
//!
//! # What it promises
//! Until the end that stands in ZooKeeper, nobody obtains the lease but its holder, who renews it by obtaining it again.
//! [`Lease::acquire`] returns a [`HeldLease`] only if what it says stands there, and `HeldLease` believes in it no longer than that.
//! With [`Lease::with_slots`] as many holders have a lease each, and none has two.
//!
//! **It is only as good as the clocks.** The end is a time of the wall clock, and whoever comes later compares it with its
//! own: if that is fast by a minute, two work for a minute. Keep the clocks together, leave [`Lease::with_grace`] for what
//! they differ, and hand [`HeldLease::fencing_token`] to whoever can refuse a lower one. A wall clock that is set back while a lease is
//! held prolongs nothing: `HeldLease` looks at a second clock, which nobody sets and which counts the machine's sleep.
//!
//! **The holder's name is its identity.** Two processes with one name are one holder, and both have the lease.
//!
//! # Znodes
//! `{path}/lease_holder`, persistent: `{"version": 1, "holder": "node 1", "end": "2026-10-25T01:30:00"}`, UTC, rounded down
//! to the second. It is written under a Kazoo [lock](crate::lock) at `{path}`, in one `multi` with a check of the own znode in
//! that lock's line. With places: `{path}/0`, `{path}/1` and so on, each a lease of its own.
//!
//! # Errors
//! [`LeaseError`]; [`LeaseError::WrongZnode`] if `lease_holder` is ephemeral. What stands there and is no lease is left alone, and is nobody's: the error says what it is.
//!
//! # Behaviour on disconnect and on expiry
//! Nothing changes for who holds. Calls try on over new connections and new sessions until their patience (30 s, see
//! [`Lease::with_timeout`]) is over, and one session timeout more at the longest. After a lost reply they stand in the
//! lock's line again and look what is there: then no earlier write can come any more, so the outcome is known.
//!
//! # Cancellation safety
//! A dropped call leaves nothing in the lock's line, and has taken effect or not; a `HeldLease` then believes in no more than
//! stands there in either case. Dropping a `HeldLease` gives nothing back: that is [`HeldLease::release`].
//!
//! # Answers to
//! Kazoo's deletes the old lease and creates the new one: if it fails between the two, somebody else obtains what the old
//! one still holds; here one write does both. Its holder is told yes and never until when. `MultiNonBlockingLease` tries
//! the places in order, so a holder of the second takes the first as well when that is free, and keeps another out; here
//! a place that one has comes first. Kazoo waits for the lock for ever.
//!
//! Try it: `cargo run -p atalaya-recipes --example lease -- 127.0.0.1:2181`.
//!
//! ```no_run
//! # async fn example(session: atalaya_recipes::Session) -> Result<(), atalaya_recipes::LeaseError> {
//! use std::time::Duration;
//! use atalaya_recipes::{Acquire, Lease};
//!
//! // Longer than the hour, so that the job stays on this machine.
//! let lease = Lease::new(session, "/leases/cleanup", "node 1", Duration::from_secs(70 * 60));
//! match lease.acquire().await? {
//!     Acquire::Acquired(held) => println!("cleaning up, within {:?}", held.remaining()),
//!     Acquire::HeldByOther(other) => println!("{} does that until {:?}", other.holder, other.end),
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

use self::record::{Ask, LONGEST_NAME, LocalExpiry, Record, Unreadable, excerpt};
use self::update::Effort;
use self::wall_clock::{Clock, time};
use crate::retry::{Attempts, DEFAULT_TIMEOUT};
use crate::session::{CreateMode, Write};
use crate::wrong_znode::{WrongZnode, ZnodeProblem, is_ephemeral};
use crate::{Connection, Session, Stat};

/// A lease at a path, for one holder. It holds nothing itself.
#[derive(Clone, Debug)]
pub struct Lease {
    session: Session,
    path: String,
    holder: String,
    length: Duration,
    patience: Duration,
    grace: Duration,
    clock: Clock,
}

/// What was written, and what may be believed of it.
#[derive(Debug)]
struct Written {
    belief: LocalExpiry,
    fence: i64,
}

impl Lease {
    /// The lease at `path`, for one who calls itself `holder` (4 KiB at the longest), for `length` each time that it is
    /// obtained: a second at the least. As its end is rounded down, up to a second less. Nothing happens yet.
    pub fn new(
        session: Session,
        path: impl Into<String>,
        holder: impl Into<String>,
        length: Duration,
    ) -> Lease {
        let (path, holder, clock) = (path.into(), holder.into(), Clock(Arc::new(SystemTime::now)));
        Lease { session, path, holder, length, patience: DEFAULT_TIMEOUT, grace: Duration::ZERO, clock }
    }

    /// How long a call tries on.
    #[must_use]
    pub fn with_timeout(mut self, patience: Duration) -> Lease {
        self.patience = patience;
        self
    }

    /// For so long after its end, somebody else's lease is respected all the same: as far as the clocks may differ. Zero
    /// unless set, as with Kazoo.
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Lease {
        self.grace = grace;
        self
    }

    /// Another wall clock than the system's: for tests and simulations. It is read often, and must not block.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Lease {
        self.clock = Clock(Arc::new(clock));
        self
    }

    /// As many leases as `count` below the path, of which the holder has one.
    pub fn with_slots(self, count: u16) -> MultiLease {
        MultiLease::new(self, count)
    }

    /// Obtains the lease if nobody else has it, or renews it; does not wait for its end.
    ///
    /// # Errors
    /// As the [module](self) says. After [`LeaseError::OutcomeUnknown`] it may be held, until its end; whoever obtains it
    /// again knows.
    pub async fn acquire(&self) -> Result<Acquire, LeaseError> {
        Ok(match self.write(|_| {}).await? {
            Ok(written) => Acquire::Acquired(HeldLease::new(self.clone(), written)),
            Err(holding) => Acquire::HeldByOther(holding),
        })
    }

    /// Who holds it, as of this call or later; `None` if it is free, or over by this machine's clock.
    ///
    /// # Errors
    /// As the [module](self) says.
    pub async fn current(&self) -> Result<Option<LeaseInfo>, LeaseError> {
        let mut attempts = Attempts::new(&self.session, self.patience, "look at", &self.path);
        loop {
            let connection = attempts.connection().await?;
            match self.look(&connection).await {
                Ok(Some((found, stat))) => {
                    let over = found.is_over(self.clock.now().wall, Duration::ZERO);
                    return Ok((!over).then(|| self.holding(found, &stat)));
                }
                Ok(None) => return Ok(None),
                Err(LeaseError::Failed(error)) => attempts.failed(error).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes it, or says who has it. `about_to` hears, before each write, what may stand there from then on.
    async fn write(
        &self,
        mut about_to: impl FnMut(LocalExpiry),
    ) -> Result<Result<Written, LeaseInfo>, LeaseError> {
        self.check()?;
        let mut effort = Effort::new(self, "obtain");
        loop {
            match self.write_once(&mut effort, &mut about_to).await {
                Ok(outcome) => return Ok(outcome),
                Err(failure) => effort.failed(failure).await?,
            }
        }
    }

    async fn write_once(
        &self,
        effort: &mut Effort<'_>,
        about_to: &mut impl FnMut(LocalExpiry),
    ) -> Result<Result<Written, LeaseInfo>, LeaseError> {
        let ask = self.ask();
        if effort.is_settled() {
            // Who has no chance does not stand in the line, where others would have to wait for it.
            let connection = effort.connection().await?;
            if let Some((found, stat)) = self.look(&connection).await?
                && ask.must_respect(&found, self.clock.now().wall)
            {
                return Ok(Err(self.holding(found, &stat)));
            }
        }
        let (guard, found) = effort.lock().await?;
        let now = self.clock.now();
        let stat = match found {
            Some((found, stat)) if ask.must_respect(&found, now.wall) => {
                guard.release().await;
                return Ok(Err(self.holding(found, &stat)));
            }
            found => found.map(|(_, stat)| stat),
        };
        let record = ask.record(now.wall);
        let belief = LocalExpiry::new(&record, now);
        about_to(belief);
        let (path, text) = (self.znode(), record.text());
        let set = |version| Write::Set { path: &path, data: text.as_bytes(), version: Some(version) };
        let written = match stat {
            Some(stat) => effort.write(&guard, &[set(stat.version)]).await?,
            // Set as well, for the stat: what a create in a multi answers is of no use with older servers.
            None => {
                let create = Write::Create { path: &path, data: b"", mode: CreateMode::Persistent };
                effort.write(&guard, &[create, set(0)]).await?
            }
        };
        guard.release().await;
        // A set is answered with a stat. Were it not, 0 is what every receiver refuses.
        Ok(Ok(Written { belief, fence: written.map_or(0, |stat| stat.mzxid) }))
    }

    /// Deletes what stands there if `is_ours` says so of it and of the number of its write.
    async fn delete(&self, is_ours: impl Fn(&Record, i64) -> bool) -> Result<(), LeaseError> {
        let mut effort = Effort::new(self, "release");
        loop {
            let deleted = async {
                let (guard, found) = effort.lock().await?;
                if let Some((found, stat)) = found
                    && is_ours(&found, stat.mzxid)
                {
                    let delete = Write::Delete { path: &self.znode(), version: Some(stat.version) };
                    effort.write(&guard, &[delete]).await?;
                }
                guard.release().await;
                Ok(())
            };
            match deleted.await {
                Ok(()) => return Ok(()),
                Err(failure) => effort.failed(failure).await?,
            }
        }
    }

    /// What stands there, as of now or later.
    async fn look(&self, connection: &Connection) -> Result<Option<(Record, Stat)>, LeaseError> {
        connection.sync().await?;
        self.read(connection).await
    }

    async fn read(&self, connection: &Connection) -> Result<Option<(Record, Stat)>, LeaseError> {
        match connection.get(&self.znode()).await {
            Ok((_, stat)) if is_ephemeral(stat.ephemeral_owner) => {
                Err(LeaseError::WrongZnode(WrongZnode::new(self.znode(), ZnodeProblem::Ephemeral)))
            }
            Ok((data, stat)) => Ok(Some((self.parse(&data)?, stat))),
            Err(error) if error.is_no_node() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn parse(&self, data: &[u8]) -> Result<Record, LeaseError> {
        Record::read(data).map_err(|unreadable| match unreadable {
            Unreadable::OtherVersion(version) => LeaseError::OtherVersion { path: self.znode(), version },
            Unreadable::NotALease => LeaseError::NotALease { path: self.znode(), found: excerpt(data) },
        })
    }

    fn check(&self) -> Result<(), LeaseError> {
        let unfit = |why| Err(LeaseError::Unfit { path: self.path.clone(), why });
        if self.length < Duration::from_secs(1) {
            return unfit("for less than a second");
        }
        if self.holder.len() > LONGEST_NAME {
            return unfit("for a holder whose name is longer than 4 KiB");
        }
        Ok(())
    }

    fn znode(&self) -> String {
        format!("{}/lease_holder", self.path)
    }

    fn ask(&self) -> Ask<'_> {
        Ask { holder: &self.holder, length: self.length, grace: self.grace }
    }

    fn holding(&self, found: Record, stat: &Stat) -> LeaseInfo {
        let Record { holder, end } = found;
        LeaseInfo {
            path: self.path.clone(),
            holder,
            end: time(Duration::from_secs(end)),
            fencing_token: stat.mzxid,
        }
    }
}
