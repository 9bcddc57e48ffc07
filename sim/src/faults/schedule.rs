//! Evaluates the scheduled faults of a sensor at a given time. Pure: the time is an argument, counted from the start.

use std::time::Duration;

use atalaya_hal::{Cause, Quantity};

use super::recurrence::{Active, Recurrence};
use super::{BusFault, DriverFault, FaultKind, ScheduledFault};

/// Scheduled faults of one sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FaultSchedule(Vec<(FaultKind, Recurrence)>);

impl FaultSchedule {
    /// Creates a schedule of these faults.
    pub fn new(faults: &[ScheduledFault]) -> FaultSchedule {
        let recurrence = |fault: &ScheduledFault| Recurrence::new(fault.after, fault.lasts, fault.every);
        FaultSchedule(faults.iter().map(|fault| (fault.fault, recurrence(fault))).collect())
    }

    /// Returns true if the schedule has no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the faults that are active at `now`, in their order.
    fn active(&self, now: Duration) -> impl Iterator<Item = (FaultKind, Active)> {
        self.0.iter().filter_map(move |(fault, recurrence)| recurrence.at(now).map(|at| (*fault, at)))
    }

    /// Returns the bus fault at `now`: the first if several are active.
    pub fn bus_fault(&self, now: Duration) -> Option<BusFault> {
        self.active(now).find_map(|(fault, _)| match fault {
            FaultKind::NoAcknowledge => Some(BusFault::NoAcknowledge),
            FaultKind::Bus => Some(BusFault::Bus),
            FaultKind::Checksum => Some(BusFault::Checksum),
            FaultKind::Stuck => Some(BusFault::Timeout),
            FaultKind::Busy => Some(BusFault::Busy),
            _ => None,
        })
    }

    /// Returns the last time, up to `now`, at which the chip was plugged in again.
    pub fn plugged_in(&self, now: Duration) -> Option<Duration> {
        let ended = |(fault, recurrence): &(FaultKind, Recurrence)| match fault {
            FaultKind::NoAcknowledge => recurrence.ended(now),
            _ => None,
        };
        self.0.iter().filter_map(ended).max()
    }

    /// Returns the cause that a driver would report at `now`, for simulated sensors without a driver.
    pub fn cause(&self, now: Duration) -> Option<Cause> {
        self.active(now).find_map(|(fault, _)| match fault {
            FaultKind::NoAcknowledge => Some(Cause::NotPresent),
            FaultKind::Bus => Some(Cause::Bus),
            FaultKind::Checksum => Some(Cause::Checksum),
            FaultKind::Stuck => Some(Cause::Timeout),
            FaultKind::Busy => Some(Cause::Busy),
            FaultKind::OutOfRange => Some(Cause::OutOfRange),
            _ => None,
        })
    }

    /// Returns the value that the chip measures instead of `value`: with drifts added; infinite, as for a broken
    /// element, when out of range.
    pub fn distort(&self, quantity: Quantity, value: f64, now: Duration) -> f64 {
        self.active(now).fold(value, |value, (fault, at)| match fault {
            FaultKind::Drift { quantity: drifting, rate } if drifting == quantity => {
                value + rate * at.since.as_secs_f64() / 60.0
            }
            FaultKind::OutOfRange => f64::INFINITY,
            _ => value,
        })
    }

    /// Returns the driver faults of a read that begins at `now`, in this order.
    pub fn driver_faults(&self, now: Duration) -> impl Iterator<Item = DriverFault> {
        self.active(now).filter_map(|(fault, at)| match fault {
            FaultKind::Slow(delay) => Some(DriverFault::Waits(delay)),
            // A hang without an end returns at once.
            FaultKind::Hang => Some(DriverFault::Waits(at.left.unwrap_or_default())),
            FaultKind::Panic => Some(DriverFault::Panics),
            FaultKind::NotANumber => Some(DriverFault::NotANumber),
            _ => None,
        })
    }

    /// Returns true if a fault makes reads block, so that they need a thread.
    pub fn blocks(&self) -> bool {
        self.0.iter().any(|(fault, _)| matches!(fault, FaultKind::Slow(_) | FaultKind::Hang))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn schedule(faults: &[(FaultKind, u64, u64)]) -> FaultSchedule {
        let fault = |&(fault, after, lasts): &(FaultKind, u64, u64)| ScheduledFault {
            fault,
            after: s(after),
            lasts: Some(s(lasts)),
            every: None,
        };
        FaultSchedule::new(&faults.iter().map(fault).collect::<Vec<_>>())
    }

    #[test]
    fn each_fault_happens_in_its_place() {
        let drift = FaultKind::Drift { quantity: Quantity::Temperature, rate: 6.0 };
        let table = [
            (FaultKind::NoAcknowledge, Some(BusFault::NoAcknowledge), Some(Cause::NotPresent), None),
            (FaultKind::Bus, Some(BusFault::Bus), Some(Cause::Bus), None),
            (FaultKind::Checksum, Some(BusFault::Checksum), Some(Cause::Checksum), None),
            (FaultKind::Stuck, Some(BusFault::Timeout), Some(Cause::Timeout), None),
            (FaultKind::Busy, Some(BusFault::Busy), Some(Cause::Busy), None),
            (FaultKind::OutOfRange, None, Some(Cause::OutOfRange), None),
            (FaultKind::NotANumber, None, None, Some(DriverFault::NotANumber)),
            (FaultKind::Panic, None, None, Some(DriverFault::Panics)),
            (FaultKind::Hang, None, None, Some(DriverFault::Waits(s(7)))),
            (FaultKind::Slow(s(2)), None, None, Some(DriverFault::Waits(s(2)))),
            (drift, None, None, None),
        ];
        for (fault, bus, cause, driver) in table {
            let schedule = schedule(&[(fault, 10, 10)]);
            let inside =
                |now| (schedule.bus_fault(now), schedule.cause(now), schedule.driver_faults(now).next());
            assert_eq!(inside(s(13)), (bus, cause, driver), "{fault:?}");
            for outside in [s(9), s(20)] {
                assert_eq!(inside(outside), (None, None, None), "{fault:?}");
                assert_eq!(schedule.distort(Quantity::Temperature, 20.0, outside), 20.0);
            }
        }
        assert_eq!(schedule(&[(drift, 10, 100)]).distort(Quantity::Temperature, 20.0, s(20)), 21.0);
        assert_eq!(schedule(&[(drift, 10, 100)]).distort(Quantity::Humidity, 20.0, s(20)), 20.0);
        let broken = schedule(&[(FaultKind::OutOfRange, 0, 1)]);
        assert_eq!(broken.distort(Quantity::Humidity, 20.0, s(0)), f64::INFINITY);
    }

    #[test]
    fn the_first_of_several_faults_on_the_bus_counts_and_drifts_add_up() {
        let drift = FaultKind::Drift { quantity: Quantity::Temperature, rate: 60.0 };
        let schedule = schedule(&[
            (FaultKind::Bus, 5, 5),
            (FaultKind::NoAcknowledge, 0, 20),
            (drift, 0, 100),
            (drift, 10, 100),
        ]);
        assert_eq!(schedule.bus_fault(s(4)), Some(BusFault::NoAcknowledge));
        assert_eq!(schedule.bus_fault(s(5)), Some(BusFault::Bus));
        assert_eq!(schedule.distort(Quantity::Temperature, 0.0, s(30)), 50.0);
        assert_eq!([schedule.plugged_in(s(19)), schedule.plugged_in(s(30))], [None, Some(s(20))]);
    }

    proptest! {
        #[test]
        fn without_faults_nothing_goes_wrong(now in any::<u64>(), value in any::<f64>()) {
            let (schedule, now) = (FaultSchedule::default(), Duration::from_millis(now));
            prop_assert!(schedule.is_empty() && !schedule.blocks());
            prop_assert_eq!(schedule.bus_fault(now), None);
            prop_assert_eq!(schedule.cause(now), None);
            prop_assert_eq!(schedule.driver_faults(now).count(), 0);
            prop_assert_eq!(schedule.distort(Quantity::Power, value, now).to_bits(), value.to_bits());
        }

        #[test]
        fn a_drift_is_a_straight_line(rate in -1e3..1e3_f64, begins in 0..1_000_u64, later in 0..100_000_u64) {
            let drift = FaultKind::Drift { quantity: Quantity::Pressure, rate };
            let fault = ScheduledFault { fault: drift, after: s(begins), lasts: None, every: None };
            let value = FaultSchedule::new(&[fault]).distort(Quantity::Pressure, 1.0, s(begins + later));
            prop_assert!((value - (1.0 + rate * later as f64 / 60.0)).abs() <= 1e-9 * (1.0 + value.abs()));
        }
    }
}
