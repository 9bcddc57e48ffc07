//! Scripted faults: evaluates the `faults` of boards.toml at a given time. Pure: the time is an argument, counted from
//! the start.
//!
//! Each fault is injected at the layer where it would occur in reality: on the bus ([`crate::SimBus`]), in the chip's
//! environment ([`crate::models::Environment`]), or in the driver ([`crate::scripted::Scripted`]).

mod window;

pub use window::{Now, Window};

use std::time::Duration;

use atalaya_hal::boards::{FaultKind, ScriptedFault};
use atalaya_hal::{Cause, Quantity};

use crate::bus::Fault;

/// Scripted faults of one sensor.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Script(Vec<(FaultKind, Window)>);

/// A fault in a driver, instead of a read or in addition to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InTheDriver {
    /// The driver waits for this time before it does anything else.
    Waits(Duration),
    /// The driver panics.
    Panics,
    /// The driver returns a value that is not a number.
    NotANumber,
}

impl Script {
    /// Creates a script from the faults in boards.toml.
    pub fn new(faults: &[ScriptedFault]) -> Script {
        let window = |fault: &ScriptedFault| Window::new(fault.after, fault.lasts, fault.every);
        Script(faults.iter().map(|fault| (fault.fault, window(fault))).collect())
    }

    /// Returns true if the script has no faults.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the faults that are active at `now`, in the order of boards.toml.
    fn active(&self, now: Duration) -> impl Iterator<Item = (FaultKind, Now)> {
        self.0.iter().filter_map(move |(fault, window)| window.at(now).map(|at| (*fault, at)))
    }

    /// Returns the bus fault at `now`: the first if several are active.
    pub fn on_the_bus(&self, now: Duration) -> Option<Fault> {
        self.active(now).find_map(|(fault, _)| match fault {
            FaultKind::NoAcknowledge => Some(Fault::NoAcknowledge),
            FaultKind::Bus => Some(Fault::Bus),
            FaultKind::Checksum => Some(Fault::Checksum),
            FaultKind::Stuck => Some(Fault::Timeout),
            FaultKind::Busy => Some(Fault::Busy),
            _ => None,
        })
    }

    /// Returns the last time, up to `now`, at which the chip was plugged in again.
    pub fn plugged_in(&self, now: Duration) -> Option<Duration> {
        let ended = |(fault, window): &(FaultKind, Window)| match fault {
            FaultKind::NoAcknowledge => window.ended(now),
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
    pub fn around(&self, quantity: Quantity, value: f64, now: Duration) -> f64 {
        self.active(now).fold(value, |value, (fault, at)| match fault {
            FaultKind::Drift { quantity: drifting, rate } if drifting == quantity => {
                value + rate * at.since.as_secs_f64() / 60.0
            }
            FaultKind::OutOfRange => f64::INFINITY,
            _ => value,
        })
    }

    /// Returns the driver faults of a read that begins at `now`, in this order.
    pub fn in_the_driver(&self, now: Duration) -> impl Iterator<Item = InTheDriver> {
        self.active(now).filter_map(|(fault, at)| match fault {
            FaultKind::Slow(delay) => Some(InTheDriver::Waits(delay)),
            // A hang without an end is refused in boards.toml.
            FaultKind::Hang => Some(InTheDriver::Waits(at.left.unwrap_or_default())),
            FaultKind::Panic => Some(InTheDriver::Panics),
            FaultKind::NotANumber => Some(InTheDriver::NotANumber),
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

    fn script(faults: &[(FaultKind, u64, u64)]) -> Script {
        let fault = |&(fault, after, lasts): &(FaultKind, u64, u64)| ScriptedFault {
            fault,
            after: s(after),
            lasts: Some(s(lasts)),
            every: None,
        };
        Script::new(&faults.iter().map(fault).collect::<Vec<_>>())
    }

    #[test]
    fn each_fault_happens_in_its_place() {
        let drift = FaultKind::Drift { quantity: Quantity::Temperature, rate: 6.0 };
        let table = [
            (FaultKind::NoAcknowledge, Some(Fault::NoAcknowledge), Some(Cause::NotPresent), None),
            (FaultKind::Bus, Some(Fault::Bus), Some(Cause::Bus), None),
            (FaultKind::Checksum, Some(Fault::Checksum), Some(Cause::Checksum), None),
            (FaultKind::Stuck, Some(Fault::Timeout), Some(Cause::Timeout), None),
            (FaultKind::Busy, Some(Fault::Busy), Some(Cause::Busy), None),
            (FaultKind::OutOfRange, None, Some(Cause::OutOfRange), None),
            (FaultKind::NotANumber, None, None, Some(InTheDriver::NotANumber)),
            (FaultKind::Panic, None, None, Some(InTheDriver::Panics)),
            (FaultKind::Hang, None, None, Some(InTheDriver::Waits(s(7)))),
            (FaultKind::Slow(s(2)), None, None, Some(InTheDriver::Waits(s(2)))),
            (drift, None, None, None),
        ];
        for (fault, bus, cause, driver) in table {
            let script = script(&[(fault, 10, 10)]);
            let inside = |now| (script.on_the_bus(now), script.cause(now), script.in_the_driver(now).next());
            assert_eq!(inside(s(13)), (bus, cause, driver), "{fault:?}");
            for outside in [s(9), s(20)] {
                assert_eq!(inside(outside), (None, None, None), "{fault:?}");
                assert_eq!(script.around(Quantity::Temperature, 20.0, outside), 20.0);
            }
        }
        assert_eq!(script(&[(drift, 10, 100)]).around(Quantity::Temperature, 20.0, s(20)), 21.0);
        assert_eq!(script(&[(drift, 10, 100)]).around(Quantity::Humidity, 20.0, s(20)), 20.0);
        let broken = script(&[(FaultKind::OutOfRange, 0, 1)]);
        assert_eq!(broken.around(Quantity::Humidity, 20.0, s(0)), f64::INFINITY);
    }

    #[test]
    fn the_first_of_several_faults_on_the_bus_counts_and_drifts_add_up() {
        let drift = FaultKind::Drift { quantity: Quantity::Temperature, rate: 60.0 };
        let script = script(&[
            (FaultKind::Bus, 5, 5),
            (FaultKind::NoAcknowledge, 0, 20),
            (drift, 0, 100),
            (drift, 10, 100),
        ]);
        assert_eq!(script.on_the_bus(s(4)), Some(Fault::NoAcknowledge));
        assert_eq!(script.on_the_bus(s(5)), Some(Fault::Bus));
        assert_eq!(script.around(Quantity::Temperature, 0.0, s(30)), 50.0);
        assert_eq!([script.plugged_in(s(19)), script.plugged_in(s(30))], [None, Some(s(20))]);
    }

    proptest! {
        #[test]
        fn without_faults_nothing_goes_wrong(now in any::<u64>(), value in any::<f64>()) {
            let (script, now) = (Script::default(), Duration::from_millis(now));
            prop_assert!(script.is_empty() && !script.blocks());
            prop_assert_eq!(script.on_the_bus(now), None);
            prop_assert_eq!(script.cause(now), None);
            prop_assert_eq!(script.in_the_driver(now).count(), 0);
            prop_assert_eq!(script.around(Quantity::Power, value, now).to_bits(), value.to_bits());
        }

        #[test]
        fn a_drift_is_a_straight_line(rate in -1e3..1e3_f64, begins in 0..1_000_u64, later in 0..100_000_u64) {
            let drift = FaultKind::Drift { quantity: Quantity::Pressure, rate };
            let fault = ScriptedFault { fault: drift, after: s(begins), lasts: None, every: None };
            let value = Script::new(&[fault]).around(Quantity::Pressure, 1.0, s(begins + later));
            prop_assert!((value - (1.0 + rate * later as f64 / 60.0)).abs() <= 1e-9 * (1.0 + value.abs()));
        }
    }
}
