//! boards.toml: boards, and their parser. The comments of these structs and of the example `boards.toml` are its
//! documentation.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use atalaya_hal::{BusAddress, Chip, Quantity, SensorSpec};
use atalaya_sim::{SimSensor, Waveform};
use serde::Deserialize;
use toml::Spanned;

use crate::backend::Backend;
use crate::diagnostic::{BoardsError, Location, Source, list, printable};
use crate::fleet::{Fleet, RawFleet, fleet};
use crate::names::check_name;
use crate::sensor::{RawSensor, Seen, SensorConfig, sensor};
use crate::tasks::{RawTasks, Tasks, tasks};
use crate::value::Table;

/// Maximum size of boards.toml, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// Name of the board that is used if none is selected.
const DEFAULT: &str = "default";

/// Content of boards.toml.
#[derive(Clone, Debug, PartialEq)]
pub struct Boards {
    /// Settings that all nodes share.
    pub fleet: Fleet,
    /// Boards by name; never empty.
    pub boards: BTreeMap<String, Board>,
    /// Folder from which relative paths in the file start; empty for the current one.
    pub base_dir: PathBuf,
    /// Name of the file in messages.
    origin: String,
}

/// `[boards.NAME]`: one type of node.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// Backend of its sensors: the one line that differs between a laptop and a Raspberry Pi.
    pub backend: Backend,
    /// Sensors of the board; never empty.
    pub sensors: Vec<SensorConfig>,
    /// Group of its nodes, such as their place. `None`: no group.
    pub group: Option<String>,
    /// Actions that the node executes for clients. `None`: no actions.
    pub tasks: Option<Tasks>,
}

impl Board {
    /// Returns the specifications of the sensors, for the backend "linux".
    pub fn specs(&self) -> impl Iterator<Item = &SensorSpec> {
        self.sensors.iter().map(SensorConfig::spec)
    }

    /// Returns the specifications of the simulated sensors, for the backend "sim".
    pub fn simulated(&self) -> impl Iterator<Item = &SimSensor> {
        self.sensors.iter().map(|config| &config.sim)
    }
}

impl Boards {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, is larger than [`MAX_SIZE`] or is not UTF-8, or [`Boards::parse`] refuses it.
    pub fn load(path: impl AsRef<Path>) -> Result<Boards, BoardsError> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(MAX_SIZE as u64 + 1).read_to_end(&mut bytes))
            .map_err(|error| BoardsError::unreadable(&origin, &error))?;
        if bytes.len() > MAX_SIZE {
            return Err(BoardsError::too_large(&origin, MAX_SIZE));
        }
        let text = String::from_utf8(bytes).map_err(|error| BoardsError::not_utf8(&origin, &error))?;
        let mut boards = Boards::parse(&text, &origin)?;
        boards.base_dir = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(boards)
    }

    /// Parses a text; `origin` is the name of the file in messages. A text without boards gets the board of
    /// [`Boards::builtin`].
    ///
    /// # Errors
    /// The first mistake of any kind: unknown keys, wrong types, bad values, impossible combinations.
    pub fn parse(text: &str, origin: &str) -> Result<Boards, BoardsError> {
        if text.len() > MAX_SIZE {
            return Err(BoardsError::too_large(origin, MAX_SIZE));
        }
        let source = Source::new(origin, text);
        let raw = toml::from_str(text).map_err(|error| source.toml_error(&error))?;
        boards(raw, &source)
    }

    /// Returns the configuration of a node without a boards.toml: the board `default` with one `random` sensor, which
    /// generates whole numbers from 75 to 85, all equally likely.
    pub fn builtin() -> Boards {
        Boards {
            fleet: Fleet::default(),
            boards: builtin_boards(),
            base_dir: PathBuf::new(),
            origin: "the built-in board".to_owned(),
        }
    }

    /// Returns the board called `name`; without a name the only board, or the one called `default`.
    ///
    /// # Errors
    /// No board has that name, or no name was passed and there are several boards; the message lists the names.
    pub fn board(&self, name: Option<&str>) -> Result<(&str, &Board), BoardsError> {
        let wanted = name.unwrap_or(DEFAULT);
        let found = match (name, self.boards.len()) {
            (None, 1) => self.boards.iter().next(),
            _ => self.boards.get_key_value(wanted),
        };
        found.map(|(name, board)| (name.as_str(), board)).ok_or_else(|| {
            let problem = match name {
                Some(name) => format!("there is no board `{}`", printable(name)),
                None => "which board is this? There are several, and none is called `default`".to_owned(),
            };
            let names: Vec<&str> = self.boards.keys().map(String::as_str).collect();
            BoardsError::of_file(&self.origin, problem, format!("the boards are {}", list(&names)))
        })
    }

    /// Returns the name of the file in messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

fn builtin_boards() -> BTreeMap<String, Board> {
    let random = SensorSpec {
        quantities: vec![Quantity::Temperature],
        ..SensorSpec::new("random", Chip::Random, BusAddress::Nothing)
    };
    let waveforms = BTreeMap::from([(Quantity::Temperature, Waveform::default())]);
    let sim = SimSensor { waveforms, ..SimSensor::new(random) };
    let sensor = SensorConfig { sim, at: Location::default() };
    let board = Board { backend: Backend::Sim, sensors: vec![sensor], group: None, tasks: None };
    BTreeMap::from([(DEFAULT.to_owned(), board)])
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    fleet: Option<Table<RawFleet>>,
    #[serde(default)]
    boards: BTreeMap<Spanned<String>, Table<RawBoard>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawBoard {
    backend: Spanned<Backend>,
    sensors: Option<Spanned<Vec<Table<RawSensor>>>>,
    group: Option<Spanned<String>>,
    tasks: Option<RawTasks>,
}

fn boards(raw: RawFile, source: &Source<'_>) -> Result<Boards, BoardsError> {
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
    let mut seen = Seen::default();
    let mut checked = Vec::new();
    for Table(raw) in sensors.into_inner() {
        checked.push(sensor(raw, backend, &mut seen, source)?);
    }
    let tasks = raw.tasks.map(|raw| tasks(raw, &checked, source)).transpose()?;
    if let Some(group) = &raw.group {
        check_name("group", group, source)?;
    }
    Ok(Board { backend, sensors: checked, group: raw.group.map(Spanned::into_inner), tasks })
}
