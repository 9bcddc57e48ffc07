//! Drivers of the chips, one small file each. The table of chips ([`crate::catalogue::table`]) names the driver of each
//! chip. To add one, see `hal/DRIVERS.md`.
//!
//! Both backends build their sensors with [`build`], so the same code reads the chip on a Raspberry Pi and the
//! simulated chip.

mod ads1115;
mod aht20;
mod bh1750;
mod bme280;
mod bmp390;
mod context;
mod driver;
mod htu21d;
mod ina219;
mod ina226;
mod lm75;
mod max31865;
mod mcp9808;
mod mlx90614;
mod scd4x;
mod sht3x;
mod sht4x;
mod shtc3;
#[cfg(test)]
mod testing;
mod tmp102;
mod tmp117;
mod veml7700;

pub use context::DeviceContext;

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use embedded_hal::spi::SpiDevice;

use crate::chip::Chip;
use crate::error::{BusError, OpenError, SpiError};
use crate::filter::Filtered;
use crate::sensor::Sensor;
use crate::spec::SensorSpec;

/// Creates the functions that build the driver of a chip, with one arm for each row of the table.
macro_rules! builders {
    ($( $(#[$comment:meta])* $chip:ident { $bus:ident $(, driver: $file:ident::$driver:ident, model: $model:path)? } $spec:expr; )*) => {
        /// Creates the driver of `chip` on I²C; None if it is not a chip on I²C.
        fn on_i2c<I, D>(chip: Chip, i2c: I, delay: D, context: DeviceContext) -> Option<Box<dyn Sensor>>
        where
            I: I2c<Error: BusError> + Send + 'static,
            D: DelayNs + Send + 'static,
        {
            Some(match chip {
                $( Chip::$chip => of_bus!(i2c $bus $(, $file::$driver::new(i2c, delay, context))?), )*
            })
        }

        /// Creates the driver of `chip` on SPI; None if it is not a chip on SPI.
        fn on_spi<S, D>(chip: Chip, spi: S, delay: D, context: DeviceContext) -> Option<Box<dyn Sensor>>
        where
            S: SpiDevice<Error: SpiError> + Send + 'static,
            D: DelayNs + Send + 'static,
        {
            Some(match chip {
                $( Chip::$chip => of_bus!(spi $bus $(, $file::$driver::new(spi, delay, context))?), )*
            })
        }
    };
}

/// Creates a driver if the bus of its row is the wanted one.
macro_rules! of_bus {
    (i2c i2c, $driver:expr) => {
        Box::new($driver)
    };
    (spi spi, $driver:expr) => {
        Box::new($driver)
    };
    ($($other:tt)*) => {
        return None
    };
}

crate::chip_table!(builders);

/// Builds the driver for `spec` on `i2c`, with the configured filters. Does not access the chip: a chip that is
/// absent now may be present at a later read. `bus` is the name of the bus in messages, such as `/dev/i2c-1`; `delay`
/// waits for conversions.
///
/// # Errors
/// The chip is not on an I²C bus, so no driver is generic over one.
pub fn build<I, D>(spec: &SensorSpec, i2c: I, delay: D, bus: &str) -> Result<Box<dyn Sensor>, OpenError>
where
    I: I2c<Error: BusError> + Send + 'static,
    D: DelayNs + Send + 'static,
{
    let sensor = spec.address().and_then(|address| {
        let context = DeviceContext::new(bus, address, spec.info()).with_settings(spec.settings.clone());
        on_i2c(spec.chip, i2c, delay, context)
    });
    let sensor = sensor.ok_or_else(|| mismatch(spec, "an I²C bus"))?;
    Ok(Filtered::wrap(sensor, &spec.filters))
}

/// Builds the driver for a chip on SPI, as [`build`] does for I²C. `bus` is the name of the bus in messages, such as
/// `/dev/spidev0.0`.
///
/// # Errors
/// The chip is not on an SPI bus.
pub fn build_spi<S, D>(spec: &SensorSpec, spi: S, delay: D, bus: &str) -> Result<Box<dyn Sensor>, OpenError>
where
    S: SpiDevice<Error: SpiError> + Send + 'static,
    D: DelayNs + Send + 'static,
{
    let context = DeviceContext::unaddressed(bus, spec.info()).with_settings(spec.settings.clone());
    let sensor = on_spi(spec.chip, spi, delay, context).ok_or_else(|| mismatch(spec, "an SPI bus"))?;
    Ok(Filtered::wrap(sensor, &spec.filters))
}

fn mismatch(spec: &SensorSpec, bus: &str) -> OpenError {
    OpenError::new(&spec.name, format!("`{}` is not a chip on {bus}", spec.chip))
}
