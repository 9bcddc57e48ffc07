//! Chips that boards.toml may name. Their properties are in [`crate::catalogue`].

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::catalogue::{Attachment, Entry, Measures};
use crate::reading::Quantity;

/// Chip, or another source of readings, that boards.toml may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Chip {
    /// National/TI LM75, LM75B, LM75C.
    Lm75,
    /// LM75A.
    Lm75a,
    /// TI TMP102.
    Tmp102,
    /// TI TMP105.
    Tmp105,
    /// TI TMP117.
    Tmp117,
    /// Bosch BME280.
    Bme280,
    /// Bosch BMP280.
    Bmp280,
    /// Bosch BMP390.
    Bmp390,
    /// Sensirion SHT30, SHT31 and SHT35.
    Sht3x,
    /// Sensirion SHT40, SHT41, SHT43 and SHT45.
    Sht4x,
    /// Sensirion SHTC3.
    Shtc3,
    /// Microchip MCP9808.
    Mcp9808,
    /// Aosong AHT20.
    Aht20,
    /// Sensirion SCD40 and SCD41.
    Scd4x,
    /// Vishay VEML7700.
    Veml7700,
    /// Rohm BH1750.
    Bh1750,
    /// TI INA219.
    Ina219,
    /// TI INA226.
    Ina226,
    /// TI ADS1115.
    Ads1115,
    /// Analog Devices MAX31865, on SPI.
    Max31865,
    /// Sensor that a kernel driver exposes below `/sys/class/hwmon`.
    Hwmon,
    /// Sensor that a kernel driver exposes below `/sys/bus/iio`.
    Iio,
    /// Thermometer on the 1-Wire bus, read by the kernel.
    W1,
    /// Processor temperature of this machine.
    Cpu,
    /// Program that prints a number.
    Command,
    /// File that contains a number.
    File,
    /// Number generator without a chip, in the simulator only.
    Random,
}

impl Chip {
    /// All chips, in the order of their declaration.
    pub const ALL: [Chip; 27] = [
        Chip::Lm75,
        Chip::Lm75a,
        Chip::Tmp102,
        Chip::Tmp105,
        Chip::Tmp117,
        Chip::Bme280,
        Chip::Bmp280,
        Chip::Bmp390,
        Chip::Sht3x,
        Chip::Sht4x,
        Chip::Shtc3,
        Chip::Mcp9808,
        Chip::Aht20,
        Chip::Scd4x,
        Chip::Veml7700,
        Chip::Bh1750,
        Chip::Ina219,
        Chip::Ina226,
        Chip::Ads1115,
        Chip::Max31865,
        Chip::Hwmon,
        Chip::Iio,
        Chip::W1,
        Chip::Cpu,
        Chip::Command,
        Chip::File,
        Chip::Random,
    ];

    /// Names of the chips, in the same order.
    const NAMES: [&'static str; Chip::ALL.len()] = {
        let mut names = [""; Chip::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = Chip::ALL[index].name();
            index += 1;
        }
        names
    };

    /// Returns the chip's entry in the catalogue.
    pub const fn entry(self) -> Entry {
        Entry::of(self)
    }

    /// Returns the name in boards.toml: `lm75`.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// Returns the chip with this `name` in boards.toml: its own name, or an alias such as `sht31`.
    pub fn from_name(name: &str) -> Option<Chip> {
        Chip::ALL.into_iter().find(|chip| chip.name() == name || chip.entry().aliases.contains(&name))
    }

    /// Returns the seven-bit addresses that the pins of the chip can select; empty if the chip is not an I²C chip.
    pub const fn addresses(self) -> &'static [u8] {
        match self.entry().attachment {
            Attachment::I2c { addresses } => addresses,
            _ => &[],
        }
    }

    /// Returns true for a chip on an I²C or SPI bus, for which boards.toml must name the bus.
    pub const fn needs_bus(self) -> bool {
        matches!(self.entry().attachment, Attachment::I2c { .. } | Attachment::Spi)
    }

    /// Returns the quantities in the order of the readings; None if boards.toml decides them.
    pub const fn quantities(self) -> Option<&'static [Quantity]> {
        match self.entry().measures {
            Measures::Always(quantities) => Some(quantities),
            Measures::Configured => None,
        }
    }
}

impl fmt::Display for Chip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl Serialize for Chip {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Chip {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Chip;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a chip, such as \"lm75\"")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Chip, E> {
                Chip::from_name(name).ok_or_else(|| E::unknown_variant(name, &Chip::NAMES))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_listed_once_in_the_order_of_the_declaration() {
        for (index, chip) in Chip::ALL.into_iter().enumerate() {
            assert_eq!(chip as usize, index, "{chip}");
        }
    }

    #[test]
    fn every_name_and_alias_means_one_chip() {
        let mut names = Vec::new();
        for chip in Chip::ALL {
            for name in chip.entry().aliases.iter().chain([&chip.name()]) {
                assert_eq!(Chip::from_name(name), Some(chip));
                assert_eq!(serde_json::from_str::<Chip>(&format!("\"{name}\"")).unwrap(), chip);
                assert_eq!(name.to_lowercase(), *name);
                names.push(*name);
            }
            assert_eq!(serde_json::to_string(&chip).unwrap(), format!("\"{chip}\""));
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(Chip::from_name("LM75"), None);
    }
}
