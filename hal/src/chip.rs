//! The chips that boards.toml may name. What is known of each stands in [`crate::catalogue`].

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::catalogue::{Attachment, Entry, Measures};
use crate::reading::Quantity;

/// A chip, or another source of readings, that boards.toml may name.
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
    /// A sensor that the kernel shows below `/sys/class/hwmon`.
    Hwmon,
    /// A sensor that the kernel shows below `/sys/bus/iio`.
    Iio,
    /// A thermometer on the 1-Wire bus, read by the kernel.
    W1,
    /// The temperature of this machine's processor.
    Cpu,
    /// A program that prints a number.
    Command,
    /// A file with a number in it.
    File,
    /// No chip at all: a generator of numbers, in the simulator only.
    Random,
}

impl Chip {
    /// All of them, in the order of the declaration.
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

    /// Their names, in the same order.
    const NAMES: [&'static str; Chip::ALL.len()] = {
        let mut names = [""; Chip::ALL.len()];
        let mut index = 0;
        while index < names.len() {
            names[index] = Chip::ALL[index].name();
            index += 1;
        }
        names
    };

    /// What is known of it.
    pub const fn entry(self) -> Entry {
        Entry::of(self)
    }

    /// The name as boards.toml writes it: `lm75`.
    pub const fn name(self) -> &'static str {
        self.entry().name
    }

    /// The chip that boards.toml means by `name`: its own name, or an alias such as `sht31`.
    pub fn from_name(name: &str) -> Option<Chip> {
        Chip::ALL.into_iter().find(|chip| chip.name() == name || chip.entry().aliases.contains(&name))
    }

    /// The seven-bit addresses its pins can select; empty for what sits on no I²C bus.
    pub const fn addresses(self) -> &'static [u8] {
        match self.entry().attachment {
            Attachment::I2c { addresses } => addresses,
            _ => &[],
        }
    }

    /// Whether it sits on an I²C or SPI bus, so that boards.toml must say which.
    pub const fn needs_bus(self) -> bool {
        matches!(self.entry().attachment, Attachment::I2c { .. } | Attachment::Spi)
    }

    /// What it measures, in the order of its readings; None if boards.toml decides that.
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
