//! Catalogue of the chips: the static properties of each, in one row of [`table`]. Used to read and check boards.toml,
//! to build drivers and register models, to list the chips that may answer at an address, for the table in the README,
//! for the pages in docs/sensors, and for the property tests of all drivers.

pub(crate) mod checks;
pub mod table;

use std::time::Duration;

use crate::reading::Quantity;
use crate::settings::{Adjust, Setting, Settings};

/// Static properties of a chip: a row of the table.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct ChipSpec {
    /// Name in boards.toml.
    pub name: &'static str,
    /// Other names that boards.toml accepts.
    pub aliases: &'static [&'static str],
    /// Short description.
    pub about: &'static str,
    /// Kind of connection.
    pub bus: BusKind,
    /// Measured quantities.
    pub measures: Measures,
    /// Limits with other than the default settings. `None` if they do not depend on settings.
    pub limits: Option<fn(&Settings, Measured) -> Measured>,
    /// Inputs or results of which boards.toml selects one with `channel`; several sensors may share such a chip.
    pub channels: &'static [&'static str],
    /// Settings below `settings` in boards.toml.
    pub settings: &'static [Setting],
    /// Check of the combination of the settings.
    pub adjust: Option<Adjust>,
    /// Driver: the name of the published crate, or of this one.
    pub driver: &'static str,
    /// Checksum that the chip sends with its readings, by which the driver detects a wrong bit.
    pub checksum: Checksum,
    /// Time from the first read, which starts the chip, to its first measurement; reads before that fail. Zero for
    /// chips whose first read measures.
    pub first_reading: Duration,
    /// Environments in which the driver was tested. Not all of these chips have been tested on a real board.
    pub tested: &'static str,
    /// Datasheet that the driver and the register model follow.
    pub datasheet: Option<Datasheet>,
    /// Keys that boards.toml requires in addition to those of the bus.
    pub required: &'static [Key],
    /// Keys that boards.toml may have in addition to `settings`, `filters` and `sim`.
    pub optional: &'static [Key],
    /// Wiring: a pin of the chip or its module, and its connection.
    pub pins: &'static [(&'static str, &'static str)],
    /// Common problems: a symptom, and the remedy.
    pub problems: &'static [(&'static str, &'static str)],
}

/// Kind of connection of a chip. It decides which keys boards.toml requires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusKind {
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
    /// Messages of an MQTT broker: `broker` and `topic`.
    Mqtt,
    /// No connection.
    Nothing,
}

/// Checksum of the readings of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checksum {
    /// The chip sends no checksum.
    None,
    /// CRC-8 with the polynomial 0x31 that begins with 0xff, as specified in Sensirion's and Aosong's datasheets.
    Crc8,
    /// Another checksum, or one that the kernel checks.
    Other,
}

/// Quantities that a chip measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measures {
    /// Fixed quantities, in the order of the readings.
    Always(&'static [Measured]),
    /// Quantities that boards.toml selects with `channel`, `quantity` or `sim`.
    Configured,
}

/// Measured quantity of a chip, with its limits at the default settings, in the unit of the quantity.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// Quantity.
    pub quantity: Quantity,
    /// Lowest value that the driver returns.
    pub min: f64,
    /// Highest value that the driver returns.
    pub max: f64,
    /// Step of the readings.
    pub resolution: f64,
    /// Maximum difference between a reading and the value at the converter of the chip: by default half a step. It does
    /// not contain the accuracy of the chip.
    pub error: f64,
    /// Additional maximum difference, relative to the value.
    pub relative_error: f64,
    /// Values that the chip cannot distinguish from others, from the first to the second.
    pub ambiguous: Option<(f64, f64)>,
    /// True if the first and the last code of the converter are valid readings, because the quantity itself ends there,
    /// as 0 and 100 %RH do. Otherwise the driver refuses them: the true value may be beyond.
    pub valid_ends: (bool, bool),
    /// True if the value is the product of the voltage and the current, so that it has no limits and no step.
    pub product: bool,
}

impl Measured {
    pub(crate) const fn new(quantity: Quantity, min: f64, max: f64, resolution: f64) -> Measured {
        Measured {
            quantity,
            min,
            max,
            resolution,
            error: resolution / 2.0,
            relative_error: 0.0,
            ambiguous: None,
            valid_ends: (false, false),
            product: false,
        }
    }

    pub(crate) const fn power() -> Measured {
        Measured { product: true, ..Measured::new(Quantity::Power, f64::MIN, f64::MAX, 0.0) }
    }

    pub(crate) const fn error(self, error: f64) -> Measured {
        Measured { error, ..self }
    }

    pub(crate) const fn relative_error(self, relative_error: f64) -> Measured {
        Measured { relative_error, ..self }
    }

    pub(crate) const fn ambiguous(self, from: f64, to: f64) -> Measured {
        Measured { ambiguous: Some((from, to)), ..self }
    }

    pub(crate) const fn valid_ends(self, first: bool, last: bool) -> Measured {
        Measured { valid_ends: (first, last), ..self }
    }
}

/// Key of a sensor in boards.toml.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Name.
    pub name: &'static str,
    /// Example, as TOML.
    pub example: &'static str,
    /// Behaviour without the key; empty if it is required.
    pub default: &'static str,
    /// Meaning.
    pub about: &'static str,
}

/// Datasheet of a chip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datasheet {
    /// Publisher.
    pub publisher: &'static str,
    /// Document number.
    pub number: &'static str,
    /// Revision that was read; empty if it is not known.
    pub revision: &'static str,
    /// Address of the document or of its publisher's page about the chip.
    pub url: &'static str,
}

impl ChipSpec {
    /// Row with the defaults of a chip on a bus.
    pub(crate) const CHIP: ChipSpec = ChipSpec {
        name: "",
        aliases: &[],
        about: "",
        bus: BusKind::Nothing,
        measures: Measures::Configured,
        limits: None,
        channels: &[],
        settings: &[],
        adjust: None,
        driver: "",
        checksum: Checksum::None,
        first_reading: Duration::ZERO,
        tested: "simulated registers, mock transactions",
        datasheet: None,
        required: &[],
        optional: &[],
        pins: &[],
        problems: &[],
    };

    /// Row with the defaults of a source of readings that this crate reads without a driver.
    pub(crate) const SOURCE: ChipSpec =
        ChipSpec { driver: "atalaya-hal", tested: "this machine", ..ChipSpec::CHIP };

    /// Returns the measured quantities with their limits; empty if boards.toml selects them.
    pub const fn measured(&self) -> &'static [Measured] {
        match self.measures {
            Measures::Always(measured) => measured,
            Measures::Configured => &[],
        }
    }

    /// Returns the measured quantities with their limits at these `settings`.
    pub fn measured_with(&self, settings: &Settings) -> Vec<Measured> {
        let adapt = |measured: &Measured| match self.limits {
            Some(limits) => limits(settings, *measured),
            None => *measured,
        };
        self.measured().iter().map(adapt).collect()
    }

    /// Returns true for a chip on an I²C or SPI bus. It has a driver, and a register model in the simulator.
    pub const fn on_bus(&self) -> bool {
        matches!(self.bus, BusKind::I2c { .. } | BusKind::Spi)
    }

    /// Returns true if the chip sends a checksum.
    pub const fn has_checksum(&self) -> bool {
        !matches!(self.checksum, Checksum::None)
    }
}
