//! Errors of reads. Drivers convert a backend's [`BusError`] into a [`ReadError`]; the node counts and logs them.

use std::error::Error;
use std::fmt;

use embedded_hal::i2c::{self, ErrorKind};
use embedded_hal::spi;
use serde::Serialize;

/// Cause of a failed read, as far as the caller's next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// No chip acknowledged the address: no chip, no power, or another address.
    NotPresent,
    /// The transfer failed: arbitration lost, stuck line, noise. A retry may succeed.
    Bus,
    /// The bus or the chip did not answer in time. A retry may succeed.
    Timeout,
    /// A kernel driver owns the address; the reading is available in hwmon or IIO.
    Busy,
    /// The chip answered with a value it cannot measure.
    OutOfRange,
    /// The chip answered with a wrong checksum.
    Checksum,
    /// Any other cause; the message names it.
    Other,
}

/// Place of a sensor, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Bus as its backend names it: `/dev/i2c-1`. For a sensor without a bus, the file or program that is read.
    pub bus: Option<String>,
    /// Seven-bit address.
    pub address: Option<u8>,
}

impl Place {
    /// Creates a place without an address: a file or a program.
    pub fn at(what: impl Into<String>) -> Place {
        Place { bus: Some(what.into()), address: None }
    }

    /// Creates a place for an address on a bus.
    pub fn new(bus: impl Into<String>, address: u8) -> Place {
        Place { bus: Some(bus.into()), address: Some(address) }
    }

    /// Returns the kernel's name of a chip at this address: `1-0048`, in /sys/bus/i2c/devices.
    fn device(&self) -> Option<String> {
        let number = self.bus.as_deref()?.rsplit_once("i2c-")?.1;
        number.bytes().all(|b| b.is_ascii_digit()).then_some(())?;
        Some(format!("{number}-{:04x}", self.address?))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.bus, self.address) {
            (Some(bus), Some(address)) => write!(f, "{address:#04x} on {bus}"),
            (Some(bus), None) => write!(f, "{bus}"),
            (None, Some(address)) => write!(f, "{address:#04x}"),
            (None, None) => write!(f, "a sensor without a bus"),
        }
    }
}

/// Error of an I²C bus that keeps its cause.
///
/// For backend authors: embedded-hal's [`ErrorKind`] has no timeout and no "busy", so a backend that can distinguish
/// them overrides [`cause`](BusError::cause). The `Display` of the error becomes part of the error message of the read.
pub trait BusError: i2c::Error + fmt::Display + Send + Sync + 'static {
    /// Returns the cause, by default derived from [`kind`](i2c::Error::kind).
    fn cause(&self) -> Cause {
        match self.kind() {
            ErrorKind::NoAcknowledge(_) => Cause::NotPresent,
            ErrorKind::Bus | ErrorKind::ArbitrationLoss | ErrorKind::Overrun => Cause::Bus,
            _ => Cause::Other,
        }
    }

    /// Converts the error to the source of a [`ReadError`], by default only its text. An error that is also a
    /// [`std::error::Error`] returns itself.
    fn into_source(self) -> Box<dyn Error + Send + Sync>
    where
        Self: Sized,
    {
        self.to_string().into()
    }
}

/// Error of `embedded-hal-mock`, among others.
impl BusError for ErrorKind {}

/// Error of an SPI bus. SPI has no acknowledge and no address, so it has fewer causes than I²C.
pub trait SpiError: spi::Error + fmt::Display + Send + Sync + 'static {
    /// Returns the cause, by default derived from [`kind`](spi::Error::kind).
    fn cause(&self) -> Cause {
        match self.kind() {
            spi::ErrorKind::Overrun | spi::ErrorKind::ModeFault | spi::ErrorKind::FrameFormat => Cause::Bus,
            _ => Cause::Other,
        }
    }

    /// Converts the error to the source of a [`ReadError`], as [`BusError::into_source`] does.
    fn into_source(self) -> Box<dyn Error + Send + Sync>
    where
        Self: Sized,
    {
        self.to_string().into()
    }
}

/// Error of `embedded-hal-mock`, among others.
impl SpiError for spi::ErrorKind {}

/// Error of a read that returned no reading. One line of text contains everything: the cause, the place, and for a busy
/// address where the reading is available instead. Print this error alone, not its chain of sources.
#[derive(Debug, thiserror::Error)]
pub struct ReadError {
    cause: Cause,
    place: Place,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ReadError {
    /// Creates an error with this `cause` at `place`, without further details.
    pub fn new(cause: Cause, place: Place) -> ReadError {
        ReadError { cause, place, source: None }
    }

    /// Creates an error with this `cause` at `place`, explained by `source` (an error, or a text).
    pub fn with_source(
        cause: Cause,
        place: Place,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ReadError {
        ReadError { cause, place, source: Some(source.into()) }
    }

    /// Converts an error of an I²C bus.
    pub fn from_bus(error: impl BusError, place: &Place) -> ReadError {
        ReadError { cause: error.cause(), place: place.clone(), source: Some(error.into_source()) }
    }

    /// Converts an error of an SPI bus.
    pub fn from_spi(error: impl SpiError, place: &Place) -> ReadError {
        ReadError { cause: error.cause(), place: place.clone(), source: Some(error.into_source()) }
    }

    /// Returns the cause, for the caller's next step.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns the bus and the address.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match self.cause {
            // Not a chip on a bus: the source alone explains the error.
            Cause::NotPresent if place.address.is_none() => write!(f, "nothing to read at {place}")?,
            Cause::Busy if place.address.is_none() => write!(f, "{place} is busy")?,
            // The error of the bus adds no information to these two.
            Cause::NotPresent => return write!(f, "no acknowledge at {place}"),
            Cause::Busy => {
                write!(f, "a kernel driver owns {place}")?;
                return match place.device() {
                    Some(device) => write!(
                        f,
                        "; its reading is in /sys/bus/i2c/devices/{device}/hwmon (or iio:device* beside it): write \
                         chip = \"hwmon\" (or \"iio\") and device = \"{device}\""
                    ),
                    None => Ok(()),
                };
            }
            Cause::Timeout => write!(f, "timeout at {place}")?,
            Cause::Bus => write!(f, "bus error at {place}")?,
            Cause::OutOfRange => write!(f, "impossible value from {place}")?,
            Cause::Checksum => write!(f, "wrong checksum from {place}")?,
            Cause::Other => write!(f, "cannot read {place}")?,
        }
        match &self.source {
            Some(source) => write!(f, ": {source}"),
            None => Ok(()),
        }
    }
}

/// Error for a sensor that its backend cannot provide. A chip that does not answer is a [`ReadError`]
/// instead, at every read until it answers.
#[derive(Debug, thiserror::Error)]
#[error("sensor `{sensor}`: {problem}")]
pub struct OpenError {
    sensor: String,
    problem: String,
}

impl OpenError {
    /// Creates an error; `problem` contains the problem and the remedy.
    pub fn new(sensor: impl Into<String>, problem: impl Into<String>) -> OpenError {
        OpenError { sensor: sensor.into(), problem: problem.into() }
    }

    /// Returns the name of the sensor.
    pub fn sensor(&self) -> &str {
        &self.sensor
    }

    /// Returns the problem and the remedy, without the name of the sensor.
    pub fn problem(&self) -> &str {
        &self.problem
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use embedded_hal::i2c::NoAcknowledgeSource;

    fn text(cause: Cause) -> String {
        ReadError::with_source(cause, Place::new("/dev/i2c-1", 0x4a), "what the bus said").to_string()
    }

    #[test]
    fn messages_name_bus_and_address() {
        let table = [
            (Cause::NotPresent, "no acknowledge at 0x4a on /dev/i2c-1"),
            (Cause::Timeout, "timeout at 0x4a on /dev/i2c-1: what the bus said"),
            (Cause::Bus, "bus error at 0x4a on /dev/i2c-1: what the bus said"),
            (Cause::OutOfRange, "impossible value from 0x4a on /dev/i2c-1: what the bus said"),
            (Cause::Checksum, "wrong checksum from 0x4a on /dev/i2c-1: what the bus said"),
            (Cause::Other, "cannot read 0x4a on /dev/i2c-1: what the bus said"),
        ];
        for (cause, want) in table {
            assert_eq!(text(cause), want);
        }
        assert_eq!(
            ReadError::new(Cause::Bus, Place::new("i2c-0", 3)).to_string(),
            "bus error at 0x03 on i2c-0"
        );
    }

    #[test]
    fn without_an_address_the_source_says_what_there_is_to_say() {
        let table = [
            (Cause::NotPresent, "nothing to read at /sys/x: why"),
            (Cause::Timeout, "timeout at /sys/x: why"),
            (Cause::Busy, "/sys/x is busy: why"),
            (Cause::Other, "cannot read /sys/x: why"),
        ];
        for (cause, want) in table {
            assert_eq!(ReadError::with_source(cause, Place::at("/sys/x"), "why").to_string(), want);
        }
    }

    #[test]
    fn a_busy_address_says_where_the_reading_is() {
        assert_eq!(
            text(Cause::Busy),
            "a kernel driver owns 0x4a on /dev/i2c-1; its reading is in \
             /sys/bus/i2c/devices/1-004a/hwmon (or iio:device* beside it): write chip = \"hwmon\" (or \"iio\") and \
             device = \"1-004a\""
        );
        let elsewhere = ReadError::new(Cause::Busy, Place::new("a bridge", 0x4a));
        assert_eq!(elsewhere.to_string(), "a kernel driver owns 0x4a on a bridge");
    }

    #[test]
    fn embedded_hal_kinds_keep_what_they_know() {
        let table = [
            (ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address), Cause::NotPresent),
            (ErrorKind::NoAcknowledge(NoAcknowledgeSource::Unknown), Cause::NotPresent),
            (ErrorKind::Bus, Cause::Bus),
            (ErrorKind::ArbitrationLoss, Cause::Bus),
            (ErrorKind::Overrun, Cause::Bus),
            (ErrorKind::Other, Cause::Other),
        ];
        for (kind, cause) in table {
            assert_eq!(BusError::cause(&kind), cause, "{kind:?}");
        }
    }

    #[test]
    fn read_errors_cross_threads() {
        fn crosses<T: Send + Sync + 'static>() {}
        crosses::<ReadError>();
        crosses::<OpenError>();
    }
}
