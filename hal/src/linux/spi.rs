//! Handle of a Linux SPI device: opened at the first read, reopened after an error, and with errors that keep the
//! errno. Used by [`super::open`].

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use embedded_hal::spi::{self, ErrorKind, Operation, SpiDevice};
use linux_embedded_hal::SpidevDevice;
use linux_embedded_hal::spidev::{SpiModeFlags, SpidevOptions};

use super::i2c::errno;
use crate::error::{Cause, SpiError};

/// Clock speed that all chips here support; the maximum of the MAX31865 is 5 MHz.
const SPEED_HZ: u32 = 1_000_000;

/// Error of a transfer on Linux.
#[derive(Debug)]
pub struct LinuxSpiError {
    error: io::Error,
    /// Device file, if it could not be opened.
    unopened: Option<PathBuf>,
}

impl LinuxSpiError {
    /// Returns the errno, if the error came from Linux.
    pub fn errno(&self) -> Option<i32> {
        self.error.raw_os_error()
    }
}

impl fmt::Display for LinuxSpiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(path) = &self.unopened else { return self.error.fmt(f) };
        write!(f, "cannot open {}: {}", path.display(), self.error)?;
        match self.errno() {
            Some(errno::ENOENT) => f.write_str(
                "; is SPI enabled? On a Raspberry Pi: sudo raspi-config nonint do_spi 0, or dtparam=spi=on in config.txt",
            ),
            Some(errno::EACCES) => f.write_str("; the user of this process must be in the group spi"),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for LinuxSpiError {}

impl spi::Error for LinuxSpiError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl SpiError for LinuxSpiError {
    fn cause(&self) -> Cause {
        match self.errno() {
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

/// Handle of one chip on an SPI bus, in mode 1, which the MAX31865 uses.
pub struct LinuxSpi {
    path: PathBuf,
    /// None until the first transaction and after a failed one: a bus that was removed comes back as a new file.
    device: Option<SpidevDevice>,
}

impl LinuxSpi {
    /// Creates a handle on the device `path`, such as `/dev/spidev0.0`. Does not open it.
    pub fn new(path: impl Into<PathBuf>) -> LinuxSpi {
        LinuxSpi { path: path.into(), device: None }
    }
}

fn open(path: &Path) -> Result<SpidevDevice, LinuxSpiError> {
    let refused = |error: io::Error| LinuxSpiError { error, unopened: Some(path.to_path_buf()) };
    let mut device = SpidevDevice::open(path).map_err(|error| refused(io_error(error)))?;
    let mut options = SpidevOptions::new();
    options.bits_per_word(8).max_speed_hz(SPEED_HZ).mode(SpiModeFlags::SPI_MODE_1);
    device.configure(&options).map_err(refused)?;
    Ok(device)
}

fn io_error(error: linux_embedded_hal::SPIError) -> io::Error {
    let error = error.inner();
    match error.raw_os_error() {
        Some(errno) => io::Error::from_raw_os_error(errno),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

impl spi::ErrorType for LinuxSpi {
    type Error = LinuxSpiError;
}

impl SpiDevice for LinuxSpi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), LinuxSpiError> {
        let mut device = match self.device.take() {
            Some(device) => device,
            None => open(&self.path)?,
        };
        SpiDevice::transaction(&mut device, operations)
            .map_err(|error| LinuxSpiError { error: io_error(error), unopened: None })?;
        self.device = Some(device);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bus_that_appears_later_is_opened_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spidev0.0");
        let mut bus = LinuxSpi::new(&path);
        for _ in 0..2 {
            let error = bus.write(&[0]).unwrap_err();
            assert_eq!((error.errno(), SpiError::cause(&error)), (Some(2), Cause::Other));
            let text = error.to_string();
            assert!(text.contains("is SPI enabled?") && text.contains("dtparam=spi=on"), "{text}");
        }
        // Not a bus, but an existing file: the next transaction fails later, at the first ioctl.
        std::fs::write(&path, "").unwrap();
        assert_eq!(bus.write(&[0]).unwrap_err().errno(), Some(25));
    }

    #[test]
    fn every_errno_keeps_its_cause_and_its_text() {
        for (errno, cause) in [
            (110, Cause::Timeout),
            (16, Cause::Busy),
            (5, Cause::Bus),
            (22, Cause::Other),
            (13, Cause::Other),
        ] {
            let error = LinuxSpiError { error: io::Error::from_raw_os_error(errno), unopened: None };
            assert_eq!((SpiError::cause(&error), error.errno()), (cause, Some(errno)));
            assert!(error.to_string().ends_with(&format!("(os error {errno})")), "{error}");
        }
        let unopened = Some(PathBuf::from("/dev/spidev0.0"));
        let error = LinuxSpiError { error: io::Error::from_raw_os_error(13), unopened };
        assert!(error.to_string().ends_with("must be in the group spi"), "{error}");
    }
}
