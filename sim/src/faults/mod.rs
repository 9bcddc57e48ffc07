//! Faults of simulated sensors, and their schedules.
//!
//! Each fault is injected at the layer where it would occur in reality: on the bus ([`crate::SimBus`],
//! [`crate::SimSpi`]), in the chip's environment ([`crate::models::Environment`]), or in the driver
//! ([`FaultInjector`]).

mod injector;
mod recurrence;
mod schedule;

pub use injector::FaultInjector;
pub use recurrence::{Active, Recurrence};
pub use schedule::FaultSchedule;

use std::time::Duration;

use atalaya_hal::Quantity;

/// Fault with its times, counted from the start of the clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScheduledFault {
    /// Kind of the fault.
    pub fault: FaultKind,
    /// Time of the first occurrence.
    pub after: Duration,
    /// Duration; None for an unlimited one.
    pub lasts: Option<Duration>,
    /// Interval between two starts, longer than the duration; None for a fault that occurs once.
    pub every: Option<Duration>,
}

/// Kind of a fault.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum FaultKind {
    /// `no-acknowledge`: the chip is unplugged. It returns with its power-up values.
    NoAcknowledge,
    /// `bus`: transfers are disturbed, and the controller detects it.
    Bus,
    /// `crc`: transfers are disturbed, and only the checksum detects it.
    Checksum,
    /// `stuck`: a line is held low; every transfer ends in a timeout.
    Stuck,
    /// `busy`: a kernel driver owns the address.
    Busy,
    /// `out-of-range`: the converter of the chip is at the end of its range.
    OutOfRange,
    /// `nan`: the value is not a number.
    NotANumber,
    /// `panic`: the driver panics.
    Panic,
    /// `hang`: a read does not return before the end of the fault.
    Hang,
    /// `slow`: every read takes this much longer.
    Slow(Duration),
    /// `drift`: a value drifts away from the correct one, from the start of the fault.
    Drift {
        /// Affected quantity.
        quantity: Quantity,
        /// Rate, in the unit of the quantity per minute.
        rate: f64,
    },
}

/// Fault of the transfers of one chip. A schedule or a test injects it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusFault {
    /// The chip behaves as if unplugged. When it returns, it has lost its power: its registers have their power-up
    /// values.
    NoAcknowledge,
    /// The transfer fails with a bus error, as from a disturbed line.
    Bus,
    /// The transfer times out, as when the chip stretches the clock for too long.
    Timeout,
    /// The address is busy, as when a kernel driver owns it.
    Busy,
    /// One bit of every read is wrong: the lowest bit of the last byte, which is a checksum in chips that have one.
    Checksum,
}

/// Fault of a driver, instead of a read or in addition to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverFault {
    /// The driver waits for this time before it does anything else.
    Waits(Duration),
    /// The driver panics.
    Panics,
    /// The driver returns a value that is not a number.
    NotANumber,
}
