//! Rows for the chips on I²C and SPI, with their datasheets.

use atalaya_hal::{Chip, Quantity};

use super::{Decision, End};
use Decision::{Believed, Refused};
use End::{Max, Min, Other};
use Quantity::{Concentration, Current, Humidity, Illuminance, Power, Pressure, Temperature, Voltage};

/// One row: the bytes in the registers of the chip, and the decision about `quantity`.
pub(crate) struct Case {
    pub(crate) chip: Chip,
    /// Settings other than the defaults of the chip.
    pub(crate) settings: &'static [(&'static str, f64)],
    pub(crate) channel: Option<&'static str>,
    pub(crate) quantity: Quantity,
    pub(crate) end: End,
    /// Bytes that the chip receives, and those that it answers, in hexadecimal.
    pub(crate) after: &'static str,
    pub(crate) bytes: &'static str,
    pub(crate) decision: Decision,
}

const fn case(
    chip: Chip,
    quantity: Quantity,
    end: End,
    after: &'static str,
    bytes: &'static str,
    decision: Decision,
) -> Case {
    Case { chip, settings: &[], channel: None, quantity, end, after, bytes, decision }
}

const fn with(case: Case, settings: &'static [(&'static str, f64)]) -> Case {
    Case { settings, ..case }
}

/// Selects the differential input of an ADS1115.
const fn differential(case: Case) -> Case {
    Case { channel: Some("a0-a1"), ..case }
}

const fn believed(value: f64, why: &'static str) -> Decision {
    Believed { value, why }
}

const RANGE: Decision = Refused("temperature of ");
const NO_TEMPERATURE: Decision = Refused("temperature was not measured");
const SATURATED_AIR: &str = "air holds no more, so a clipped value is right within the chip's accuracy";
const DRY_AIR: &str = "air cannot be drier, so a clipped value is right within the chip's accuracy";
const NO_INPUT: &str = "0 V is an input that is not connected or off";
const DARK: &str = "no light gives no counts";
const WRONG_SHUNT: Decision = Refused("choose a shunt with less resistance");

const SHT3X: &str = "2400";
const SHT4X: &str = "fd";
const SHTC3: &str = "7866";
const SCD4X: &str = "ec05";
const AIR: &str = "f7";
const BAR: &str = "04";
/// Reference resistor hardly larger than the thermometer: the range of the converter ends at 25.7 °C.
const SMALL_REFERENCE: &[(&str, f64)] = &[("reference", 110.0)];
const WIDE_SHUNT: &[(&str, f64)] = &[("shunt", 0.002)];

pub(crate) const CASES: &[Case] = &[
    // TI SNIS153 (LM75B) table 1, NXP LM75A, TI SBOS304 (TMP105) table 4: the range of 9 to 12 bits in two's complement
    // is -128 to 127.9375 °C; the measuring range of the chips is -55 to 125 °C.
    case(Chip::Lm75, Temperature, Min, "00", "8000", RANGE),
    case(Chip::Lm75, Temperature, Max, "00", "7f80", RANGE),
    case(Chip::Lm75a, Temperature, Min, "00", "8000", RANGE),
    case(Chip::Lm75a, Temperature, Max, "00", "7fe0", RANGE),
    case(Chip::Tmp105, Temperature, Min, "00", "8000", RANGE),
    case(Chip::Tmp105, Temperature, Max, "00", "7ff0", RANGE),
    // TI SBOS397, table 8-2: 128 °C and more give 0x7ff, as 127.9375 °C does. The range of the extended mode ends at
    // 256 °C.
    case(Chip::Tmp102, Temperature, Min, "00", "8000", RANGE),
    case(Chip::Tmp102, Temperature, Max, "00", "7ff0", Refused("temperature at the end")),
    case(Chip::Tmp102, Temperature, Other, "00", "7ff9", RANGE),
    case(Chip::Tmp102, Temperature, Other, "00", "8001", RANGE),
    // TI SNOSD82, 7.6.2: ±256 °C; 0x8000 until the first conversion.
    case(Chip::Tmp117, Temperature, Min, "00", "8000", RANGE),
    case(Chip::Tmp117, Temperature, Max, "00", "7fff", RANGE),
    // Microchip DS25095, register 5-4: 13 bits, ±256 °C.
    case(Chip::Mcp9808, Temperature, Min, "05", "1000", RANGE),
    case(Chip::Mcp9808, Temperature, Max, "05", "0fff", RANGE),
    // Bosch BST-BME280-DS002, 5.4.7 to 5.4.9: 0x80000 and 0x8000 if nothing was measured.
    case(Chip::Bme280, Temperature, Min, AIR, "655ac0 000000 6d60", Refused("temperature at the end")),
    case(Chip::Bme280, Temperature, Max, AIR, "655ac0 fffff0 6d60", Refused("temperature at the end")),
    case(Chip::Bme280, Temperature, Other, AIR, "655ac0 800000 6d60", NO_TEMPERATURE),
    case(Chip::Bme280, Pressure, Min, AIR, "000000 7eed00 6d60", Refused("pressure at the end")),
    case(Chip::Bme280, Pressure, Max, AIR, "fffff0 7eed00 6d60", Refused("pressure at the end")),
    case(Chip::Bme280, Pressure, Other, AIR, "800000 7eed00 6d60", Refused("pressure was not measured")),
    case(Chip::Bme280, Humidity, Min, AIR, "655ac0 7eed00 0000", Refused("humidity at the end")),
    case(Chip::Bme280, Humidity, Max, AIR, "655ac0 7eed00 ffff", Refused("humidity at the end")),
    case(Chip::Bme280, Humidity, Other, AIR, "655ac0 7eed00 8000", Refused("humidity was not measured")),
    // The compensation clips at 100 %RH (section 4.2.3), long before the end of the converter's range.
    case(Chip::Bme280, Humidity, Other, AIR, "655ac0 7eed00 a000", believed(100.0, SATURATED_AIR)),
    case(Chip::Bme280, Humidity, Other, AIR, "655ac0 7eed00 2000", believed(0.0, DRY_AIR)),
    case(Chip::Bmp280, Temperature, Min, AIR, "655ac0 000000", Refused("temperature at the end")),
    case(Chip::Bmp280, Temperature, Max, AIR, "655ac0 fffff0", Refused("temperature at the end")),
    case(Chip::Bmp280, Temperature, Other, AIR, "655ac0 800000", NO_TEMPERATURE),
    case(Chip::Bmp280, Pressure, Min, AIR, "000000 7eed00", Refused("pressure at the end")),
    case(Chip::Bmp280, Pressure, Max, AIR, "fffff0 7eed00", Refused("pressure at the end")),
    case(Chip::Bmp280, Pressure, Other, AIR, "800000 7eed00", Refused("pressure was not measured")),
    // Bosch BST-BMP390-DS002, 4.3.4 and 4.3.5: 24 bits, 0x800000 from reset until the first measurement.
    case(Chip::Bmp390, Temperature, Min, BAR, "cbb36b 000000", Refused("temperature at the end")),
    case(Chip::Bmp390, Temperature, Max, BAR, "cbb36b ffffff", Refused("temperature at the end")),
    case(Chip::Bmp390, Temperature, Other, BAR, "cbb36b 000080", NO_TEMPERATURE),
    case(Chip::Bmp390, Pressure, Min, BAR, "000000 d1ba82", Refused("pressure at the end")),
    case(Chip::Bmp390, Pressure, Max, BAR, "ffffff d1ba82", Refused("pressure at the end")),
    case(Chip::Bmp390, Pressure, Other, BAR, "000080 d1ba82", Refused("pressure was not measured")),
    // Sensirion SHT3x-DIS 4.13: -45 to 130 °C and 0 to 100 %RH; the measuring range of the chip is -40 to 125 °C.
    case(Chip::Sht3x, Temperature, Min, SHT3X, "0000 8000", RANGE),
    case(Chip::Sht3x, Temperature, Max, SHT3X, "ffff 8000", RANGE),
    case(Chip::Sht3x, Humidity, Min, SHT3X, "6666 0000", believed(0.0, DRY_AIR)),
    case(Chip::Sht3x, Humidity, Max, SHT3X, "6666 ffff", believed(100.0, SATURATED_AIR)),
    // Table 18: bit 13 of the status is the heater.
    case(Chip::Sht3x, Temperature, Other, "f32d", "a010", Refused("heater")),
    // Sensirion SHT4x 4.6: -6 to 119 %RH, so the ends of the range differ from dry and saturated air.
    case(Chip::Sht4x, Temperature, Min, SHT4X, "0000 8000", RANGE),
    case(Chip::Sht4x, Temperature, Max, SHT4X, "ffff 8000", RANGE),
    case(Chip::Sht4x, Humidity, Min, SHT4X, "6666 0000", Refused("humidity at the end")),
    case(Chip::Sht4x, Humidity, Max, SHT4X, "6666 ffff", Refused("humidity at the end")),
    case(Chip::Sht4x, Humidity, Other, SHT4X, "6666 fffe", believed(100.0, SATURATED_AIR)),
    // Sensirion SHTC3 5.11: -45 to 130 °C and 0 to 100 %RH.
    case(Chip::Shtc3, Temperature, Min, SHTC3, "0000 8000", RANGE),
    case(Chip::Shtc3, Temperature, Max, SHTC3, "ffff 8000", RANGE),
    case(Chip::Shtc3, Humidity, Min, SHTC3, "6666 0000", believed(0.0, DRY_AIR)),
    case(Chip::Shtc3, Humidity, Max, SHTC3, "6666 ffff", believed(100.0, SATURATED_AIR)),
    // Aosong AHT20 6: 20 bits, -50 to 150 °C and 0 to 100 %RH; the measuring range of the chip is -40 to 85 °C.
    case(Chip::Aht20, Temperature, Min, "71", "1c 8000000000", RANGE),
    case(Chip::Aht20, Temperature, Max, "71", "1c 80000fffff", RANGE),
    case(Chip::Aht20, Humidity, Min, "71", "1c 0000060000", believed(0.0, DRY_AIR)),
    case(Chip::Aht20, Humidity, Max, "71", "1c fffff60000", believed(100.0, SATURATED_AIR)),
    case(Chip::Aht20, Temperature, Other, "71", "1c ffffffffff", RANGE),
    // Sensirion SCD4x 1.1 and 3.5.2: 0 to 40 000 ppm; 0 is not a measurement of CO₂.
    case(Chip::Scd4x, Concentration, Min, SCD4X, "0000 6667 5eb9", Refused("concentration was not measured")),
    case(Chip::Scd4x, Concentration, Max, SCD4X, "ffff 6667 5eb9", Refused("concentration at the end")),
    case(Chip::Scd4x, Concentration, Other, SCD4X, "9c40 6667 5eb9", Refused("concentration at the end")),
    case(Chip::Scd4x, Temperature, Min, SCD4X, "01f4 0000 5eb9", RANGE),
    case(Chip::Scd4x, Temperature, Max, SCD4X, "01f4 ffff 5eb9", RANGE),
    case(Chip::Scd4x, Humidity, Min, SCD4X, "01f4 6667 0000", believed(0.0, DRY_AIR)),
    case(Chip::Scd4x, Humidity, Max, SCD4X, "01f4 6667 ffff", believed(100.0, SATURATED_AIR)),
    // Vishay 84286 and Rohm BH1750FVI: 16 bits that stay full in brighter light.
    case(Chip::Veml7700, Illuminance, Min, "04", "0000", believed(0.0, DARK)),
    case(Chip::Veml7700, Illuminance, Max, "04", "ffff", Refused("illuminance at the end")),
    case(Chip::Bh1750, Illuminance, Min, "20", "0000", believed(0.0, DARK)),
    case(Chip::Bh1750, Illuminance, Max, "20", "ffff", Refused("illuminance at the end")),
    // TI SBOS448, 8.6.3: ±320 mV are ±32000 steps, and larger values read the same; 32 V are 8000 steps.
    case(Chip::Ina219, Voltage, Min, "02", "0002", believed(0.0, NO_INPUT)),
    case(Chip::Ina219, Voltage, Max, "02", "fffa", Refused("voltage")),
    case(Chip::Ina219, Voltage, Other, "02", "fa02", Refused("voltage at the end")),
    case(Chip::Ina219, Current, Min, "01", "8300", WRONG_SHUNT),
    case(Chip::Ina219, Current, Max, "01", "7d00", WRONG_SHUNT),
    with(case(Chip::Ina219, Current, Max, "01", "7d00", WRONG_SHUNT), WIDE_SHUNT),
    case(Chip::Ina219, Current, Other, "01", "8000", WRONG_SHUNT),
    case(Chip::Ina219, Current, Other, "01", "7fff", WRONG_SHUNT),
    case(Chip::Ina219, Power, Min, "01", "8300", WRONG_SHUNT),
    case(Chip::Ina219, Power, Max, "01", "7d00", WRONG_SHUNT),
    // OVF, bit 0.
    case(Chip::Ina219, Power, Other, "02", "1f43", Refused("overflow")),
    // TI SBOS547, 7.6.2: ±81.92 mV; 7.6.3: 0x7fff is 40.96 V, and the maximum of the chip is 36 V.
    case(Chip::Ina226, Voltage, Min, "02", "0000", believed(0.0, NO_INPUT)),
    case(Chip::Ina226, Voltage, Max, "02", "7fff", Refused("voltage of ")),
    case(Chip::Ina226, Current, Min, "01", "8000", WRONG_SHUNT),
    case(Chip::Ina226, Current, Max, "01", "7fff", WRONG_SHUNT),
    with(case(Chip::Ina226, Current, Max, "01", "7fff", WRONG_SHUNT), WIDE_SHUNT),
    case(Chip::Ina226, Power, Min, "01", "8000", WRONG_SHUNT),
    case(Chip::Ina226, Power, Max, "01", "7fff", WRONG_SHUNT),
    // Bit 2 of register 6, the math overflow, concerns the chip's own current and power, which the driver does not use.
    case(Chip::Ina226, Power, Other, "06", "0004", believed(0.0, "computed by the driver")),
    // TI SBAS444, 7.3 and table 7-3.
    differential(case(Chip::Ads1115, Voltage, Min, "00", "8000", Refused("voltage at the end"))),
    case(Chip::Ads1115, Voltage, Max, "00", "7fff", Refused("larger `gain`")),
    // Analog Devices 19-6478, RTD data registers: 15 bits of the reference, and a fault bit.
    case(Chip::Max31865, Temperature, Min, "01", "0000", Refused("temperature at the end")),
    case(Chip::Max31865, Temperature, Max, "01", "fffe", Refused("temperature at the end")),
    with(case(Chip::Max31865, Temperature, Max, "01", "fffe", Refused("`reference`")), SMALL_REFERENCE),
    case(Chip::Max31865, Temperature, Other, "01", "4001", Refused("open or shorted")),
];
