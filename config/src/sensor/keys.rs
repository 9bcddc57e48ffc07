//! Check of the keys of a sensor against its chip. Keys that the chip does not have are refused, with the reason.

use std::ops::Range;

use atalaya_hal::Chip;
use atalaya_hal::catalogue::{BusKind, Measures};
use toml::Spanned;

use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source, list};

/// Key of a sensor: its name, its place in the file if present, true if the chip has it, and the error otherwise.
type Key = (&'static str, Option<Range<usize>>, bool, fn(Chip) -> Stray);

/// Refuses every key that the chip does not have.
pub(super) fn refuse_stray_keys(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<(), BoardsError> {
    let spec = chip.spec();
    let is_i2c = matches!(spec.bus, BusKind::I2c { .. });
    let has_channels = matches!(chip, Chip::Hwmon | Chip::Iio) || !spec.channels.is_empty();
    let has_quantity = spec.measures == Measures::Configured && chip != Chip::Random;
    let is_mqtt = spec.bus == BusKind::Mqtt;
    let keys: [Key; 15] = [
        ("bus", span(&raw.bus), chip.needs_bus(), no_bus),
        ("address", span(&raw.address), is_i2c, no_address),
        ("device", span(&raw.device), spec.bus == BusKind::Kernel, no_device),
        ("channel", span(&raw.channel), has_channels, no_channels),
        ("quantity", span(&raw.quantity), has_quantity, no_choice_of_quantities),
        ("path", span(&raw.path), spec.bus == BusKind::File, no_file),
        ("command", span(&raw.command), spec.bus == BusKind::Command, no_program),
        ("timeout", span(&raw.timeout), spec.bus == BusKind::Command, no_timeout),
        ("broker", span(&raw.broker), is_mqtt, no_messages),
        ("topic", span(&raw.topic), is_mqtt, no_messages),
        ("pointer", span(&raw.pointer), is_mqtt, no_messages),
        ("max_age", span(&raw.max_age), is_mqtt, no_messages),
        ("user", span(&raw.user), is_mqtt, no_messages),
        ("password_file", span(&raw.password_file), is_mqtt, no_messages),
        ("ca", span(&raw.ca), is_mqtt, no_messages),
    ];
    for (key, span, allowed, error) in keys {
        if let (Some(span), false) = (span, allowed) {
            let Stray { problem, alternative } = error(chip);
            return Err(source.error(span, problem, format!("remove `{key}`{alternative}")));
        }
    }
    Ok(())
}

/// Error for a key that the chip does not have.
struct Stray {
    problem: String,
    /// Alternative to the removal of the key, appended to "remove `key`".
    alternative: String,
}

impl Stray {
    fn new(problem: String, alternative: impl Into<String>) -> Stray {
        Stray { problem, alternative: alternative.into() }
    }
}

fn no_bus(chip: Chip) -> Stray {
    let spec = chip.spec();
    let problem = match spec.bus {
        BusKind::Nothing => format!("`{chip}` sits on no bus"),
        _ => format!("`{chip}` sits on no bus: it is {}", spec.about),
    };
    match spec.bus {
        BusKind::Mqtt => Stray::new(problem, "; `broker` and `topic` say where to read it"),
        _ => Stray::new(problem, format!(", or name a chip: {}", chips_on_a_bus())),
    }
}

fn no_address(chip: Chip) -> Stray {
    match chip.spec().bus {
        BusKind::Spi => Stray::new(
            format!("`{chip}` sits on SPI and has no address"),
            "; its bus says the chip select: \"spi-0.0\"",
        ),
        _ => no_bus(chip),
    }
}

fn no_device(chip: Chip) -> Stray {
    Stray::new(format!("`{chip}` is not a device of the kernel"), "; `device` is for hwmon, iio, w1 and cpu")
}

fn no_channels(chip: Chip) -> Stray {
    Stray::new(format!("`{chip}` has no channels"), format!("; `channel` is for {}", chips_with_channels()))
}

fn no_choice_of_quantities(chip: Chip) -> Stray {
    let Some(quantities) = chip.quantities() else {
        return Stray::new(
            format!("what `{chip}` measures is what `sim` says"),
            "; write sim = { temperature = { uniform = [75, 85] } }, with the quantities you want",
        );
    };
    let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
    Stray::new(
        format!("`{chip}` measures {} anyway", list(&names)),
        "; `quantity` is for hwmon, iio, command, file and mqtt",
    )
}

fn no_file(chip: Chip) -> Stray {
    Stray::new(format!("`{chip}` is not read from a file"), ", or write chip = \"file\"")
}

fn no_program(chip: Chip) -> Stray {
    Stray::new(format!("`{chip}` runs no program"), ", or write chip = \"command\"")
}

fn no_timeout(chip: Chip) -> Stray {
    Stray::new(format!("`{chip}` runs no program that a `timeout` could end"), "")
}

fn no_messages(chip: Chip) -> Stray {
    Stray::new(format!("`{chip}` is not read from an MQTT broker"), ", or write chip = \"mqtt\"")
}

fn chips_with_channels() -> String {
    let chips = Chip::ALL.into_iter().filter(|chip| !chip.spec().channels.is_empty()).map(Chip::name);
    let mut names: Vec<&str> = ["hwmon", "iio"].into_iter().chain(chips).collect();
    let last = names.pop().unwrap_or_default();
    format!("{} and {last}", names.join(", "))
}

fn span<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
    value.as_ref().map(Spanned::span)
}

/// Returns the chips that a real board can have.
pub(super) fn chips_on_a_bus() -> String {
    let chips: Vec<&str> = Chip::ALL.iter().filter(|chip| chip.needs_bus()).map(|chip| chip.name()).collect();
    list(&chips)
}
