//! Check of the keys of a sensor against its chip. Keys that the chip does not have are refused, with the reason.

use std::ops::Range;

use atalaya_hal::Chip;
use atalaya_hal::catalogue::{BusKind, Measures};
use toml::Spanned;

use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source, list};

/// Refuses every key that the chip does not have.
pub(super) fn refuse_stray_keys(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<(), BoardsError> {
    let spec = chip.spec();
    let is_i2c = matches!(spec.bus, BusKind::I2c { .. });
    let has_channels = matches!(chip, Chip::Hwmon | Chip::Iio) || !spec.channels.is_empty();
    let has_quantity = spec.measures == Measures::Configured && chip != Chip::Random;
    let is_mqtt = spec.bus == BusKind::Mqtt;
    // Name, location in the file if present, and true if the chip has the key.
    let keys = [
        ("bus", span(&raw.bus), chip.needs_bus()),
        ("address", span(&raw.address), is_i2c),
        ("device", span(&raw.device), spec.bus == BusKind::Kernel),
        ("channel", span(&raw.channel), has_channels),
        ("quantity", span(&raw.quantity), has_quantity),
        ("path", span(&raw.path), spec.bus == BusKind::File),
        ("command", span(&raw.command), spec.bus == BusKind::Command),
        ("timeout", span(&raw.timeout), spec.bus == BusKind::Command),
        ("broker", span(&raw.broker), is_mqtt),
        ("topic", span(&raw.topic), is_mqtt),
        ("pointer", span(&raw.pointer), is_mqtt),
        ("max_age", span(&raw.max_age), is_mqtt),
        ("user", span(&raw.user), is_mqtt),
        ("password_file", span(&raw.password_file), is_mqtt),
        ("ca", span(&raw.ca), is_mqtt),
    ];
    for (key, span, allowed) in keys {
        if let (Some(span), false) = (span, allowed) {
            let (problem, alternative) = stray(key, chip);
            return Err(source.error(span, problem, format!("remove `{key}`{alternative}")));
        }
    }
    Ok(())
}

/// Returns the error for a key that the chip does not have: the problem, and the alternative to the removal of the key,
/// appended to "remove `key`".
fn stray(key: &str, chip: Chip) -> (String, String) {
    let spec = chip.spec();
    let of_chip = |what: &str, alternative: &str| (format!("`{chip}` {what}"), alternative.to_owned());
    match (key, chip.quantities()) {
        ("address", _) if spec.bus == BusKind::Spi => {
            of_chip("sits on SPI and has no address", "; its bus says the chip select: \"spi-0.0\"")
        }
        ("bus" | "address", _) => {
            let problem = match spec.bus {
                BusKind::Nothing => "sits on no bus".to_owned(),
                _ => format!("sits on no bus: it is {}", spec.about),
            };
            match spec.bus {
                BusKind::Mqtt => of_chip(&problem, "; `broker` and `topic` say where to read it"),
                _ => of_chip(&problem, &format!(", or name a chip: {}", chips_on_a_bus())),
            }
        }
        ("device", _) => of_chip("is not a device of the kernel", "; `device` is for hwmon, iio, w1 and cpu"),
        ("channel", _) => {
            of_chip("has no channels", &format!("; `channel` is for {}", chips_with_channels()))
        }
        ("quantity", None) => (
            format!("what `{chip}` measures is what `sim` says"),
            "; write sim = { temperature = { uniform = [75, 85] } }, with the quantities you want".to_owned(),
        ),
        ("quantity", Some(quantities)) => {
            let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
            let problem = format!("measures {} anyway", list(&names));
            of_chip(&problem, "; `quantity` is for hwmon, iio, command, file and mqtt")
        }
        ("path", _) => of_chip("is not read from a file", ", or write chip = \"file\""),
        ("command", _) => of_chip("runs no program", ", or write chip = \"command\""),
        ("timeout", _) => of_chip("runs no program that a `timeout` could end", ""),
        _ => of_chip("is not read from an MQTT broker", ", or write chip = \"mqtt\""),
    }
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
