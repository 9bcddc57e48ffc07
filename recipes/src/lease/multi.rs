//! Several leases, of which a holder has one.

use tokio::time::Instant;

use super::{Acquire, Lease, LeaseError, LeaseInfo};
use crate::Error;
use crate::retry::Attempts;
use crate::session::BulkRead;
use crate::wrong_znode::{WrongZnode, ZnodeProblem, is_ephemeral};

/// How many places one request looks at.
const AT_ONCE: usize = 32;

/// A number of leases, see [`Lease::with_slots`]. It holds nothing itself.
#[derive(Clone, Debug)]
pub struct MultiLease {
    lease: Lease,
    count: u16,
}

/// What the places are, seen one after the other.
#[derive(Debug, Default)]
struct Seen {
    own: Option<Lease>,
    /// Those that may be had.
    open: Vec<Lease>,
    taken: Vec<LeaseInfo>,
    /// Why one of them cannot be had by anybody.
    trouble: Option<LeaseError>,
}

impl MultiLease {
    pub(super) fn new(lease: Lease, count: u16) -> MultiLease {
        MultiLease { lease, count }
    }

    /// Obtains one of them: the one that the holder has, which is renewed, or else the first that is free. If there is
    /// none, the one whose lease ends first is told.
    ///
    /// # Errors
    /// As the [module](super) says. A place that nobody can have stands in nobody's way while another is free.
    pub async fn acquire(&self) -> Result<Acquire, LeaseError> {
        self.lease.check()?;
        if self.count == 0 {
            let why = "with no place in it";
            return Err(LeaseError::Unfit { path: self.lease.path.clone(), why });
        }
        let until = Instant::now().checked_add(self.lease.patience);
        let left = |place: Lease| match until {
            Some(until) => place.with_timeout(until.saturating_duration_since(Instant::now())),
            None => place,
        };
        let Seen { own, open, mut taken, mut trouble } = self.look().await?;
        if let Some(own) = own {
            match left(own).acquire().await? {
                Acquire::HeldByOther(holding) => taken.push(holding),
                held => return Ok(held),
            }
        }
        for place in open {
            match left(place).acquire().await {
                Ok(Acquire::HeldByOther(holding)) => taken.push(holding),
                Err(
                    error @ (LeaseError::Busy { .. }
                    | LeaseError::NotALease { .. }
                    | LeaseError::OtherVersion { .. }
                    | LeaseError::WrongZnode(_)),
                ) => trouble = Some(trouble.unwrap_or(error)),
                // After an error it may be held: another one would be the second.
                ended => return ended,
            }
        }
        match (trouble, taken.into_iter().min_by_key(|holding| holding.end)) {
            (None, Some(holding)) => Ok(Acquire::HeldByOther(holding)),
            (Some(error), _) => Err(error),
            (None, None) => {
                let Lease { path, patience, .. } = self.lease.clone();
                Err(LeaseError::Busy { path, patience })
            }
        }
    }

    /// Who has a lease, as of this call or later, in the order of the places.
    ///
    /// # Errors
    /// As the [module](super) says, if one of the places cannot be read.
    pub async fn current(&self) -> Result<Vec<LeaseInfo>, LeaseError> {
        let mut all = Vec::new();
        for number in 0..self.count {
            all.extend(self.place(number).current().await?);
        }
        Ok(all)
    }

    async fn look(&self) -> Result<Seen, LeaseError> {
        let Lease { session, path, patience, .. } = &self.lease;
        let mut attempts = Attempts::new(session, *patience, "look at", path);
        let mut seen = Seen::default();
        let places: Vec<Lease> = (0..self.count).map(|number| self.place(number)).collect();
        for some in places.chunks(AT_ONCE) {
            let znodes: Vec<String> = some.iter().map(Lease::znode).collect();
            let answers = loop {
                let connection = attempts.connection().await?;
                let read = async {
                    connection.sync().await?;
                    connection.get_many(&znodes).await
                };
                match read.await {
                    Ok(answers) => break answers,
                    Err(error) => attempts.failed(error).await?,
                }
            };
            for (place, answer) in some.iter().zip(answers) {
                seen.add(place, answer);
            }
        }
        Ok(seen)
    }

    fn place(&self, number: u16) -> Lease {
        Lease { path: format!("{}/{number}", self.lease.path), ..self.lease.clone() }
    }
}

impl Seen {
    fn add(&mut self, place: &Lease, answer: BulkRead) {
        let found = match answer {
            BulkRead::Data(_, stat) if is_ephemeral(stat.ephemeral_owner) => {
                Err(LeaseError::WrongZnode(WrongZnode::new(place.znode(), ZnodeProblem::Ephemeral)))
            }
            BulkRead::Data(data, stat) => place.parse(&data).map(|record| Some((record, stat))),
            BulkRead::Missing(zookeeper_client::Error::NoNode) => Ok(None),
            BulkRead::Missing(source) => {
                Err(Error::Refused { operation: "get", path: place.znode(), source }.into())
            }
        };
        let wall = place.clock.now().wall;
        match found {
            Err(error) => {
                self.trouble.get_or_insert(error);
            }
            Ok(Some((record, stat))) if place.ask().must_respect(&record, wall) => {
                self.taken.push(place.holding(record, &stat));
            }
            Ok(Some((record, _)))
                if self.own.is_none()
                    && record.holder == place.holder
                    && !record.is_over(wall, place.grace) =>
            {
                self.own = Some(place.clone());
            }
            Ok(_) => self.open.push(place.clone()),
        }
    }
}
