//! Sample configurations of a chip, and the output of its simulated sensor.

use std::time::Duration;

use atalaya_config::Boards;
use atalaya_hal::catalogue::{BusKind, Key};
use atalaya_hal::settings::DefaultValue;
use atalaya_hal::{Chip, Quantity};
use atalaya_sim::{Clock, Simulator};

pub(crate) fn backend(chip: Chip) -> &'static str {
    if chip.spec().bus == BusKind::Nothing { "sim" } else { "linux" }
}

pub(crate) fn minimal(chip: Chip) -> String {
    let required = keys(chip).into_iter().map(|(name, value, _)| format!("{name} = {value}\n"));
    format!("{}{}", header(chip), required.collect::<String>())
}

/// Returns a configuration with all keys.
pub(crate) fn full(chip: Chip) -> String {
    let spec = chip.spec();
    let mut lines: Vec<(String, String)> = vec![
        (format!("name = \"{chip}\""), "unique on the board".to_owned()),
        (format!("chip = \"{chip}\""), String::new()),
    ];
    lines.extend(
        keys(chip)
            .into_iter()
            .skip(2)
            .map(|(name, value, about)| (with_tls(&format!("{name} = {value}")), about)),
    );
    lines.extend(
        spec.optional.iter().map(|key| (format!("{} = {}", key.name, key.example), key.about.to_owned())),
    );
    lines.push(("filters = [{ round = 2 }]".to_owned(), "default: no filters".to_owned()));
    let waveforms: Vec<String> = quantities(chip)
        .map(|quantity| format!("{quantity} = {{ constant = {} }}", calm(quantity)))
        .collect();
    lines.push((format!("sim = {{ {} }}", waveforms.join(", ")), String::new()));
    let mut text = header(chip) + &aligned(&lines);
    if !spec.settings.is_empty() {
        let defaults = chip.default_settings();
        let settings = spec.settings.iter().map(|setting| {
            let (prefix, value) = match (setting.default, defaults.get(setting.key)) {
                (DefaultValue::Unset(_), _) | (_, None) => ("# ", "650".to_owned()),
                (_, Some(value)) => ("", rounded(value)),
            };
            (format!("{prefix}{} = {value}", setting.key), setting.about.to_owned())
        });
        text.push_str("\n[boards.pi.sensors.settings]\n");
        text.push_str(&aligned(&settings.collect::<Vec<_>>()));
    }
    text
}

/// Returns the output of `atalaya sensors read` for the simulated sensor of the full configuration.
pub(crate) fn output(chip: Chip) -> String {
    let text = full(chip).replace("backend = \"linux\"", "backend = \"sim\"");
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let clock = Clock::manual();
    let (_, mut buses) =
        Simulator::with_clock(boards.board(Some("pi")).unwrap().1.simulated(), "", clock.clone()).unwrap();
    let sensor = &mut buses[0].sensors[0];
    let readings = (0..10).find_map(|_| {
        let readings = sensor.read();
        clock.advance(Duration::from_secs(1));
        readings.ok()
    });
    let lines = readings.unwrap().into_iter().map(|reading| {
        let (quantity, unit) = (reading.quantity(), reading.quantity().unit());
        format!("{:16} {quantity:14} {} {unit}\n", chip.name(), reading.value())
    });
    lines.collect()
}

fn header(chip: Chip) -> String {
    format!("[boards.pi]\nbackend = \"{}\"\n\n[[boards.pi.sensors]]\n", backend(chip))
}

fn keys(chip: Chip) -> Vec<(&'static str, String, String)> {
    let spec = chip.spec();
    let mut keys =
        vec![("name", format!("\"{chip}\""), String::new()), ("chip", format!("\"{chip}\""), String::new())];
    match spec.bus {
        BusKind::I2c { addresses } => {
            keys.push(("bus", "\"i2c-1\"".to_owned(), "/dev/i2c-1".to_owned()));
            let others: Vec<String> =
                addresses[1..].iter().map(|address| format!("{address:#04x}")).collect();
            let about = if others.is_empty() { String::new() } else { format!("or {}", others.join(", ")) };
            keys.push(("address", format!("{:#04x}", addresses[0]), about));
        }
        BusKind::Spi => keys.push(("bus", "\"spi-0.0\"".to_owned(), "/dev/spidev0.0".to_owned())),
        _ => {}
    }
    if let [first, others @ ..] = spec.channels {
        keys.push(("channel", format!("\"{first}\""), format!("or {}", others.join(", "))));
    }
    let required = |key: &Key| (key.name, key.example.to_owned(), key.about.to_owned());
    keys.extend(spec.required.iter().map(required));
    keys
}

/// Returns the quantities of the sample that have a waveform.
fn quantities(chip: Chip) -> impl Iterator<Item = Quantity> {
    let text = with_tls(&(minimal(chip) + &configured(chip)));
    let boards = Boards::parse(&text, "boards.toml").unwrap_or_else(|error| panic!("{error}\n{text}"));
    let quantities = boards.board(Some("pi")).unwrap().1.sensors[0].spec().quantities.clone();
    quantities.into_iter().filter(move |quantity| !chip.computes(*quantity))
}

/// Replaces the address of a broker by one with TLS, which the key `ca` requires.
fn with_tls(text: &str) -> String {
    text.replace("mqtt://127.0.0.1:1883", "mqtts://broker.example:8883")
}

/// Returns the optional keys, which may select the quantities.
fn configured(chip: Chip) -> String {
    chip.spec().optional.iter().map(|key| format!("{} = {}\n", key.name, key.example)).collect()
}

/// Returns a usual value.
fn calm(quantity: Quantity) -> f64 {
    match quantity {
        Quantity::Temperature => 21.5,
        Quantity::Humidity => 45.0,
        Quantity::Pressure => 101_325.0,
        Quantity::Illuminance => 320.0,
        Quantity::Concentration => 620.0,
        Quantity::Voltage => 1.25,
        Quantity::Current => 0.25,
        _ => 42.0,
    }
}

fn rounded(value: f64) -> String {
    ((value * 1e6).round() / 1e6).to_string()
}

/// Aligns the comments of lines.
fn aligned(lines: &[(String, String)]) -> String {
    let commented = lines.iter().filter(|(line, about)| !about.is_empty() && line.chars().count() < 50);
    let width = commented.map(|(line, _)| line.chars().count()).max().unwrap_or_default();
    let line = |(line, about): &(String, String)| match about.as_str() {
        "" => format!("{line}\n"),
        about => format!("{line:width$}  # {about}\n"),
    };
    lines.iter().map(line).collect()
}
