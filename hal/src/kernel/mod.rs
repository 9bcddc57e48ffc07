//! Sensors that the kernel reads: they are not on a bus that this crate accesses, and their values are files below
//! `/sys`. Used by [`crate::linux`]; plain file reading, so it compiles everywhere, but only Linux has such files.
//!
//! For all of them: nothing is opened before the first read; the names in boards.toml are resolved at every read, so a
//! device that was removed and returned with another number is found; every file is read once, with a maximum size; the
//! errno of a driver is mapped to a [`crate::Cause`]. A read blocks for as long as the driver measures (750 ms for a
//! DS18B20).

mod channel;
mod device;
mod hwmon;
mod iio;
mod sysfs;
mod thermal;
mod w1;

pub use channel::channel_quantity;
pub use hwmon::Hwmon;
pub use iio::Iio;
pub use sysfs::Sysfs;
pub use thermal::{PREFERRED, Thermal};
pub use w1::{NEAR, W1};

use crate::chip::Chip;
use crate::error::OpenError;
use crate::sensor::Sensor;
use crate::spec::{BusAddress, SensorSpec};

/// Builds the kernel sensor of `spec`, without its filters.
///
/// # Errors
/// `spec` does not describe a sensor of the kernel.
pub fn build(spec: &SensorSpec, sysfs: Sysfs) -> Result<Box<dyn Sensor>, OpenError> {
    let refused = || OpenError::new(&spec.name, format!("`{}` is not a sensor of the kernel", spec.chip));
    let BusAddress::Kernel { device, channel } = &spec.bus_address else { return Err(refused()) };
    let (device, channel, info) = (device.clone(), channel.clone(), spec.info());
    Ok(match spec.chip {
        Chip::Hwmon => Box::new(Hwmon::new(sysfs, device, channel, info)),
        Chip::Iio => Box::new(Iio::new(sysfs, device, channel, info)),
        Chip::W1 => Box::new(W1::new(sysfs, device, info)),
        Chip::Cpu => Box::new(Thermal::new(sysfs, device, info)),
        _ => return Err(refused()),
    })
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests;
