//! I²C and SPI buses of a Linux machine, on linux-embedded-hal, and all sensors that such a machine can have.

mod i2c;
pub mod scan;
mod spi;

pub use i2c::{LinuxError, LinuxI2c};
pub use spi::{LinuxSpi, LinuxSpiError};

use std::path::Path;

use crate::command::Program;
use crate::delay::Sleep;
use crate::drivers;
use crate::error::OpenError;
use crate::file::NumberFile;
use crate::filter::Filtered;
use crate::kernel::{self, Sysfs};
use crate::mqtt::Brokers;
use crate::sensor::{Bus, Buses, Sensor};
use crate::spec::{BusAddress, SensorSpec};

/// Creates the sensors, by bus. Opens nothing yet: each sensor opens its bus at its first read, and again at
/// the read after a failed one. A missing `/dev/i2c-1` or a missing chip therefore is no error here; it is one of
/// each read until bus and chip are present. Relative paths of `file`, `command`
/// and `mqtt` start at `base_dir`. Sensors of one MQTT broker share one connection.
///
/// # Errors
/// A sensor that no Linux machine can have, such as `random`.
pub fn open<'a>(
    sensors: impl IntoIterator<Item = &'a SensorSpec>,
    base_dir: impl AsRef<Path>,
) -> Result<Vec<Bus>, OpenError> {
    let mut buses = Buses::new();
    let mut brokers = Brokers::default();
    for spec in sensors {
        buses.add(sensor(spec, base_dir.as_ref(), &mut brokers)?);
    }
    Ok(buses.into_vec())
}

fn sensor(spec: &SensorSpec, base_dir: &Path, brokers: &mut Brokers) -> Result<Box<dyn Sensor>, OpenError> {
    let refused = |problem: String| Err(OpenError::new(&spec.name, problem));
    let quantity = || {
        let first = spec.quantities.first().copied();
        first.ok_or_else(|| OpenError::new(&spec.name, "it measures no quantity"))
    };
    let filtered = |sensor| Ok(Filtered::wrap(sensor, &spec.filters));
    match &spec.bus_address {
        BusAddress::I2c { bus, .. } => {
            let device = format!("/dev/{bus}");
            drivers::build(spec, LinuxI2c::new(&device), Sleep, &device)
        }
        BusAddress::Spi { bus } => {
            let device = format!("/dev/{}", bus.replacen("spi-", "spidev", 1));
            drivers::build_spi(spec, LinuxSpi::new(&device), Sleep, &device)
        }
        BusAddress::Kernel { .. } => filtered(kernel::build(spec, Sysfs::default())?),
        BusAddress::Command { command, timeout } => {
            let quantity = quantity()?;
            filtered(Box::new(Program::new(command.clone(), *timeout, base_dir, quantity, spec.info())))
        }
        // An absolute path stays as it is.
        BusAddress::File { path } => {
            let quantity = quantity()?;
            filtered(Box::new(NumberFile::new(base_dir.join(path), quantity, spec.info())))
        }
        BusAddress::Mqtt(topic) => filtered(brokers.sensor(topic, quantity()?, spec.info(), base_dir)?),
        BusAddress::Nothing => {
            refused(format!("a Linux board has no `{}`; take `backend = \"sim\"` or a chip", spec.chip))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, Chip};

    fn on_bus(name: &str, chip: Chip, bus: &str, address: u8) -> SensorSpec {
        SensorSpec::new(name, chip, BusAddress::I2c { bus: bus.to_owned(), address })
    }

    #[test]
    fn a_missing_bus_is_an_error_of_each_read_and_not_of_the_start() {
        let sensors = [
            on_bus("a", Chip::Lm75, "i2c-65535", 0x48),
            on_bus("b", Chip::Tmp105, "i2c-65534", 0x49),
            on_bus("c", Chip::Lm75a, "i2c-65535", 0x49),
        ];
        let mut buses = open(&sensors, "").unwrap();
        let sensors: Vec<usize> = buses.iter().map(|bus| bus.sensors.len()).collect();
        assert_eq!(sensors, [2, 1]);
        for _ in 0..2 {
            let error = buses[0].sensors[1].read().unwrap_err();
            assert_eq!(error.cause(), Cause::Other);
            let message = error.to_string();
            let start = "cannot read 0x49 on /dev/i2c-65535: cannot open /dev/i2c-65535: No such file or directory (os error 2)";
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn a_random_sensor_is_refused() {
        let random = SensorSpec::new("random", Chip::Random, BusAddress::Nothing);
        let error = open([&random], "").unwrap_err();
        assert_eq!(error.sensor(), "random");
        assert!(error.problem().contains("backend = \"sim\""), "{error}");
    }
}
