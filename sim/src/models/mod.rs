//! Register-level models of chips, one file each, with the datasheet that it follows. The measured values come from the
//! chip's [`Surroundings`], the time from the bus.
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
pub mod ina219;
pub mod ina226;
pub mod lm75;
pub mod max31865;
pub mod mcp9808;
pub mod scd4x;
mod sensirion;
pub mod sht3x;
pub mod sht4x;
pub mod shtc3;
mod surroundings;
pub mod tmp102;
pub mod tmp117;
pub mod veml7700;
pub mod words;

pub use surroundings::Surroundings;

use atalaya_hal::{Chip, SensorSpec, Settings};

use crate::bus::Device;

/// Creates the model of the chip that `spec` describes, in its surroundings; returns None if the chip has no model.
/// An ADS1115 is created by [`ads1115::Ads1115::device`] instead, because several sensors may share one.
pub fn of(spec: &SensorSpec, surroundings: Surroundings) -> Option<Box<dyn Device>> {
    let ohms = match spec.settings {
        Settings::Shunt(shunt) => shunt.ohms,
        _ => 0.1,
    };
    Some(match spec.chip {
        Chip::Lm75 | Chip::Lm75a => Box::new(lm75::Lm75::new(lm75::Family::Lm75, surroundings)),
        Chip::Tmp105 => Box::new(lm75::Lm75::new(lm75::Family::Tmp105, surroundings)),
        Chip::Tmp102 => Box::new(tmp102::Tmp102::device(surroundings)),
        Chip::Tmp117 => Box::new(tmp117::Tmp117::device(surroundings)),
        Chip::Mcp9808 => Box::new(mcp9808::Mcp9808::device(surroundings)),
        Chip::Bme280 => Box::new(bme280::Bme280::new(bme280::Family::Bme280, surroundings)),
        Chip::Bmp280 => Box::new(bme280::Bme280::new(bme280::Family::Bmp280, surroundings)),
        Chip::Bmp390 => Box::new(bmp390::Bmp390::new(surroundings)),
        Chip::Sht3x => Box::new(sht3x::Sht3x::new(surroundings)),
        Chip::Sht4x => Box::new(sht4x::Sht4x::new(surroundings)),
        Chip::Shtc3 => Box::new(shtc3::Shtc3::new(surroundings)),
        Chip::Aht20 => Box::new(aht20::Aht20::new(surroundings)),
        Chip::Scd4x => Box::new(scd4x::Scd4x::new(surroundings)),
        Chip::Bh1750 => Box::new(bh1750::Bh1750::new(surroundings)),
        Chip::Veml7700 => Box::new(veml7700::Veml7700::device(surroundings)),
        Chip::Ina219 => Box::new(ina219::Ina219::device(ohms, surroundings)),
        Chip::Ina226 => Box::new(ina226::Ina226::device(ohms, surroundings)),
        _ => return None,
    })
}
