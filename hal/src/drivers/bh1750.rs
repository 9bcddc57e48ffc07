//! BH1750, on the published `bh1750` crate. Built by [`super::build`].
//!
//! A read starts one measurement in steps of 1 lx and waits for it; afterwards the chip goes to sleep automatically.
//! Datasheet: Rohm, "BH1750FVI", "Instruction Set Architecture" and "Measurement Procedure".

use bh1750::{BH1750, BH1750Error, Resolution};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::context::{SlowDelay, decimal};
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

/// Maximum illuminance, in lx: 65534 counts. The next code is a full register, and may be any amount of light.
const BRIGHTEST: f64 = 54_611.7;
/// Threshold between the last two codes, in lx.
const FULL: f32 = 65_534.5 / 1.2;

pub(super) type Bh1750<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Bh1750<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        // The crate waits 144 ms, and the slowest chip takes 180 ms.
        let delay = SlowDelay(&mut self.delay);
        let mut chip = BH1750::new_custom_address(&mut self.bus, delay, self.context.address());
        let lux = chip.get_one_time_measurement(Resolution::High).map_err(|error| match error {
            BH1750Error::I2C(error) => self.context.bus(error),
            BH1750Error::MeasurementTimeOutOfRange => self.context.error(Cause::Other, "the driver gave up"),
        })?;
        if lux > FULL {
            let remedy = "it is brighter than the chip can measure: shade it";
            return Err(self.context.saturated(Quantity::Illuminance, "0xffff", remedy));
        }
        // The true step is 1/1.2 lx.
        let lux = (decimal(lux) * 10.0).round() / 10.0;
        Ok(smallvec![self.context.reading(Quantity::Illuminance, lux, 0.0..=BRIGHTEST)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    /// Delay that records the requested time.
    struct Counts<'a>(&'a std::sync::atomic::AtomicU32);

    impl DelayNs for Counts<'_> {
        fn delay_ns(&mut self, ns: u32) {
            self.0.fetch_add(ns / 1000, std::sync::atomic::Ordering::Relaxed);
        }
    }

    fn read(register: [u8; 2]) -> Result<Vec<f64>, ReadError> {
        let i2c = bus([writes(0x23, [0x20]), gets(0x23, register)]);
        values(Bh1750::new(i2c, Now, context("bh1750", 0x23)).read())
    }

    #[test]
    fn measures_once_in_the_high_resolution() {
        // Example in the datasheet: 0x8390 is 28 067 lx.
        let table = [
            ([0x83, 0x90], 28_066.7),
            ([0x00, 0x00], 0.0),
            ([0x00, 0x01], 0.8),
            ([0x00, 0x0c], 10.0),
            ([0xff, 0xfe], 54_611.7),
        ];
        for (register, lux) in table {
            assert_eq!(read(register).unwrap(), [lux], "{register:02x?}");
        }
    }

    #[test]
    fn a_full_register_is_no_reading() {
        assert_eq!(read([0xff, 0xff]).unwrap_err().cause(), Cause::OutOfRange);
    }

    #[test]
    fn waits_for_the_slowest_chip() {
        let waited = std::sync::atomic::AtomicU32::new(0);
        let i2c = bus([writes(0x5c, [0x20]), gets(0x5c, [0, 12])]);
        Bh1750::new(i2c, Counts(&waited), context("bh1750", 0x5c)).read().unwrap();
        assert_eq!(waited.into_inner(), 180_000);
    }
}
