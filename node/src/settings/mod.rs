//! What a node is told, from four places: flags before environment before boards.toml before defaults. What ZooKeeper
//! tells comes before all of them, see [`crate::dynamic_config`].

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use atalaya_hal::boards::{ApiMethod, Counting, Release, SyncMode};
use atalaya_hal::{Boards, BoardsError, Located, duration};
use atalaya_recipes::ConnectString;
use atalaya_recipes::connect_string::check_path;
use reqwest::Url;

pub mod api_token;
mod fleet_args;
pub mod listen_addr;

use crate::logging;
use crate::model::text::sanitize_for_log;
use crate::settings::api_token::ApiToken;
use crate::settings::listen_addr::ListenAddr;
pub use fleet_args::FleetArgs;

/// A node's settings, complete and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Where ZooKeeper is.
    pub zookeeper: ConnectString,
    /// The session timeout to ask for.
    pub session_timeout: Duration,
    /// How often to measure, and to average when leading.
    pub sampling_period: Duration,
    /// The parent of the measurements.
    pub measurements: String,
    /// What a node calls its measurement, with `{id}` in it.
    pub name: String,
    /// The parent of the contenders.
    pub election: String,
    /// Where the leader reports.
    pub api_url: Option<Url>,
    /// How the leader reports.
    pub api_method: ApiMethod,
    /// What the API is shown; not read yet, see [`Settings::read_token`].
    pub api_token: Option<ApiToken>,
    /// Origins that `/config/api_url` in ZooKeeper may name; empty: any.
    pub api_origins: Vec<Url>,
    /// Where the node's figures and its health can be asked for; nowhere, if `None`.
    pub metrics_listen: Option<ListenAddr>,
    /// Who sets the pace.
    pub sync: SyncMode,
    /// When a leader that sets the pace lets all go on.
    pub release: Release,
    /// Who counts the measurements; `None`: as fits [`Settings::sync`], see [`Settings::counting`].
    pub counter: Option<Counting>,
    /// What is logged, if ZooKeeper tells; `None`: what was told at the start, see [`crate::logging`].
    pub log: Option<String>,
}

const DEFAULT_ZOOKEEPER: &str = "127.0.0.1:2181";
const DEFAULT_SESSION_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_SAMPLING_PERIOD: Duration = Duration::from_secs(5);
const SHORTEST_SESSION: Duration = Duration::from_millis(200);
const LONGEST_SESSION: Duration = Duration::from_secs(3600);
/// Where boards.toml is looked for when no flag names it.
const HERE: &str = "boards.toml";

/// Where settings may come from besides the command line.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// The environment.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
}

/// The real environment. What is not UTF-8 is as good as not set.
pub fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

impl Env<'_> {
    /// The first of `names` that is set to more than blanks.
    pub(crate) fn first(&self, names: &[&str]) -> Option<(String, String)> {
        names.iter().find_map(|name| {
            let value = (self.variable)(name)?;
            let value = value.trim();
            (!value.is_empty()).then(|| ((*name).to_owned(), value.to_owned()))
        })
    }
}

/// Reads the boards.toml that a flag or `ATALAYA_BOARDS` names, or the one here; without any, the built-in board.
///
/// # Errors
/// A file that was named is not there, or the file is wrong.
pub fn load_boards(flag: Option<&PathBuf>, surroundings: Env<'_>) -> Result<Boards, SettingsError> {
    let named =
        flag.cloned().or_else(|| surroundings.first(&["ATALAYA_BOARDS"]).map(|(_, path)| path.into()));
    if let Some(path) = named.as_ref().and_then(|path| path.to_str()) {
        unquoted(path).map_err(SettingsError::BoardsPath)?;
    }
    match named {
        Some(path) => Boards::load(path),
        None if PathBuf::from(HERE).is_file() => Boards::load(HERE),
        None => Ok(Boards::builtin()),
    }
    .map_err(SettingsError::File)
}

/// Error of reading the settings.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// Wrong value of a flag.
    #[error("--{flag}: {problem}")]
    Flag {
        /// Flag without its dashes.
        flag: String,
        /// Problem and hint.
        problem: Bad,
    },
    /// Wrong value of an environment variable.
    #[error("the environment variable {name}: {problem}")]
    Variable {
        /// Name of the variable.
        name: String,
        /// Problem and hint.
        problem: Bad,
    },
    /// Wrong boards.toml.
    #[error(transparent)]
    File(#[from] BoardsError),
    /// Wrong path of boards.toml.
    #[error("the path of boards.toml: {0}")]
    BoardsPath(Bad),
    /// API token that cannot be read.
    #[error("{0:#}")]
    Token(anyhow::Error),
}

/// Why a value is refused, and what would be right.
#[derive(Debug)]
pub struct Bad {
    problem: String,
    remedy: &'static str,
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; expected {}", self.problem, self.remedy)
    }
}

/// Refuses a value in quotes: no setting has any. A shell would have removed them; env files of Docker, and lists in compose files,
/// are read without one.
fn unquoted(text: &str) -> Result<&str, Bad> {
    let value = text.trim();
    let is_quoted = |quote: char| value.starts_with(quote) || value.ends_with(quote);
    if ['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}'].into_iter().any(is_quoted) {
        let problem = format!("the quotes are part of the value {}", sanitize_for_log(value));
        return Err(Bad { problem, remedy: "the same without quotes (env files are read without a shell)" });
    }
    Ok(text)
}

/// Puts one setting together.
struct Pick<'a> {
    surroundings: Env<'a>,
}

impl Pick<'_> {
    /// From the flag `--{flag}`, else the first of `variables` that is set, else boards.toml, else nowhere. `parse`
    /// judges texts, `check` what boards.toml has read already.
    fn value<T, F>(
        &self,
        (flag, given): (&str, Option<&String>),
        variables: &[&str],
        parse: impl Fn(&str) -> Result<T, Bad>,
        file: Option<&Located<F>>,
        check: impl Fn(&F) -> Result<T, Bad>,
    ) -> Result<Option<T>, SettingsError> {
        if let Some(text) = given {
            return unquoted(text)
                .and_then(parse)
                .map(Some)
                .map_err(|problem| SettingsError::Flag { flag: flag.to_owned(), problem });
        }
        if let Some((name, text)) = self.surroundings.first(variables) {
            return unquoted(&text)
                .and_then(&parse)
                .map(Some)
                .map_err(|problem| SettingsError::Variable { name, problem });
        }
        let Some(located) = file else { return Ok(None) };
        check(&located.value).map(Some).map_err(|Bad { problem, remedy }| {
            BoardsError::at(&located.at, problem, format!("expected {remedy}")).into()
        })
    }
}

impl Settings {
    /// Puts the settings together.
    ///
    /// # Errors
    /// A value is wrong: the message says where it came from and what would be right.
    pub fn assemble(
        args: &FleetArgs,
        boards: &Boards,
        surroundings: Env<'_>,
    ) -> Result<Settings, SettingsError> {
        let pick = Pick { surroundings };
        let fleet = &boards.fleet;
        let text = |text: &String| Ok::<_, Bad>(text.clone());
        let same = |duration: &Duration| Ok::<_, Bad>(*duration);
        let connect = |text: &str| connect_string(text);
        let url = |text: &str| api_url(text);
        let zookeeper = pick.value(
            ("zookeeper", args.zookeeper.as_ref()),
            &["ATALAYA_ZOOKEEPER", "ZOOKEEPER_HOSTS", "ZOOKEEPER_HOST", "ZK_HOST"],
            connect,
            fleet.zookeeper.as_ref(),
            |text| connect(text),
        )?;
        let session_timeout = pick.value(
            ("session-timeout", args.session_timeout.as_ref()),
            &["ATALAYA_SESSION_TIMEOUT"],
            |text| session_timeout(parse_duration(text)?),
            fleet.session_timeout.as_ref(),
            |timeout| session_timeout(*timeout),
        )?;
        let sampling_period = pick.value(
            ("sampling-period", args.sampling_period.as_ref()),
            &["ATALAYA_SAMPLING_PERIOD", "SAMPLING_PERIOD"],
            period,
            fleet.sampling_period.as_ref(),
            same,
        )?;
        let measurements = pick.value(
            ("measurements", args.measurements.as_ref()),
            &["ATALAYA_MEASUREMENTS"],
            parent_path,
            fleet.measurements.as_ref(),
            |text| parent_path(text),
        )?;
        let name = pick.value(
            ("name", args.name.as_ref()),
            &["ATALAYA_NAME"],
            name_template,
            fleet.name.as_ref(),
            text,
        )?;
        let election = pick.value(
            ("election", args.election.as_ref()),
            &["ATALAYA_ELECTION"],
            parent_path,
            fleet.election.as_ref(),
            |text| parent_path(text),
        )?;
        let api_url = pick.value(
            ("api-url", args.api_url.as_ref()),
            &["ATALAYA_API_URL", "API_URL"],
            url,
            fleet.api_url.as_ref(),
            |text| url(text),
        )?;
        let api_method = pick.value(
            ("api-method", args.api_method.as_ref()),
            &["ATALAYA_API_METHOD"],
            api_method,
            fleet.api_method.as_ref(),
            |method| Ok(*method),
        )?;
        let token_origin = pick.value(
            ("api-token-origin", args.api_token_origin.as_ref()),
            &["ATALAYA_API_TOKEN_ORIGIN"],
            origin,
            fleet.api_token_origin.as_ref(),
            |text| origin(text),
        )?;
        let api_origins = pick.value(
            ("api-origins", args.api_origins.as_ref()),
            &["ATALAYA_API_ORIGINS"],
            |text| origins(text.split(',')),
            fleet.api_origins.as_ref(),
            |all| origins(all.iter().map(String::as_str)),
        )?;
        let api_token = api_token(args, boards, surroundings, token_origin.as_ref().or(api_url.as_ref()))?;
        let sync = pick.value(
            ("sync", args.sync.as_ref()),
            &["ATALAYA_SYNC"],
            sync_mode,
            fleet.sync.as_ref(),
            |sync| Ok(*sync),
        )?;
        let release = pick.value(
            ("release", args.release.as_ref()),
            &["ATALAYA_RELEASE"],
            release,
            fleet.release.as_ref(),
            |release| Ok(*release),
        )?;
        let counter = pick.value(
            ("counter", args.counter.as_ref()),
            &["ATALAYA_COUNTER"],
            counting,
            fleet.counter.as_ref(),
            |counter| Ok(*counter),
        )?;
        let metrics_listen = pick.value(
            ("metrics-listen", args.metrics_listen.as_ref()),
            &["ATALAYA_METRICS_LISTEN"],
            listen,
            fleet.metrics_listen.as_ref(),
            |text| listen(text),
        )?;
        Ok(Settings {
            zookeeper: match zookeeper {
                Some(zookeeper) => zookeeper,
                None => connect_string(DEFAULT_ZOOKEEPER)
                    .map_err(|problem| SettingsError::Flag { flag: "zookeeper".to_owned(), problem })?,
            },
            session_timeout: session_timeout.unwrap_or(DEFAULT_SESSION_TIMEOUT),
            sampling_period: sampling_period.unwrap_or(DEFAULT_SAMPLING_PERIOD),
            measurements: measurements.unwrap_or_else(|| "/mediciones".to_owned()),
            name: name.unwrap_or_else(|| "{id}".to_owned()),
            election: election.unwrap_or_else(|| "/election".to_owned()),
            api_url,
            api_method: api_method.unwrap_or_default(),
            api_token,
            api_origins: api_origins.unwrap_or_default(),
            metrics_listen,
            sync: sync.unwrap_or_default(),
            release: release.unwrap_or_default(),
            counter,
            log: None,
        })
    }

    /// Reads the file of the API's token, if there is one; may block.
    ///
    /// # Errors
    /// It cannot be read, or holds no token.
    pub fn read_token(&self) -> Result<(), SettingsError> {
        self.api_token.as_ref().map_or(Ok(()), ApiToken::read).map_err(SettingsError::Token)
    }

    /// Returns why the token for the API is not sent, if there is one and it is not; for the log.
    pub fn unsent_token(&self) -> Option<String> {
        let token = self.api_token.as_ref()?;
        let elsewhere = self.api_url.as_ref().is_some_and(|url| !token.is_for(url));
        (elsewhere || !token.is_bound())
            .then(|| format!("{token} is not sent to the API: {}", token.bound_to()))
    }

    /// Returns a log line if reports go to another origin than with the settings `before`: any client that may
    /// write `/config/api_url` decides about that.
    pub fn api_change(&self, before: &Settings) -> Option<String> {
        let origin = |settings: &Settings| {
            let url = settings.api_url.as_ref();
            url.map_or("nowhere".to_owned(), |url| sanitize_for_log(&url.origin().ascii_serialization()))
        };
        let (old, new) = (origin(before), origin(self));
        // That a token is bound to no origin was logged at the start.
        let is_bound = self.api_token.as_ref().is_some_and(ApiToken::is_bound);
        let token = self.unsent_token().filter(|_| is_bound && self.api_url.is_some());
        let token = token.map(|token| format!("; {token}")).unwrap_or_default();
        (old != new)
            .then(|| format!("the API has changed: reports go to {new}, and went to {old} before{token}"))
    }

    /// Returns true if `/config/api_url` may name this address: the origin of the node's own `api_url` and those in
    /// [`Settings::api_origins`]; any, if that is empty.
    pub fn allows_api(&self, url: &Url) -> bool {
        let mut allowed = self.api_origins.iter().chain(&self.api_url);
        self.api_origins.is_empty() || allowed.any(|allowed| allowed.origin() == url.origin())
    }

    /// What differs in `new` and cannot change while a node runs, as boards.toml calls it.
    pub fn fixed_that_differ(&self, new: &Settings) -> Vec<&'static str> {
        [
            ("zookeeper", self.zookeeper != new.zookeeper),
            ("session_timeout", self.session_timeout != new.session_timeout),
            ("measurements", self.measurements != new.measurements),
            ("name", self.name != new.name),
            ("election", self.election != new.election),
            ("metrics_listen", self.metrics_listen != new.metrics_listen),
        ]
        .into_iter()
        .filter_map(|(name, differs)| differs.then_some(name))
        .collect()
    }

    /// Who counts the measurements: who was told to, else every node in step, as Kazoo's fleets do.
    pub fn counting(&self) -> Counting {
        self.counter.unwrap_or(match self.sync {
            SyncMode::Free => Counting::Off,
            SyncMode::Barrier => Counting::PerNode,
        })
    }

    /// The id of the node whose measurement is called `name`; `None`: it is called otherwise.
    pub fn id_of<'a>(&self, name: &'a str) -> Option<&'a str> {
        id_in(&self.name, name)
    }

    /// The path of the measurement of the node called `id`.
    pub fn measurement_path(&self, id: &str) -> String {
        format!("{}/{}", self.measurements, self.name.replace("{id}", id))
    }
}

/// What stands in `name` where `template` has `{id}`.
pub(crate) fn id_in<'a>(template: &str, name: &'a str) -> Option<&'a str> {
    let (before, after) = template.split_once("{id}")?;
    name.strip_prefix(before)?.strip_suffix(after).filter(|id| !id.is_empty())
}

fn connect_string(text: &str) -> Result<ConnectString, Bad> {
    ConnectString::from_str(text).map_err(|error| Bad {
        problem: format!("bad ZooKeeper address \"{}\": {}", error.text, error.problem),
        remedy: "host:port[,host:port…][/chroot], such as zk1:2181,zk2:2181/fleet",
    })
}

/// A sampling period.
pub(crate) fn period(text: &str) -> Result<Duration, Bad> {
    parse_duration(text).and_then(sampling_period)
}

/// What is logged.
pub(crate) fn log_filter(text: &str) -> Result<String, Bad> {
    match logging::filter(Some(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(Bad {
            problem: format!("bad log filter \"{}\"", sanitize_for_log(text)),
            remedy: "a level such as debug, or target=level pairs",
        }),
    }
}

const A_PERIOD: &str = "a duration from 100ms to 31d, such as 5s, or a number of seconds";
const A_SESSION_TIMEOUT: &str = "a duration from 200ms to 1h, such as 10s";

fn parse_duration(text: &str) -> Result<Duration, Bad> {
    duration::parse(text).map_err(|_| Bad {
        problem: format!("\"{}\" is not a duration", sanitize_for_log(text)),
        remedy: "a duration such as 5s, 500ms or 1h 30m, or a number of seconds",
    })
}

fn sampling_period(period: Duration) -> Result<Duration, Bad> {
    duration::period(period).map_err(|_| Bad {
        problem: format!("a sampling period of {period:?} is out of bounds"),
        remedy: A_PERIOD,
    })
}

fn session_timeout(timeout: Duration) -> Result<Duration, Bad> {
    if (SHORTEST_SESSION..=LONGEST_SESSION).contains(&timeout) {
        return Ok(timeout);
    }
    Err(Bad {
        problem: format!("a session timeout of {timeout:?} is out of bounds"),
        remedy: A_SESSION_TIMEOUT,
    })
}

fn parent_path(text: &str) -> Result<String, Bad> {
    let problem = match check_path(text) {
        Ok(()) if text != "/" => return Ok(text.to_owned()),
        Ok(()) => "it is the root",
        Err(problem) => problem,
    };
    let problem = format!("bad znode path \"{}\": {problem}", sanitize_for_log(text));
    Err(Bad { problem, remedy: "the path of a znode, such as /mediciones" })
}

fn name_template(text: &str) -> Result<String, Bad> {
    if text.matches("{id}").count() == 1 && !text.contains('/') {
        return Ok(text.to_owned());
    }
    let problem = format!("bad name \"{}\"", sanitize_for_log(text));
    Err(Bad { problem, remedy: "{id} once and no /, such as app{id}" })
}

pub(crate) fn sync_mode(text: &str) -> Result<SyncMode, Bad> {
    match text.to_ascii_lowercase().as_str() {
        "free" => Ok(SyncMode::Free),
        "barrier" => Ok(SyncMode::Barrier),
        _ => Err(Bad {
            problem: format!("bad mode \"{}\"", sanitize_for_log(text)),
            remedy: "free or barrier",
        }),
    }
}

fn release(text: &str) -> Result<Release, Bad> {
    match text.to_ascii_lowercase().as_str() {
        "period" => Ok(Release::Period),
        "complete" => Ok(Release::Complete),
        _ => Err(Bad {
            problem: format!("bad moment \"{}\"", sanitize_for_log(text)),
            remedy: "period or complete",
        }),
    }
}

fn counting(text: &str) -> Result<Counting, Bad> {
    match text.to_ascii_lowercase().as_str() {
        "off" => Ok(Counting::Off),
        "per-node" => Ok(Counting::PerNode),
        "per-cycle" => Ok(Counting::PerCycle),
        _ => Err(Bad {
            problem: format!("bad counter \"{}\"", sanitize_for_log(text)),
            remedy: "per-node, per-cycle or off",
        }),
    }
}

fn listen(text: &str) -> Result<ListenAddr, Bad> {
    text.parse().map_err(|problem| Bad {
        problem: format!("bad address to listen at \"{}\": {problem}", sanitize_for_log(text)),
        remedy: "host:port, such as 127.0.0.1:9100, or :9100 for all addresses",
    })
}

fn api_method(text: &str) -> Result<ApiMethod, Bad> {
    match text.to_ascii_lowercase().as_str() {
        "get" => Ok(ApiMethod::Get),
        "post" => Ok(ApiMethod::Post),
        _ => {
            Err(Bad { problem: format!("bad method \"{}\"", sanitize_for_log(text)), remedy: "get or post" })
        }
    }
}

/// The address of the API. One that ends in `/` is a base, as one of the existing fleets configures it: it means
/// `nuevo` below it.
pub(crate) fn api_url(text: &str) -> Result<Url, Bad> {
    let bad = |problem: String| Bad {
        problem: format!("bad API address \"{}\": {problem}", sanitize_for_log(text)),
        remedy: "an address such as http://127.0.0.1:8000/nuevo",
    };
    let url = Url::parse(text).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("{} is neither http nor https", sanitize_for_log(url.scheme()))));
    }
    if !url.path().ends_with('/') {
        return Ok(url);
    }
    let query = url.query().map(str::to_owned);
    let mut url = url.join("nuevo").map_err(|error| bad(error.to_string()))?;
    url.set_query(query.as_deref());
    Ok(url)
}

/// An origin: scheme, host and port of a URL.
fn origin(text: &str) -> Result<Url, Bad> {
    let bad = |problem: String| Bad {
        problem: format!("bad origin \"{}\": {problem}", sanitize_for_log(text)),
        remedy: "scheme, host and port, such as https://api.example:8443",
    };
    let url = Url::parse(text.trim()).map_err(|error| bad(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(bad(format!("{} is neither http nor https", sanitize_for_log(url.scheme()))));
    }
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() {
        return Err(bad("it has more than scheme, host and port".to_owned()));
    }
    Ok(url)
}

fn origins<'a>(all: impl Iterator<Item = &'a str>) -> Result<Vec<Url>, Bad> {
    all.filter(|text| !text.trim().is_empty()).map(origin).collect()
}

/// The token that the API at `url` is shown: in the file that a flag names, or a variable, in a variable itself, in the file that
/// boards.toml names, or none.
fn api_token(
    args: &FleetArgs,
    boards: &Boards,
    surroundings: Env<'_>,
    url: Option<&Url>,
) -> Result<Option<ApiToken>, SettingsError> {
    let named = surroundings.first(&["ATALAYA_API_TOKEN_FILE"]).map(|(_, path)| PathBuf::from(path));
    if let Some(path) = args.api_token_file.clone().or(named) {
        return Ok(Some(ApiToken::in_file(path, url.cloned())));
    }
    if let Some((name, token)) = surroundings.first(&[api_token::VARIABLE]) {
        let given = ApiToken::given(&token, url.cloned());
        return given.map(Some).map_err(|problem| {
            SettingsError::Token(problem.context(format!("the environment variable {name} holds no token")))
        });
    }
    let file = boards.fleet.api_token_file.as_ref();
    Ok(file.map(|file| ApiToken::in_file(boards.base_dir.join(&file.value), url.cloned())))
}

#[cfg(test)]
#[path = "tests.rs"]
pub(crate) mod tests;
