//! I²C and SPI buses of a Linux machine, on linux-embedded-hal. Used by the node for boards with `backend = "linux"`.

mod i2c;
pub mod scan;
mod spi;

pub use i2c::{LinuxError, LinuxI2c};
pub use spi::{LinuxSpi, LinuxSpiError};

use std::path::Path;

use crate::boards::{Attached, Board, SensorConfig};
use crate::command::Program;
use crate::delay::Sleep;
use crate::drivers;
use crate::error::OpenError;
use crate::file::NumberFile;
use crate::filter::Filtered;
use crate::kernel::{self, Sysfs};
use crate::sensor::{Bus, Buses, Sensor};

/// Creates the sensors of `board`, by bus. Opens nothing yet: each sensor opens its bus at its first read, and again at
/// the read after a failed one. A missing `/dev/i2c-1` or a missing chip therefore does not keep a node from starting;
/// they are errors of the reads until bus and chip are present. Relative paths of `file` and `command` start at
/// `base_dir`.
///
/// # Errors
/// A sensor that no Linux machine can have, such as `random`. [`crate::Boards`] already refuses those.
pub fn open(board: &Board, base_dir: impl AsRef<Path>) -> Result<Vec<Bus>, OpenError> {
    let mut buses = Buses::new();
    for config in &board.sensors {
        buses.add(sensor(config, base_dir.as_ref())?);
    }
    Ok(buses.into_vec())
}

fn sensor(config: &SensorConfig, base_dir: &Path) -> Result<Box<dyn Sensor>, OpenError> {
    let refused = |problem: String| Err(OpenError::new(&config.name, problem));
    let info = drivers::info(config);
    let quantity = || {
        let first = config.quantities.first().copied();
        first.ok_or_else(|| OpenError::new(&config.name, "it measures no quantity"))
    };
    let filtered = |sensor| Ok(Filtered::wrap(sensor, &config.filters));
    match &config.attached {
        Attached::I2c { bus, .. } => {
            let device = format!("/dev/{bus}");
            drivers::build(config, LinuxI2c::new(&device), Sleep, &device)
        }
        Attached::Spi { bus } => {
            let device = format!("/dev/{}", bus.replacen("spi-", "spidev", 1));
            drivers::build_spi(config, LinuxSpi::new(&device), Sleep, &device)
        }
        Attached::Kernel { .. } => filtered(kernel::build(config, Sysfs::default(), info)?),
        Attached::Command { command, timeout } => {
            let quantity = quantity()?;
            filtered(Box::new(Program::new(command.clone(), *timeout, base_dir, quantity, info)))
        }
        // An absolute path stays as it is.
        Attached::File { path } => {
            let quantity = quantity()?;
            filtered(Box::new(NumberFile::new(base_dir.join(path), quantity, info)))
        }
        Attached::Nothing => {
            refused(format!("a Linux board has no `{}`; take `backend = \"sim\"` or a chip", config.chip))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Boards, Cause};

    const LINUX: &str = "\
[boards.pi]
backend = \"linux\"
[[boards.pi.sensors]]
name = \"a\"
chip = \"lm75\"
bus = \"i2c-65535\"
address = 0x48
[[boards.pi.sensors]]
name = \"b\"
chip = \"tmp105\"
bus = \"i2c-65534\"
address = 0x49
[[boards.pi.sensors]]
name = \"c\"
chip = \"lm75a\"
bus = \"i2c-65535\"
address = 0x49
";

    #[test]
    fn a_missing_bus_is_an_error_of_each_read_and_not_of_the_start() {
        let boards = Boards::parse(LINUX, "boards.toml").unwrap();
        let mut buses = open(boards.board(None).unwrap().1, "").unwrap();
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
        let error = open(Boards::builtin().board(None).unwrap().1, "").unwrap_err();
        assert_eq!(error.sensor(), "random");
        assert!(error.problem().contains("backend = \"sim\""), "{error}");
    }
}
