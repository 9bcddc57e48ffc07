//! Chips on I²C and SPI: the content of the registers, and the result of the driver.

use atalaya_hal::catalogue::BusKind;
use atalaya_hal::{BusAddress, Chip, Sensor, SensorSpec, drivers};

use super::bus::{Answer, Fixed, Now, crc8};
use super::cases::{CASES, Case};
use super::check;

/// Permanent answers of the chips: identity, calibration, "ready", and ordinary values of the other quantities.
const ALWAYS: [(Chip, &[Answer]); 8] = [
    (Chip::Bme280, BME280),
    (Chip::Bmp280, BMP280),
    (Chip::Bmp390, BMP390),
    (Chip::Ina219, &[Answer { after: &[2], bytes: &[0x1f, 0x42] }, Answer { after: &[1], bytes: &[0, 1] }]),
    (Chip::Ina226, &[Answer { after: &[2], bytes: &[0x0c, 0x80] }, Answer { after: &[1], bytes: &[0, 1] }]),
    (Chip::Scd4x, &[Answer { after: &[0xe4, 0xb8], bytes: &[0x80, 0x06] }]),
    (Chip::Sht3x, &[Answer { after: &[0xf3, 0x2d], bytes: &[0x80, 0x10] }]),
    (Chip::Aht20, &[Answer { after: &[0x71], bytes: &[0x1c] }]),
];

/// Worked example of BST-BMP280-DS001, section 3.12; for humidity, coefficients of the usual size.
const CALIBRATION: &[u8] = &[
    0x70, 0x6b, 0x43, 0x67, 0x18, 0xfc, 0x7d, 0x8e, 0x43, 0xd6, 0xd0, 0x0b, 0x27, 0x0b, 0x8c, 0x00, 0xf9,
    0xff, 0x8c, 0x3c, 0xf8, 0xc6, 0x70, 0x17, 0, 75,
];
const BME280: &[Answer] = &[
    Answer { after: &[0xd0], bytes: &[0x60] },
    Answer { after: &[0x88], bytes: CALIBRATION },
    Answer { after: &[0xe1], bytes: &[0x72, 0x01, 0x00, 0x13, 0x29, 0x03, 0x1e] },
];
const BMP280: &[Answer] = &[
    Answer { after: &[0xd0], bytes: &[0x58] },
    Answer { after: &[0x88], bytes: CALIBRATION },
    Answer { after: &[0xe1], bytes: &[0; 7] },
];
/// Coefficients of a real chip, from the tests of the crate `bmp390`.
const BMP390: &[Answer] = &[
    Answer { after: &[0], bytes: &[0x60] },
    Answer {
        after: &[0x31],
        bytes: &[
            0x98, 0x6c, 0xa9, 0x4a, 0xf9, 0xe3, 0x1c, 0x61, 0x16, 0x06, 0x01, 0x51, 0x4a, 0xde, 0x5d, 0x03,
            0xfa, 0xf9, 0x0e, 0x06, 0xf5,
        ],
    },
];

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
    let measured = Answer { after: case.after, bytes: case.bytes };
    let checksums = matches!(case.chip, Chip::Sht3x | Chip::Sht4x | Chip::Shtc3 | Chip::Scd4x);
    let mut bus = Fixed::new([&measured].into_iter().chain(always), checksums);
    if case.chip == Chip::Aht20 {
        bus.append(&[0x71], crc8(case.bytes));
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
        let row = format!("{} {} {:?} {:02x?}", case.chip, case.quantity, case.end, case.bytes);
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
