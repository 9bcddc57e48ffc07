//! boards.toml: which board a node is, its sensors, its backend, and the settings of the fleet. Read once at start by the
//! node; whatever is wrong in it is refused there, with file, line, column, the text and what would be right.
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
    Analogue, Attached, DEFAULT_TIMEOUT, Input, MAX_TIMEOUT, NoInput, Rtd, Settings, Shunt, channel_quantity,
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
use error::Source;

/// The largest boards.toml that is read, in bytes.
pub const MAX_SIZE: usize = 1 << 20;

/// The board a node is when nobody says which.
const DEFAULT: &str = "default";

/// A whole boards.toml.
#[derive(Clone, Debug, PartialEq)]
pub struct Boards {
    /// What all nodes share.
    pub fleet: Fleet,
    /// The boards by name; never empty.
    pub boards: BTreeMap<String, Board>,
    /// The folder that relative paths in the file start from; empty for the current one.
    pub base_dir: PathBuf,
    /// The file in messages.
    origin: String,
}

/// `[fleet]`: every key is optional, and None if it is not there. Where to find it in the file comes with each value, so
/// that who uses it can refuse it there ([`BoardsError::at`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fleet {
    /// ZooKeeper's hosts and chroot: `zk1:2181,zk2:2181/fleet-a`. Not empty; its grammar is checked by who connects.
    pub zookeeper: Option<Located<String>>,
    /// File with the certificates of the authorities (PEM) that sign the servers' certificates; switches TLS on.
    pub zookeeper_ca: Option<Located<String>>,
    /// File with the certificate chain (PEM) with which the node identifies itself to the servers.
    pub zookeeper_certificate: Option<Located<String>>,
    /// File with the key (PEM) of that certificate.
    pub zookeeper_key: Option<Located<String>>,
    /// How user and password are sent to ZooKeeper: `sasl` or `digest`. Checked by who connects.
    pub zookeeper_auth: Option<Located<String>>,
    /// User name for ZooKeeper.
    pub zookeeper_user: Option<Located<String>>,
    /// File with the password of that user.
    pub zookeeper_password_file: Option<Located<String>>,
    /// Who may use the znodes: `open`, `read-world` or `fleet`. Checked by who connects.
    pub acl: Option<Located<String>>,
    /// Identities of the fleet's nodes in ACLs. Checked by who connects.
    pub acl_fleet: Option<Located<String>>,
    /// Identities of the fleet's administrators in ACLs. Checked by who connects.
    pub acl_admin: Option<Located<String>>,
    /// How long ZooKeeper waits for a silent node.
    pub session_timeout: Option<Located<Duration>>,
    /// How often a node measures; from 100 ms to 31 days.
    pub sampling_period: Option<Located<Duration>>,
    /// Who sets the pace.
    pub sync: Option<Located<SyncMode>>,
    /// When a leader that sets the pace lets the others go on.
    pub release: Option<Located<Release>>,
    /// Who counts the measurements.
    pub counter: Option<Located<Counting>>,
    /// The parent of the measurements: an absolute path, `/mediciones`.
    pub measurements: Option<Located<String>>,
    /// What a node calls its measurement: `{id}` or `app{id}`; has `{id}` exactly once and no `/`.
    pub name: Option<Located<String>>,
    /// The parent of the contenders: an absolute path, `/election`.
    pub election: Option<Located<String>>,
    /// False: the node never contends for leadership.
    pub lead: Option<Located<bool>>,
    /// Where the leader reports: `http://host:port/nuevo`.
    pub api_url: Option<Located<String>>,
    /// How the leader reports.
    pub api_method: Option<Located<ApiMethod>>,
    /// The file with the token that the API wants to see; a relative path starts from the folder of boards.toml.
    pub api_token_file: Option<Located<String>>,
    /// The only origin to which that token is sent: `https://api.example:8443`. Its grammar is checked by the sender.
    pub api_token_origin: Option<Located<String>>,
    /// The origins that ZooKeeper may name as the API's. Their grammar is checked by the sender.
    pub api_origins: Option<Located<Vec<String>>>,
    /// Where a node tells its figures: `0.0.0.0:9100`. Its grammar is checked by who listens.
    pub metrics_listen: Option<Located<String>>,
}

/// Who sets the pace of the measurements.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncMode {
    /// Every node by its own clock.
    #[default]
    Free,
    /// The leader: all measure once, publish, and wait at the barrier until it lets them go on.
    Barrier,
}

/// When a leader opens the barrier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Release {
    /// When the sampling period is over: everyone measures once a period.
    #[default]
    Period,
    /// As soon as every live node has published, and when the sampling period is over at the latest: as fast as the
    /// slowest node.
    Complete,
}

/// Who counts the measurements in ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counting {
    /// Nobody.
    Off,
    /// Every node its own, one write each.
    PerNode,
    /// The leader those of a cycle, in one write.
    PerCycle,
}

/// How a report travels.
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

/// `[boards.NAME]`: one kind of node.
#[derive(Clone, Debug, PartialEq)]
pub struct Board {
    /// Where its sensors are: the one line to change between a laptop and a Raspberry Pi.
    pub backend: Backend,
    /// What it carries; never empty.
    pub sensors: Vec<SensorConfig>,
    /// Actions that the node executes for clients. `None`: it executes nothing.
    pub tasks: Option<Tasks>,
}

/// Where the sensors of a board are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Pretended, by atalaya-sim.
    Sim,
    /// On the buses of this Linux machine.
    Linux,
}

/// `[[boards.NAME.sensors]]`: one sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorConfig {
    /// Its name, unique on its board.
    pub name: String,
    /// The chip.
    pub chip: Chip,
    /// Where it is. Fits the chip.
    pub attached: Attached,
    /// How it is set up. Fits the chip.
    pub settings: Settings,
    /// What it measures, in the order of its readings; never empty, nothing twice.
    pub quantities: Vec<Quantity>,
    /// What happens to its values, in order.
    pub filters: Vec<Filter>,
    /// What the pretend chip measures; ignored on Linux. A quantity that is not here gets a default.
    pub sim: BTreeMap<Quantity, Waveform>,
    /// What goes wrong with the pretended sensor, and when; ignored on Linux.
    pub faults: Vec<ScriptedFault>,
    /// Where it stands in the file.
    pub at: Location,
}

impl SensorConfig {
    /// What it measures, in the order of its readings.
    pub fn quantities(&self) -> Vec<Quantity> {
        self.quantities.clone()
    }

    /// The bus it sits on: `i2c-1`, `spi-0.0`.
    pub fn bus(&self) -> Option<&str> {
        match &self.attached {
            Attached::I2c { bus, .. } | Attached::Spi { bus } => Some(bus),
            _ => None,
        }
    }

    /// Its seven-bit address on an I²C bus.
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
    /// It cannot be read, is larger than [`MAX_SIZE`], is not UTF-8, or [`Boards::parse`] refuses it.
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

    /// Reads a text; `origin` is the file in messages. A text without boards has the one of [`Boards::builtin`].
    ///
    /// # Errors
    /// The first mistake, whatever it is: unknown keys, wrong types, bad values, impossible combinations.
    pub fn parse(text: &str, origin: &str) -> Result<Boards, BoardsError> {
        if text.len() > MAX_SIZE {
            return Err(BoardsError::too_large(origin));
        }
        let source = Source::new(origin, text);
        let raw = toml::from_str(text).map_err(|error| source.toml_error(&error))?;
        check::boards(raw, &source)
    }

    /// What a node without a boards.toml is: the board `default` with one `random` sensor, which gives whole numbers from
    /// 75 to 85, all equally likely.
    pub fn builtin() -> Boards {
        Boards {
            fleet: Fleet::default(),
            boards: builtin_boards(),
            base_dir: PathBuf::new(),
            origin: "the built-in board".to_owned(),
        }
    }

    /// The board called `name`; without a name the only board there is, or the one called `default`.
    ///
    /// # Errors
    /// There is none of that name, or none was named and there are several; the message lists the names.
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

    /// The file in messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

fn builtin_boards() -> BTreeMap<String, Board> {
    let sensor = SensorConfig {
        name: "random".to_owned(),
        chip: Chip::Random,
        attached: Attached::Nothing,
        settings: Settings::None,
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
