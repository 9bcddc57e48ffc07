//! Catalogue of the chips: their static properties, one line each. Used to read and check boards.toml, to list the
//! chips that may answer at an address, and for the table in the README, which a test keeps equal to this one.

use std::time::Duration;

use crate::chip::Chip;
use crate::reading::Quantity;

/// Static properties of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// Name in boards.toml.
    pub name: &'static str,
    /// Other names that boards.toml accepts.
    pub aliases: &'static [&'static str],
    /// Short description.
    pub about: &'static str,
    /// Kind of connection.
    pub attachment: Attachment,
    /// Measured quantities.
    pub measures: Measures,
    /// Driver: the name of the published crate, or of this one.
    pub driver: &'static str,
    /// Keys of `settings` that the chip has.
    pub settings: &'static [&'static str],
    /// Level of the simulation with `backend = "sim"`.
    pub pretence: Pretence,
    /// Time from the first read, which starts the chip, to its first measurement; reads before that fail. Zero for
    /// chips whose first read measures.
    pub first_reading: Duration,
}

/// Kind of connection of a chip. It decides which keys boards.toml requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Attachment {
    /// On an I²C bus: `bus = "i2c-1"`, `address = 0x48`.
    I2c {
        /// Seven-bit addresses that the pins of the chip can select; never empty.
        addresses: &'static [u8],
    },
    /// On an SPI bus: `bus = "spi-0.0"`.
    Spi,
    /// Read by the kernel, through sysfs: `device` and `channel`.
    Kernel,
    /// Output of a program: `command`.
    Command,
    /// Content of a file: `path`.
    File,
    /// No connection.
    Nothing,
}

/// Quantities that a chip measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measures {
    /// Fixed quantities, in this order.
    Always(&'static [Quantity]),
    /// Quantities that boards.toml selects with `channel`, `quantity` or `sim`.
    Configured,
}

/// Level at which `backend = "sim"` simulates a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pretence {
    /// Model of the chip's registers on a simulated bus, read by the same driver as the real chip.
    Registers,
    /// Generated readings, without the driver.
    Readings,
}

use Quantity::{Concentration, Current, Humidity, Illuminance, Power, Pressure, Temperature, Voltage};

const fn range<const N: usize>(first: u8) -> [u8; N] {
    let mut addresses = [first; N];
    let mut index = 1;
    while index < N {
        addresses[index] = addresses[index - 1] + 1;
        index += 1;
    }
    addresses
}

/// 0x48 to 0x4f.
const LM75: [u8; 8] = range(0x48);
/// 0x48 to 0x4b.
const TMP: [u8; 4] = range(0x48);
/// 0x18 to 0x1f.
const MCP9808: [u8; 8] = range(0x18);
/// 0x40 to 0x4f.
const INA: [u8; 16] = range(0x40);

const fn i2c(
    name: &'static str,
    about: &'static str,
    addresses: &'static [u8],
    measures: &'static [Quantity],
    driver: &'static str,
) -> Entry {
    Entry {
        name,
        aliases: &[],
        about,
        attachment: Attachment::I2c { addresses },
        measures: Measures::Always(measures),
        driver,
        settings: &[],
        pretence: Pretence::Registers,
        first_reading: Duration::ZERO,
    }
}

const fn other(name: &'static str, about: &'static str, attachment: Attachment, measures: Measures) -> Entry {
    Entry {
        name,
        aliases: &[],
        about,
        attachment,
        measures,
        driver: "atalaya-hal",
        settings: &[],
        pretence: Pretence::Readings,
        first_reading: Duration::ZERO,
    }
}

impl Entry {
    const fn alias(self, aliases: &'static [&'static str]) -> Entry {
        Entry { aliases, ..self }
    }

    const fn settings(self, settings: &'static [&'static str]) -> Entry {
        Entry { settings, ..self }
    }

    const fn first_reading(self, first_reading: Duration) -> Entry {
        Entry { first_reading, ..self }
    }

    /// Returns the catalogue entry of `chip`.
    pub const fn of(chip: Chip) -> Entry {
        use Attachment::{Command, File, Kernel, Nothing, Spi};
        use Measures::{Always, Configured};
        const T: &[Quantity] = &[Temperature];
        const TH: &[Quantity] = &[Temperature, Humidity];
        const TP: &[Quantity] = &[Temperature, Pressure];
        const THP: &[Quantity] = &[Temperature, Humidity, Pressure];
        const CTH: &[Quantity] = &[Concentration, Temperature, Humidity];
        const VCP: &[Quantity] = &[Voltage, Current, Power];
        const SHUNT: &[&str] = &["shunt", "max_current"];
        match chip {
            Chip::Lm75 => i2c("lm75", "thermometer, steps of 0.5 °C", &LM75, T, "lm75"),
            Chip::Lm75a => i2c("lm75a", "thermometer, read as an LM75", &LM75, T, "lm75"),
            Chip::Tmp102 => i2c("tmp102", "thermometer, steps of 0.0625 °C", &TMP, T, "tmp1x2"),
            Chip::Tmp105 => i2c("tmp105", "thermometer, read as an LM75", &[0x48, 0x49], T, "lm75"),
            Chip::Tmp117 => i2c("tmp117", "precise thermometer, ±0.1 °C", &TMP, T, "embedded-devices"),
            Chip::Bme280 => {
                i2c("bme280", "air: temperature, humidity, pressure", &[0x76, 0x77], THP, "embedded-devices")
            }
            Chip::Bmp280 => {
                i2c("bmp280", "air: temperature, pressure", &[0x76, 0x77], TP, "embedded-devices")
            }
            Chip::Bmp390 => {
                i2c("bmp390", "barometer", &[0x76, 0x77], TP, "embedded-devices").alias(&["bmp388"])
            }
            Chip::Sht3x => i2c("sht3x", "air: temperature, humidity", &[0x44, 0x45], TH, "sensirion-i2c")
                .alias(&["sht30", "sht31", "sht35"]),
            Chip::Sht4x => i2c("sht4x", "air: temperature, humidity", &[0x44, 0x45, 0x46], TH, "sht4x")
                .alias(&["sht40", "sht41", "sht43", "sht45"]),
            Chip::Shtc3 => i2c("shtc3", "air: temperature, humidity", &[0x70], TH, "shtcx"),
            Chip::Mcp9808 => i2c("mcp9808", "thermometer, ±0.25 °C", &MCP9808, T, "embedded-devices"),
            Chip::Aht20 => i2c("aht20", "air: temperature, humidity", &[0x38], TH, "embedded-aht20"),
            Chip::Scd4x => i2c("scd4x", "air: CO₂, temperature, humidity", &[0x62], CTH, "scd4x")
                .alias(&["scd40", "scd41"])
                .settings(&["altitude"])
                .first_reading(Duration::from_secs(5)),
            Chip::Veml7700 => i2c("veml7700", "ambient light", &[0x10], &[Illuminance], "veml7700"),
            Chip::Bh1750 => i2c("bh1750", "ambient light", &[0x23, 0x5c], &[Illuminance], "bh1750"),
            Chip::Ina219 => i2c("ina219", "power monitor, up to 26 V", &INA, VCP, "ina219").settings(SHUNT),
            Chip::Ina226 => {
                i2c("ina226", "power monitor, up to 36 V", &INA, VCP, "embedded-devices").settings(SHUNT)
            }
            Chip::Ads1115 => {
                i2c("ads1115", "analogue inputs, 16 bits", &TMP, &[Voltage], "ads1x1x").settings(&["gain"])
            }
            Chip::Max31865 => Entry {
                driver: "embedded-devices",
                pretence: Pretence::Registers,
                ..other("max31865", "PT100 and PT1000 thermometers", Spi, Always(T))
            }
            .settings(&["wires", "reference", "nominal", "mains"]),
            Chip::Hwmon => other("hwmon", "a sensor of the kernel, in /sys/class/hwmon", Kernel, Configured),
            Chip::Iio => other("iio", "a sensor of the kernel, in /sys/bus/iio", Kernel, Configured),
            Chip::W1 => {
                other("w1", "a DS18B20 on 1-Wire, read by the kernel", Kernel, Always(T)).alias(&["ds18b20"])
            }
            Chip::Cpu => other("cpu", "the processor's thermometer", Kernel, Always(T)),
            Chip::Command => other("command", "a program that prints a number", Command, Configured),
            Chip::File => other("file", "a file with a number in it", File, Configured),
            Chip::Random => other("random", "random numbers, only pretended", Nothing, Configured),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_those_of_a_bus_and_in_order() {
        for chip in Chip::ALL {
            let addresses = chip.addresses();
            assert!(addresses.iter().all(|address| (0x08..=0x77).contains(address)), "{chip}");
            assert!(addresses.is_sorted_by(|a, b| a < b), "{chip}");
            let i2c = matches!(chip.entry().attachment, Attachment::I2c { .. });
            assert_eq!(i2c, !addresses.is_empty(), "{chip}");
        }
        assert_eq!((LM75[7], MCP9808[7], INA[15], TMP[3]), (0x4f, 0x1f, 0x4f, 0x4b));
    }

    #[test]
    fn no_chip_measures_a_quantity_twice() {
        for chip in Chip::ALL {
            let mut quantities = chip.quantities().unwrap_or_default().to_vec();
            quantities.sort_unstable();
            let count = quantities.len();
            quantities.dedup();
            assert_eq!(quantities.len(), count, "{chip}");
        }
    }
}
