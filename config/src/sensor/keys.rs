//! Check of the keys of a sensor against its chip. Keys that the chip does not have are refused, with the reason.

use std::ops::Range;

use atalaya_hal::Chip;
use atalaya_hal::catalogue::{BusKind, Measures};
use toml::Spanned;

use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source, list};

/// Key of a sensor: its name, its place in the file if present, true if the chip has it, and otherwise the problem and
/// the remedy.
type Key = (&'static str, Option<Range<usize>>, bool, (String, String));

/// Refuses every key that the chip does not have.
pub(super) fn refuse_stray_keys(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<(), BoardsError> {
    let spec = chip.spec();
    let attachment = spec.bus;
    let i2c = matches!(attachment, BusKind::I2c { .. });
    let kernel = attachment == BusKind::Kernel;
    let configured = spec.measures == Measures::Configured && chip != Chip::Random;
    let of_hardware = || {
        let elsewhere = match attachment {
            BusKind::Nothing => format!("`{chip}` sits on no bus"),
            _ => format!("`{chip}` sits on no bus: it is {}", spec.about),
        };
        (elsewhere, format!("or name a chip: {}", chips_on_a_bus()))
    };
    let keys: [Key; 7] = [
        ("bus", span(&raw.bus), chip.needs_bus(), of_hardware()),
        (
            "address",
            span(&raw.address),
            i2c,
            match attachment {
                BusKind::Spi => (
                    format!("`{chip}` sits on SPI and has no address"),
                    "its bus says the chip select: \"spi-0.0\"".to_owned(),
                ),
                _ => of_hardware(),
            },
        ),
        (
            "device",
            span(&raw.device),
            kernel,
            (
                format!("`{chip}` is not a device of the kernel"),
                "`device` is for hwmon, iio, w1 and cpu".to_owned(),
            ),
        ),
        (
            "channel",
            span(&raw.channel),
            matches!(chip, Chip::Hwmon | Chip::Iio) || !spec.channels.is_empty(),
            (format!("`{chip}` has no channels"), format!("`channel` is for {}", chips_with_channels())),
        ),
        (
            "quantity",
            span(&raw.quantity),
            configured,
            match chip.quantities() {
                Some(quantities) => {
                    let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
                    (
                        format!("`{chip}` measures {} anyway", list(&names)),
                        "`quantity` is for hwmon, iio, command and file".to_owned(),
                    )
                }
                None => (
                    format!("what `{chip}` measures is what `sim` says"),
                    "write sim = { temperature = { uniform = [75, 85] } }, with the quantities you want"
                        .to_owned(),
                ),
            },
        ),
        (
            "path",
            span(&raw.path),
            attachment == BusKind::File,
            (format!("`{chip}` is not read from a file"), "or write chip = \"file\"".to_owned()),
        ),
        (
            "command",
            span(&raw.command),
            attachment == BusKind::Command,
            (format!("`{chip}` runs no program"), "or write chip = \"command\"".to_owned()),
        ),
    ];
    for (key, span, meant, (problem, remedy)) in keys {
        if let (Some(span), false) = (span, meant) {
            return Err(source.error(
                span,
                problem,
                format!("remove `{key}`, {remedy}").replace(", `", "; `"),
            ));
        }
    }
    if let (Some(span), true) = (span(&raw.timeout), attachment != BusKind::Command) {
        let problem = format!("`{chip}` runs no program that a `timeout` could end");
        return Err(source.error(span, problem, "remove `timeout`"));
    }
    Ok(())
}

/// Returns the chips that have channels.
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
