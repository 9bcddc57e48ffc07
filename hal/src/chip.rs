//! Chips that boards.toml may name. Their properties are the rows of [`crate::catalogue::table`].

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::catalogue::{BusKind, ChipSpec, Measured};
use crate::reading::Quantity;
use crate::settings::{InvalidSetting, Settings};

/// Creates the type [`Chip`] of the rows of the table.
macro_rules! chips {
    ($( $(#[$comment:meta])* $chip:ident { $($built:tt)* } $spec:expr; )*) => {
        /// Chip, or another source of readings, that boards.toml may name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum Chip {
            $( $(#[$comment])* $chip, )*
        }

        impl Chip {
            /// All chips, in the order of the table.
            pub const ALL: [Chip; [$(stringify!($chip)),*].len()] = [$(Chip::$chip),*];

            /// Returns the chip's row in the table.
            pub const fn spec(self) -> &'static ChipSpec {
                match self {
                    $( Chip::$chip => rows::$chip, )*
                }
            }

            /// Returns the quantities in the order of the readings; None if boards.toml decides them.
            pub const fn quantities(self) -> Option<&'static [Quantity]> {
                match self {
                    $( Chip::$chip => {
                        const QUANTITIES: &[Quantity] = &quantities::<{ rows::$chip.measured().len() }>(rows::$chip);
                        if QUANTITIES.is_empty() { None } else { Some(QUANTITIES) }
                    } )*
                }
            }
        }

        #[expect(non_upper_case_globals, reason = "a row has the name of its variant")]
        mod rows {
            use std::time::Duration;

            use crate::catalogue::table::{datasheet, key, pi, remedy};
            use crate::catalogue::{BusKind, Checksum, ChipSpec, Measured, Measures, checks};
            use crate::reading::Quantity;
            use crate::settings::{DefaultValue, Setting, Valid};

            use BusKind::{I2c, Kernel, Nothing, Spi};
            use DefaultValue::{Computed, Number, Unset};
            use Measures::Always;
            use Quantity::{Concentration, Current, Humidity, Illuminance, Pressure, Temperature, Voltage};
            use Valid::{Between, OneOf, Positive};

            const CHIP: ChipSpec = ChipSpec::CHIP;
            const SOURCE: ChipSpec = ChipSpec::SOURCE;

            $( pub(super) const $chip: &ChipSpec = &$spec; )*
        }
    };
}

crate::chip_table!(chips);

/// Returns the quantities of `spec`, which measures `N`.
const fn quantities<const N: usize>(spec: &ChipSpec) -> [Quantity; N] {
    let mut quantities = [Quantity::Temperature; N];
    let mut index = 0;
    while index < N {
        quantities[index] = spec.measured()[index].quantity;
        index += 1;
    }
    quantities
}

impl Chip {
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

    /// Returns the name in boards.toml: `lm75`.
    pub const fn name(self) -> &'static str {
        self.spec().name
    }

    /// Returns the chip with this `name` in boards.toml: its own name, or an alias such as `sht31`.
    pub fn from_name(name: &str) -> Option<Chip> {
        Chip::ALL.into_iter().find(|chip| chip.name() == name || chip.spec().aliases.contains(&name))
    }

    /// Returns the seven-bit addresses that the pins of the chip can select; empty if the chip is not an I²C chip.
    pub const fn addresses(self) -> &'static [u8] {
        match self.spec().bus {
            BusKind::I2c { addresses } => addresses,
            _ => &[],
        }
    }

    /// Returns true for a chip on an I²C or SPI bus, for which boards.toml must name the bus.
    pub const fn needs_bus(self) -> bool {
        self.spec().on_bus()
    }

    /// Returns true if the chip computes `quantity` from other quantities that it measures.
    pub fn computes(self, quantity: Quantity) -> bool {
        self.spec().measured().iter().any(|measured| measured.quantity == quantity && measured.product)
    }

    /// Checks the settings `given` by key, and adds the defaults of the others. `channel` must be one of the chip; `None`
    /// selects its first.
    ///
    /// # Errors
    /// A value is invalid, alone or together with another. Keys that the chip does not have are ignored.
    pub fn settings(self, given: &[(&str, f64)], channel: Option<&str>) -> Result<Settings, InvalidSetting> {
        let spec = self.spec();
        let known = channel.and_then(|name| spec.channels.iter().find(|known| **known == name));
        let channel = known.or(spec.channels.first()).copied();
        Settings::new(spec.settings, spec.adjust, given, channel)
    }

    /// Returns the default settings.
    #[expect(clippy::expect_used, reason = "a test checks the defaults of all chips")]
    pub fn default_settings(self) -> Settings {
        self.settings(&[], None).expect("the defaults are valid")
    }

    /// Returns the measured quantities with their limits at these `settings`; empty if boards.toml selects them.
    pub fn measured(self, settings: &Settings) -> Vec<Measured> {
        self.spec().measured_with(settings)
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
    fn addresses_of_every_chip_are_those_of_a_bus_and_in_order() {
        for chip in Chip::ALL {
            let addresses = chip.addresses();
            assert!(addresses.iter().all(|address| (0x08..=0x77).contains(address)), "{chip}");
            assert!(addresses.is_sorted_by(|a, b| a < b), "{chip}");
            let i2c = matches!(chip.spec().bus, BusKind::I2c { .. });
            assert_eq!(i2c, !addresses.is_empty(), "{chip}");
        }
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

    #[test]
    fn default_settings_of_every_chip_are_valid_and_give_the_limits_of_its_row() {
        for chip in Chip::ALL {
            let settings = chip.default_settings();
            for setting in chip.spec().settings {
                let unset = matches!(setting.default, crate::settings::DefaultValue::Unset(_));
                assert_eq!(settings.get(setting.key).is_none(), unset, "{chip} {}", setting.key);
            }
            for (row, limits) in chip.spec().measured().iter().zip(chip.measured(&settings)) {
                let same = |a: f64, b: f64| (a - b).abs() <= 1e-9 * a.abs();
                assert!(same(row.min, limits.min) && same(row.max, limits.max), "{chip}: {limits:?}");
                assert!(same(row.resolution, limits.resolution), "{chip}: {limits:?}");
            }
        }
    }

    #[test]
    fn every_chip_on_a_bus_has_limits_a_datasheet_and_wiring() {
        for chip in Chip::ALL.into_iter().filter(|chip| chip.needs_bus()) {
            let spec = chip.spec();
            assert!(spec.datasheet.is_some() && !spec.driver.is_empty(), "{chip}");
            assert!(spec.pins.len() >= 4 && !spec.problems.is_empty(), "{chip}");
            assert!(!spec.measured().is_empty(), "{chip}");
            for measured in spec.measured() {
                assert!(measured.min < measured.max, "{chip}: {measured:?}");
                assert!(measured.resolution > 0.0 || measured.product, "{chip}: {measured:?}");
            }
        }
    }

    #[test]
    fn every_name_and_alias_means_one_chip() {
        let mut names = Vec::new();
        for chip in Chip::ALL {
            for name in chip.spec().aliases.iter().chain([&chip.name()]) {
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
