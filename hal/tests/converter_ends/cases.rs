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
    pub(crate) after: &'static [u8],
    pub(crate) bytes: &'static [u8],
    pub(crate) decision: Decision,
}

const fn case(
    chip: Chip,
    quantity: Quantity,
    end: End,
    after: &'static [u8],
    bytes: &'static [u8],
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
const SATURATED_AIR: &str = "air holds no more, so a clipped value is right within the chip's accuracy";
const DRY_AIR: &str = "air cannot be drier, so a clipped value is right within the chip's accuracy";
const DARK: &str = "no light gives no counts";
const WRONG_SHUNT: Decision = Refused("choose a shunt with less resistance");

const SHT3X: &[u8] = &[0x24, 0x00];
const SHT4X: &[u8] = &[0xfd];
const SHTC3: &[u8] = &[0x78, 0x66];
const SCD4X: &[u8] = &[0xec, 0x05];
const AIR: &[u8] = &[0xf7];
const BAR: &[u8] = &[4];
/// Reference resistor hardly larger than the thermometer: the range of the converter ends at 25.7 °C.
const SMALL_REFERENCE: &[(&str, f64)] = &[("reference", 110.0)];
const WIDE_SHUNT: &[(&str, f64)] = &[("shunt", 0.002)];

pub(crate) const CASES: &[Case] = &[
    // TI SNIS153 (LM75B) table 1, NXP LM75A, TI SBOS304 (TMP105) table 4: the range of 9 to 12 bits in two's complement
    // is -128 to 127.9375 °C; the measuring range of the chips is -55 to 125 °C.
    case(Chip::Lm75, Temperature, Min, &[0], &[0x80, 0x00], RANGE),
    case(Chip::Lm75, Temperature, Max, &[0], &[0x7f, 0x80], RANGE),
    case(Chip::Lm75a, Temperature, Min, &[0], &[0x80, 0x00], RANGE),
    case(Chip::Lm75a, Temperature, Max, &[0], &[0x7f, 0xe0], RANGE),
    case(Chip::Tmp105, Temperature, Min, &[0], &[0x80, 0x00], RANGE),
    case(Chip::Tmp105, Temperature, Max, &[0], &[0x7f, 0xf0], RANGE),
    // TI SBOS397, table 8-2: 128 °C and more give 0x7ff, as 127.9375 °C does. The range of the extended mode ends at
    // 256 °C.
    case(Chip::Tmp102, Temperature, Min, &[0], &[0x80, 0x00], RANGE),
    case(Chip::Tmp102, Temperature, Max, &[0], &[0x7f, 0xf0], Refused("temperature at the end")),
    case(Chip::Tmp102, Temperature, Other, &[0], &[0x7f, 0xf9], RANGE),
    case(Chip::Tmp102, Temperature, Other, &[0], &[0x80, 0x01], RANGE),
    // TI SNOSD82, 7.6.2: ±256 °C; 0x8000 until the first conversion.
    case(Chip::Tmp117, Temperature, Min, &[0], &[0x80, 0x00], RANGE),
    case(Chip::Tmp117, Temperature, Max, &[0], &[0x7f, 0xff], RANGE),
    // Microchip DS25095, register 5-4: 13 bits, ±256 °C.
    case(Chip::Mcp9808, Temperature, Min, &[5], &[0x10, 0x00], RANGE),
    case(Chip::Mcp9808, Temperature, Max, &[5], &[0x0f, 0xff], RANGE),
    // Bosch BST-BME280-DS002, 5.4.7 to 5.4.9: 0x80000 and 0x8000 if nothing was measured.
    case(
        Chip::Bme280,
        Temperature,
        Min,
        AIR,
        &[0x65, 0x5a, 0xc0, 0, 0, 0, 0x6d, 0x60],
        Refused("temperature at the end"),
    ),
    case(
        Chip::Bme280,
        Temperature,
        Max,
        AIR,
        &[0x65, 0x5a, 0xc0, 0xff, 0xff, 0xf0, 0x6d, 0x60],
        Refused("temperature at the end"),
    ),
    case(
        Chip::Bme280,
        Temperature,
        Other,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x80, 0, 0, 0x6d, 0x60],
        Refused("temperature was not measured"),
    ),
    case(
        Chip::Bme280,
        Pressure,
        Min,
        AIR,
        &[0, 0, 0, 0x7e, 0xed, 0, 0x6d, 0x60],
        Refused("pressure at the end"),
    ),
    case(
        Chip::Bme280,
        Pressure,
        Max,
        AIR,
        &[0xff, 0xff, 0xf0, 0x7e, 0xed, 0, 0x6d, 0x60],
        Refused("pressure at the end"),
    ),
    case(
        Chip::Bme280,
        Pressure,
        Other,
        AIR,
        &[0x80, 0, 0, 0x7e, 0xed, 0, 0x6d, 0x60],
        Refused("pressure was not measured"),
    ),
    case(
        Chip::Bme280,
        Humidity,
        Min,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x7e, 0xed, 0, 0, 0],
        Refused("humidity at the end"),
    ),
    case(
        Chip::Bme280,
        Humidity,
        Max,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x7e, 0xed, 0, 0xff, 0xff],
        Refused("humidity at the end"),
    ),
    case(
        Chip::Bme280,
        Humidity,
        Other,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x7e, 0xed, 0, 0x80, 0],
        Refused("humidity was not measured"),
    ),
    // The compensation clips at 100 %RH (section 4.2.3), long before the end of the converter's range.
    case(
        Chip::Bme280,
        Humidity,
        Other,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x7e, 0xed, 0, 0xa0, 0],
        believed(100.0, SATURATED_AIR),
    ),
    case(
        Chip::Bme280,
        Humidity,
        Other,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x7e, 0xed, 0, 0x20, 0],
        believed(0.0, DRY_AIR),
    ),
    case(
        Chip::Bmp280,
        Temperature,
        Min,
        AIR,
        &[0x65, 0x5a, 0xc0, 0, 0, 0],
        Refused("temperature at the end"),
    ),
    case(
        Chip::Bmp280,
        Temperature,
        Max,
        AIR,
        &[0x65, 0x5a, 0xc0, 0xff, 0xff, 0xf0],
        Refused("temperature at the end"),
    ),
    case(
        Chip::Bmp280,
        Temperature,
        Other,
        AIR,
        &[0x65, 0x5a, 0xc0, 0x80, 0, 0],
        Refused("temperature was not measured"),
    ),
    case(Chip::Bmp280, Pressure, Min, AIR, &[0, 0, 0, 0x7e, 0xed, 0], Refused("pressure at the end")),
    case(
        Chip::Bmp280,
        Pressure,
        Max,
        AIR,
        &[0xff, 0xff, 0xf0, 0x7e, 0xed, 0],
        Refused("pressure at the end"),
    ),
    case(
        Chip::Bmp280,
        Pressure,
        Other,
        AIR,
        &[0x80, 0, 0, 0x7e, 0xed, 0],
        Refused("pressure was not measured"),
    ),
    // Bosch BST-BMP390-DS002, 4.3.4 and 4.3.5: 24 bits, 0x800000 from reset until the first measurement.
    case(
        Chip::Bmp390,
        Temperature,
        Min,
        BAR,
        &[0xcb, 0xb3, 0x6b, 0, 0, 0],
        Refused("temperature at the end"),
    ),
    case(
        Chip::Bmp390,
        Temperature,
        Max,
        BAR,
        &[0xcb, 0xb3, 0x6b, 0xff, 0xff, 0xff],
        Refused("temperature at the end"),
    ),
    case(
        Chip::Bmp390,
        Temperature,
        Other,
        BAR,
        &[0xcb, 0xb3, 0x6b, 0, 0, 0x80],
        Refused("temperature was not measured"),
    ),
    case(Chip::Bmp390, Pressure, Min, BAR, &[0, 0, 0, 0xd1, 0xba, 0x82], Refused("pressure at the end")),
    case(
        Chip::Bmp390,
        Pressure,
        Max,
        BAR,
        &[0xff, 0xff, 0xff, 0xd1, 0xba, 0x82],
        Refused("pressure at the end"),
    ),
    case(
        Chip::Bmp390,
        Pressure,
        Other,
        BAR,
        &[0, 0, 0x80, 0xd1, 0xba, 0x82],
        Refused("pressure was not measured"),
    ),
    // Sensirion SHT3x-DIS 4.13: -45 to 130 °C and 0 to 100 %RH; the measuring range of the chip is -40 to 125 °C.
    case(Chip::Sht3x, Temperature, Min, SHT3X, &[0, 0, 0x80, 0], RANGE),
    case(Chip::Sht3x, Temperature, Max, SHT3X, &[0xff, 0xff, 0x80, 0], RANGE),
    case(Chip::Sht3x, Humidity, Min, SHT3X, &[0x66, 0x66, 0, 0], believed(0.0, DRY_AIR)),
    case(Chip::Sht3x, Humidity, Max, SHT3X, &[0x66, 0x66, 0xff, 0xff], believed(100.0, SATURATED_AIR)),
    // Table 18: bit 13 of the status is the heater.
    case(Chip::Sht3x, Temperature, Other, &[0xf3, 0x2d], &[0xa0, 0x10], Refused("heater")),
    // Sensirion SHT4x 4.6: -6 to 119 %RH, so the ends of the range differ from dry and saturated air.
    case(Chip::Sht4x, Temperature, Min, SHT4X, &[0, 0, 0x80, 0], RANGE),
    case(Chip::Sht4x, Temperature, Max, SHT4X, &[0xff, 0xff, 0x80, 0], RANGE),
    case(Chip::Sht4x, Humidity, Min, SHT4X, &[0x66, 0x66, 0, 0], Refused("humidity at the end")),
    case(Chip::Sht4x, Humidity, Max, SHT4X, &[0x66, 0x66, 0xff, 0xff], Refused("humidity at the end")),
    case(Chip::Sht4x, Humidity, Other, SHT4X, &[0x66, 0x66, 0xff, 0xfe], believed(100.0, SATURATED_AIR)),
    // Sensirion SHTC3 5.11: -45 to 130 °C and 0 to 100 %RH.
    case(Chip::Shtc3, Temperature, Min, SHTC3, &[0, 0, 0x80, 0], RANGE),
    case(Chip::Shtc3, Temperature, Max, SHTC3, &[0xff, 0xff, 0x80, 0], RANGE),
    case(Chip::Shtc3, Humidity, Min, SHTC3, &[0x66, 0x66, 0, 0], believed(0.0, DRY_AIR)),
    case(Chip::Shtc3, Humidity, Max, SHTC3, &[0x66, 0x66, 0xff, 0xff], believed(100.0, SATURATED_AIR)),
    // Aosong AHT20 6: 20 bits, -50 to 150 °C and 0 to 100 %RH; the measuring range of the chip is -40 to 85 °C.
    case(Chip::Aht20, Temperature, Min, &[0x71], &[0x1c, 0x80, 0, 0, 0, 0], RANGE),
    case(Chip::Aht20, Temperature, Max, &[0x71], &[0x1c, 0x80, 0, 0x0f, 0xff, 0xff], RANGE),
    case(Chip::Aht20, Humidity, Min, &[0x71], &[0x1c, 0, 0, 0x06, 0, 0], believed(0.0, DRY_AIR)),
    case(
        Chip::Aht20,
        Humidity,
        Max,
        &[0x71],
        &[0x1c, 0xff, 0xff, 0xf6, 0, 0],
        believed(100.0, SATURATED_AIR),
    ),
    case(Chip::Aht20, Temperature, Other, &[0x71], &[0x1c, 0xff, 0xff, 0xff, 0xff, 0xff], RANGE),
    // Sensirion SCD4x 1.1 and 3.5.2: 0 to 40 000 ppm; 0 is not a measurement of CO₂.
    case(
        Chip::Scd4x,
        Concentration,
        Min,
        SCD4X,
        &[0, 0, 0x66, 0x67, 0x5e, 0xb9],
        Refused("concentration was not measured"),
    ),
    case(
        Chip::Scd4x,
        Concentration,
        Max,
        SCD4X,
        &[0xff, 0xff, 0x66, 0x67, 0x5e, 0xb9],
        Refused("concentration at the end"),
    ),
    case(
        Chip::Scd4x,
        Concentration,
        Other,
        SCD4X,
        &[0x9c, 0x40, 0x66, 0x67, 0x5e, 0xb9],
        Refused("concentration at the end"),
    ),
    case(Chip::Scd4x, Temperature, Min, SCD4X, &[1, 0xf4, 0, 0, 0x5e, 0xb9], RANGE),
    case(Chip::Scd4x, Temperature, Max, SCD4X, &[1, 0xf4, 0xff, 0xff, 0x5e, 0xb9], RANGE),
    case(Chip::Scd4x, Humidity, Min, SCD4X, &[1, 0xf4, 0x66, 0x67, 0, 0], believed(0.0, DRY_AIR)),
    case(
        Chip::Scd4x,
        Humidity,
        Max,
        SCD4X,
        &[1, 0xf4, 0x66, 0x67, 0xff, 0xff],
        believed(100.0, SATURATED_AIR),
    ),
    // Vishay 84286 and Rohm BH1750FVI: 16 bits that stay full in brighter light.
    case(Chip::Veml7700, Illuminance, Min, &[4], &[0, 0], believed(0.0, DARK)),
    case(Chip::Veml7700, Illuminance, Max, &[4], &[0xff, 0xff], Refused("illuminance at the end")),
    case(Chip::Bh1750, Illuminance, Min, &[0x20], &[0, 0], believed(0.0, DARK)),
    case(Chip::Bh1750, Illuminance, Max, &[0x20], &[0xff, 0xff], Refused("illuminance at the end")),
    // TI SBOS448, 8.6.3: ±320 mV are ±32000 steps, and larger values read the same; 32 V are 8000 steps.
    case(
        Chip::Ina219,
        Voltage,
        Min,
        &[2],
        &[0, 0x02],
        believed(0.0, "0 V is an input that is not connected or off"),
    ),
    case(Chip::Ina219, Voltage, Max, &[2], &[0xff, 0xfa], Refused("voltage")),
    case(Chip::Ina219, Voltage, Other, &[2], &[0xfa, 0x02], Refused("voltage at the end")),
    case(Chip::Ina219, Current, Min, &[1], &[0x83, 0x00], WRONG_SHUNT),
    case(Chip::Ina219, Current, Max, &[1], &[0x7d, 0x00], WRONG_SHUNT),
    with(case(Chip::Ina219, Current, Max, &[1], &[0x7d, 0x00], WRONG_SHUNT), WIDE_SHUNT),
    case(Chip::Ina219, Current, Other, &[1], &[0x80, 0x00], WRONG_SHUNT),
    case(Chip::Ina219, Current, Other, &[1], &[0x7f, 0xff], WRONG_SHUNT),
    case(Chip::Ina219, Power, Min, &[1], &[0x83, 0x00], WRONG_SHUNT),
    case(Chip::Ina219, Power, Max, &[1], &[0x7d, 0x00], WRONG_SHUNT),
    // OVF, bit 0.
    case(Chip::Ina219, Power, Other, &[2], &[0x1f, 0x43], Refused("overflow")),
    // TI SBOS547, 7.6.2: ±81.92 mV; 7.6.3: 0x7fff is 40.96 V, and the maximum of the chip is 36 V.
    case(
        Chip::Ina226,
        Voltage,
        Min,
        &[2],
        &[0, 0],
        believed(0.0, "0 V is an input that is not connected or off"),
    ),
    case(Chip::Ina226, Voltage, Max, &[2], &[0x7f, 0xff], Refused("voltage of ")),
    case(Chip::Ina226, Current, Min, &[1], &[0x80, 0x00], WRONG_SHUNT),
    case(Chip::Ina226, Current, Max, &[1], &[0x7f, 0xff], WRONG_SHUNT),
    with(case(Chip::Ina226, Current, Max, &[1], &[0x7f, 0xff], WRONG_SHUNT), WIDE_SHUNT),
    case(Chip::Ina226, Power, Min, &[1], &[0x80, 0x00], WRONG_SHUNT),
    case(Chip::Ina226, Power, Max, &[1], &[0x7f, 0xff], WRONG_SHUNT),
    // Bit 2 of register 6, the math overflow, concerns the chip's own current and power, which the driver does not use.
    case(Chip::Ina226, Power, Other, &[6], &[0, 0x04], believed(0.0, "computed by the driver")),
    // TI SBAS444, 7.3 and table 7-3.
    differential(case(Chip::Ads1115, Voltage, Min, &[0], &[0x80, 0x00], Refused("voltage at the end"))),
    case(Chip::Ads1115, Voltage, Max, &[0], &[0x7f, 0xff], Refused("larger `gain`")),
    // Analog Devices 19-6478, RTD data registers: 15 bits of the reference, and a fault bit.
    case(Chip::Max31865, Temperature, Min, &[1], &[0, 0], Refused("temperature at the end")),
    case(Chip::Max31865, Temperature, Max, &[1], &[0xff, 0xfe], Refused("temperature at the end")),
    with(
        case(Chip::Max31865, Temperature, Max, &[1], &[0xff, 0xfe], Refused("`reference`")),
        SMALL_REFERENCE,
    ),
    case(Chip::Max31865, Temperature, Other, &[1], &[0x40, 0x01], Refused("open or shorted")),
];
