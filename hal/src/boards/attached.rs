//! Connection of a sensor of boards.toml: plain data, checked while the file is read.

use std::path::PathBuf;
use std::time::Duration;

use crate::reading::Quantity;

/// Connection of a sensor: one variant for each [`crate::catalogue::BusKind`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Attached {
    /// I²C bus.
    I2c {
        /// `i2c-1`.
        bus: String,
        /// Seven-bit address; one of [`crate::Chip::addresses`].
        address: u8,
    },
    /// Chip select of an SPI bus.
    Spi {
        /// `spi-0.0`.
        bus: String,
    },
    /// Device of the kernel.
    Kernel {
        /// Name of the device, in the form that the module of the chip documents; None for the only device that
        /// matches.
        device: Option<String>,
        /// Name of its channel, `temp1` or `in_temp`; None for the channels that measure the sensor's quantities.
        channel: Option<String>,
    },
    /// Output of a program.
    Command {
        /// Program and arguments; never empty.
        command: Vec<String>,
        /// Time limit of the program, at most [`MAX_TIMEOUT`].
        timeout: Duration,
    },
    /// Content of a file.
    File {
        /// Path in boards.toml, relative to the folder of that file.
        path: PathBuf,
    },
    /// No connection: `random`.
    Nothing,
}

/// Time limit of a program without a `timeout` in boards.toml.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time limit of a program: a node waits no longer for a reading.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns the quantity of a kernel channel with this name: `temp1` of hwmon, `in_humidityrelative` of IIO. None if the
/// name does not determine the quantity.
pub fn channel_quantity(channel: &str) -> Option<Quantity> {
    let kinds: &[(&str, Quantity)] = match channel.strip_prefix("in_") {
        // IIO names the inputs of a device in_KIND, in_KIND0, in_KIND_PLACE.
        Some(_) => &[
            ("in_temp", Quantity::Temperature),
            ("in_humidityrelative", Quantity::Humidity),
            ("in_pressure", Quantity::Pressure),
            ("in_voltage", Quantity::Voltage),
            ("in_current", Quantity::Current),
            ("in_power", Quantity::Power),
            ("in_illuminance", Quantity::Illuminance),
            ("in_concentration", Quantity::Concentration),
        ],
        None => &[
            ("temp", Quantity::Temperature),
            ("humidity", Quantity::Humidity),
            ("in", Quantity::Voltage),
            ("curr", Quantity::Current),
            ("power", Quantity::Power),
            ("fan", Quantity::Count),
        ],
    };
    let fits = |kind: &str| {
        let rest = channel.strip_prefix(kind);
        rest.is_some_and(|rest| rest.starts_with(|c: char| !c.is_ascii_lowercase()) || rest.is_empty())
    };
    kinds.iter().find(|(kind, _)| fits(kind)).map(|(_, quantity)| *quantity)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_channel_tells_what_it_measures() {
        let table = [
            ("temp1", Some(Quantity::Temperature)),
            ("in0", Some(Quantity::Voltage)),
            ("curr12", Some(Quantity::Current)),
            ("power1", Some(Quantity::Power)),
            ("humidity1", Some(Quantity::Humidity)),
            ("fan2", Some(Quantity::Count)),
            ("intrusion0", None),
            ("temperature", None),
            ("in_temp", Some(Quantity::Temperature)),
            ("in_temp_object", Some(Quantity::Temperature)),
            ("in_humidityrelative", Some(Quantity::Humidity)),
            ("in_voltage3", Some(Quantity::Voltage)),
            ("in_voltage0-voltage1", Some(Quantity::Voltage)),
            ("in_concentration_co2", Some(Quantity::Concentration)),
            ("in_illuminance0", Some(Quantity::Illuminance)),
            ("in_powerfactor", None),
            ("in_proximity", None),
            ("", None),
        ];
        for (channel, quantity) in table {
            assert_eq!(channel_quantity(channel), quantity, "{channel}");
        }
    }
}
