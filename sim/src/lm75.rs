//! A register-level model of the LM75 (and of the TMP105 as it powers up), driven by any source of temperatures. Put on a
//! [`crate::SimBus`] by [`crate::simulator`].
//!
//! Datasheet: Texas Instruments SNIS153, "LM75B, LM75C Digital Temperature Sensor", sections on the internal register
//! structure: pointer register (the low two bits of the first byte written), temperature (00, read only), configuration
//! (01), T_HYST (10) and T_OS (11), with their power-up values. Bytes are sent most significant first.

use crate::bus::Device;

/// One step of the chip, in °C.
pub const LSB: f64 = 0.5;
/// The coldest it can measure, in °C.
pub const MIN: f64 = -55.0;
/// The hottest it can measure, in °C.
pub const MAX: f64 = 125.0;

/// 75 °C, as the chip powers up.
const T_HYST: u16 = 0x4b00;
/// 80 °C, as the chip powers up.
const T_OS: u16 = 0x5000;
/// Bits of the configuration that exist; the others read as zero.
const CONFIGURATION_BITS: u8 = 0b0001_1111;
/// The configuration's shutdown bit: the temperature register keeps its last value.
const SHUTDOWN: u8 = 0b0000_0001;
/// The nine bits of the temperature and limit registers; the others read as zero.
const TEMPERATURE_BITS: u16 = 0xff80;

/// An LM75 whose surroundings are as warm as `source` says.
pub struct Lm75<S> {
    /// The temperature around the chip, in °C; asked once for each conversion.
    source: S,
    /// Which register the next byte read comes from, or written goes to.
    pointer: u8,
    temperature: u16,
    configuration: u8,
    limits: [u16; 2],
    /// Bytes since the last start.
    position: usize,
    /// What a read in progress sends: a conversion that ends in its middle must not mix two values.
    latched: u16,
}

impl<S: FnMut() -> f64 + Send> Lm75<S> {
    /// A chip that has just been powered up.
    pub fn new(source: S) -> Lm75<S> {
        Lm75 {
            source,
            pointer: 0,
            temperature: 0,
            configuration: 0,
            limits: [T_HYST, T_OS],
            position: 0,
            latched: 0,
        }
    }

    /// What the real chip does all the time, done when somebody could see it.
    fn convert(&mut self) {
        if self.configuration & SHUTDOWN == 0 {
            self.temperature = to_register((self.source)());
        }
    }

    /// The register that a read sends, as 16 bits.
    fn register(&mut self) -> u16 {
        match self.pointer {
            0 => {
                self.convert();
                self.temperature
            }
            // One byte, and a second read repeats it.
            1 => u16::from_be_bytes([self.configuration; 2]),
            2 => self.limits[0],
            _ => self.limits[1],
        }
    }
}

/// The nearest value the chip can show for a temperature in °C; the ends of its range for anything beyond.
fn to_register(celsius: f64) -> u16 {
    // The cast of a float saturates, and NaN becomes 0.
    let steps = (celsius.clamp(MIN, MAX) / LSB).round() as i16;
    steps.cast_unsigned() << 7
}

impl<S: FnMut() -> f64 + Send> Device for Lm75<S> {
    fn start(&mut self) {
        self.position = 0;
    }

    fn write(&mut self, byte: u8) -> bool {
        match (self.position, self.pointer) {
            // Bits 2 to 7 of the pointer must be zero; the chip looks at the others only.
            (0, _) => self.pointer = byte & 0b11,
            (1, 1) => {
                // The last conversion before a shutdown stays readable.
                self.convert();
                self.configuration = byte & CONFIGURATION_BITS;
            }
            (position @ (1 | 2), pointer @ (2 | 3)) => {
                let limit = &mut self.limits[usize::from(pointer - 2)];
                let [high, low] = limit.to_be_bytes();
                let bytes = if position == 1 { [byte, low] } else { [high, byte] };
                *limit = u16::from_be_bytes(bytes) & TEMPERATURE_BITS;
            }
            // The temperature cannot be written, and there is nothing behind a register.
            _ => {}
        }
        self.position = self.position.saturating_add(1);
        true
    }

    fn read(&mut self) -> u8 {
        if self.position == 0 {
            self.latched = self.register();
        }
        let byte = self.latched.to_be_bytes()[self.position % 2];
        self.position = self.position.saturating_add(1);
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::SimBus;
    use embedded_hal::i2c::I2c;
    use proptest::prelude::*;

    const ADDRESS: u8 = 0x48;

    fn bus(celsius: f64) -> SimBus {
        let bus = SimBus::new("i2c-1");
        bus.attach(ADDRESS, Lm75::new(move || celsius));
        bus
    }

    fn register(bus: &mut SimBus, pointer: u8) -> [u8; 2] {
        let mut bytes = [0; 2];
        bus.write_read(ADDRESS, &[pointer], &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn registers_have_their_power_up_values() {
        let mut bus = bus(25.0);
        let mut bytes = [0; 2];
        bus.read(ADDRESS, &mut bytes).unwrap();
        assert_eq!(bytes, [0x19, 0x00], "the pointer starts at the temperature");
        assert_eq!(register(&mut bus, 1), [0x00, 0x00]);
        assert_eq!(register(&mut bus, 2), [0x4b, 0x00]);
        assert_eq!(register(&mut bus, 3), [0x50, 0x00]);
    }

    #[test]
    fn temperatures_are_coded_as_the_datasheet_says_and_end_at_its_range() {
        let table = [
            (125.0, [0x7d, 0x00]),
            (25.0, [0x19, 0x00]),
            (0.5, [0x00, 0x80]),
            (0.0, [0x00, 0x00]),
            (-0.5, [0xff, 0x80]),
            (-25.0, [0xe7, 0x00]),
            (-55.0, [0xc9, 0x00]),
            (0.3, [0x00, 0x80]),
            (0.2, [0x00, 0x00]),
            (1e9, [0x7d, 0x00]),
            (f64::NEG_INFINITY, [0xc9, 0x00]),
            (f64::NAN, [0x00, 0x00]),
        ];
        for (celsius, want) in table {
            assert_eq!(register(&mut bus(celsius), 0), want, "{celsius}");
        }
    }

    #[test]
    fn limits_and_configuration_keep_what_is_written_as_far_as_bits_exist() {
        let mut bus = bus(25.0);
        bus.write(ADDRESS, &[1, 0xfe]).unwrap();
        assert_eq!(register(&mut bus, 1), [0x1e, 0x1e]);
        bus.write(ADDRESS, &[2, 0x12, 0xff]).unwrap();
        assert_eq!(register(&mut bus, 2), [0x12, 0x80]);
        bus.write(ADDRESS, &[3, 0xe7]).unwrap();
        assert_eq!(register(&mut bus, 3), [0xe7, 0x00], "one byte leaves the other");
        bus.write(ADDRESS, &[0, 0x7f, 0xff]).unwrap();
        assert_eq!(register(&mut bus, 0), [0x19, 0x00], "the temperature is read only");
    }

    #[test]
    fn the_pointer_stays_for_later_reads() {
        let mut bus = bus(25.0);
        bus.write(ADDRESS, &[3]).unwrap();
        for _ in 0..2 {
            let mut bytes = [0; 2];
            bus.read(ADDRESS, &mut bytes).unwrap();
            assert_eq!(bytes, [0x50, 0x00]);
        }
    }

    #[test]
    fn shut_down_it_keeps_the_last_temperature() {
        let bus = SimBus::new("i2c-1");
        let mut celsius = 20.0;
        bus.attach(
            ADDRESS,
            Lm75::new(move || {
                celsius += 1.0;
                celsius
            }),
        );
        let mut driver = bus.clone();
        assert_eq!(register(&mut driver, 0), [21, 0]);
        driver.write(ADDRESS, &[1, SHUTDOWN]).unwrap();
        assert_eq!(register(&mut driver, 0), [22, 0]);
        assert_eq!(register(&mut driver, 0), [22, 0]);
        driver.write(ADDRESS, &[1, 0]).unwrap();
        assert_eq!(register(&mut driver, 0), [23, 0]);
    }

    proptest! {
        #[test]
        fn no_sequence_of_writes_and_reads_panics(
            transactions in proptest::collection::vec(
                (any::<bool>(), proptest::collection::vec(any::<u8>(), 0..6), 0_usize..6), 0..40,
            ),
        ) {
            let mut bus = bus(25.0);
            for (combined, bytes, length) in transactions {
                let mut buffer = vec![0; length];
                if combined {
                    prop_assert!(bus.write_read(ADDRESS, &bytes, &mut buffer).is_ok());
                } else {
                    prop_assert!(bus.write(ADDRESS, &bytes).is_ok());
                    prop_assert!(bus.read(ADDRESS, &mut buffer).is_ok());
                }
            }
            prop_assert_eq!(register(&mut bus, 0), [0x19, 0x00], "whatever was written, it is still 25 degrees");
        }
    }
}
