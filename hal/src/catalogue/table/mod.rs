//! The table of all chips: one row per chip, in files by purpose.
//!
//! [`chip_table!`](crate::chip_table) passes the rows to a macro of the caller: [`crate::Chip`] creates its variants and
//! their [`ChipSpec`](super::ChipSpec) from them, [`crate::drivers`] the code that builds drivers, and atalaya-sim the
//! code that builds register models. A row has this form:
//!
//! ```text
//! /// Comment of the variant.
//! Variant { i2c, driver: file::Driver, model: file::Model } ChipSpec { ... };
//! ```
//!
//! with `i2c` or `spi`; a source of readings that is not on a bus has `{ other }`. `driver` is a type of
//! `hal/src/drivers` with the function `new(bus, delay, context)`, and `model` one of `sim/src/models` that implements
//! the trait `Model` or `SpiModel` of that module.

use super::{Datasheet, Key};

mod air;
mod electrical;
mod sources;
mod thermometers;

/// Passes the rows of all chips to the macro `$then`.
#[doc(hidden)]
#[macro_export]
macro_rules! chip_table {
    ($then:ident) => {
        $crate::thermometer_rows! { $then }
    };
}

pub(crate) const fn datasheet(
    publisher: &'static str,
    number: &'static str,
    revision: &'static str,
    url: &'static str,
) -> Option<Datasheet> {
    Some(Datasheet { publisher, number, revision, url })
}

pub(crate) const fn key(
    name: &'static str,
    example: &'static str,
    default: &'static str,
    about: &'static str,
) -> Key {
    Key { name, example, default, about }
}

/// Connections of pins to the header of a Raspberry Pi.
pub(crate) mod pi {
    pub(crate) const POWER: &str = "3.3 V (pin 1)";
    pub(crate) const GROUND: &str = "ground (pin 6)";
    pub(crate) const SDA: &str = "GPIO 2, SDA (pin 3)";
    pub(crate) const SCL: &str = "GPIO 3, SCL (pin 5)";
}

/// Remedies of problems that several chips have.
pub(crate) mod remedy {
    pub(crate) const SELF_HEATING: &str = "The board or a voltage regulator beside the chip warms it: move the chip away with a cable, or calibrate with `filters = [{ offset = -1.5 }]`.";
    pub(crate) const CONDENSATION: &str = "Water has condensed on the sensor: let it dry. Several days above 80 %RH also shift the readings for a while.";
    pub(crate) const WRONG_ID: &str = "The module carries another chip than its label says. The message names the chip to write, if the id is known.";
}
