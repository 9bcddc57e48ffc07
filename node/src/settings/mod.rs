//! Settings of a node. Flags take precedence over the environment, the environment over boards.toml, boards.toml over
//! defaults. [Dynamic configuration](crate::dynamic_config) in ZooKeeper takes precedence over all of them.
//!
//! `table` has one row per setting.

mod acl;
pub mod api_token;
mod fleet_args;
pub mod listen_addr;
mod outputs;
mod reloading;
pub(crate) mod setting;
pub(crate) mod table;
mod values;
pub mod zookeeper_access;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use atalaya_config::Location;
use atalaya_config::{AggregateMode, Outliers, Quantiles, Quorum};
use atalaya_config::{ApiMethod, BarrierRelease, CounterMode, LeadMode, SyncMode};
use atalaya_config::{Boards, BoardsError, OutputConfig};
use atalaya_recipes::{AuthId, ConnectString};
use reqwest::Url;

pub(crate) use self::fleet_args::ConnectionFlags;
pub use self::fleet_args::FleetArgs;
pub(crate) use self::values::sampling_period;
pub use self::values::{AclMode, AuthScheme, InvalidValue};

use self::api_token::{ApiToken, TokenError};
use self::listen_addr::ListenAddr;
use self::setting::DefaultValue;
use self::table::{SETTINGS, fleet_settings};
use self::zookeeper_access::AccessError;
use crate::model::text::sanitize_for_log;

/// Complete and valid settings of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Servers and chroot of ZooKeeper.
    pub zookeeper: ConnectString,
    /// Certificates of the authorities that sign those of the servers. `None`: no TLS.
    pub zookeeper_ca: Option<PathBuf>,
    /// Client certificate chain.
    pub zookeeper_certificate: Option<PathBuf>,
    /// Key of the client certificate.
    pub zookeeper_key: Option<PathBuf>,
    /// How to authenticate.
    pub zookeeper_auth: AuthScheme,
    /// User name.
    pub zookeeper_user: Option<String>,
    /// File with the password.
    pub zookeeper_password_file: Option<PathBuf>,
    /// Policy for the ACLs of the fleet's znodes.
    pub acl: AclMode,
    /// Identities of the nodes. Empty: this node's own.
    pub acl_fleet: Vec<AuthId>,
    /// Identities of the administrators.
    pub acl_admin: Vec<AuthId>,
    /// Requested session timeout.
    pub session_timeout: Duration,
    /// Time between two samples, and between two averages of the leader.
    pub sampling_period: Duration,
    /// Parent znode of the measurements.
    pub measurements: String,
    /// Name of a node's measurement znode, with `{id}` in it.
    pub name: String,
    /// Parent znode of the contenders for leadership.
    pub election: String,
    /// Whether the node contends for leadership.
    pub lead: LeadMode,
    /// With [`LeadMode::Auto`], maximum number of contenders.
    pub contenders: NonZeroUsize,
    /// REST API to which the leader reports. `None`: averages are only logged.
    pub api_url: Option<Url>,
    /// HTTP method of reports.
    pub api_method: ApiMethod,
    /// Name of the fleet for a collector. `None`: not sent.
    pub fleet_name: Option<String>,
    /// Zone of the fleet for a collector. `None`: not sent.
    pub zone: Option<String>,
    /// API token; its file has not been read yet, see [`Settings::read_token`].
    pub api_token: Option<ApiToken>,
    /// The only origin to which the API token is sent. `None`: that of `api_url`.
    pub api_token_origin: Option<Url>,
    /// Origins that `/config/api_url` in ZooKeeper may name. Empty: any.
    pub api_origins: Vec<Url>,
    /// Collector to which the node sends its samples. `None`: samples are not stored.
    pub measurements_url: Option<Url>,
    /// Maximum age of stored samples.
    pub measurements_keep: Duration,
    /// Maximum size of the stored samples, in bytes.
    pub measurements_max_size: u64,
    /// Interval at which stored samples are synced to the disk. Zero: after each sample.
    pub measurements_sync: Duration,
    /// Address of the metrics and health server.
    pub metrics_listen: Option<ListenAddr>,
    /// Sampling mode.
    pub sync: SyncMode,
    /// When the leader releases the barrier in lock-step mode.
    pub release: BarrierRelease,
    /// Counter mode of measurements. `None`: depends on [`Settings::sync`], see [`Settings::counting`].
    pub counter: Option<CounterMode>,
    /// Main value of a report.
    pub aggregate: AggregateMode,
    /// Minimum number of nodes that support a value. `None`: one is enough.
    pub quorum: Option<Quorum>,
    /// Treatment of outliers.
    pub outliers: Outliers,
    /// Quantiles in a report.
    pub quantiles: Quantiles,
    /// Receivers of averages and measurements besides the API. The paths of their files start from the current folder.
    pub outputs: Vec<OutputConfig>,
    /// Log filter in ZooKeeper. `None`: the filter of the command line, see [`crate::logging`].
    pub log: Option<String>,
}

/// Path of boards.toml if no flag or variable names one.
const BOARDS_FILE: &str = "boards.toml";

/// Environment variable with the folder of the credentials that systemd passes to a service (`LoadCredential=`).
const CREDENTIALS_DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Returns the path of the systemd credential for a setting, if the service has one.
fn credential(setting: &str, env: Env<'_>) -> Option<String> {
    const FILES: [&str; 4] =
        ["zookeeper_ca", "zookeeper_certificate", "zookeeper_key", "zookeeper_password_file"];
    let is_known = FILES.contains(&setting);
    let name = is_known.then(|| setting.trim_end_matches("_file").replace('_', "-"))?;
    let (_, folder) = env.first(&[CREDENTIALS_DIRECTORY])?;
    let path = PathBuf::from(folder).join(name);
    path.is_file().then(|| path.to_str().map(str::to_owned)).flatten()
}

/// The environment variables, or those of a test.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// Returns the value of a variable.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// Returns a variable of this process. One that is not UTF-8 counts as not set.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Env<'_> {
    /// Returns the first of `names` that is set to more than white space, with its trimmed value.
    pub(crate) fn first<'n>(&self, names: &'n [impl AsRef<str>]) -> Option<(&'n str, String)> {
        names.iter().map(AsRef::as_ref).find_map(|name| {
            let value = (self.variable)(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| (name, value.to_owned()))
        })
    }
}

/// Error of reading the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Wrong value of a flag, which is named without its dashes.
    #[error("--{0}: {1}")]
    Flag(String, InvalidValue),
    /// Wrong value of an environment variable.
    #[error("the environment variable {0}: {1}")]
    Variable(String, InvalidValue),
    /// Wrong boards.toml.
    #[error(transparent)]
    File(#[from] BoardsError),
    /// Wrong path of boards.toml.
    #[error("the path of boards.toml: {0}")]
    BoardsPath(InvalidValue),
    /// File of the API token that cannot be read.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// Files or settings of the identity for ZooKeeper that cannot be used.
    #[error(transparent)]
    Access(#[from] AccessError),
}

/// Reads the boards.toml that the flag or `ATALAYA_BOARDS` names, or the one in the current folder. Without any,
/// returns the built-in board.
///
/// # Errors
/// A named file does not exist, or the file is wrong.
pub fn load_boards(flag: Option<&PathBuf>, env: Env<'_>) -> Result<Boards, SettingsError> {
    let path = boards_path(flag, env);
    if let Some(path) = path.as_ref().and_then(|path| path.to_str()) {
        values::check_unquoted(path).map_err(SettingsError::BoardsPath)?;
    }
    Ok(path.map_or_else(|| Ok(Boards::builtin()), Boards::load)?)
}

/// Returns the path of the boards.toml that [`load_boards`] reads; `None` for the built-in board.
pub(crate) fn boards_path(flag: Option<&PathBuf>, env: Env<'_>) -> Option<PathBuf> {
    let named = flag.cloned().or_else(|| env.first(&["ATALAYA_BOARDS"]).map(|(_, path)| path.into()));
    named.or_else(|| Some(PathBuf::from(BOARDS_FILE)).filter(|path| path.is_file()))
}

/// Layer from which a value is.
#[derive(Debug)]
pub(crate) enum Source {
    /// Flag, without its dashes.
    Flag(String),
    /// Environment variable.
    Variable(String),
    /// Position in boards.toml.
    File(Location),
}

impl Source {
    fn error(self, problem: InvalidValue) -> SettingsError {
        match self {
            Source::Flag(flag) => SettingsError::Flag(flag, problem),
            Source::Variable(name) => SettingsError::Variable(name, problem),
            Source::File(at) => {
                let InvalidValue { problem, hint } = problem;
                BoardsError::at(&at, problem, format!("expected {hint}")).into()
            }
        }
    }
}

impl Default for Settings {
    #[expect(clippy::expect_used, reason = "the defaults are constants")]
    fn default() -> Settings {
        let mut settings = Settings {
            zookeeper: "localhost:2181".parse().expect("a valid address"),
            zookeeper_ca: None,
            zookeeper_certificate: None,
            zookeeper_key: None,
            zookeeper_auth: AuthScheme::default(),
            zookeeper_user: None,
            zookeeper_password_file: None,
            acl: AclMode::default(),
            acl_fleet: Vec::new(),
            acl_admin: Vec::new(),
            session_timeout: Duration::ZERO,
            sampling_period: Duration::ZERO,
            measurements: String::new(),
            name: String::new(),
            election: String::new(),
            lead: LeadMode::default(),
            contenders: NonZeroUsize::MIN,
            api_url: None,
            api_method: ApiMethod::default(),
            fleet_name: None,
            zone: None,
            api_token: None,
            api_token_origin: None,
            api_origins: Vec::new(),
            measurements_url: None,
            measurements_keep: Duration::ZERO,
            measurements_max_size: 0,
            measurements_sync: Duration::ZERO,
            metrics_listen: None,
            sync: SyncMode::default(),
            release: BarrierRelease::default(),
            counter: None,
            aggregate: AggregateMode::default(),
            quorum: None,
            outliers: Outliers::default(),
            quantiles: Quantiles::default(),
            outputs: Vec::new(),
            log: None,
        };
        for setting in &SETTINGS {
            if let DefaultValue::Value(text) = setting.default {
                (setting.field.parse)(&mut settings, text, None).expect("a valid default");
            }
        }
        settings
    }
}

impl Settings {
    /// Reads the settings from their sources.
    ///
    /// # Errors
    /// A value is wrong; the error names its source and describes valid values.
    pub fn assemble(args: &FleetArgs, boards: &Boards, env: Env<'_>) -> Result<Settings, SettingsError> {
        let mut settings = Settings::default();
        for setting in &SETTINGS {
            let Some(in_file) = setting.in_file else { continue };
            let (text, source) = if let Some(text) = args.get(setting) {
                (text.to_owned(), Source::Flag(setting.flag()))
            } else if let Some((name, text)) = env.first(&setting.variables()) {
                (text, Source::Variable(name.to_owned()))
            } else if let Some(located) = in_file(boards) {
                (located.value, Source::File(located.at))
            } else if let Some(path) = credential(setting.name, env) {
                (path, Source::Variable(CREDENTIALS_DIRECTORY.to_owned()))
            } else {
                continue;
            };
            // TOML has removed the quotes. For a token, the error would show it.
            let checked = match &source {
                Source::File(_) => Ok(()),
                Source::Variable(name) if name == api_token::VARIABLE => Ok(()),
                _ => values::check_unquoted(&text),
            };
            let parsed = checked.and_then(|()| (setting.field.parse)(&mut settings, &text, Some(&source)));
            parsed.map_err(|problem| source.error(problem))?;
        }
        settings.outputs = outputs::read(boards);
        // The token is bound to the node's own settings: a client that can write `/config/api_url` must not be able to
        // have the token sent to its own server.
        let origins = [&settings.api_token_origin, &settings.api_url, &settings.measurements_url];
        let origin = origins.into_iter().flatten().next().cloned();
        settings.api_token = settings.api_token.map(|token| token.with_origin(origin));
        Ok(settings)
    }

    /// Reads the file of the API token, if there is one; may block.
    ///
    /// # Errors
    /// The file cannot be read, or it does not contain a token.
    pub fn read_token(&self) -> Result<(), TokenError> {
        self.api_token.as_ref().map_or(Ok(()), ApiToken::read)
    }

    /// Returns the reason for the log if there is an API token that is not sent to the API.
    pub fn unsent_token(&self) -> Option<String> {
        let token = self.api_token.as_ref()?;
        let is_elsewhere = self.api_url.as_ref().is_some_and(|url| !token.is_for(url));
        (is_elsewhere || !token.is_bound())
            .then(|| format!("{token} is not sent to the API: {}", token.bound_to()))
    }

    /// Returns a line for the log if reports go to another origin than with the settings `before`. It is logged because
    /// any client that can write `/config/api_url` decides about that.
    pub fn api_change(&self, before: &Settings) -> Option<String> {
        let origin = |settings: &Settings| {
            settings.api_url.as_ref().map(|url| sanitize_for_log(&values::origin_text(url)))
        };
        let (old, new) = (origin(before), origin(self));
        if old == new {
            return None;
        }
        let change = match (new, old) {
            (Some(new), Some(old)) => format!("reports go to {new} instead of {old}"),
            (Some(new), None) => format!("reports go to {new}"),
            (None, _) => "reports are only logged".to_owned(),
        };
        // A token without an origin was logged at the start.
        let is_bound = self.api_token.as_ref().is_some_and(ApiToken::is_bound);
        let token = self.unsent_token().filter(|_| is_bound && self.api_url.is_some());
        let token = token.map(|token| format!("; {token}")).unwrap_or_default();
        Some(format!("the API has changed: {change}{token}"))
    }

    /// Returns true if `/config/api_url` may name `url`: its origin is that of the node's own `api_url` or one of
    /// [`Settings::api_origins`], or that list is empty.
    pub fn allows_api(&self, url: &Url) -> bool {
        let mut allowed = self.api_origins.iter().chain(&self.api_url);
        self.api_origins.is_empty() || allowed.any(|allowed| allowed.origin() == url.origin())
    }

    /// Returns all settings of the fleet with their values for people.
    pub(crate) fn describe(&self) -> impl Iterator<Item = (&'static str, String)> {
        fleet_settings().map(|setting| {
            (setting.name, (setting.show)(self).unwrap_or_else(|| setting.default.text().to_owned()))
        })
    }

    /// Returns the counter mode. Without a setting, every node counts in lock-step mode, as in Kazoo's fleets.
    pub fn counting(&self) -> CounterMode {
        self.counter.unwrap_or(match self.sync {
            SyncMode::Free => CounterMode::Off,
            SyncMode::Barrier => CounterMode::PerNode,
        })
    }

    /// Returns the id of the node whose measurement znode has this name; `None` if the name does not match the
    /// template.
    pub fn id_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        parse_name(&self.name, name)
    }

    /// Returns the path of the measurement znode of the node with this id.
    pub fn measurement_path(&self, id: &str) -> String {
        format!("{}/{}", self.measurements, self.name.replace("{id}", id))
    }
}

/// Returns the part of `name` that is `{id}` in `template`.
pub(crate) fn parse_name<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    let (before, after) = template.split_once("{id}")?;
    name.strip_prefix(before)?.strip_suffix(after).filter(|id| !id.is_empty())
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
