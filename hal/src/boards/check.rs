//! The checks that need more than one value of boards.toml, and the way from what serde read to the public structs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;

use super::error::{BoardsError, Located, Source, list, printable};
use super::raw::{RawBoard, RawFile, RawFleet, RawSensor, RawSync};
use super::value::{Period, Table};
use super::{Backend, Board, Boards, Fleet, SensorConfig, SyncMode, builtin_boards};
use crate::drivers::Chip;
use crate::filter::Filter;

/// The longest name of a sensor or board.
const MAX_NAME: usize = 64;

pub(super) fn boards(raw: RawFile, source: &Source<'_>) -> Result<Boards, BoardsError> {
    let fleet = fleet(raw.fleet.map(|Table(fleet)| fleet).unwrap_or_default(), source)?;
    let mut boards = BTreeMap::new();
    for (name, Table(raw)) in raw.boards {
        check_name("board", &name, source)?;
        let board = board(raw, &name, source)?;
        boards.insert(name.into_inner(), board);
    }
    if boards.is_empty() {
        boards = builtin_boards();
    }
    Ok(Boards { fleet, boards, base_dir: PathBuf::new(), origin: source.origin().to_owned() })
}

fn fleet(raw: RawFleet, source: &Source<'_>) -> Result<Fleet, BoardsError> {
    let located = |text: Option<Spanned<String>>, check: fn(&str) -> Checked| {
        let Some(text) = text else { return Ok(None) };
        match check(text.get_ref()) {
            Ok(()) => Ok(Some(locate(text, source))),
            Err((problem, remedy)) => Err(source.error(text.span(), problem, remedy)),
        }
    };
    let duration = |period: Option<Spanned<Period>>| {
        period.map(|period| {
            let Located { value: Period(value), at } = locate(period, source);
            Located { value, at }
        })
    };
    if let Some(sync) = &raw.sync
        && matches!(sync.get_ref(), RawSync::Barrier)
    {
        let problem = "`sync = \"barrier\"` arrives with a later version";
        return Err(source.error(sync.span(), problem, "write `sync = \"free\"` until then"));
    }
    Ok(Fleet {
        zookeeper: located(raw.zookeeper, check_hosts)?,
        session_timeout: duration(raw.session_timeout),
        sampling_period: duration(raw.sampling_period),
        sync: raw.sync.map(|sync| Located { value: SyncMode::Free, at: source.location(sync.span()) }),
        measurements: located(raw.measurements, check_path)?,
        name: located(raw.name, check_znode_name)?,
        election: located(raw.election, check_path)?,
        api_url: located(raw.api_url, check_url)?,
        api_method: raw.api_method.map(|method| locate(method, source)),
    })
}

fn locate<T>(value: Spanned<T>, source: &Source<'_>) -> Located<T> {
    let at = source.location(value.span());
    Located { value: value.into_inner(), at }
}

type Checked = Result<(), (String, &'static str)>;

fn check_hosts(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(("no hosts".to_owned(), "write hosts with ports, such as \"127.0.0.1:2181\""));
    }
    Ok(())
}

/// ZooKeeper's own rules for an absolute path that is not the root.
fn check_path(text: &str) -> Checked {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
    match text.strip_prefix('/') {
        Some(parts) if !parts.split('/').any(bad) => Ok(()),
        _ => Err((
            format!("`{}` is no path of ZooKeeper", printable(text)),
            "write an absolute path that does not end in `/`, such as \"/mediciones\"",
        )),
    }
}

fn check_znode_name(text: &str) -> Checked {
    let remedy = "write `{id}` exactly once and no `/`, such as \"{id}\" or \"app{id}\"";
    let shown = printable(text);
    match text.matches("{id}").count() {
        _ if text.contains('/') => Err((format!("`{shown}` contains a `/`"), remedy)),
        _ if text.contains(char::is_control) => {
            Err((format!("`{shown}` contains a control character"), remedy))
        }
        0 => Err((format!("`{shown}` is the same for every node"), remedy)),
        1 => Ok(()),
        _ => Err((format!("`{shown}` contains `{{id}}` more than once"), remedy)),
    }
}

fn check_url(text: &str) -> Checked {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        return Ok(());
    }
    Err((
        format!("`{}` is no URL of HTTP", printable(text)),
        "write it with scheme and host, such as \"http://127.0.0.1:8000/nuevo\"",
    ))
}

/// Names end up in logs, JSON and SenML (RFC 8428, section 4.5.1, allows these characters).
fn check_name(what: &str, name: &Spanned<String>, source: &Source<'_>) -> Result<(), BoardsError> {
    let text = name.get_ref();
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && text.len() <= MAX_NAME && text.bytes().all(allowed) {
        return Ok(());
    }
    let problem = format!("`{}` is no name for a {what}", printable(text));
    let remedy = "use 1 to 64 letters, digits, `-`, `_`, `.` and `:`, a letter or digit first";
    Err(source.error(name.span(), problem, remedy))
}

fn board(raw: RawBoard, name: &Spanned<String>, source: &Source<'_>) -> Result<Board, BoardsError> {
    let board = name.get_ref();
    let remedy = || format!("add a sensor below a header [[boards.{board}.sensors]]");
    let Some(sensors) = raw.sensors else {
        return Err(source.error(name.span(), format!("the board `{board}` has no sensors"), remedy()));
    };
    if sensors.get_ref().is_empty() {
        return Err(source.error(sensors.span(), format!("the board `{board}` has no sensors"), remedy()));
    }
    let backend = *raw.backend.get_ref();
    let mut seen = Seen { names: BTreeMap::new(), places: BTreeMap::new() };
    let mut checked = Vec::new();
    for Table(raw) in sensors.into_inner() {
        checked.push(sensor(raw, backend, &mut seen, source)?);
    }
    Ok(Board { backend, sensors: checked })
}

/// What may not occur twice on a board, with the line where it did first.
struct Seen {
    names: BTreeMap<String, usize>,
    places: BTreeMap<(String, u8), (String, usize)>,
}

fn sensor(
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
    let place = place(&raw, chip, source)?;
    if let Some((bus, address, span)) = &place
        && let Some((other, line)) = seen.places.insert((bus.clone(), *address), (name.clone(), at.line))
    {
        let problem = format!("{address:#04x} on {bus} is taken by the sensor `{other}` in line {line}");
        let remedy = "two chips on one bus need different addresses, set by their pins";
        return Err(source.error(span.clone(), problem, remedy));
    }
    if chip == Chip::Random && backend == Backend::Linux {
        let problem = "`random` is no chip: a Linux board has nothing to read it from";
        let remedy = format!("write `backend = \"sim\"` for this board, or a chip: {}", real_chips());
        return Err(source.error(raw.chip.span(), problem, remedy));
    }
    if let Some(measured) = chip.quantities()
        && let Some(other) = raw.sim.keys().find(|quantity| !measured.contains(quantity.get_ref()))
    {
        let names: Vec<&str> = measured.iter().map(|quantity| quantity.name()).collect();
        let problem = format!("`{chip}` does not measure {}", other.get_ref());
        return Err(source.error(other.span(), problem, format!("it measures {}", list(&names))));
    }
    let (bus, address) = place.map(|(bus, address, _)| (bus, address)).unzip();
    let filters = raw.filters.into_iter().map(Filter::from).collect();
    let sim = raw.sim.into_iter().map(|(quantity, waveform)| (quantity.into_inner(), waveform)).collect();
    Ok(SensorConfig { name, chip, bus, address, filters, sim, at })
}

/// The bus and address of a chip that needs them, with the place of the address in the file.
fn place(
    raw: &RawSensor,
    chip: Chip,
    source: &Source<'_>,
) -> Result<Option<(String, u8, Range<usize>)>, BoardsError> {
    if !chip.needs_bus() {
        let stray = raw.bus.as_ref().map(|bus| ("bus", bus.span()));
        let stray = stray.or_else(|| raw.address.as_ref().map(|address| ("address", address.span())));
        return match stray {
            Some((key, span)) => {
                let problem = format!("`{chip}` sits on no bus");
                Err(source.error(span, problem, format!("remove `{key}`, or name a chip: {}", real_chips())))
            }
            None => Ok(None),
        };
    }
    let Some(bus) = &raw.bus else {
        let problem = format!("`{chip}` sits on a bus, and the key `bus` is missing");
        return Err(source.error(raw.chip.span(), problem, "add the bus, such as `bus = \"i2c-1\"`"));
    };
    let number = bus.get_ref().strip_prefix("i2c-").unwrap_or_default();
    let canonical = number.parse::<u16>().is_ok_and(|parsed| parsed.to_string() == number);
    if !canonical {
        let problem = format!("`{}` is no I²C bus", printable(bus.get_ref()));
        let remedy = "write it like its device file, without /dev/: \"i2c-1\"";
        return Err(source.error(bus.span(), problem, remedy));
    }
    let addresses: Vec<String> = chip.addresses().iter().map(|address| format!("{address:#04x}")).collect();
    let Some(address) = &raw.address else {
        let problem = format!("`{chip}` has an address, and the key `address` is missing");
        let remedy = format!("add `address = {}`, or another of {}", addresses[0], addresses.join(", "));
        return Err(source.error(raw.chip.span(), problem, remedy));
    };
    let number = address.get_ref().0;
    if !chip.addresses().contains(&number) {
        let problem = format!("`{chip}` cannot have the address {number:#04x}");
        return Err(source.error(
            address.span(),
            problem,
            format!("its pins select one of {}", addresses.join(", ")),
        ));
    }
    Ok(Some((bus.get_ref().clone(), number, address.span())))
}

/// The chips that a board can really carry.
fn real_chips() -> String {
    let chips: Vec<&str> = Chip::ALL.iter().filter(|chip| chip.needs_bus()).map(|chip| chip.name()).collect();
    list(&chips)
}
