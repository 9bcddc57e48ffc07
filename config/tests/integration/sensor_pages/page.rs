//! Page of one chip.

use std::fmt::Write;

use atalaya_hal::Chip;
use atalaya_hal::catalogue::{BusKind, Measured, Measures};

use super::sample;

pub(crate) fn page(chip: Chip) -> String {
    let mut page = format!("{GENERATED}\n# {}\n\n{}", title(chip), summary(chip));
    page += &measures(chip);
    page += &wiring(chip);
    page += &configuration(chip);
    let _ = write!(
        page,
        "\n## Example output\n\nWith the values of `sim` above and `backend = \"sim\"`:\n\n```console\n$ atalaya sensors read --board pi\n{}```\n",
        sample::output(chip)
    );
    page += &problems(chip);
    page
}

/// First line of every page.
pub(crate) const GENERATED: &str = "<!-- Generated from hal/src/catalogue/table: change the row there, and run the test `sensor_pages` with ATALAYA_UPDATE_DOCS=1. -->";

/// Returns the heading of the page of `chip`.
pub(crate) fn title(chip: Chip) -> String {
    if chip.needs_bus() { chip.name().to_uppercase() } else { format!("`{chip}`") }
}

/// Returns the bus with its addresses: `I²C, 0x48 to 0x4f`.
pub(crate) fn on(chip: Chip) -> String {
    match chip.spec().bus {
        BusKind::I2c { addresses: [only] } => format!("I²C, {only:#04x}"),
        BusKind::I2c { addresses } => {
            let consecutive = addresses.windows(2).all(|pair| pair[1] == pair[0] + 1);
            let (first, last) = (addresses[0], addresses[addresses.len() - 1]);
            let between = if consecutive && addresses.len() > 2 { "to" } else { "or" };
            format!("I²C, {first:#04x} {between} {last:#04x}")
        }
        BusKind::Spi => "SPI".to_owned(),
        BusKind::Kernel => "sysfs".to_owned(),
        BusKind::Mqtt => "MQTT".to_owned(),
        _ => "-".to_owned(),
    }
}

fn summary(chip: Chip) -> String {
    let spec = chip.spec();
    let mut lines =
        vec![format!("- Description: {}", spec.about), format!("- Name in boards.toml: `chip = \"{chip}\"`")];
    if !spec.aliases.is_empty() {
        let aliases: Vec<String> = spec.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        lines[1] += &format!(", or {}", aliases.join(", "));
    }
    match spec.bus {
        BusKind::I2c { .. } | BusKind::Spi => lines.push(format!("- Bus: {}", on(chip))),
        BusKind::Kernel => lines.push("- Read by the kernel, through sysfs".to_owned()),
        _ => {}
    }
    if let Some(datasheet) = spec.datasheet {
        let revision = match datasheet.revision {
            "" => String::new(),
            revision => format!(", revision {revision}"),
        };
        let (publisher, number, url) = (datasheet.publisher, datasheet.number, datasheet.url);
        lines.push(format!("- Datasheet: [{publisher} {number}{revision}]({url})"));
    }
    if spec.driver != "atalaya-hal" {
        lines.push(format!("- Driver: the crate [{0}](https://crates.io/crates/{0})", spec.driver));
    }
    if spec.bus == BusKind::Mqtt {
        lines.push(format!(
            "- First measurement: the first message, for which `atalaya sensors read` waits {} s",
            spec.first_reading.as_secs()
        ));
        lines.push(
            "- Setup of ESPHome, Tasmota and Zigbee2MQTT: [Sensors from MQTT](../mqtt-sensors.md)".to_owned(),
        );
    } else if !spec.first_reading.is_zero() {
        lines.push(format!("- First measurement: {} s after the first read", spec.first_reading.as_secs()));
    }
    if spec.on_bus() {
        let checksum =
            if spec.has_checksum() { "the chip sends one, and the driver checks it" } else { "none" };
        lines.push(format!("- Checksum: {checksum}"));
    }
    lines.push(format!("- Tested on: {}", spec.tested));
    lines.join("\n") + "\n"
}

fn measures(chip: Chip) -> String {
    let Measures::Always(measured) = chip.spec().measures else {
        return "\n## Measured quantities\n\nThe configuration selects them.\n".to_owned();
    };
    let mut text =
        "\n## Measured quantities\n\n| quantity | unit | minimum | maximum | resolution |\n|---|---|---|---|---|\n".to_owned();
    for measured in measured {
        let (quantity, unit) = (measured.quantity, measured.quantity.unit());
        if measured.product {
            let _ = writeln!(text, "| {quantity} | {unit} | voltage × current | | |");
        } else {
            let Measured { min, max, resolution, .. } = measured;
            let _ = writeln!(text, "| {quantity} | {unit} | {min} | {max} | {} |", shortened(*resolution));
        }
    }
    if chip.spec().limits.is_some() {
        text += "\nThese are the limits with the default configuration.\n";
    }
    text
}

/// Returns the number with at most three significant digits.
pub(crate) fn shortened(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let scale = 10_f64.powf(2.0 - value.abs().log10().floor());
    let rounded = (value * scale).round() / scale;
    // A second rounding removes the error of the division.
    format!("{rounded:.9}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn wiring(chip: Chip) -> String {
    let spec = chip.spec();
    if spec.pins.is_empty() {
        return String::new();
    }
    let mut text = "\n## Wiring\n\n| pin | connection |\n|---|---|\n".to_owned();
    for (pin, connection) in spec.pins {
        let _ = writeln!(text, "| {pin} | {connection} |");
    }
    text += match spec.bus {
        BusKind::I2c { .. } => {
            "\nThe pin numbers are those of a Raspberry Pi, on which `dtparam=i2c_arm=on` in `/boot/firmware/config.txt` enables\n\
             the bus `i2c-1`. The bus needs pull-up resistors at SDA and SCL; the Pi and most modules have them.\n"
        }
        BusKind::Spi => {
            "\nThe pin numbers are those of a Raspberry Pi, on which `dtparam=spi=on` in `/boot/firmware/config.txt` enables the\n\
             buses `spi-0.0` and `spi-0.1`.\n"
        }
        _ => "",
    };
    text
}

fn configuration(chip: Chip) -> String {
    let spec = chip.spec();
    let (minimal, full) = (sample::minimal(chip), sample::full(chip));
    let mut text = format!(
        "\n## Configuration\n\nThe shortest configuration in boards.toml:\n\n```toml\n{minimal}```\n\nAll keys:\n\n```toml\n{full}```\n\n"
    );
    text += "| key | values | default | meaning |\n|---|---|---|---|\n";
    let mut row = |key: &str, values: &str, default: &str, about: &str| {
        let _ = writeln!(text, "| `{key}` | {values} | {default} | {about} |");
    };
    row("name", "a name", "required", "name of the sensor, unique on the board");
    match spec.bus {
        BusKind::I2c { addresses } => {
            let addresses: Vec<String> = addresses.iter().map(|address| format!("{address:#04x}")).collect();
            row("bus", "`i2c-N`", "required", "bus: the device file without `/dev/`");
            row("address", &addresses.join(", "), "required", "address that the pins of the chip select");
        }
        BusKind::Spi => {
            row("bus", "`spi-N.N`", "required", "bus and chip select: `spi-0.0` is `/dev/spidev0.0`")
        }
        _ => {}
    }
    if !spec.channels.is_empty() {
        let channels: Vec<String> = spec.channels.iter().map(|channel| format!("`{channel}`")).collect();
        row(
            "channel",
            &channels.join(", "),
            "required",
            "input or result; several sensors may share the chip",
        );
    }
    for key in spec.required {
        row(key.name, &format!("such as `{}`", key.example), "required", key.about);
    }
    for key in spec.optional {
        row(key.name, &format!("such as `{}`", key.example), key.default, key.about);
    }
    for setting in spec.settings {
        row(
            &format!("settings.{}", setting.key),
            &setting.valid.to_string(),
            &setting.default.to_string(),
            setting.about,
        );
    }
    row("filters", "a list", "none", "[filters](README.md#filters) of the values, in order");
    row("sim", "a table", "usual values", "[simulated values](README.md#simulation) for `backend = \"sim\"`");
    text
}

fn problems(chip: Chip) -> String {
    let spec = chip.spec();
    let mut text = "\n## Common problems\n\n| problem | cause and remedy |\n|---|---|\n".to_owned();
    for (problem, remedy) in spec.problems {
        let _ = writeln!(text, "| {problem} | {remedy} |");
    }
    if matches!(spec.bus, BusKind::I2c { .. }) {
        text += "\nProblems of every chip on I²C, such as `no acknowledge`, are [here](README.md#problems-on-i²c).\n";
    }
    text
}
