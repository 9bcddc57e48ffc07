//! Context shared by all drivers: the place of the chip, its info and settings, and the conversion of a crate's results
//! to readings and errors.

use std::fmt;
use std::ops::RangeInclusive;

use embedded_interfaces::TransportError;

use crate::error::{BusError, Cause, Place, ReadError};
use crate::reading::{Quantity, Reading};
use crate::sensor::SensorInfo;
use crate::settings::Settings;

/// Physically possible relative humidity, in %RH.
pub(super) const HUMIDITY: RangeInclusive<f64> = 0.0..=100.0;

/// Place, info and settings of a driver's chip.
pub struct DeviceContext {
    place: Place,
    address: u8,
    info: SensorInfo,
    settings: Settings,
}

impl DeviceContext {
    /// Creates the context of a chip at `address`; `bus` is the name of the bus in messages.
    pub fn new(bus: &str, address: u8, info: SensorInfo) -> DeviceContext {
        DeviceContext { place: Place::new(bus, address), address, info, settings: Settings::default() }
    }

    /// Creates the context of a chip on `bus` that has no address.
    pub(super) fn unaddressed(bus: &str, info: SensorInfo) -> DeviceContext {
        DeviceContext { place: Place::at(bus), address: 0, info, settings: Settings::default() }
    }

    /// Sets the settings of the chip.
    #[must_use]
    pub fn with_settings(self, settings: Settings) -> DeviceContext {
        DeviceContext { settings, ..self }
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
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

    /// Creates an error with this `cause` at this place, explained by `text`.
    pub(super) fn error(&self, cause: Cause, text: impl Into<String>) -> ReadError {
        ReadError::with_source(cause, self.place.clone(), text.into())
    }

    pub(super) fn bus(&self, error: impl BusError) -> ReadError {
        ReadError::from_bus(error, &self.place)
    }

    /// Converts an error of embedded-devices.
    pub(super) fn transport<E: BusError>(&self, error: TransportError<(), E>) -> ReadError {
        match error {
            TransportError::Bus(error) => self.bus(error),
            TransportError::Codec(()) => self.error(Cause::Other, "the driver could not read the answer"),
            TransportError::Unexpected(text) => self.error(Cause::Other, text),
        }
    }

    pub(super) fn checksum(&self) -> ReadError {
        ReadError::new(Cause::Checksum, self.place.clone())
    }

    /// Creates a reading if the value is in the range of the chip; other values come from noise on the wire or another
    /// chip.
    pub(super) fn reading(
        &self,
        quantity: Quantity,
        value: f64,
        range: RangeInclusive<f64>,
    ) -> Result<Reading, ReadError> {
        // Drivers that compute in kelvin or f32 have rounding errors far below the resolution of the chip.
        self.exact(quantity, (value * 1e9).round_ties_even() / 1e9, range)
    }

    /// Creates a reading as [`reading`](DeviceContext::reading) does, of a value without rounding errors: the chip's steps are
    /// powers of two.
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

    /// Creates the error for a value at an end of the converter's range: the true value may be beyond it. `value` is
    /// the raw value or its meaning, `remedy` the user's next step.
    #[cold]
    pub(super) fn saturated(&self, quantity: Quantity, value: impl fmt::Display, remedy: &str) -> ReadError {
        let text = format!(
            "{quantity} at the end of the converter's range ({value}), so the true value may be beyond it; {remedy}"
        );
        self.error(Cause::OutOfRange, text)
    }

    /// Creates the error for a result register that no conversion has written.
    #[cold]
    pub(super) fn not_measured(&self, quantity: Quantity, raw: u32) -> ReadError {
        let text = format!("{quantity} was not measured: its register holds {raw:#x}, as after a reset");
        self.error(Cause::OutOfRange, text)
    }

    /// Checks the raw value of a converter of `bits` bits. Its register contains half of the range if nothing was
    /// measured.
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

/// Converts an f32 to the decimal number that it represents, to four decimals: finer than any chip that is read through
/// an f32.
pub(super) fn decimal(value: f32) -> f64 {
    (f64::from(value) * 1e4).round() / 1e4
}

/// Delay that waits 25 % longer, for crates that wait for the typical duration of a conversion and not for the maximum.
pub(super) struct SlowDelay<'a, D>(pub &'a mut D);

impl<D: embedded_hal::delay::DelayNs> embedded_hal::delay::DelayNs for SlowDelay<'_, D> {
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
