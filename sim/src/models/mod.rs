//! Register-level models of chips, one file each, with the datasheet that it follows. The measured values come from the
//! chip's [`Environment`], the time from the bus.
//!
//! Each model documents in its header what the datasheet leaves open and what is not modelled. A model never panics,
//! whatever is written to it. A new model represents a chip that was powered up long ago; `power_up` sets its power-up
//! values.

pub mod ads1115;
pub mod aht20;
pub mod bh1750;
pub mod bme280;
pub mod bmp390;
mod bosch;
mod environment;
pub mod htu21d;
pub mod ina219;
pub mod ina226;
pub mod lm75;
pub mod max31865;
pub mod mcp9808;
pub mod mlx90614;
pub mod register_map;
pub mod scd4x;
mod sensirion;
pub mod sht3x;
pub mod sht4x;
pub mod shtc3;
#[cfg(test)]
mod testing;
pub mod tmp102;
pub mod tmp117;
pub mod veml7700;

pub use environment::Environment;

use atalaya_hal::{Chip, Settings};

use crate::bus::Device;
use crate::spi::SpiChip;

/// Register model of a chip on I²C, as the table of chips names it.
pub trait Model {
    /// Creates a chip that was powered up long ago.
    fn create(chip: Chip, settings: &Settings, environment: Environment) -> Box<dyn Device>;
}

/// Register model of a chip on SPI, as the table of chips names it.
pub trait SpiModel {
    /// Creates a chip that was powered up long ago.
    fn create(chip: Chip, settings: &Settings, environment: Environment) -> Box<dyn SpiChip>;
}

/// Creates the functions that build the model of a chip, with one arm for each row of the table.
macro_rules! models {
    ($( $(#[$comment:meta])* $chip:ident { $bus:ident $(, driver: $driver:path, model: $model:path)? } $spec:expr; )*) => {
        /// Creates the model of `chip` in its environment; None if it is not a chip on I²C.
        pub fn on_i2c(chip: Chip, settings: &Settings, environment: Environment) -> Option<Box<dyn Device>> {
            Some(match chip {
                $( Chip::$chip => of_bus!(i2c $bus $(, <$model as Model>::create(chip, settings, environment))?), )*
                _ => return None,
            })
        }

        /// Creates the model of `chip` in its environment; None if it is not a chip on SPI.
        pub fn on_spi(chip: Chip, settings: &Settings, environment: Environment) -> Option<Box<dyn SpiChip>> {
            Some(match chip {
                $( Chip::$chip => of_bus!(spi $bus $(, <$model as SpiModel>::create(chip, settings, environment))?), )*
                _ => return None,
            })
        }
    };
}

/// Creates a model if the bus of its row is the wanted one.
macro_rules! of_bus {
    (i2c i2c, $model:expr) => {
        $model
    };
    (spi spi, $model:expr) => {
        $model
    };
    ($($other:tt)*) => {
        return None
    };
}

atalaya_hal::chip_table!(models);
