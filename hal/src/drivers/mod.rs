//! Drivers of the chips: one line each in this table, one small file each in this folder. To add one, see
//! `hal/DRIVERS.md`.
//!
//! Both backends build their sensors with [`build`], so the same code reads the chip on a Raspberry Pi and the
//! simulated chip.

mod ads1115;
mod aht20;
mod bh1750;
mod bme280;
mod bmp390;
mod ina219;
mod ina226;
mod lm75;
mod max31865;
mod mcp9808;
mod mount;
mod scd4x;
mod sht3x;
mod sht4x;
mod shtc3;
#[cfg(test)]
mod testing;
mod tmp102;
mod tmp117;
mod veml7700;

pub use lm75::Lm75;
pub use mount::Mount;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use embedded_hal::spi::SpiDevice;

use crate::chip::Chip;
use crate::error::{BusError, OpenError, SpiError};
use crate::filter::Filtered;
use crate::sensor::Sensor;
use crate::settings::Settings;
use crate::spec::SensorSpec;

/// Builds the driver for `spec` on `i2c`, with the configured filters. Does not access the chip: a chip that is
/// absent now may be present at a later read. `bus` is the name of the bus in messages, such as `/dev/i2c-1`; `delay`
/// waits for conversions.
///
/// # Errors
/// The chip is not on an I²C bus, so no driver is generic over one; or `spec` has the settings of another chip.
pub fn build<I, D>(spec: &SensorSpec, i2c: I, delay: D, bus: &str) -> Result<Box<dyn Sensor>, OpenError>
where
    I: I2c<Error: BusError> + Send + 'static,
    D: DelayNs + Send + 'static,
{
    let Some(address) = spec.address() else {
        return Err(OpenError::new(&spec.name, format!("`{}` sits on no I²C bus", spec.chip)));
    };
    let mount = Mount::new(bus, address, spec.info());
    let sensor: Box<dyn Sensor> = match (spec.chip, spec.settings) {
        (Chip::Lm75 | Chip::Lm75a | Chip::Tmp105, _) => Box::new(Lm75::new(i2c, mount)),
        (Chip::Tmp102, _) => Box::new(tmp102::Tmp102::new(i2c, mount)),
        (Chip::Tmp117, _) => Box::new(tmp117::Tmp117::new(i2c, delay, mount)),
        (Chip::Bme280, _) => Box::new(bme280::Bme280::new(i2c, delay, mount)),
        (Chip::Bmp280, _) => Box::new(bme280::Bmp280::new(i2c, delay, mount)),
        (Chip::Bmp390, _) => Box::new(bmp390::Bmp390::new(i2c, delay, mount)),
        (Chip::Sht3x, _) => Box::new(sht3x::Sht3x::new(i2c, delay, mount)),
        (Chip::Sht4x, _) => Box::new(sht4x::Sht4x::new(i2c, delay, mount)),
        (Chip::Shtc3, _) => Box::new(shtc3::Shtc3::new(i2c, delay, mount)),
        (Chip::Mcp9808, _) => Box::new(mcp9808::Mcp9808::new(i2c, delay, mount)),
        (Chip::Aht20, _) => Box::new(aht20::Aht20::new(i2c, delay, mount)),
        (Chip::Scd4x, Settings::Altitude(metres)) => Box::new(scd4x::Scd4x::new(i2c, delay, mount, metres)),
        (Chip::Veml7700, _) => Box::new(veml7700::Veml7700::new(i2c, delay, mount)),
        (Chip::Bh1750, _) => Box::new(bh1750::Bh1750::new(i2c, delay, mount)),
        (Chip::Ina219, Settings::Shunt(shunt)) => Box::new(ina219::Ina219::new(i2c, delay, mount, shunt)),
        (Chip::Ina226, Settings::Shunt(shunt)) => Box::new(ina226::Ina226::new(i2c, delay, mount, shunt)),
        (Chip::Ads1115, Settings::Analogue(analogue)) => {
            Box::new(ads1115::Ads1115::new(i2c, delay, mount, analogue))
        }
        (chip, _) => return Err(mismatch(spec, chip, "an I²C bus")),
    };
    Ok(Filtered::wrap(sensor, &spec.filters))
}

/// Builds the driver for a chip on SPI, as [`build`] does for I²C. `bus` is the name of the bus in messages, such as
/// `/dev/spidev0.0`.
///
/// # Errors
/// Those of [`build`].
pub fn build_spi<S, D>(spec: &SensorSpec, spi: S, delay: D, bus: &str) -> Result<Box<dyn Sensor>, OpenError>
where
    S: SpiDevice<Error: SpiError> + Send + 'static,
    D: DelayNs + Send + 'static,
{
    let mount = Mount::unaddressed(bus, spec.info());
    let sensor: Box<dyn Sensor> = match (spec.chip, spec.settings) {
        (Chip::Max31865, Settings::Rtd(rtd)) => Box::new(max31865::Max31865::new(spi, delay, mount, rtd)),
        (chip, _) => return Err(mismatch(spec, chip, "an SPI bus")),
    };
    Ok(Filtered::wrap(sensor, &spec.filters))
}

fn mismatch(spec: &SensorSpec, chip: Chip, bus: &str) -> OpenError {
    OpenError::new(&spec.name, format!("`{chip}` with these settings is no chip on {bus}"))
}
