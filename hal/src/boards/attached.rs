//! Connection and settings of a sensor of boards.toml: plain data, checked while the file is read.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::reading::Quantity;

/// Connection of a sensor: one variant for each [`crate::catalogue::Attachment`].
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

/// Settings of a chip; the defaults are already filled in for the keys that boards.toml omits.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Settings {
    /// No settings.
    None,
    /// Settings of the INA219 and the INA226.
    Shunt(Shunt),
    /// Settings of the ADS1115.
    Analogue(Analogue),
    /// Settings of the MAX31865.
    Rtd(Rtd),
    /// Setting of the SCD4x: altitude in metres above sea level, for its air pressure; None for the value stored in the
    /// chip.
    Altitude(Option<u16>),
}

/// Shunt resistor of a power monitor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shunt {
    /// Resistance in ohm.
    pub ohms: f64,
    /// Maximum expected current, in ampere.
    pub max_amperes: f64,
}

/// Voltage that an ADS1115 measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Analogue {
    /// Input pins.
    pub input: Input,
    /// Full scale in volt: 6.144, 4.096, 2.048, 1.024, 0.512 or 0.256.
    pub full_scale: f64,
}

/// Pins between which an ADS1115 measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// `a0`: against ground.
    A0,
    /// `a1`: against ground.
    A1,
    /// `a2`: against ground.
    A2,
    /// `a3`: against ground.
    A3,
    /// `a0-a1`.
    A0A1,
    /// `a0-a3`.
    A0A3,
    /// `a1-a3`.
    A1A3,
    /// `a2-a3`.
    A2A3,
}

impl Input {
    /// All inputs.
    pub const ALL: [Input; 8] =
        [Input::A0, Input::A1, Input::A2, Input::A3, Input::A0A1, Input::A0A3, Input::A1A3, Input::A2A3];

    /// Returns the name in boards.toml: `a0-a1`.
    pub const fn name(self) -> &'static str {
        match self {
            Input::A0 => "a0",
            Input::A1 => "a1",
            Input::A2 => "a2",
            Input::A3 => "a3",
            Input::A0A1 => "a0-a1",
            Input::A0A3 => "a0-a3",
            Input::A1A3 => "a1-a3",
            Input::A2A3 => "a2-a3",
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Error for a text that is not the name of an [`Input`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no input of an ADS1115")]
pub struct NoInput;

impl FromStr for Input {
    type Err = NoInput;

    fn from_str(text: &str) -> Result<Input, NoInput> {
        Input::ALL.into_iter().find(|input| input.name() == text).ok_or(NoInput)
    }
}

/// Wiring of a MAX31865.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rtd {
    /// Number of wires: 2, 3 or 4.
    pub wires: u8,
    /// Reference resistor in ohm: 430 with a PT100, 4300 with a PT1000.
    pub reference: f64,
    /// Resistance at 0 °C in ohm: 100 for a PT100.
    pub nominal: f64,
    /// Mains frequency to filter out, in hertz: 50 or 60.
    pub mains: u8,
}

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

    #[test]
    fn inputs_round_trip_through_text() {
        for input in Input::ALL {
            assert_eq!(input.name().parse(), Ok(input));
        }
        assert!("a4".parse::<Input>().is_err());
    }
}
