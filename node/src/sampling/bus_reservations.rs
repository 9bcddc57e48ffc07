//! Buses that a task uses. While a bus is reserved, its sensors are not read.
//!
//! A reservation is granted when the read in progress has ended; no read starts after the request. A read that never
//! returns keeps its bus, so requests have a timeout.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Reservations of the buses of a board. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct BusReservations(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    buses: Mutex<BTreeMap<String, BusUse>>,
    /// Notified when a read or a reservation ends.
    released: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct BusUse {
    /// Task that has reserved the bus, or waits for the end of the read in progress.
    task: Option<String>,
    /// Number of reads in progress: those of sensors that were replaced may not have returned yet.
    reads: usize,
}

/// Reserved buses. They are released when this is dropped.
#[derive(Debug)]
pub struct Reservation {
    reservations: BusReservations,
    buses: Vec<String>,
}

/// Read in progress. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct ReadPermit {
    reservations: BusReservations,
    bus: String,
}

impl BusReservations {
    /// Reserves buses for a task. Waits until no other task has reserved one of them and the reads in progress have
    /// ended.
    ///
    /// # Errors
    /// A bus was not available within `timeout`.
    ///
    /// # Cancellation safety
    /// If the future is dropped, nothing is reserved.
    pub async fn reserve(
        &self,
        buses: &[String],
        task: &str,
        timeout: Duration,
    ) -> Result<Reservation, String> {
        let mut released = self.0.released.subscribe();
        let mut reservation = Reservation { reservations: self.clone(), buses: Vec::new() };
        let wait = async {
            // All at once, so that two tasks never wait for each other.
            while !self.try_mark(buses, task) {
                let _ = released.changed().await;
            }
            reservation.buses = buses.to_vec();
            while !self.reads_have_ended(buses) {
                let _ = released.changed().await;
            }
        };
        match tokio::time::timeout(timeout, wait).await {
            Ok(()) => Ok(reservation),
            Err(_) => Err(self.why_unavailable(buses, task, timeout)),
        }
    }

    /// Returns the task that has reserved the bus.
    pub fn holder(&self, bus: &str) -> Option<String> {
        self.with(|all| all.get(bus)?.task.clone())
    }

    /// Starts a read.
    ///
    /// # Errors
    /// The task that has reserved the bus.
    pub(super) fn start_read(&self, bus: &str) -> Result<ReadPermit, String> {
        self.with(|all| {
            let bus_use = all.entry(bus.to_owned()).or_default();
            if let Some(task) = &bus_use.task {
                return Err(task.clone());
            }
            bus_use.reads += 1;
            Ok(ReadPermit { reservations: self.clone(), bus: bus.to_owned() })
        })
    }

    /// Marks the buses as reserved, unless another task has reserved one of them.
    fn try_mark(&self, buses: &[String], task: &str) -> bool {
        self.with(|all| {
            if buses.iter().any(|bus| all.get(bus).is_some_and(|bus_use| bus_use.task.is_some())) {
                return false;
            }
            for bus in buses {
                all.entry(bus.clone()).or_default().task = Some(task.to_owned());
            }
            true
        })
    }

    fn reads_have_ended(&self, buses: &[String]) -> bool {
        self.with(|all| buses.iter().all(|bus| all.get(bus).is_none_or(|bus_use| bus_use.reads == 0)))
    }

    fn why_unavailable(&self, buses: &[String], task: &str, timeout: Duration) -> String {
        self.with(|all| {
            let other = |bus: &&String| {
                all.get(*bus).and_then(|bus_use| bus_use.task.as_ref()).filter(|other| *other != task)
            };
            match buses.iter().find_map(|bus| Some((bus, other(&bus)?))) {
                Some((bus, other)) => format!("the bus {bus} is in use by task {other}"),
                None => format!("a read on {} has not returned within {timeout:?}", buses.join(", ")),
            }
        })
    }

    fn with<T>(&self, use_all: impl FnOnce(&mut BTreeMap<String, BusUse>) -> T) -> T {
        use_all(&mut self.0.buses.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.reservations.with(|all| {
            for bus in &self.buses {
                if let Some(bus_use) = all.get_mut(bus) {
                    bus_use.task = None;
                }
            }
        });
        self.reservations.0.released.send_replace(());
    }
}

impl Drop for ReadPermit {
    fn drop(&mut self) {
        self.reservations.with(|all| {
            if let Some(bus_use) = all.get_mut(&self.bus) {
                bus_use.reads = bus_use.reads.saturating_sub(1);
            }
        });
        self.reservations.0.released.send_replace(());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(20);

    fn buses(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[tokio::test]
    async fn reservation_waits_for_the_read_in_progress_and_no_read_starts_meanwhile() {
        let all = BusReservations::default();
        let permit = all.start_read("i2c-1").unwrap();
        let (waiting, reserved) = (all.clone(), buses(&["i2c-1"]));
        let request = tokio::spawn(async move { waiting.reserve(&reserved, "t-1", DEADLINE).await });
        while all.holder("i2c-1").is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(all.start_read("i2c-1").unwrap_err(), "t-1");
        assert!(all.start_read("i2c-2").is_ok(), "other buses are read");
        assert!(!request.is_finished());
        drop(permit);
        let reservation = request.await.unwrap().unwrap();
        assert!(all.start_read("i2c-1").is_err());
        drop(reservation);
        assert!(all.start_read("i2c-1").is_ok());
    }

    #[tokio::test]
    async fn reservation_fails_with_the_reason_if_the_bus_stays_in_use() {
        let all = BusReservations::default();
        let permit = all.start_read("i2c-1").unwrap();
        let error = all.reserve(&buses(&["i2c-1"]), "t-1", SHORT).await.unwrap_err();
        assert_eq!(error, "a read on i2c-1 has not returned within 20ms");
        assert_eq!(all.holder("i2c-1"), None, "a failed request keeps nothing");
        drop(permit);
        let _held = all.reserve(&buses(&["i2c-1"]), "t-1", DEADLINE).await.unwrap();
        let error = all.reserve(&buses(&["i2c-2", "i2c-1"]), "t-2", SHORT).await.unwrap_err();
        assert_eq!(error, "the bus i2c-1 is in use by task t-1");
        assert_eq!(all.holder("i2c-2"), None);
    }

    #[tokio::test]
    async fn two_tasks_that_need_the_same_buses_use_them_one_after_the_other() {
        let all = BusReservations::default();
        let first = all.reserve(&buses(&["a", "b"]), "t-1", DEADLINE).await.unwrap();
        let (other, reserved) = (all.clone(), buses(&["b", "a"]));
        let second = tokio::spawn(async move { other.reserve(&reserved, "t-2", DEADLINE).await });
        tokio::task::yield_now().await;
        drop(first);
        let _second = second.await.unwrap().unwrap();
        assert_eq!(all.holder("a").as_deref(), Some("t-2"));
    }
}
