//! Checks of the connection of a sensor: bus, address, device, command, path or topic.

use std::time::Duration;

use atalaya_hal::catalogue::BusKind;
use atalaya_hal::{BusAddress, Chip};
use toml::Spanned;

use super::mqtt::mqtt;
use super::raw::RawSensor;
use crate::diagnostic::{BoardsError, Source, printable};

/// Time limit of a program without a `timeout` in boards.toml.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(3);

/// Maximum time limit of a program: a node waits no longer for a reading.
const MAX_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn bus_address(
    raw: &RawSensor,
    chip: Chip,
    source: &Source<'_>,
) -> Result<BusAddress, BoardsError> {
    let missing = |problem: String, remedy: &str| Err(source.error(raw.chip.span(), problem, remedy));
    match chip.spec().bus {
        BusKind::I2c { addresses } => i2c(raw, chip, addresses, source),
        BusKind::Spi => {
            let Some(bus) = &raw.bus else {
                let problem = format!("`{chip}` sits on a bus, and the key `bus` is missing");
                return missing(problem, "add the bus and its chip select, such as `bus = \"spi-0.0\"`");
            };
            let numbers = bus.get_ref().strip_prefix("spi-").and_then(|numbers| numbers.split_once('.'));
            if !numbers.is_some_and(|(bus, select)| is_number(bus) && is_number(select)) {
                let problem = format!("`{}` is not an SPI bus", printable(bus.get_ref()));
                let remedy = "write the numbers of its device file: \"spi-0.0\" for /dev/spidev0.0";
                return Err(source.error(bus.span(), problem, remedy));
            }
            Ok(BusAddress::Spi { bus: bus.get_ref().clone() })
        }
        BusKind::Kernel => {
            let device = raw.device.as_ref().map(|device| file_name(device, "device", source)).transpose()?;
            let channel =
                raw.channel.as_ref().map(|channel| file_name(channel, "channel", source)).transpose()?;
            Ok(BusAddress::Kernel { device, channel })
        }
        BusKind::Command => {
            let Some(command) = &raw.command else {
                let problem = format!("the key `command` is missing: what shall `{chip}` run?");
                let remedy = "add it as a list, such as `command = [\"/usr/local/bin/measure\", \"-1\"]`";
                return missing(problem, remedy);
            };
            let words = command.get_ref();
            if words.first().is_none_or(String::is_empty) || words.iter().any(|word| word.contains('\0')) {
                let remedy = "write the program and its arguments: [\"/usr/local/bin/measure\", \"-1\"]";
                return Err(source.error(command.span(), "no program to run", remedy));
            }
            let timeout = match &raw.timeout {
                Some(timeout) if timeout.get_ref().0 > MAX_TIMEOUT => {
                    let problem = format!("a timeout of {:?} is too long", timeout.get_ref().0);
                    let remedy = format!("a node waits {MAX_TIMEOUT:?} for a reading: write less");
                    return Err(source.error(timeout.span(), problem, remedy));
                }
                Some(timeout) => timeout.get_ref().0,
                None => DEFAULT_TIMEOUT,
            };
            Ok(BusAddress::Command { command: words.clone(), timeout })
        }
        BusKind::File => {
            let Some(path) = &raw.path else {
                let problem = format!("the key `path` is missing: which {chip}?");
                return missing(problem, "add it, such as `path = \"/run/level\"`");
            };
            let text = path.get_ref().to_string_lossy();
            if text.is_empty() || text.contains('\0') {
                let remedy = "write one, such as \"/run/level\"";
                return Err(source.error(path.span(), "no path of a file", remedy));
            }
            Ok(BusAddress::File { path: path.get_ref().clone() })
        }
        BusKind::Mqtt => mqtt(raw, chip, source).map(BusAddress::Mqtt),
        _ => Ok(BusAddress::Nothing),
    }
}

fn i2c(
    raw: &RawSensor,
    chip: Chip,
    addresses: &[u8],
    source: &Source<'_>,
) -> Result<BusAddress, BoardsError> {
    let Some(bus) = &raw.bus else {
        let problem = format!("`{chip}` sits on a bus, and the key `bus` is missing");
        return Err(source.error(raw.chip.span(), problem, "add the bus, such as `bus = \"i2c-1\"`"));
    };
    if !bus.get_ref().strip_prefix("i2c-").is_some_and(is_number) {
        let problem = format!("`{}` is not an I²C bus", printable(bus.get_ref()));
        let remedy = "write it like its device file, without /dev/: \"i2c-1\"";
        return Err(source.error(bus.span(), problem, remedy));
    }
    let shown: Vec<String> = addresses.iter().map(|address| format!("{address:#04x}")).collect();
    let shown = shown.join(", ");
    let Some(address) = &raw.address else {
        let problem = format!("`{chip}` has an address, and the key `address` is missing");
        let remedy = match addresses {
            [only] => format!("add `address = {only:#04x}`"),
            _ => format!("add `address = {}`, or another of {shown}", &shown[..4]),
        };
        return Err(source.error(raw.chip.span(), problem, remedy));
    };
    let number = address.get_ref().0;
    if !addresses.contains(&number) {
        let problem = format!("`{chip}` cannot have the address {number:#04x}");
        let remedy = match addresses {
            [only] => format!("its address is {only:#04x}"),
            _ => format!("its pins select one of {shown}"),
        };
        return Err(source.error(address.span(), problem, remedy));
    }
    Ok(BusAddress::I2c { bus: bus.get_ref().clone(), address: number })
}

/// Returns true for a number in the form that Linux uses in device names.
fn is_number(text: &str) -> bool {
    text.parse::<u16>().is_ok_and(|number| number.to_string() == text)
}

/// Checks a name that becomes part of a path in sysfs.
fn file_name(value: &Spanned<String>, key: &str, source: &Source<'_>) -> Result<String, BoardsError> {
    let text = value.get_ref();
    let allowed = |c: char| !c.is_control() && c != '/';
    if !text.is_empty() && text.len() <= 64 && !text.starts_with('.') && text.chars().all(allowed) {
        return Ok(text.clone());
    }
    let problem = format!("`{}` is not a name of a {key}", printable(text));
    let remedy = match key {
        "channel" => "write it as the files are called, without _input: \"temp1\", \"in_temp\"",
        _ => "write its name without a path, such as \"lm75\", \"1-0048\" or \"28-0316a4b5c6ff\"",
    };
    Err(source.error(value.span(), problem, remedy))
}
