//! Settings of the chips that have any: plain values, of which the driver and the model of the chip are built.

use std::fmt;
use std::str::FromStr;

use crate::chip::Chip;

/// Settings of a chip.
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

impl Settings {
    /// Returns the default settings of `chip`.
    pub const fn default_for(chip: Chip) -> Settings {
        match chip {
            // The widest range of the shunt's converter.
            Chip::Ina219 => Settings::Shunt(Shunt { ohms: 0.1, max_amperes: Shunt::INA219_FULL_SCALE / 0.1 }),
            Chip::Ina226 => Settings::Shunt(Shunt { ohms: 0.1, max_amperes: Shunt::INA226_FULL_SCALE / 0.1 }),
            Chip::Ads1115 => Settings::Analogue(Analogue { input: Input::A0, full_scale: 2.048 }),
            Chip::Max31865 => Settings::Rtd(Rtd { wires: 2, reference: 430.0, nominal: 100.0, mains: 50 }),
            Chip::Scd4x => Settings::Altitude(None),
            _ => Settings::None,
        }
    }
}

/// Shunt resistor of a power monitor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shunt {
    /// Resistance in ohm.
    pub ohms: f64,
    /// Maximum expected current, in ampere.
    pub max_amperes: f64,
}

impl Shunt {
    /// Full scale of the shunt voltage of an INA219, in volt: the widest range of the chip.
    pub const INA219_FULL_SCALE: f64 = 0.32;
    /// Full scale of the shunt voltage of an INA226, in volt.
    pub const INA226_FULL_SCALE: f64 = 0.08192;
}

/// Voltage that an ADS1115 measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Analogue {
    /// Input pins.
    pub input: Input,
    /// Full scale in volt, one of [`Analogue::FULL_SCALES`].
    pub full_scale: f64,
}

impl Analogue {
    /// Full scales of an ADS1115, in volt.
    pub const FULL_SCALES: [f64; 6] = [6.144, 4.096, 2.048, 1.024, 0.512, 0.256];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_round_trip_through_text() {
        for input in Input::ALL {
            assert_eq!(input.name().parse(), Ok(input));
        }
        assert!("a4".parse::<Input>().is_err());
    }
}
