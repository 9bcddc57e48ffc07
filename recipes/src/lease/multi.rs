//! Lease with several slots, of which each holder has at most one.

use tokio::time::Instant;

use super::{Acquire, Lease, LeaseError, LeaseInfo};
use crate::Connection;
use crate::retry::Attempts;
use crate::session::BulkRead;

const SLOTS_PER_READ: usize = 32;

/// Lease with several slots; see [`Lease::with_slots`].
#[derive(Clone, Debug)]
pub struct MultiLease {
    pub(super) lease: Lease,
    pub(super) slots: u16,
}

/// State of the slots. They are not all read at the same moment.
#[derive(Debug, Default)]
struct Slots {
    /// Slot that the holder has already.
    own: Option<Lease>,
    available: Vec<Lease>,
    taken: Vec<LeaseInfo>,
    /// Reason why no holder can acquire one of the slots.
    error: Option<LeaseError>,
}

impl MultiLease {
    /// Renews the slot that the holder has, or acquires the first free one. If none is free, returns the lease that
    /// ends first.
    ///
    /// # Errors
    /// See the [module](super). A slot that no holder can acquire is an error only if no other slot is free.
    pub async fn acquire(&self) -> Result<Acquire, LeaseError> {
        self.lease.check()?;
        if self.slots == 0 {
            return Err(LeaseError::Invalid { path: self.lease.path.clone(), reason: "it has no slots" });
        }
        let begun = Instant::now();
        let with_remaining_time = |slot: Lease| {
            let timeout = slot.timeout.saturating_sub(begun.elapsed());
            slot.with_timeout(timeout)
        };
        let Slots { own, available, mut taken, mut error } = self.read_slots().await?;
        if let Some(own) = own {
            match with_remaining_time(own).acquire().await? {
                Acquire::HeldByOther(info) => taken.push(info),
                acquired => return Ok(acquired),
            }
        }
        for slot in available {
            match with_remaining_time(slot).acquire().await {
                Ok(Acquire::HeldByOther(info)) => taken.push(info),
                Err(busy) if busy.is_foreign_data() || matches!(busy, LeaseError::Busy { .. }) => {
                    error.get_or_insert(busy);
                }
                // After other errors the slot may be held: a further slot would be the second one.
                outcome => return outcome,
            }
        }
        match (error, taken.into_iter().min_by_key(|info| info.end)) {
            (None, Some(info)) => Ok(Acquire::HeldByOther(info)),
            (Some(error), _) => Err(error),
            (None, None) => {
                let Lease { path, timeout, .. } = self.lease.clone();
                Err(LeaseError::Busy { path, timeout })
            }
        }
    }

    /// Reads the leases that are held, as of this call or later, in the order of the slots.
    ///
    /// # Errors
    /// See the [module](super); returned if one of the slots cannot be read.
    pub async fn current(&self) -> Result<Vec<LeaseInfo>, LeaseError> {
        let mut all = Vec::new();
        for number in 0..self.slots {
            all.extend(self.slot(number).current().await?);
        }
        Ok(all)
    }

    async fn read_slots(&self) -> Result<Slots, LeaseError> {
        let Lease { session, path, timeout, .. } = &self.lease;
        let mut attempts = Attempts::new(session, *timeout, "read", path);
        let mut slots = Slots::default();
        let all: Vec<Lease> = (0..self.slots).map(|number| self.slot(number)).collect();
        for batch in all.chunks(SLOTS_PER_READ) {
            let znodes: Vec<String> = batch.iter().map(Lease::znode).collect();
            let znodes = &znodes;
            let read =
                |connection: Connection| async move { connection.synced().await?.get_many(znodes).await };
            for (slot, read) in batch.iter().zip(attempts.retry(read).await?) {
                slots.add(slot, read);
            }
        }
        Ok(slots)
    }

    fn slot(&self, number: u16) -> Lease {
        Lease { path: format!("{}/{number}", self.lease.path), ..self.lease.clone() }
    }
}

impl Slots {
    fn add(&mut self, slot: &Lease, read: BulkRead) {
        let found = read.found(&slot.znode()).map_err(LeaseError::from).and_then(|found| slot.parse(found));
        let wall = slot.clock.now().wall;
        match found {
            Err(error) => {
                self.error.get_or_insert(error);
            }
            Ok(Some((record, stat))) if record.blocks(&slot.holder, wall, slot.grace) => {
                self.taken.push(slot.info(record, &stat));
            }
            Ok(Some((record, _)))
                if self.own.is_none()
                    && record.holder == slot.holder
                    && !record.has_ended(wall, slot.grace) =>
            {
                self.own = Some(slot.clone());
            }
            Ok(_) => self.available.push(slot.clone()),
        }
    }
}
