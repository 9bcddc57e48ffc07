//! `[fleet]`: the settings that all nodes share, and their checks.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserializer, Error, Unexpected, Visitor};
use serde::{Deserialize, Serialize};
use toml::Spanned;

use crate::aggregation::{AggregateMode, Outliers, Quantiles, Quorum};
use crate::checks::{Checked, check_file, check_text, locate};
use crate::diagnostic::{BoardsError, Located, Source, printable};
use crate::output::{OutputConfig, RawOutput, outputs};
use crate::value::{Period, Table};

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
    pub release: Option<Located<BarrierRelease>>,
    /// Counter mode of the measurements.
    pub counter: Option<Located<CounterMode>>,
    /// Main value of a report.
    pub aggregate: Option<Located<AggregateMode>>,
    /// Minimum number of nodes that support a value.
    pub quorum: Option<Located<Quorum>>,
    /// Treatment of outliers.
    pub outliers: Option<Located<Outliers>>,
    /// Quantiles in the reports.
    pub quantiles: Option<Located<Quantiles>>,
    /// Parent of the measurements: an absolute path, `/mediciones`.
    pub measurements: Option<Located<String>>,
    /// Name of a node's measurement: `{id}` or `app{id}`; contains `{id}` exactly once and no `/`.
    pub name: Option<Located<String>>,
    /// Parent of the contenders: an absolute path, `/election`.
    pub election: Option<Located<String>>,
    /// Whether the node contends for leadership.
    pub lead: Option<Located<LeadMode>>,
    /// With `lead = "auto"`, maximum number of contenders; from 1 to 1,000.
    pub contenders: Option<Located<u16>>,
    /// URL to which the leader reports: `http://host:port/nuevo`.
    pub api_url: Option<Located<String>>,
    /// HTTP method of the reports.
    pub api_method: Option<Located<ApiMethod>>,
    /// Name of the fleet for a collector: 1 to 64 letters, digits, `.`, `_` and `-`.
    pub fleet_name: Option<Located<String>>,
    /// Zone of the fleet for a collector: as `fleet_name`, or empty for none.
    pub zone: Option<Located<String>>,
    /// File with the token for the API; a relative path starts from the folder of boards.toml.
    pub api_token_file: Option<Located<String>>,
    /// Only origin to which that token is sent: `https://api.example:8443`. Its grammar is checked by the sender.
    pub api_token_origin: Option<Located<String>>,
    /// Origins that ZooKeeper may configure for the API. Their grammar is checked by the sender.
    pub api_origins: Option<Located<Vec<String>>>,
    /// URL to which every node sends its samples: `http://host:port/api/v1/measurements`.
    pub measurements_url: Option<Located<String>>,
    /// Maximum age of samples that are not delivered; from 100 ms to 31 days.
    pub measurements_keep: Option<Located<Duration>>,
    /// Maximum size of the file with these samples: `64MiB`. Its grammar is checked by the node.
    pub measurements_max_size: Option<Located<String>>,
    /// Maximum age of a sample that a power cut may lose: `10s`. Its grammar is checked by the node.
    pub measurements_sync: Option<Located<String>>,
    /// Address on which a node serves its metrics: `0.0.0.0:9100`. Its grammar is checked by the listener.
    pub metrics_listen: Option<Located<String>>,
    /// `[[fleet.outputs]]`: receivers besides the API.
    pub outputs: Vec<OutputConfig>,
}

/// Whether a node contends for leadership.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeadMode {
    /// The node contends while there are fewer contenders than the limit.
    #[default]
    Auto,
    /// The node always contends.
    Always,
    /// The node never contends.
    Never,
}

impl<'de> Deserialize<'de> for LeadMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SwitchOrAuto;

        impl Visitor<'_> for SwitchOrAuto {
            type Value = LeadMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\", true or false")
            }

            fn visit_bool<E: Error>(self, value: bool) -> Result<LeadMode, E> {
                Ok(if value { LeadMode::Always } else { LeadMode::Never })
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<LeadMode, E> {
                match text {
                    "auto" => Ok(LeadMode::Auto),
                    _ => Err(E::invalid_value(Unexpected::Str(text), &self)),
                }
            }
        }

        deserializer.deserialize_any(SwitchOrAuto)
    }
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
pub enum BarrierRelease {
    /// End of the sampling period: every node measures once a period.
    #[default]
    Period,
    /// Publication by every live node, at the latest the end of the sampling period: as fast as the slowest node.
    Complete,
}

/// Counter mode of the measurements in ZooKeeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CounterMode {
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
    /// `GET` and, once the API is known to be a collector of Atalaya, `POST` of full reports.
    #[default]
    Auto,
    /// `GET {api_url}?dato={mean}`.
    #[serde(alias = "GET")]
    Get,
    /// `POST {api_url}` with a JSON body.
    #[serde(alias = "POST")]
    Post,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawFleet {
    zookeeper: Option<Spanned<String>>,
    zookeeper_ca: Option<Spanned<String>>,
    zookeeper_certificate: Option<Spanned<String>>,
    zookeeper_key: Option<Spanned<String>>,
    zookeeper_auth: Option<Spanned<String>>,
    zookeeper_user: Option<Spanned<String>>,
    zookeeper_password_file: Option<Spanned<String>>,
    acl: Option<Spanned<String>>,
    acl_fleet: Option<Spanned<String>>,
    acl_admin: Option<Spanned<String>>,
    session_timeout: Option<Spanned<Period>>,
    sampling_period: Option<Spanned<Period>>,
    sync: Option<Spanned<SyncMode>>,
    release: Option<Spanned<BarrierRelease>>,
    counter: Option<Spanned<CounterMode>>,
    aggregate: Option<Spanned<AggregateMode>>,
    quorum: Option<Spanned<Quorum>>,
    outliers: Option<Spanned<Outliers>>,
    quantiles: Option<Spanned<Quantiles>>,
    measurements: Option<Spanned<String>>,
    name: Option<Spanned<String>>,
    election: Option<Spanned<String>>,
    lead: Option<Spanned<LeadMode>>,
    contenders: Option<Spanned<u16>>,
    api_url: Option<Spanned<String>>,
    api_method: Option<Spanned<ApiMethod>>,
    fleet_name: Option<Spanned<String>>,
    zone: Option<Spanned<String>>,
    api_token_file: Option<Spanned<String>>,
    api_token_origin: Option<Spanned<String>>,
    api_origins: Option<Spanned<Vec<String>>>,
    measurements_url: Option<Spanned<String>>,
    measurements_keep: Option<Spanned<Period>>,
    measurements_max_size: Option<Spanned<String>>,
    measurements_sync: Option<Spanned<String>>,
    metrics_listen: Option<Spanned<String>>,
    #[serde(default)]
    outputs: Vec<Table<RawOutput>>,
}

pub(crate) fn fleet(raw: RawFleet, source: &Source<'_>) -> Result<Fleet, BoardsError> {
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
    Ok(Fleet {
        zookeeper: located(raw.zookeeper, check_hosts)?,
        zookeeper_ca: located(raw.zookeeper_ca, check_file)?,
        zookeeper_certificate: located(raw.zookeeper_certificate, check_file)?,
        zookeeper_key: located(raw.zookeeper_key, check_file)?,
        zookeeper_auth: located(raw.zookeeper_auth, check_text)?,
        zookeeper_user: located(raw.zookeeper_user, check_text)?,
        zookeeper_password_file: located(raw.zookeeper_password_file, check_file)?,
        acl: located(raw.acl, check_text)?,
        acl_fleet: located(raw.acl_fleet, check_text)?,
        acl_admin: located(raw.acl_admin, check_text)?,
        session_timeout: duration(raw.session_timeout),
        sampling_period: duration(raw.sampling_period),
        sync: raw.sync.map(|sync| locate(sync, source)),
        release: raw.release.map(|release| locate(release, source)),
        counter: raw.counter.map(|counter| locate(counter, source)),
        aggregate: raw.aggregate.map(|aggregate| locate(aggregate, source)),
        quorum: raw.quorum.map(|quorum| locate(quorum, source)),
        outliers: raw.outliers.map(|outliers| locate(outliers, source)),
        quantiles: raw.quantiles.map(|quantiles| locate(quantiles, source)),
        measurements: located(raw.measurements, check_path)?,
        name: located(raw.name, check_znode_name)?,
        election: located(raw.election, check_path)?,
        lead: raw.lead.map(|lead| locate(lead, source)),
        contenders: raw.contenders.map(|contenders| contender_limit(contenders, source)).transpose()?,
        api_url: located(raw.api_url, check_url)?,
        api_method: raw.api_method.map(|method| locate(method, source)),
        fleet_name: located(raw.fleet_name, check_fleet_name)?,
        zone: located(raw.zone, check_zone)?,
        api_token_file: located(raw.api_token_file, check_file)?,
        api_token_origin: located(raw.api_token_origin, check_url)?,
        api_origins: raw.api_origins.map(|origins| locate(origins, source)),
        measurements_url: located(raw.measurements_url, check_url)?,
        measurements_keep: duration(raw.measurements_keep),
        measurements_max_size: located(raw.measurements_max_size, check_text)?,
        measurements_sync: located(raw.measurements_sync, check_text)?,
        metrics_listen: raw.metrics_listen.map(|listen| locate(listen, source)),
        outputs: outputs(raw.outputs.into_iter().map(|Table(output)| output).collect(), source)?,
    })
}

/// Maximum limit of the contenders.
pub const MAX_CONTENDERS: u16 = 1_000;

fn contender_limit(contenders: Spanned<u16>, source: &Source<'_>) -> Result<Located<u16>, BoardsError> {
    if (1..=MAX_CONTENDERS).contains(contenders.get_ref()) {
        return Ok(locate(contenders, source));
    }
    let problem = format!("{} contenders", contenders.get_ref());
    Err(source.error(contenders.span(), problem, format!("write 1 to {MAX_CONTENDERS}; 7 are usual")))
}

fn check_hosts(text: &str) -> Checked {
    if text.trim().is_empty() {
        return Err(("no hosts".to_owned(), "write hosts with ports, such as \"127.0.0.1:2181\""));
    }
    Ok(())
}

/// Checks an absolute path that is not the root, by ZooKeeper's rules.
fn check_path(text: &str) -> Checked {
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains(char::is_control);
    match text.strip_prefix('/') {
        Some(parts) if !parts.split('/').any(bad) => Ok(()),
        _ => Err((
            format!("`{}` is not a path of ZooKeeper", printable(text)),
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

fn check_fleet_name(text: &str) -> Checked {
    if is_fleet_name(text) {
        return Ok(());
    }
    Err((
        format!("`{}` is not the name of a fleet", printable(text)),
        "write 1 to 64 letters, digits, `.`, `_` or `-`, such as \"home\"",
    ))
}

fn check_zone(text: &str) -> Checked {
    if text.is_empty() || is_fleet_name(text) {
        return Ok(());
    }
    Err((
        format!("`{}` is not the name of a zone", printable(text)),
        "write 1 to 64 letters, digits, `.`, `_` or `-`, such as \"north\"",
    ))
}

/// Returns true for 1 to 64 letters, digits, `.`, `_` and `-` of ASCII.
pub fn is_fleet_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(is_allowed)
}

fn check_url(text: &str) -> Checked {
    let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    if host.is_some_and(|host| !host.is_empty() && !host.starts_with('/')) {
        return Ok(());
    }
    Err((
        format!("`{}` is not a URL of HTTP", printable(text)),
        "write it with scheme and host, such as \"http://127.0.0.1:8000/nuevo\"",
    ))
}
