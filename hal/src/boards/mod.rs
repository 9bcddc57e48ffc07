//! boards.toml: the boards, their sensors and backends, and the settings of the fleet. Read once at start by the node;
//! any mistake is refused there, with file, line, column, the text and the remedy.
//!
//! The comments of these structs and of the example `boards.toml` are its documentation.

mod arg_type;
mod attached;
mod check;
mod error;
mod faults;
mod keys;
mod raw;
mod raw_tasks;
mod sensor;
mod settings;
mod tasks;
mod template;
mod value;
mod waveform;

pub use arg_type::ArgType;
pub use attached::{
    Attached, DEFAULT_TIMEOUT, MAX_TIMEOUT, channel_quantity,
};
pub use error::{BoardsError, Located, Location};
pub use faults::{FaultKind, ScriptedFault};
pub use tasks::{
    BUILT_IN_ACTIONS, DEFAULT_RUN_FOR, INSTALL_BOARDS, MAX_RUN_FOR, MAX_SLOTS, MIN_RUN_FOR, Promise,
    TaskAction, Tasks, check_args,
};
pub use waveform::{Column, Shape, Waveform};

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::chip::Chip;
use crate::filter::Filter;
use crate::reading::Quantity;
use crate::settings::Settings;
use error::Source;

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

/// `[fleet]`: every key is optional, and None if absent. Each value has its location in the file, so that the component
/// that uses it can refuse it there ([`BoardsError::at`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// ZooKeeper's hosts and chroot: `zk1:2181,zk2:2181/fleet-a`. Not empty; its grammar is checked when connecting.
    pub zookeeper: Option<Located<String>>,
    /// File with the certificates of the authorities (PEM) that sign the servers' certificates; switches TLS on.
    pub zookeeper_ca: Option<Located<String>>,
    /// File with the certificate chain (PEM) with which the node identifies itself to the servers.
    pub zookeeper_certificate: Option<Located<String>>,
    /// File with the key (PEM) of that certificate.
    pub zookeeper_key: Option<Located<String>>,
    /// Authentication method for user and password: `sasl` or `digest`. Checked when connecting.
    pub zookeeper_auth: Option<Located<String>>,
    /// User name for ZooKeeper.
    pub zookeeper_user: Option<Located<String>>,
    /// File with the password of that user.
    pub zookeeper_password_file: Option<Located<String>>,
    /// Access to the znodes: `open`, `read-world` or `fleet`. Checked when connecting.
    pub acl: Option<Located<String>>,
    /// Identities of the fleet's nodes in ACLs. Checked when connecting.
    pub acl_fleet: Option<Located<String>>,
    /// Identities of the fleet's administrators in ACLs. Checked when connecting.
    pub acl_admin: Option<Located<String>>,
    /// Session timeout: the time after which ZooKeeper considers a silent node dead.
    pub session_timeout: Option<Located<Duration>>,
    /// Interval between measurements; from 100 ms to 31 days.
    pub sampling_period: Option<Located<Duration>>,
    /// Sampling mode.
    pub sync: Option<Located<SyncMode>>,
    /// Time at which the leader opens the barrier.
    pub release: Option<Located<Release>>,
    /// Counter mode of the measurements.
    pub counter: Option<Located<Counting>>,
    /// Parent of the measurements: an absolute path, `/mediciones`.
    pub measurements: Option<Located<String>>,
    /// Name of a node's measurement: `{id}` or `app{id}`; contains `{id}` exactly once and no `/`.
    pub name: Option<Located<String>>,
    /// Parent of the contenders: an absolute path, `/election`.
    pub election: Option<Located<String>>,
    /// False: the node never contends for leadership.
    pub lead: Option<Located<bool>>,
    /// URL to which the leader reports: `http://host:port/nuevo`.
    pub api_url: Option<Located<String>>,
    /// HTTP method of the reports.
    pub api_method: Option<Located<ApiMethod>>,
    /// File with the token for the API; a relative path starts from the folder of boards.toml.
    pub api_token_file: Option<Located<String>>,
    /// Only origin to which that token is sent: `https://api.example:8443`. Its grammar is checked by the sender.
    pub api_token_origin: Option<Located<String>>,
    /// Origins that ZooKeeper may configure for the API. Their grammar is checked by the sender.
    pub api_origins: Option<Located<Vec<String>>>,
    /// Address on which a node serves its metrics: `0.0.0.0:9100`. Its grammar is checked by the listener.
    pub metrics_listen: Option<Located<String>>,
}

/// Sampling mode: the timing of the measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// Every node samples by its own clock.
    #[default]
    Free,
    /// Lock-step mode: all nodes measure once, publish, and wait at the barrier until the leader opens it.
    Barrier,
}

/// Condition for the leader to open the barrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// End of the sampling period: every node measures once a period.
    #[default]
    Period,
    /// Publication by every live node, at the latest the end of the sampling period: as fast as the slowest node.
    Complete,
}

/// Counter mode of the measurements in ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counting {
    /// No counter.
    Off,
    /// Every node counts its own measurements, with one write each.
    PerNode,
    /// The leader counts the measurements of a cycle, in one write.
    PerCycle,
}

/// HTTP request of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ApiMethod {
    /// `GET {api_url}?dato={mean}`.
    #[default]
    #[serde(alias = "GET")]
    Get,
    /// `POST {api_url}` with a JSON body.
    #[serde(alias = "POST")]
    Post,
}

/// `[boards.NAME]`: one type of node.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// Backend of its sensors: the one line that differs between a laptop and a Raspberry Pi.
    pub backend: Backend,
    /// Sensors of the board; never empty.
    pub sensors: Vec<SensorConfig>,
    /// Actions that the node executes for clients. `None`: no actions.
    pub tasks: Option<Tasks>,
}

/// Backend of the sensors of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Simulated sensors, from atalaya-sim.
    Sim,
    /// Buses of this Linux machine.
    Linux,
}

/// `[[boards.NAME.sensors]]`: one sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorConfig {
    /// Name, unique on the board.
    pub name: String,
    /// Chip.
    pub chip: Chip,
    /// Connection. Matches the chip.
    pub attached: Attached,
    /// Settings. Match the chip.
    pub settings: Settings,
    /// Measured quantities, in the order of the readings; never empty, without duplicates.
    pub quantities: Vec<Quantity>,
    /// Filters of its values, in order.
    pub filters: Vec<Filter>,
    /// Values of the simulated chip; ignored on Linux. A quantity that is absent here gets a default.
    pub sim: BTreeMap<Quantity, Waveform>,
    /// Scripted faults of the simulated sensor; ignored on Linux.
    pub faults: Vec<ScriptedFault>,
    /// Location in the file.
    pub at: Location,
}

impl SensorConfig {
    /// Returns the measured quantities, in the order of the readings.
    pub fn quantities(&self) -> Vec<Quantity> {
        self.quantities.clone()
    }

    /// Returns the bus: `i2c-1`, `spi-0.0`.
    pub fn bus(&self) -> Option<&str> {
        match &self.attached {
            Attached::I2c { bus, .. } | Attached::Spi { bus } => Some(bus),
            _ => None,
        }
    }

    /// Returns the seven-bit address on an I²C bus.
    pub fn address(&self) -> Option<u8> {
        match self.attached {
            Attached::I2c { address, .. } => Some(address),
            _ => None,
        }
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
            return Err(BoardsError::too_large(&origin));
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
            return Err(BoardsError::too_large(origin));
        }
        let source = Source::new(origin, text);
        let raw = toml::from_str(text).map_err(|error| source.toml_error(&error))?;
        check::boards(raw, &source)
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
                Some(name) => format!("there is no board `{}`", error::printable(name)),
                None => "which board is this? There are several, and none is called `default`".to_owned(),
            };
            let names: Vec<&str> = self.boards.keys().map(String::as_str).collect();
            BoardsError::of_file(&self.origin, problem, format!("the boards are {}", error::list(&names)))
        })
    }

    /// Returns the name of the file in messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

fn builtin_boards() -> BTreeMap<String, Board> {
    let sensor = SensorConfig {
        name: "random".to_owned(),
        chip: Chip::Random,
        attached: Attached::Nothing,
        settings: Settings::default(),
        quantities: vec![Quantity::Temperature],
        filters: Vec::new(),
        sim: BTreeMap::from([(Quantity::Temperature, Waveform::default())]),
        faults: Vec::new(),
        at: Location::default(),
    };
    BTreeMap::from([(
        DEFAULT.to_owned(),
        Board { backend: Backend::Sim, sensors: vec![sensor], tasks: None },
    )])
}
