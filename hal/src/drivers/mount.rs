//! What every driver has: where its chip sits, what is known of it, and the way from a crate's answers to readings and
//! errors.

use std::fmt;
use std::ops::RangeInclusive;

use embedded_interfaces::TransportError;

use crate::error::{BusError, Cause, Place, ReadError};
use crate::reading::{Quantity, Reading};
use crate::sensor::SensorInfo;

/// What the air can hold, in %RH.
pub(super) const HUMIDITY: RangeInclusive<f64> = 0.0..=100.0;

/// Where a driver's chip sits.
pub struct Mount {
    place: Place,
    address: u8,
    info: SensorInfo,
}

impl Mount {
    /// The chip at `address`; `bus` is the bus in messages.
    pub fn new(bus: &str, address: u8, info: SensorInfo) -> Mount {
        Mount { place: Place::new(bus, address), address, info }
    }

    /// A chip on `bus` that has no address.
    pub(super) fn unaddressed(bus: &str, info: SensorInfo) -> Mount {
        Mount { place: Place::at(bus), address: 0, info }
    }

    pub(super) fn info(&self) -> &SensorInfo {
        &self.info
    }

    pub(super) fn address(&self) -> u8 {
        self.address
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// `cause` here, explained by `text`.
    pub(super) fn error(&self, cause: Cause, text: impl Into<String>) -> ReadError {
        ReadError::with_source(cause, self.place.clone(), text.into())
    }

    /// What the bus answered here.
    pub(super) fn bus(&self, error: impl BusError) -> ReadError {
        ReadError::from_bus(error, &self.place)
    }

    /// What embedded-devices answered here.
    pub(super) fn transport<E: BusError>(&self, error: TransportError<(), E>) -> ReadError {
        match error {
            TransportError::Bus(error) => self.bus(error),
            TransportError::Codec(()) => self.error(Cause::Other, "the driver could not read the answer"),
            TransportError::Unexpected(text) => self.error(Cause::Other, text),
        }
    }

    /// A checksum that is wrong.
    pub(super) fn checksum(&self) -> ReadError {
        ReadError::new(Cause::Checksum, self.place.clone())
    }

    /// A reading, if the chip can measure such a value at all: anything else is noise on the wire, or another chip.
    pub(super) fn reading(
        &self,
        quantity: Quantity,
        value: f64,
        range: RangeInclusive<f64>,
    ) -> Result<Reading, ReadError> {
        // Drivers that count in kelvin or in f32 leave dust far behind the last digit that a chip can tell apart.
        self.exact(quantity, (value * 1e9).round_ties_even() / 1e9, range)
    }

    /// As [`reading`](Mount::reading), of a value without dust: the chip's steps are powers of two.
    #[inline(always)]
    pub(super) fn exact(
        &self,
        quantity: Quantity,
        value: f64,
        range: RangeInclusive<f64>,
    ) -> Result<Reading, ReadError> {
        match Reading::new(quantity, value) {
            Ok(reading) if range.contains(&value) => Ok(reading),
            _ => Err(self.out_of_range(quantity, value, &range)),
        }
    }

    #[cold]
    fn out_of_range(&self, quantity: Quantity, value: f64, range: &RangeInclusive<f64>) -> ReadError {
        let (low, high, unit) = (range.start(), range.end(), quantity.unit());
        let text = format!("{quantity} of {value} {unit}, but the chip measures from {low} to {high}");
        self.error(Cause::OutOfRange, text)
    }

    /// Refuses a value at an end of the converter's range: the true value may lie anywhere beyond it. `value` is the raw
    /// value or what it stands for, `remedy` what the user can do.
    #[cold]
    pub(super) fn saturated(&self, quantity: Quantity, value: impl fmt::Display, remedy: &str) -> ReadError {
        let text = format!(
            "{quantity} at the end of the converter's range ({value}), so the true value may be beyond it; {remedy}"
        );
        self.error(Cause::OutOfRange, text)
    }

    /// Refuses the content of a result register that no conversion has written.
    #[cold]
    pub(super) fn not_measured(&self, quantity: Quantity, raw: u32) -> ReadError {
        let text = format!("{quantity} was not measured: its register holds {raw:#x}, as after a reset");
        self.error(Cause::OutOfRange, text)
    }

    /// Checks the raw value of a converter of `bits` bits that holds half of its range while nothing was measured.
    pub(super) fn check_raw(
        &self,
        quantity: Quantity,
        raw: u32,
        bits: u32,
        step: u32,
    ) -> Result<(), ReadError> {
        let full = (1 << bits) - 1;
        // The lowest bits of a coarse conversion are zero, so its last code is less than a full register.
        match raw {
            _ if raw == 1 << (bits - 1) => Err(self.not_measured(quantity, raw)),
            _ if raw == 0 || raw > full - step => {
                Err(self.saturated(quantity, format_args!("{raw:#x}"), "is the sensor damaged?"))
            }
            _ => Ok(()),
        }
    }
}

/// The decimal number that an f32 stands for, to four decimals: finer than any chip that is read through an f32.
pub(super) fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

/// A delay that waits a quarter longer, for crates that wait for the typical conversion and not for the longest.
pub(super) struct Patient<'a, D>(pub &'a mut D);

impl<D: embedded_hal::delay::DelayNs> embedded_hal::delay::DelayNs for Patient<'_, D> {
    fn delay_ns(&mut self, ns: u32) {
        self.0.delay_ns(ns.saturating_add(ns / 4));
    }

    fn delay_us(&mut self, us: u32) {
        self.0.delay_us(us.saturating_add(us / 4));
    }

    fn delay_ms(&mut self, ms: u32) {
        self.0.delay_us(ms.saturating_mul(1250));
    }
}
