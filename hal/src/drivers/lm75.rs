//! LM75 and compatible chips (LM75A, TMP105), on the published `lm75` crate. Built by [`super::build`].
//!
//! The chip converts continuously, so a read is one bus transaction and does not wait. Datasheet: Texas Instruments
//! SNIS153, "LM75B, LM75C Digital Temperature Sensor".

use embedded_hal::i2c::I2c;
use smallvec::smallvec;

use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

pub(super) type Lm75<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State;

impl<I: I2c<Error: BusError>, D> ReadChip for Lm75<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        let mut chip = lm75::Lm75::new(&mut self.bus, self.context.address());
        let celsius = match chip.read_temperature() {
            Ok(celsius) => f64::from(celsius),
            Err(lm75::Error::I2C(error)) => return Err(self.context.bus(error)),
            Err(lm75::Error::InvalidInputData) => {
                return Err(self.context.error(Cause::Other, "the driver refused its input"));
            }
        };
        Ok(smallvec![self.context.exact(Quantity::Temperature, celsius, -55.0..=125.0)?])
    }
}

#[cfg(test)]
mod tests {
    use super::super::DeviceContext;
    use super::super::testing::{Now, Sensor};
    use super::*;
    use crate::error::Place;
    use crate::reading::Reading;
    use crate::sensor::SensorInfo;
    use embedded_hal::i2c::{ErrorKind, NoAcknowledgeSource};
    use embedded_hal_mock::eh1::i2c::{Mock, Transaction};

    fn sensor(i2c: Mock) -> Lm75<Mock, Now> {
        let info = SensorInfo {
            name: "ambient".into(),
            chip: "lm75".into(),
            bus: Some("i2c-1".into()),
            address: Some(0x48),
            quantities: vec![Quantity::Temperature],
        };
        Lm75::new(i2c, Now, DeviceContext::new("/dev/i2c-1", 0x48, info))
    }

    fn read(transaction: Transaction) -> Result<Readings, ReadError> {
        let mut i2c = Mock::new(&[transaction]);
        let result = sensor(i2c.clone()).read();
        i2c.done();
        result
    }

    #[test]
    fn reads_the_temperature_register_in_one_transaction() {
        // Table 1 of the datasheet, and bits below the ninth, which other chips of the family use.
        let table = [
            ([0x7d, 0x00], 125.0),
            ([0x19, 0x00], 25.0),
            ([0x00, 0x80], 0.5),
            ([0x00, 0x00], 0.0),
            ([0xff, 0x80], -0.5),
            ([0xe7, 0x00], -25.0),
            ([0xc9, 0x00], -55.0),
            ([0x19, 0x70], 25.0),
        ];
        for (register, celsius) in table {
            let readings = read(Transaction::write_read(0x48, vec![0], register.to_vec())).unwrap();
            assert_eq!(
                readings[..],
                [Reading::new(Quantity::Temperature, celsius).unwrap()],
                "{register:02x?}"
            );
        }
    }

    #[test]
    fn refuses_what_the_chip_cannot_measure() {
        for register in [[0x7d, 0x80], [0x80, 0x00], [0xc8, 0x80]] {
            let error = read(Transaction::write_read(0x48, vec![0], register.to_vec())).unwrap_err();
            assert_eq!(error.cause(), Cause::OutOfRange);
            assert!(error.to_string().starts_with("impossible value from 0x48 on /dev/i2c-1: "), "{error}");
        }
    }

    #[test]
    fn keeps_the_cause_of_the_bus_and_works_again_afterwards() {
        let absent = ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address);
        let mut i2c = Mock::new(&[
            Transaction::write_read(0x48, vec![0], vec![0, 0]).with_error(absent),
            Transaction::write_read(0x48, vec![0], vec![0, 0]).with_error(ErrorKind::Bus),
            Transaction::write_read(0x48, vec![0], vec![0x15, 0x80]),
        ]);
        let mut sensor = sensor(i2c.clone());
        let error = sensor.read().unwrap_err();
        assert_eq!(error.cause(), Cause::NotPresent);
        assert_eq!(error.place(), &Place::new("/dev/i2c-1", 0x48));
        assert_eq!(error.to_string(), "no acknowledge at 0x48 on /dev/i2c-1");
        assert_eq!(sensor.read().unwrap_err().cause(), Cause::Bus);
        assert_eq!(sensor.read().unwrap()[0].value(), 21.5);
        i2c.done();
    }
}
