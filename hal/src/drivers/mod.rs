//! The chips: one line each in this table, one small file each beside it. How to add one: `hal/DRIVERS.md`.
//!
//! Both backends build their sensors with [`build`], so the code that reads a chip on a Raspberry Pi is the code that
//! reads the simulated one.

mod lm75;

pub use lm75::Lm75;

use std::fmt;

use embedded_hal::i2c::I2c;
use serde::{Deserialize, Serialize};

use crate::boards::SensorConfig;
use crate::error::{BusError, OpenError};
use crate::filter::Filtered;
use crate::reading::Quantity;
use crate::sensor::{Sensor, SensorInfo};

/// A chip that boards.toml may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Chip {
    /// National/TI LM75, LM75B, LM75C: temperature in steps of 0.5 °C.
    Lm75,
    /// LM75A: as the LM75. (NXP's has three more bits, which are not read.)
    Lm75a,
    /// TI TMP105: reads as an LM75 in its power-up resolution of nine bits.
    Tmp105,
    /// No chip at all: a generator of numbers, in the simulator only.
    Random,
}

impl Chip {
    /// All of them, in the order of the declaration.
    pub const ALL: [Chip; 4] = [Chip::Lm75, Chip::Lm75a, Chip::Tmp105, Chip::Random];

    /// The name as boards.toml writes it: `lm75`.
    pub const fn name(self) -> &'static str {
        match self {
            Chip::Lm75 => "lm75",
            Chip::Lm75a => "lm75a",
            Chip::Tmp105 => "tmp105",
            Chip::Random => "random",
        }
    }

    /// The seven-bit addresses its pins can select; empty for a chip that needs no bus.
    pub const fn addresses(self) -> &'static [u8] {
        match self {
            Chip::Lm75 | Chip::Lm75a => &[0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f],
            Chip::Tmp105 => &[0x48, 0x49],
            Chip::Random => &[],
        }
    }

    /// Whether it sits on an I²C bus, so that boards.toml must say which bus and address.
    pub const fn needs_bus(self) -> bool {
        !self.addresses().is_empty()
    }

    /// What it measures, in the order of its readings; None for `random`, which measures what boards.toml says.
    pub const fn quantities(self) -> Option<&'static [Quantity]> {
        match self {
            Chip::Lm75 | Chip::Lm75a | Chip::Tmp105 => Some(&[Quantity::Temperature]),
            Chip::Random => None,
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The driver for `config` on `i2c`, with the configured filters. Asks the chip nothing: a chip that is absent now may be
/// there at a later read. `bus` is the bus in messages, such as `/dev/i2c-1`.
///
/// # Errors
/// The chip needs no bus, so no driver is generic over one; or `config` was made by hand and lacks an address.
pub fn build<I>(config: &SensorConfig, i2c: I, bus: &str) -> Result<Box<dyn Sensor>, OpenError>
where
    I: I2c + Send + 'static,
    I::Error: BusError,
{
    let info = info(config);
    let Some(address) = config.address else {
        return Err(OpenError::new(&config.name, format!("a {} needs an address", config.chip)));
    };
    let sensor: Box<dyn Sensor> = match config.chip {
        Chip::Lm75 | Chip::Lm75a | Chip::Tmp105 => Box::new(Lm75::new(i2c, bus, address, info)),
        Chip::Random => {
            return Err(OpenError::new(
                &config.name,
                "`random` is no chip on a bus; take `backend = \"sim\"`",
            ));
        }
    };
    Ok(Filtered::wrap(sensor, &config.filters))
}

/// What is known of the sensor that `config` describes.
pub fn info(config: &SensorConfig) -> SensorInfo {
    SensorInfo {
        name: config.name.clone(),
        chip: config.chip.name().to_owned(),
        bus: config.bus.clone(),
        address: config.address,
        quantities: config.quantities(),
    }
}
