//! Why there is no reading. Drivers make [`ReadError`]s out of a backend's [`BusError`]; the node counts and logs them.

use std::error::Error;
use std::fmt;

use embedded_hal::i2c::{self, ErrorKind};
use embedded_hal::spi;
use serde::Serialize;

/// What kept a sensor from measuring, as far as the caller's next step depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cause {
    /// Nobody acknowledged the address: no chip, no power, or another address.
    NotPresent,
    /// The wire failed: arbitration lost, stuck line, noise. Worth another try.
    Bus,
    /// The bus or the chip did not answer in time. Worth another try.
    Timeout,
    /// A kernel driver owns the address; its reading is in hwmon or IIO.
    Busy,
    /// The chip answered with a value it cannot measure.
    OutOfRange,
    /// The chip answered, and the checksum was wrong.
    Checksum,
    /// None of these; the message says what.
    Other,
}

/// Where a sensor sits, for messages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The bus as its backend calls it: `/dev/i2c-1`. For a sensor without one, what is read: a file or a program.
    pub bus: Option<String>,
    /// The seven-bit address.
    pub address: Option<u8>,
}

impl Place {
    /// What has no address: a file, a program.
    pub fn at(what: impl Into<String>) -> Place {
        Place { bus: Some(what.into()), address: None }
    }

    /// An address on a bus.
    pub fn new(bus: impl Into<String>, address: u8) -> Place {
        Place { bus: Some(bus.into()), address: Some(address) }
    }

    /// What the kernel calls a chip at this address: `1-0048`, in /sys/bus/i2c/devices.
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

/// The error of an I²C bus that still knows its cause.
///
/// For backend authors: embedded-hal's [`ErrorKind`] has no timeout and no "busy", so a backend that can tell them
/// apart overrides [`cause`](BusError::cause). The `Display` of the error becomes part of the message people read.
pub trait BusError: i2c::Error + fmt::Display + Send + Sync + 'static {
    /// The cause, by default what [`kind`](i2c::Error::kind) tells.
    fn cause(&self) -> Cause {
        match self.kind() {
            ErrorKind::NoAcknowledge(_) => Cause::NotPresent,
            ErrorKind::Bus | ErrorKind::ArbitrationLoss | ErrorKind::Overrun => Cause::Bus,
            _ => Cause::Other,
        }
    }

    /// The error as the source of a [`ReadError`], by default only its text. An error that is also a
    /// [`std::error::Error`] returns itself.
    fn into_source(self) -> Box<dyn Error + Send + Sync>
    where
        Self: Sized,
    {
        self.to_string().into()
    }
}

/// The error of `embedded-hal-mock`, among others.
impl BusError for ErrorKind {}

/// The error of an SPI bus. SPI has no acknowledge and no address, so there is less to tell apart than on I²C.
pub trait SpiError: spi::Error + fmt::Display + Send + Sync + 'static {
    /// The cause, by default what [`kind`](spi::Error::kind) tells.
    fn cause(&self) -> Cause {
        match self.kind() {
            spi::ErrorKind::Overrun | spi::ErrorKind::ModeFault | spi::ErrorKind::FrameFormat => Cause::Bus,
            _ => Cause::Other,
        }
    }

    /// As [`BusError::into_source`].
    fn into_source(self) -> Box<dyn Error + Send + Sync>
    where
        Self: Sized,
    {
        self.to_string().into()
    }
}

/// The error of `embedded-hal-mock`, among others.
impl SpiError for spi::ErrorKind {}

/// A read that gave no reading. One line of text says everything: what happened, where, and for a busy address where the
/// reading is instead. So print this error alone, not its chain of sources.
#[derive(Debug, thiserror::Error)]
pub struct ReadError {
    cause: Cause,
    place: Place,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl ReadError {
    /// `cause` at `place`, with nothing more to say.
    pub fn new(cause: Cause, place: Place) -> ReadError {
        ReadError { cause, place, source: None }
    }

    /// `cause` at `place`, explained by `source` (an error, or a text).
    pub fn with_source(
        cause: Cause,
        place: Place,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> ReadError {
        ReadError { cause, place, source: Some(source.into()) }
    }

    /// What the bus answered.
    pub fn from_bus(error: impl BusError, place: &Place) -> ReadError {
        ReadError { cause: error.cause(), place: place.clone(), source: Some(error.into_source()) }
    }

    /// What an SPI bus answered.
    pub fn from_spi(error: impl SpiError, place: &Place) -> ReadError {
        ReadError { cause: error.cause(), place: place.clone(), source: Some(error.into_source()) }
    }

    /// Why, for the caller's next step.
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Bus and address.
    pub fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = &self.place;
        match self.cause {
            // Not a chip on a bus: what came back is all there is to say.
            Cause::NotPresent if place.address.is_none() => write!(f, "nothing to read at {place}")?,
            Cause::Busy if place.address.is_none() => write!(f, "{place} is busy")?,
            // What the bus said adds nothing to these two.
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

/// A sensor of boards.toml that its backend cannot provide. Chips that do not answer are not among them: those are
/// [`ReadError`]s, at every read until they do.
#[derive(Debug, thiserror::Error)]
#[error("sensor `{sensor}`: {problem}")]
pub struct OpenError {
    sensor: String,
    problem: String,
}

impl OpenError {
    /// `problem` says what is wrong and what to do.
    pub fn new(sensor: impl Into<String>, problem: impl Into<String>) -> OpenError {
        OpenError { sensor: sensor.into(), problem: problem.into() }
    }

    /// The name of the sensor in boards.toml.
    pub fn sensor(&self) -> &str {
        &self.sensor
    }

    /// What is wrong and what to do, without the sensor's name.
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
