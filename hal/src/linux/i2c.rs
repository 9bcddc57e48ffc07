//! Handle of one chip on a Linux I²C bus: opened at the first read, reopened after an error, and with errors that keep
//! the errno. linux-embedded-hal maps most errors to `Other` (including that of a missing chip on a Raspberry Pi), so
//! they are distinguished here. Used by [`super::open`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::i2c::{self, ErrorKind, I2c, NoAcknowledgeSource, Operation};
use linux_embedded_hal::I2cdev;
use linux_embedded_hal::i2cdev::linux::LinuxI2CError;

use crate::error::{BusError, Cause};

/// Numbers from Linux' `errno.h`; they are the same on every architecture that has I²C and runs Rust, except MIPS. For
/// their meaning in the kernel, see <https://docs.kernel.org/i2c/fault-codes.html>.
pub(super) mod errno {
    pub(in crate::linux) const ENOENT: i32 = 2;
    pub(in crate::linux) const EIO: i32 = 5;
    pub(in crate::linux) const ENXIO: i32 = 6;
    pub(in crate::linux) const EAGAIN: i32 = 11;
    pub(in crate::linux) const EACCES: i32 = 13;
    pub(in crate::linux) const EBUSY: i32 = 16;
    pub(in crate::linux) const ENODEV: i32 = 19;
    pub(in crate::linux) const ETIMEDOUT: i32 = 110;
    pub(in crate::linux) const EREMOTEIO: i32 = 121;
}

/// Error of a transfer on Linux.
#[derive(Debug)]
pub struct LinuxError {
    error: io::Error,
    /// Device file, if it could not be opened.
    unopened: Option<PathBuf>,
}

impl LinuxError {
    fn transfer(error: io::Error) -> LinuxError {
        LinuxError { error, unopened: None }
    }

    fn open(error: io::Error, path: &Path) -> LinuxError {
        LinuxError { error, unopened: Some(path.to_path_buf()) }
    }

    /// Returns the errno, if the error came from Linux.
    pub fn errno(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

impl fmt::Display for LinuxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(path) = &self.unopened else {
            self.error.fmt(f)?;
            return match self.errno() {
                // The i2c-dev interface cannot release a stuck bus by clocking it.
                Some(errno::ETIMEDOUT) => f.write_str(
                    "; is the bus stuck, or the chip stretching the clock? Switch the chip off and on; if that happens \
                     again, dtoverlay=i2c-gpio in config.txt makes a bus that copes with both",
                ),
                _ => Ok(()),
            };
        };
        write!(f, "cannot open {}: {}", path.display(), self.error)?;
        match self.errno() {
            Some(errno::ENOENT) => {
                f.write_str(
                    "; is I2C enabled? On a Raspberry Pi: sudo raspi-config nonint do_i2c 0, or dtparam=i2c_arm=on in \
                     config.txt and i2c-dev in /etc/modules",
                )
            }
            Some(errno::EACCES) => f.write_str("; the user of this process must be in the group i2c"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for LinuxError {}

impl i2c::Error for LinuxError {
    fn kind(&self) -> ErrorKind {
        match BusError::cause(self) {
            Cause::NotPresent => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address),
            Cause::Bus => ErrorKind::Bus,
            _ => ErrorKind::Other,
        }
    }
}

impl BusError for LinuxError {
    fn cause(&self) -> Cause {
        match self.errno() {
            // The controller of the Raspberry Pi returns EREMOTEIO, others ENXIO or ENODEV.
            Some(errno::EREMOTEIO | errno::ENXIO | errno::ENODEV) => Cause::NotPresent,
            Some(errno::ETIMEDOUT) => Cause::Timeout,
            Some(errno::EBUSY) => Cause::Busy,
            Some(errno::EIO | errno::EAGAIN) => Cause::Bus,
            _ => Cause::Other,
        }
    }

    fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(self)
    }
}

/// Handle of one chip on a bus. `I2cdev` opens its file again at every change of address, so chips do not share one.
pub struct LinuxI2c {
    path: PathBuf,
    /// None until the first transaction and after a failed one: a bus that was removed comes back as a new file.
    device: Option<I2cdev>,
}

impl LinuxI2c {
    /// Creates a handle on the bus `path`, such as `/dev/i2c-1`. Does not open it.
    pub fn new(path: impl Into<PathBuf>) -> LinuxI2c {
        LinuxI2c { path: path.into(), device: None }
    }
}

impl i2c::ErrorType for LinuxI2c {
    type Error = LinuxError;
}

impl I2c for LinuxI2c {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), LinuxError> {
        let mut device = match self.device.take() {
            Some(device) => device,
            None => {
                I2cdev::new(&self.path).map_err(|error| LinuxError::open(io_error(&error), &self.path))?
            }
        };
        I2c::<i2c::SevenBitAddress>::transaction(&mut device, address, operations)
            .map_err(|error| LinuxError::transfer(io_error(error.inner())))?;
        self.device = Some(device);
        Ok(())
    }
}

/// Converts the error to one of std. Some variants of `LinuxI2CError` cannot be cloned, but their errno can.
fn io_error(error: &LinuxI2CError) -> io::Error {
    match error {
        LinuxI2CError::Errno(errno) => io::Error::from_raw_os_error(*errno),
        LinuxI2CError::Io(error) => match error.raw_os_error() {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::new(error.kind(), error.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_errno_keeps_its_cause_and_its_text() {
        let table = [
            (121, Cause::NotPresent),
            (6, Cause::NotPresent),
            (19, Cause::NotPresent),
            (110, Cause::Timeout),
            (16, Cause::Busy),
            (5, Cause::Bus),
            (11, Cause::Bus),
            (95, Cause::Other),
            (22, Cause::Other),
            (2, Cause::Other),
            (13, Cause::Other),
        ];
        for (errno, cause) in table {
            for error in [LinuxI2CError::Errno(errno), LinuxI2CError::Io(io::Error::from_raw_os_error(errno))]
            {
                let error = LinuxError::transfer(io_error(&error));
                assert_eq!(BusError::cause(&error), cause, "{errno}");
                assert_eq!(error.errno(), Some(errno));
                let text = error.to_string();
                assert!(text.contains(&format!("(os error {errno})")), "{text}");
                assert_eq!(text.contains("dtoverlay=i2c-gpio"), cause == Cause::Timeout, "{text}");
                let absent = matches!(i2c::Error::kind(&error), ErrorKind::NoAcknowledge(_));
                assert_eq!(absent, cause == Cause::NotPresent, "{errno}");
            }
        }
    }

    #[test]
    fn a_bus_that_appears_later_is_opened_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("i2c-1");
        let mut bus = LinuxI2c::new(&path);
        for _ in 0..2 {
            let error = bus.write(0x48, &[0]).unwrap_err();
            assert_eq!((error.errno(), BusError::cause(&error)), (Some(2), Cause::Other));
            assert!(error.to_string().contains("is I2C enabled?"), "{error}");
        }
        // Not a bus, but an existing file: the next transaction fails later, at the first ioctl.
        std::fs::write(&path, "").unwrap();
        assert_eq!(bus.write(0x48, &[0]).unwrap_err().errno(), Some(25));
    }
}
