//! Chips on I²C and SPI: the content of the registers, and the result of the driver.

use atalaya_hal::catalogue::BusKind;
use atalaya_hal::{BusAddress, Chip, Sensor, SensorSpec, drivers};

use super::bus::{Answer, Fixed, Now, bytes, crc8};
use super::cases::{CASES, Case};
use super::check;

/// Permanent answers of the chips: identity, calibration, "ready", and ordinary values of the other quantities.
const ALWAYS: [(Chip, &[Answer]); 8] = [
    (Chip::Bme280, BME280),
    (Chip::Bmp280, BMP280),
    (Chip::Bmp390, BMP390),
    (Chip::Ina219, &[("02", "1f42"), ("01", "0001")]),
    (Chip::Ina226, &[("02", "0c80"), ("01", "0001")]),
    (Chip::Scd4x, &[("e4b8", "8006")]),
    (Chip::Sht3x, &[("f32d", "8010")]),
    (Chip::Aht20, &[("71", "1c")]),
];

/// Worked example of BST-BMP280-DS001, section 3.12; for humidity, coefficients of the usual size.
const CALIBRATION: &str = "706b436718fc7d8e43d6d00b270b8c00f9ff8c3cf8c67017004b";
const BME280: &[Answer] = &[("d0", "60"), ("88", CALIBRATION), ("e1", "7201001329031e")];
const BMP280: &[Answer] = &[("d0", "58"), ("88", CALIBRATION), ("e1", "00000000000000")];
/// Coefficients of a real chip, from the tests of the crate `bmp390`.
const BMP390: &[Answer] = &[("00", "60"), ("31", "986ca94af9e31c61160601514ade5d03faf90e06f5")];

fn spec(case: &Case) -> SensorSpec {
    let bus_address = match case.chip.spec().bus {
        BusKind::I2c { addresses } => BusAddress::I2c { bus: "i2c-1".to_owned(), address: addresses[0] },
        _ => BusAddress::Spi { bus: "spi-0.0".to_owned() },
    };
    let settings = case.chip.settings(case.settings, case.channel).unwrap();
    SensorSpec { settings, ..SensorSpec::new("s", case.chip, bus_address) }
}

fn sensor(case: &Case) -> Box<dyn Sensor> {
    let always = ALWAYS.iter().find(|(chip, _)| *chip == case.chip).map_or(&[][..], |(_, answers)| answers);
    let measured = (case.after, case.bytes);
    let checksums = matches!(case.chip, Chip::Sht3x | Chip::Sht4x | Chip::Shtc3 | Chip::Scd4x);
    let mut bus = Fixed::new([&measured].into_iter().chain(always), checksums);
    if case.chip == Chip::Aht20 {
        bus.append(&[0x71], crc8(&bytes(case.bytes)));
    }
    let spec = spec(case);
    match case.chip.spec().bus {
        BusKind::I2c { .. } => drivers::build(&spec, bus, Now, "i2c-1").unwrap(),
        _ => drivers::build_spi(&spec, bus, Now, "spi-0.0").unwrap(),
    }
}

#[test]
fn every_chip_on_a_bus_refuses_or_believes_the_ends_of_its_registers() {
    let mut wrong = Vec::new();
    for case in CASES {
        let row = format!("{} {} {:?} {}", case.chip, case.quantity, case.end, case.bytes);
        let outcome = std::panic::catch_unwind(|| {
            let mut sensor = sensor(case);
            let mut result = sensor.read();
            if case.chip == Chip::Scd4x {
                // The first read starts the chip.
                result = sensor.read();
            }
            check(&row, case.quantity, case.decision, result);
        });
        if outcome.is_err() {
            wrong.push(row);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
