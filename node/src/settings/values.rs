//! Parsers of the values of settings, the same for flags, environment, boards.toml and ZooKeeper.

use std::borrow::Cow;
use std::fmt::Display;
use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use atalaya_config::{ApiMethod, BarrierRelease, CounterMode, LeadMode, MAX_CONTENDERS, Outliers, SyncMode};
use atalaya_config::{duration, is_fleet_name};
use atalaya_recipes::ConnectString;
use atalaya_recipes::connect_string::check_path;
use reqwest::Url;

use super::listen_addr::ListenAddr;
use crate::logging;
use crate::model::text::sanitize_for_log;

const SESSION_TIMEOUTS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(200)..=Duration::from_secs(3600);

/// Error of a parser: the problem, and a description of valid values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}; expected {hint}")]
pub struct InvalidValue {
    pub(super) problem: String,
    pub(super) hint: Cow<'static, str>,
}

impl InvalidValue {
    pub(super) fn new(problem: impl Into<String>, hint: impl Into<Cow<'static, str>>) -> InvalidValue {
        InvalidValue { problem: problem.into(), hint: hint.into() }
    }
}

/// Returns the error for a text that is not a `what`.
fn bad(what: &str, text: &str, problem: impl Display, hint: &'static str) -> InvalidValue {
    InvalidValue::new(format!("bad {what} \"{}\": {problem}", sanitize_for_log(text)), hint)
}

/// Rejects a value in quotes, because no setting has quotes. A shell would have removed them, but the env files of
/// Docker and the lists in compose files are read without a shell.
pub(super) fn check_unquoted(text: &str) -> Result<(), InvalidValue> {
    let value = text.trim();
    let is_quoted = |quote: char| value.starts_with(quote) || value.ends_with(quote);
    if ['"', '\'', '`', '\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}'].into_iter().any(is_quoted) {
        let problem = format!("the quotes are part of the value {}", sanitize_for_log(value));
        return Err(InvalidValue::new(
            problem,
            "the same without quotes (env files are read without a shell)",
        ));
    }
    Ok(())
}

/// Names of the values of an enum.
pub(super) type Names<T> = &'static [(&'static str, T)];

pub(super) const SYNC_MODES: Names<SyncMode> = &[("free", SyncMode::Free), ("barrier", SyncMode::Barrier)];
pub(super) const RELEASES: Names<BarrierRelease> =
    &[("period", BarrierRelease::Period), ("complete", BarrierRelease::Complete)];
pub(super) const API_METHODS: Names<ApiMethod> =
    &[("auto", ApiMethod::Auto), ("get", ApiMethod::Get), ("post", ApiMethod::Post)];
pub(super) const LEAD_MODES: Names<LeadMode> =
    &[("auto", LeadMode::Auto), ("true", LeadMode::Always), ("false", LeadMode::Never)];
pub(super) const COUNTERS: Names<CounterMode> =
    &[("per-node", CounterMode::PerNode), ("per-cycle", CounterMode::PerCycle), ("off", CounterMode::Off)];

pub(super) const OUTLIERS: Names<Outliers> = &[("flag", Outliers::Flag), ("exclude", Outliers::Exclude)];

/// Parses the maximum number of contenders.
pub(super) fn contenders(text: &str) -> Result<NonZeroUsize, InvalidValue> {
    let count: Option<u16> = text.parse().ok().filter(|count| *count <= MAX_CONTENDERS);
    count.and_then(|count| NonZeroUsize::new(count.into())).ok_or_else(|| {
        let problem = format!("\"{}\" is not a number of contenders", sanitize_for_log(text));
        InvalidValue::new(problem, format!("a whole number from 1 to {MAX_CONTENDERS}"))
    })
}

/// Parses a value of a type of the configuration, whose errors have the form "problem, expected remedy".
pub(super) fn from_config<T: FromStr<Err = String>>(what: &str, text: &str) -> Result<T, InvalidValue> {
    text.parse().map_err(|error: String| {
        let (problem, hint) = error.split_once(", expected ").unwrap_or((&error, "another value"));
        let problem = format!("bad {what} \"{}\": {problem}", sanitize_for_log(text));
        InvalidValue::new(problem, hint.to_owned())
    })
}

/// Parses one of `names`, in any case; `what` is the noun for the error.
pub(super) fn one_of<T: Copy>(what: &str, names: Names<T>, text: &str) -> Result<T, InvalidValue> {
    let found = names.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names = names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        let hint = names.rsplit_once(", ").map(|(others, last)| format!("{others} or {last}"));
        let hint = hint.unwrap_or(names);
        InvalidValue::new(format!("unknown {what} \"{}\"", sanitize_for_log(text)), hint)
    })
}

pub(super) fn name_of<T: PartialEq>(names: Names<T>, value: &T) -> String {
    names.iter().find(|(_, named)| named == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

pub(super) const AUTH_SCHEMES: Names<AuthScheme> =
    &[("sasl", AuthScheme::Sasl), ("digest", AuthScheme::Digest)];
pub(super) const ACL_MODES: Names<AclMode> =
    &[("open", AclMode::Open), ("read-world", AclMode::ReadWorld), ("fleet", AclMode::Fleet)];

/// How user and password are sent to ZooKeeper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AuthScheme {
    /// SASL DIGEST-MD5: the servers check the password, which is not sent.
    #[default]
    Sasl,
    /// `addauth`: the password is sent, and the servers derive the identity from it without checking it.
    Digest,
}

/// Who may use the fleet's znodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AclMode {
    /// Every client may read and write.
    #[default]
    Open,
    /// The fleet and administrators write; every client may read.
    ReadWorld,
    /// Only the fleet and administrators.
    Fleet,
}

pub(super) fn connect_string(text: &str) -> Result<ConnectString, InvalidValue> {
    ConnectString::from_str(text).map_err(|error| {
        InvalidValue::new(
            format!("bad ZooKeeper address \"{}\": {}", error.text, error.problem),
            "host:port[,host:port…][/chroot], such as zk1:2181,zk2:2181/fleet",
        )
    })
}

pub(super) fn fleet_name(text: &str) -> Result<String, InvalidValue> {
    match is_fleet_name(text) {
        true => Ok(text.to_owned()),
        false => {
            let problem = format!("\"{}\" is not the name of a fleet", sanitize_for_log(text));
            Err(InvalidValue::new(problem, "1 to 64 letters, digits, '.', '_' or '-', such as home"))
        }
    }
}

/// Parses the name of a zone; an empty one is none.
pub(super) fn zone_name(text: &str) -> Result<Option<String>, InvalidValue> {
    match is_fleet_name(text) {
        _ if text.is_empty() => Ok(None),
        true => Ok(Some(text.to_owned())),
        false => {
            let problem = format!("\"{}\" is not the name of a zone", sanitize_for_log(text));
            Err(InvalidValue::new(problem, "1 to 64 letters, digits, '.', '_' or '-', such as north"))
        }
    }
}

fn parse_duration(text: &str) -> Result<Duration, InvalidValue> {
    duration::parse(text).map_err(|_| {
        InvalidValue::new(
            format!("\"{}\" is not a duration", sanitize_for_log(text)),
            "a duration such as 5s, 500ms or 1h 30m, or a number of seconds",
        )
    })
}

pub(crate) fn sampling_period(text: &str) -> Result<Duration, InvalidValue> {
    period("sampling period", text)
}

/// Parses a duration within the bounds of periods; `what` is the noun for the error.
pub(super) fn period(what: &str, text: &str) -> Result<Duration, InvalidValue> {
    let period = parse_duration(text)?;
    duration::period(period).map_err(|_| {
        InvalidValue::new(
            format!("a {what} of {period:?} is out of bounds"),
            "a duration from 100ms to 31d, such as 5s, or a number of seconds",
        )
    })
}

pub(super) fn session_timeout(text: &str) -> Result<Duration, InvalidValue> {
    let timeout = parse_duration(text)?;
    if SESSION_TIMEOUTS.contains(&timeout) {
        return Ok(timeout);
    }
    let problem = format!("a session timeout of {timeout:?} is out of bounds");
    Err(InvalidValue::new(problem, "a duration from 200ms to 1h, such as 10s"))
}

pub(super) fn log_filter(text: &str) -> Result<String, InvalidValue> {
    match logging::filter(Some(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(InvalidValue::new(
            format!("bad log filter \"{}\"", sanitize_for_log(text)),
            "a level such as debug, or target=level pairs",
        )),
    }
}

/// Parses the path of a znode that is not the root.
pub(super) fn parent_path(text: &str) -> Result<String, InvalidValue> {
    let problem = match check_path(text) {
        Ok(()) if text != "/" => return Ok(text.to_owned()),
        Ok(()) => "it is the root",
        Err(problem) => problem,
    };
    Err(bad("znode path", text, problem, "the path of a znode, such as /mediciones"))
}

pub(super) fn name_template(text: &str) -> Result<String, InvalidValue> {
    if text.matches("{id}").count() == 1 && !text.contains('/') {
        return Ok(text.to_owned());
    }
    let problem = format!("bad name \"{}\"", sanitize_for_log(text));
    Err(InvalidValue::new(problem, "{id} once and no /, such as app{id}"))
}

pub(super) fn listen_addr(text: &str) -> Result<ListenAddr, InvalidValue> {
    let hint = "host:port, such as 127.0.0.1:9100, or :9100 for all addresses";
    ListenAddr::from_str(text).map_err(|problem| bad("listen address", text, problem, hint))
}

/// Parses the URL of the API. A path that ends in `/` is a base, as in the configuration of existing fleets: reports go
/// to `nuevo` below it.
pub(super) fn api_url(text: &str) -> Result<Url, InvalidValue> {
    let invalid =
        |problem| bad("API address", text, problem, "an address such as http://127.0.0.1:8000/nuevo");
    let url = http_url(text).map_err(invalid)?;
    if !url.path().ends_with('/') {
        return Ok(url);
    }
    let query = url.query().map(str::to_owned);
    let mut url = url.join("nuevo").map_err(|error| invalid(error.to_string()))?;
    url.set_query(query.as_deref());
    Ok(url)
}

/// Parses an origin: scheme, host and port of a URL.
pub(super) fn origin(text: &str) -> Result<Url, InvalidValue> {
    let hint = "scheme, host and port, such as https://api.example:8443";
    let invalid = |problem: String| bad("origin", text, problem, hint);
    let url = http_url(text.trim()).map_err(invalid)?;
    let is_bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    if !is_bare || !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("it has more than scheme, host and port".to_owned()));
    }
    Ok(url)
}

/// Parses origins that are separated by commas.
pub(super) fn origins(text: &str) -> Result<Vec<Url>, InvalidValue> {
    text.split(',').filter(|text| !text.trim().is_empty()).map(origin).collect()
}

/// Parses the URL of the collector's samples. A path that ends in `/` is the collector's base.
pub(super) fn measurements_url(text: &str) -> Result<Url, InvalidValue> {
    let hint = "an address such as http://127.0.0.1:8000/api/v1/measurements";
    let invalid = |problem: String| bad("address", text, problem, hint);
    let url = http_url(text).map_err(invalid)?;
    if !url.path().ends_with('/') {
        return Ok(url);
    }
    url.join("api/v1/measurements").map_err(|error| invalid(error.to_string()))
}

/// Parses an interval of zero or more.
pub(super) fn interval(text: &str) -> Result<Duration, InvalidValue> {
    if ["0", "0s"].contains(&text.trim()) { Ok(Duration::ZERO) } else { parse_duration(text) }
}

/// Returns an interval as [`interval`] parses it.
pub(super) fn interval_text(interval: Duration) -> String {
    if interval.is_zero() { "0s".to_owned() } else { format!("{interval:?}") }
}

/// Units of sizes, largest first.
const SIZE_UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
/// SQLite cannot do much with fewer pages.
const MIN_SIZE: u64 = 64 << 10;
const MAX_SIZE: u64 = 1 << 40;

/// Parses a size in bytes, or with a unit.
pub(super) fn size(text: &str) -> Result<u64, InvalidValue> {
    let text = text.trim();
    let suffix = SIZE_UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)));
    let (number, unit) = suffix.unwrap_or((text, 1));
    let bytes = number.trim().parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    bytes.filter(|bytes| (MIN_SIZE..=MAX_SIZE).contains(bytes)).ok_or_else(|| {
        let problem = format!("\"{}\" is not a size", sanitize_for_log(text));
        InvalidValue::new(problem, "a size from 64KiB to 1024GiB, such as 64MiB")
    })
}

/// Returns a size as [`size`] parses it.
pub(super) fn size_text(bytes: u64) -> String {
    let unit = SIZE_UNITS.iter().find(|(_, unit)| bytes.is_multiple_of(*unit));
    unit.map_or_else(|| bytes.to_string(), |(name, unit)| format!("{}{name}", bytes / unit))
}

fn http_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(format!("{} is neither http nor https", sanitize_for_log(scheme))),
    }
}

pub(super) fn origin_text(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Returns a URL for people, without user, password and query, which may be secrets.
pub(super) fn url_text(url: &Url) -> String {
    format!("{}{}", sanitize_for_log(&origin_text(url)), sanitize_for_log(url.path()))
}
