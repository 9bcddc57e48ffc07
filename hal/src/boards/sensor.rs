//! Checks of one sensor of boards.toml: the keys that its chip requires, the keys that it does not have, and
//! combinations of their values.

use std::collections::BTreeMap;

use toml::Spanned;

use super::attached::{Attached, DEFAULT_TIMEOUT, MAX_TIMEOUT, channel_quantity};
use super::check::check_name;
use super::error::{BoardsError, Source, list, printable};
use super::faults::{faults, refuse_computed};
use super::keys::refuse_stray_keys;
use super::raw::RawSensor;
use super::settings::settings;
use super::{Backend, SensorConfig};
use crate::catalogue::BusKind;
use crate::chip::Chip;
use crate::filter::Filter;
use crate::reading::Quantity;

/// Names and places that must be unique on a board, with the line of their first use.
#[derive(Default)]
pub(super) struct Seen {
    names: BTreeMap<String, usize>,
    /// Sensors by bus and address; a chip and channel may share the place with another channel of the same chip.
    places: BTreeMap<(String, Option<u8>), Vec<Tenant>>,
}

/// Sensor at a place.
struct Tenant {
    chip: Chip,
    channel: Option<String>,
    name: String,
    line: usize,
}

pub(super) fn sensor(
    raw: RawSensor,
    backend: Backend,
    seen: &mut Seen,
    source: &Source<'_>,
) -> Result<SensorConfig, BoardsError> {
    check_name("sensor", &raw.name, source)?;
    let name = raw.name.get_ref().clone();
    let at = source.location(raw.name.span());
    if let Some(line) = seen.names.insert(name.clone(), at.line) {
        let problem = format!("a second sensor called `{name}`; the first is in line {line}");
        return Err(BoardsError::at(&at, problem, "give every sensor of a board a name of its own"));
    }
    let chip = *raw.chip.get_ref();
    refuse_stray_keys(&raw, chip, source)?;
    let attached = attached(&raw, chip, source)?;
    let settings = settings(&raw, chip, source)?;
    let quantities = quantities(&raw, chip, source)?;
    seen.place(&raw, &attached, chip, at.line, source)?;
    if chip == Chip::Random && backend == Backend::Linux {
        let problem = "`random` is no chip: a Linux board has nothing to read it from";
        let remedy = format!("write `backend = \"sim\"` for this board, or a chip: {}", chips_on_a_bus());
        return Err(source.error(raw.chip.span(), problem, remedy));
    }
    if chip != Chip::Random
        && let Some(other) =
            raw.sim.waveforms.keys().find(|quantity| !quantities.contains(quantity.get_ref()))
    {
        let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
        let problem = format!("`{chip}` does not measure {}", other.get_ref());
        return Err(source.error(other.span(), problem, format!("it measures {}", list(&names))));
    }
    let filters = raw.filters.into_iter().map(Filter::from).collect();
    refuse_computed(&raw.sim, chip, source)?;
    let faults = faults(raw.sim.faults, chip, &quantities, source)?;
    let sim =
        raw.sim.waveforms.into_iter().map(|(quantity, waveform)| (quantity.into_inner(), waveform)).collect();
    Ok(SensorConfig { name, chip, attached, settings, quantities, filters, sim, faults, at })
}

impl Seen {
    /// Refuses a place on a bus that is already in use.
    fn place(
        &mut self,
        raw: &RawSensor,
        attached: &Attached,
        chip: Chip,
        line: usize,
        source: &Source<'_>,
    ) -> Result<(), BoardsError> {
        let (place, shown, span, remedy) = match (attached, &raw.address, &raw.bus) {
            (Attached::I2c { bus, address }, Some(key), _) => (
                (bus.clone(), Some(*address)),
                format!("{address:#04x} on {bus}"),
                key.span(),
                "two chips on one bus need different addresses, set by their pins",
            ),
            (Attached::Spi { bus }, _, Some(key)) => (
                (bus.clone(), None),
                bus.clone(),
                key.span(),
                "two chips on one SPI bus need different chip selects, such as spi-0.0 and spi-0.1",
            ),
            _ => return Ok(()),
        };
        let channel = raw.channel.as_ref().map(|channel| channel.get_ref().clone());
        let tenants = self.places.entry(place).or_default();
        let shares = |tenant: &&Tenant| tenant.chip != chip || tenant.channel == channel;
        if let Some(Tenant { name, line, .. }) = tenants.iter().find(shares) {
            let problem = format!("{shown} is taken by the sensor `{name}` in line {line}");
            return Err(source.error(span, problem, remedy));
        }
        tenants.push(Tenant { chip, channel, name: raw.name.get_ref().clone(), line });
        Ok(())
    }
}

fn attached(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<Attached, BoardsError> {
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
                let problem = format!("`{}` is no SPI bus", printable(bus.get_ref()));
                let remedy = "write the numbers of its device file: \"spi-0.0\" for /dev/spidev0.0";
                return Err(source.error(bus.span(), problem, remedy));
            }
            Ok(Attached::Spi { bus: bus.get_ref().clone() })
        }
        BusKind::Kernel => {
            let device = raw.device.as_ref().map(|device| file_name(device, "device", source)).transpose()?;
            let channel =
                raw.channel.as_ref().map(|channel| file_name(channel, "channel", source)).transpose()?;
            Ok(Attached::Kernel { device, channel })
        }
        BusKind::Command => {
            let Some(command) = &raw.command else {
                let problem = format!("the key `command` is missing: what shall `{chip}` run?");
                return missing(
                    problem,
                    "add it as a list, such as `command = [\"/usr/local/bin/measure\", \"-1\"]`",
                );
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
            Ok(Attached::Command { command: words.clone(), timeout })
        }
        BusKind::File => {
            let Some(path) = &raw.path else {
                let problem = format!("the key `path` is missing: which {chip}?");
                return missing(problem, "add it, such as `path = \"/run/level\"`");
            };
            let text = path.get_ref().to_string_lossy();
            if text.is_empty() || text.contains('\0') {
                return Err(source.error(
                    path.span(),
                    "no path of a file",
                    "write one, such as \"/run/level\"",
                ));
            }
            Ok(Attached::File { path: path.get_ref().clone() })
        }
        BusKind::Nothing => Ok(Attached::Nothing),
    }
}

fn i2c(raw: &RawSensor, chip: Chip, addresses: &[u8], source: &Source<'_>) -> Result<Attached, BoardsError> {
    let Some(bus) = &raw.bus else {
        let problem = format!("`{chip}` sits on a bus, and the key `bus` is missing");
        return Err(source.error(raw.chip.span(), problem, "add the bus, such as `bus = \"i2c-1\"`"));
    };
    if !bus.get_ref().strip_prefix("i2c-").is_some_and(is_number) {
        let problem = format!("`{}` is no I²C bus", printable(bus.get_ref()));
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
    Ok(Attached::I2c { bus: bus.get_ref().clone(), address: number })
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
    let problem = format!("`{}` is no name of a {key}", printable(text));
    let remedy = match key {
        "channel" => "write it as the files are called, without _input: \"temp1\", \"in_temp\"",
        _ => "write its name without a path, such as \"lm75\", \"1-0048\" or \"28-0316a4b5c6ff\"",
    };
    Err(source.error(value.span(), problem, remedy))
}

/// Returns the quantities that the sensor measures.
fn quantities(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<Vec<Quantity>, BoardsError> {
    const REMEDY: &str = "add the quantity, such as `quantity = \"temperature\"`";
    if let Some(always) = chip.quantities() {
        return Ok(always.to_vec());
    }
    if chip == Chip::Random {
        return Ok(match raw.sim.waveforms.is_empty() {
            true => vec![Quantity::Temperature],
            false => raw.sim.waveforms.keys().map(|quantity| *quantity.get_ref()).collect(),
        });
    }
    let told = match (&raw.channel, chip) {
        (Some(channel), Chip::Hwmon | Chip::Iio) => {
            if channel.get_ref().starts_with("in_") != (chip == Chip::Iio) {
                let problem = format!("`{}` is no channel of {chip}", printable(channel.get_ref()));
                let remedy = match chip {
                    Chip::Iio => "IIO calls them \"in_temp\", \"in_humidityrelative\", \"in_voltage0\"",
                    _ => {
                        "hwmon calls them \"temp1\", \"in0\", \"curr1\", \"power1\", \"humidity1\", \"fan1\""
                    }
                };
                return Err(source.error(channel.span(), problem, remedy));
            }
            let told = channel_quantity(channel.get_ref());
            if told.is_none() && raw.quantity.is_none() {
                let problem = format!("what does `{}` measure?", printable(channel.get_ref()));
                return Err(source.error(channel.span(), problem, REMEDY));
            }
            told
        }
        _ => None,
    };
    let Some(quantity) = &raw.quantity else {
        return match chip {
            // Most sensors of these kinds measure temperature.
            Chip::Hwmon | Chip::Iio => Ok(vec![told.unwrap_or(Quantity::Temperature)]),
            _ => {
                let problem = format!("the key `quantity` is missing: what does this {chip} measure?");
                Err(source.error(raw.chip.span(), problem, REMEDY))
            }
        };
    };
    let wanted = &quantity.get_ref().0;
    if let Some(told) = told.filter(|told| wanted[..] != [*told]) {
        let problem = format!("the channel measures {told}");
        return Err(source.error(quantity.span(), problem, "remove `quantity`, or choose another channel"));
    }
    let several = matches!(chip, Chip::Hwmon | Chip::Iio) && raw.channel.is_none();
    if wanted.len() > 1 && !several {
        let problem = format!("one `{chip}` measures one quantity");
        return Err(source.error(quantity.span(), problem, "write a sensor for each"));
    }
    let mut sorted = wanted.clone();
    sorted.sort_unstable();
    sorted.dedup();
    if wanted.is_empty() || sorted.len() != wanted.len() {
        let problem = if wanted.is_empty() { "no quantity at all" } else { "the same quantity twice" };
        return Err(source.error(quantity.span(), problem, "write each quantity once"));
    }
    Ok(wanted.clone())
}

/// Returns the chips that a real board can have.
pub(super) fn chips_on_a_bus() -> String {
    let chips: Vec<&str> = Chip::ALL.iter().filter(|chip| chip.needs_bus()).map(|chip| chip.name()).collect();
    list(&chips)
}
