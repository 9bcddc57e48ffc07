//! Checks for any data from the bus that no driver panics or polls or waits without limit, and that every reading is
//! finite, possible and in the order of its chip.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests are tests too")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use atalaya_hal::catalogue::{BusKind, Checksum};
use atalaya_hal::{BusAddress, Chip, Readings, Sensor, SensorSpec, drivers};
use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::{ErrorKind, ErrorType, I2c, NoAcknowledgeSource, Operation};
use embedded_hal::spi::{self, SpiDevice};
use proptest::prelude::*;

/// Maximum total wait of a read: the SCD4x needs half a second to stop, and the others a fifth.
const PATIENCE_MS: u64 = 600;
/// Maximum number of transactions of a read: the AHT20 is polled until it is ready.
const TRANSACTIONS: u64 = 30;

/// Events in the transactions of one read.
#[derive(Clone, Default)]
struct Meter {
    transactions: Arc<AtomicU64>,
    nanoseconds: Arc<AtomicU64>,
}

impl Meter {
    /// Returns the events since the last call.
    fn take(&self) -> (u64, u64) {
        let nanoseconds = self.nanoseconds.swap(0, Ordering::Relaxed);
        (self.transactions.swap(0, Ordering::Relaxed), nanoseconds / 1_000_000)
    }
}

/// Delay that counts and does not wait.
struct Counted(Meter);

impl DelayNs for Counted {
    fn delay_ns(&mut self, ns: u32) {
        self.0.nanoseconds.fetch_add(ns.into(), Ordering::Relaxed);
    }
}

/// Bus that returns the given bytes repeatedly, and fails at regular intervals.
struct Noise {
    bytes: Vec<u8>,
    next: usize,
    /// Interval of failing transactions: one in this many fails; 0 for none.
    failing: u64,
    /// True if the bus imitates the chip: checksums are right, registers keep written values, and the id registers
    /// contain the chip's id. Otherwise the code after those checks would hardly be reached.
    plausible: bool,
    /// Id of the chip, by register.
    identity: &'static [(u8, u8)],
    registers: BTreeMap<u8, Vec<u8>>,
    meter: Meter,
}

impl Noise {
    fn fill(&mut self, buffer: &mut [u8]) {
        for byte in buffer.iter_mut() {
            *byte = self.bytes[self.next % self.bytes.len()];
            self.next += 1;
        }
        if self.plausible && buffer.len().is_multiple_of(3) {
            for word in buffer.chunks_exact_mut(3) {
                word[2] = crc(&word[..2]);
            }
        }
        // Only answer of the AHT20 with this length.
        if self.plausible && buffer.len() == 7 {
            buffer[6] = crc(&buffer[..6]);
        }
    }

    /// Returns the content of a register, if it is known.
    fn recall(&mut self, register: u8, buffer: &mut [u8]) -> bool {
        if !self.plausible {
            return false;
        }
        let known = self.identity.iter().find(|(id, _)| *id == register).map(|(_, value)| vec![*value]);
        match known.or_else(|| self.registers.get(&register).cloned()) {
            Some(bytes) if bytes.len() == buffer.len() => {
                buffer.copy_from_slice(&bytes);
                true
            }
            _ => false,
        }
    }

    fn fails(&mut self) -> bool {
        let count = self.meter.transactions.fetch_add(1, Ordering::Relaxed);
        self.failing != 0 && (count + self.next as u64).is_multiple_of(self.failing)
    }
}

/// Computes the CRC-8 with the polynomial 0x31, as specified in Sensirion's and Aosong's datasheets.
fn crc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0xff, |crc, byte| {
        (0..8).fold(crc ^ byte, |crc: u8, _| if crc & 0x80 != 0 { crc << 1 ^ 0x31 } else { crc << 1 })
    })
}

impl ErrorType for Noise {
    type Error = ErrorKind;
}

impl I2c for Noise {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), ErrorKind> {
        assert!((0x08..=0x77).contains(&address), "{address:#04x} is no address");
        let reads = operations.iter().filter(|operation| matches!(operation, Operation::Read(_))).count();
        let last = matches!(operations.last(), Some(Operation::Read(_)));
        assert!(reads == 0 || (reads == 1 && last), "the Raspberry Pi cannot do this: {operations:?}");
        if self.fails() {
            return Err(ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        }
        let mut register = None;
        for operation in operations {
            match operation {
                Operation::Write([one]) => register = Some(*one),
                Operation::Write([first, rest @ ..]) => {
                    self.registers.insert(*first, rest.to_vec());
                }
                Operation::Read(buffer) => {
                    if !register.is_some_and(|register| self.recall(register, buffer)) {
                        self.fill(buffer);
                    }
                }
                Operation::Write([]) => {}
            }
        }
        Ok(())
    }
}

impl spi::ErrorType for Noise {
    type Error = spi::ErrorKind;
}

impl SpiDevice for Noise {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), spi::ErrorKind> {
        if self.fails() {
            return Err(spi::ErrorKind::Overrun);
        }
        for operation in operations {
            match operation {
                spi::Operation::TransferInPlace([register, rest @ ..]) => {
                    let register = *register;
                    if !self.recall(register, rest) {
                        self.fill(rest);
                    }
                }
                spi::Operation::Write([register, rest @ ..]) => {
                    // The write address of a MAX31865 register is 0x80 above its read address.
                    self.registers.insert(register & 0x7f, rest.to_vec());
                }
                spi::Operation::Read(buffer) | spi::Operation::Transfer(buffer, _) => self.fill(buffer),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Returns a sensor with the default settings of this chip.
fn spec(chip: Chip) -> SensorSpec {
    let bus_address = match chip.spec().bus {
        BusKind::I2c { addresses } => BusAddress::I2c { bus: "i2c-1".to_owned(), address: addresses[0] },
        _ => BusAddress::Spi { bus: "spi-0.0".to_owned() },
    };
    SensorSpec::new("s", chip, bus_address)
}

/// Returns the register with the chip's id, as the driver reads it.
fn identity(chip: Chip) -> &'static [(u8, u8)] {
    match chip {
        Chip::Bme280 => &[(0xd0, 0x60)],
        Chip::Bmp280 => &[(0xd0, 0x58)],
        Chip::Bmp390 => &[(0x00, 0x60)],
        _ => &[],
    }
}

fn chips_on_a_bus() -> impl Iterator<Item = Chip> {
    Chip::ALL.into_iter().filter(|chip| chip.needs_bus())
}

fn check(chip: Chip, readings: &Readings) -> Result<(), TestCaseError> {
    let measured: Vec<_> = readings.iter().map(|reading| reading.quantity()).collect();
    prop_assert_eq!(&measured[..], chip.quantities().unwrap());
    for reading in readings {
        prop_assert!(reading.value().is_finite() && reading.value().abs() < 1e6, "{chip}: {reading}");
        prop_assert!(reading.value() != 0.0 || reading.value().is_sign_positive(), "{chip}: -0");
    }
    Ok(())
}

/// Checks that plausible answers give readings. Otherwise the property below could pass because no driver reaches a
/// reading.
#[test]
fn a_plausible_bus_makes_every_driver_read_something() {
    // This bus computes no other checksums; atalaya-sim checks the drivers of all chips on their register models.
    for chip in chips_on_a_bus().filter(|chip| chip.spec().checksum != Checksum::Other) {
        let read = |value: u8| {
            let (bytes, identity) = (vec![value, 0x66], identity(chip));
            let meter = Meter::default();
            // Noise as calibration never gives possible values: this one is of a real BMP390.
            let calibration =
                b"\x98\x6c\xa9\x4a\xf9\xe3\x1c\x61\x16\x06\x01\x51\x4a\xde\x5d\x03\xfa\xf9\x0e\x06\xf5";
            let registers = BTreeMap::from([(0x31, calibration.to_vec())]);
            let noise = Noise {
                bytes,
                next: 0,
                failing: 0,
                plausible: true,
                identity,
                registers,
                meter: meter.clone(),
            };
            let mut sensor = build(chip, noise, Counted(meter));
            (0..3).any(|_| sensor.read().is_ok())
        };
        assert!((0..=255).any(read), "{chip}");
    }
}

fn build(chip: Chip, noise: Noise, delay: Counted) -> Box<dyn Sensor> {
    match chip.spec().bus {
        BusKind::I2c { .. } => drivers::build(&spec(chip), noise, delay, "/dev/i2c-1").unwrap(),
        _ => drivers::build_spi(&spec(chip), noise, delay, "/dev/spidev0.0").unwrap(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_and_no_errors_make_a_driver_panic_or_hang(
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(0_u8), Just(0xff)], 1..64),
        failing in prop_oneof![Just(0_u64), 1_u64..12],
        plausible in any::<bool>(),
    ) {
        for chip in chips_on_a_bus() {
            let meter = Meter::default();
            let noise = Noise {
                bytes: bytes.clone(),
                next: 0,
                failing,
                plausible,
                identity: identity(chip),
                registers: BTreeMap::new(),
                meter: meter.clone(),
            };
            let mut sensor = build(chip, noise, Counted(meter.clone()));
            prop_assert_eq!(meter.take(), (0, 0), "{} sends before the first read", chip);
            for _ in 0..6 {
                match sensor.read() {
                    Ok(readings) => check(chip, &readings)?,
                    Err(error) => prop_assert!(!error.to_string().is_empty()),
                }
                let (transactions, waited) = meter.take();
                prop_assert!(transactions <= TRANSACTIONS, "{chip}: {transactions} transactions");
                prop_assert!(waited <= PATIENCE_MS, "{chip} waits {waited} ms");
            }
        }
    }
}
