//! The table of settings: one row per key. It drives the flags and their help, the reading of the environment and of
//! boards.toml, `atalaya check`, the reload at SIGHUP, dynamic configuration, and the table in docs/operations.md.
//!
//! To add a setting, add a row here and a field to [`Settings`], and the key to `[fleet]` in `atalaya_config::Fleet`.
//! The tests of this module fail if one of them is missing.

use std::fmt::Debug;

use atalaya_config::{Boards, Located};

use super::Source;
use super::acl;
use super::api_token::{self, ApiToken};
use super::setting::{ChangeMode, DefaultValue, Field, Setting};
use super::values::{
    ACL_MODES, API_METHODS, AUTH_SCHEMES, COUNTERS, InvalidValue, LEAD_MODES, RELEASES, SYNC_MODES, api_url,
    connect_string, contenders, fleet_name, listen_addr, log_filter, name_of, name_template, one_of, origin,
    origin_text, origins, parent_path, sampling_period, session_timeout, url_text,
};
use crate::model::text;

/// Access to the field of this name, whose values the function parses.
macro_rules! field {
    ($field:ident, $parse:expr) => {
        Field {
            parse: |settings, text, source| {
                let parse: fn(&str, Option<&Source>) -> Result<_, InvalidValue> = $parse;
                settings.$field = parse(text, source)?;
                Ok(())
            },
            copy: |from, to| to.$field.clone_from(&from.$field),
            is_same: |one, other| one.$field == other.$field,
        }
    };
}

// After the macro, which it uses.
#[path = "table_values.rs"]
mod fleet_values;
#[path = "table_history.rs"]
mod history;

/// All settings, in the order of the help and of the documentation.
pub(crate) static SETTINGS: [Setting; 37] = [
    Setting {
        name: "zookeeper",
        value_name: Some("HOST:PORT,…/CHROOT"),
        help: "Servers and chroot of ZooKeeper",
        default: DefaultValue::Value("127.0.0.1:2181"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.zookeeper.clone()),
        show: |settings| Some(settings.zookeeper.to_string()),
        field: field!(zookeeper, |text, _| connect_string(text)),
    },
    Setting {
        name: "zookeeper_ca",
        value_name: Some("FILE"),
        help: "File with the CA certificates (PEM) of the ZooKeeper servers; connects to all servers with TLS",
        default: DefaultValue::Unset("none: no TLS"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| file_path(boards, &boards.fleet.zookeeper_ca)),
        show: |settings| settings.zookeeper_ca.as_ref().map(|file| file.display().to_string()),
        field: field!(zookeeper_ca, |text, _| Ok(Some(text.into()))),
    },
    Setting {
        name: "zookeeper_certificate",
        value_name: Some("FILE"),
        help: "File with the client certificate chain (PEM) for ZooKeeper",
        default: DefaultValue::Unset("none"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| file_path(boards, &boards.fleet.zookeeper_certificate)),
        show: |settings| settings.zookeeper_certificate.as_ref().map(|file| file.display().to_string()),
        field: field!(zookeeper_certificate, |text, _| Ok(Some(text.into()))),
    },
    Setting {
        name: "zookeeper_key",
        value_name: Some("FILE"),
        help: "File with the private key (PEM) of the client certificate",
        default: DefaultValue::Unset("none"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| file_path(boards, &boards.fleet.zookeeper_key)),
        show: |settings| settings.zookeeper_key.as_ref().map(|file| file.display().to_string()),
        field: field!(zookeeper_key, |text, _| Ok(Some(text.into()))),
    },
    Setting {
        name: "zookeeper_auth",
        value_name: Some("SCHEME"),
        help: "How to authenticate with ZooKeeper: sasl (DIGEST-MD5, the servers check the password) or digest (they do not)",
        default: DefaultValue::Value("sasl"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.zookeeper_auth.clone()),
        show: |settings| Some(name_of(AUTH_SCHEMES, &settings.zookeeper_auth)),
        field: field!(zookeeper_auth, |text, _| one_of("scheme", AUTH_SCHEMES, text)),
    },
    Setting {
        name: "zookeeper_user",
        value_name: Some("NAME"),
        help: "User name for ZooKeeper",
        default: DefaultValue::Unset("none: no identity"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.zookeeper_user.clone()),
        show: |settings| settings.zookeeper_user.as_deref().map(text::sanitize_for_log),
        field: field!(zookeeper_user, |text, _| Ok(Some(text.to_owned()))),
    },
    Setting {
        name: "zookeeper_password_file",
        value_name: Some("FILE"),
        help: "File with the password for ZooKeeper",
        default: DefaultValue::Unset("none"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| file_path(boards, &boards.fleet.zookeeper_password_file)),
        show: |settings| settings.zookeeper_password_file.as_ref().map(|file| file.display().to_string()),
        field: field!(zookeeper_password_file, |text, _| Ok(Some(text.into()))),
    },
    Setting {
        name: "acl",
        value_name: Some("POLICY"),
        help: "Who may use the fleet's znodes: open (everyone), read-world (the fleet writes, everyone reads) or fleet (the fleet only)",
        default: DefaultValue::Value("open"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.acl.clone()),
        show: |settings| Some(name_of(ACL_MODES, &settings.acl)),
        field: field!(acl, |text, _| one_of("policy", ACL_MODES, text)),
    },
    Setting {
        name: "acl_fleet",
        value_name: Some("IDENTITIES"),
        help: "ZooKeeper identities of the fleet's nodes for ACLs, such as sasl:fleet",
        default: DefaultValue::Unset("the node's own identity"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.acl_fleet.clone()),
        show: |settings| acl::identities_text(&settings.acl_fleet),
        field: field!(acl_fleet, |text, _| acl::identities(text)),
    },
    Setting {
        name: "acl_admin",
        value_name: Some("IDENTITIES"),
        help: "ZooKeeper identities of the administrators for ACLs, such as sasl:admin",
        default: DefaultValue::Unset("none: the fleet's nodes administrate"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.acl_admin.clone()),
        show: |settings| acl::identities_text(&settings.acl_admin),
        field: field!(acl_admin, |text, _| acl::identities(text)),
    },
    Setting {
        name: "session_timeout",
        value_name: Some("DURATION"),
        help: "Time after which ZooKeeper ends the session of a node that it does not hear from",
        default: DefaultValue::Value("10s"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| as_text(&boards.fleet.session_timeout, debug)),
        show: |settings| Some(debug(&settings.session_timeout)),
        field: field!(session_timeout, |text, _| session_timeout(text)),
    },
    Setting {
        name: "sampling_period",
        value_name: Some("DURATION"),
        help: "Time between two samples, and between two averages of the leader",
        default: DefaultValue::Value("5s"),
        change: ChangeMode::Dynamic,
        in_file: Some(|boards| as_text(&boards.fleet.sampling_period, debug)),
        show: |settings| Some(debug(&settings.sampling_period)),
        field: field!(sampling_period, |text, _| sampling_period(text)),
    },
    Setting {
        name: "api_url",
        value_name: Some("URL"),
        help: "REST API to which the leader reports; a URL that ends in / means nuevo below it",
        default: DefaultValue::Unset("none: averages are only logged"),
        change: ChangeMode::Dynamic,
        in_file: Some(|boards| boards.fleet.api_url.clone()),
        show: |settings| settings.api_url.as_ref().map(url_text),
        field: field!(api_url, |text, _| api_url(text).map(Some)),
    },
    Setting {
        name: "api_method",
        value_name: Some("METHOD"),
        help: "HTTP method of reports: get (…?dato=MEAN), post (JSON), or auto: get, and JSON to a collector of Atalaya",
        default: DefaultValue::Value("auto"),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| as_text(&boards.fleet.api_method, |method| name_of(API_METHODS, method))),
        show: |settings| Some(name_of(API_METHODS, &settings.api_method)),
        field: field!(api_method, |text, _| one_of("method", API_METHODS, text)),
    },
    Setting {
        name: "fleet_name",
        value_name: Some("NAME"),
        help: "Name of the fleet in reports, for a collector that several fleets use",
        default: DefaultValue::Unset("none: the collector's fleet default"),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| boards.fleet.fleet_name.clone()),
        show: |settings| settings.fleet_name.clone(),
        field: field!(fleet_name, |text, _| fleet_name(text).map(Some)),
    },
    fleet_values::ZONE,
    Setting {
        name: "api_token_file",
        value_name: Some("FILE"),
        help: "File with the API token (Authorization: Bearer), read again at SIGHUP and when the API rejects the token; \
               ATALAYA_API_TOKEN is the token itself",
        default: DefaultValue::Unset("no token"),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| file_path(boards, &boards.fleet.api_token_file)),
        show: |settings| settings.api_token.as_ref().map(ApiToken::to_string),
        field: field!(api_token, |text, source| {
            match source {
                Some(Source::Variable(name)) if name == api_token::VARIABLE => {
                    ApiToken::given(text).map(Some).map_err(|error| {
                        InvalidValue::new(format!("no API token: {error}"), "one word of ASCII characters")
                    })
                }
                _ => Ok(Some(ApiToken::in_file(text))),
            }
        }),
    },
    Setting {
        name: "api_token_origin",
        value_name: Some("ORIGIN"),
        help: "The only origin to which the API token is sent, such as https://api.example:8443",
        default: DefaultValue::Unset("that of the node's own api_url; without either, the token is not sent"),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| boards.fleet.api_token_origin.clone()),
        show: |settings| settings.api_token_origin.as_ref().map(origin_text),
        field: field!(api_token_origin, |text, _| origin(text).map(Some)),
    },
    Setting {
        name: "api_origins",
        value_name: Some("ORIGINS"),
        help: "Origins that /config/api_url in ZooKeeper may name, separated by commas (a list in boards.toml)",
        default: DefaultValue::Unset("any"),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| as_text(&boards.fleet.api_origins, |origins| origins.join(","))),
        show: |settings| {
            let origins: Vec<String> = settings.api_origins.iter().map(origin_text).collect();
            Some(origins.join(", ")).filter(|text| !text.is_empty())
        },
        field: field!(api_origins, |text, _| origins(text)),
    },
    Setting {
        name: "measurements",
        value_name: Some("PATH"),
        help: "Parent znode of the measurements",
        default: DefaultValue::Value("/mediciones"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.measurements.clone()),
        show: |settings| Some(settings.measurements.clone()),
        field: field!(measurements, |text, _| parent_path(text)),
    },
    Setting {
        name: "name",
        value_name: Some("TEMPLATE"),
        help: "Name of a node's measurement znode, with {id} in it",
        default: DefaultValue::Value("{id}"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.name.clone()),
        show: |settings| Some(settings.name.clone()),
        field: field!(name, |text, _| name_template(text)),
    },
    Setting {
        name: "election",
        value_name: Some("PATH"),
        help: "Parent znode of the contenders for leadership",
        default: DefaultValue::Value("/election"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.election.clone()),
        show: |settings| Some(settings.election.clone()),
        field: field!(election, |text, _| parent_path(text)),
    },
    Setting {
        name: "lead",
        value_name: None,
        help: "Never contend for leadership (lead = false). auto: contend while there are fewer contenders than the limit; \
               true: always",
        default: DefaultValue::Value("auto"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| as_text(&boards.fleet.lead, |lead| name_of(LEAD_MODES, lead))),
        show: |settings| Some(name_of(LEAD_MODES, &settings.lead)),
        field: field!(lead, |text, _| one_of("value", LEAD_MODES, text)),
    },
    Setting {
        name: "contenders",
        value_name: Some("COUNT"),
        help: "Maximum number of contenders for leadership with lead = auto; the other nodes wait until one leaves",
        default: DefaultValue::Value("7"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| as_text(&boards.fleet.contenders, u16::to_string)),
        show: |settings| Some(settings.contenders.to_string()),
        field: field!(contenders, |text, _| contenders(text)),
    },
    Setting {
        name: "sync",
        value_name: Some("MODE"),
        help: "Sampling mode: free (each node by its own clock) or barrier (lock-step with the leader, at /barrier)",
        default: DefaultValue::Value("free"),
        change: ChangeMode::Dynamic,
        in_file: Some(|boards| as_text(&boards.fleet.sync, |sync| name_of(SYNC_MODES, sync))),
        show: |settings| Some(name_of(SYNC_MODES, &settings.sync)),
        field: field!(sync, |text, _| one_of("mode", SYNC_MODES, text)),
    },
    Setting {
        name: "release",
        value_name: Some("WHEN"),
        help: "When the leader releases the barrier in lock-step: period (once a period) or complete (as soon as all nodes have \
               published, after a period at the latest)",
        default: DefaultValue::Value("period"),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| as_text(&boards.fleet.release, |release| name_of(RELEASES, release))),
        show: |settings| Some(name_of(RELEASES, &settings.release)),
        field: field!(release, |text, _| one_of("release", RELEASES, text)),
    },
    Setting {
        name: "counter",
        value_name: Some("MODE"),
        help: "Counting of measurements at /counter: per-node (one write each), per-cycle (by the leader, one write a cycle) or off",
        default: DefaultValue::Unset("off, and per-node with sync = \"barrier\""),
        change: ChangeMode::Reloadable,
        in_file: Some(|boards| as_text(&boards.fleet.counter, |counter| name_of(COUNTERS, counter))),
        show: |settings| settings.counter.map(|counter| name_of(COUNTERS, &counter)),
        field: field!(counter, |text, _| one_of("counter", COUNTERS, text).map(Some)),
    },
    fleet_values::AGGREGATE,
    fleet_values::QUORUM,
    fleet_values::TREATMENT,
    fleet_values::QUANTILES,
    history::URL,
    history::KEEP,
    history::MAX_SIZE,
    history::SYNC,
    Setting {
        name: "metrics_listen",
        value_name: Some("HOST:PORT"),
        help: "Address at which the node serves /metrics for Prometheus, /healthz and /readyz",
        default: DefaultValue::Unset("none"),
        change: ChangeMode::Fixed,
        in_file: Some(|boards| boards.fleet.metrics_listen.clone()),
        show: |settings| settings.metrics_listen.as_ref().map(|address| address.to_string()),
        field: field!(metrics_listen, |text, _| listen_addr(text).map(Some)),
    },
    Setting {
        name: "log",
        value_name: Some("FILTER"),
        help: "Log filter: a level such as debug, or target=level pairs",
        default: DefaultValue::Unset("info"),
        change: ChangeMode::Dynamic,
        in_file: None,
        show: |settings| settings.log.as_deref().map(text::sanitize_for_log),
        field: field!(log, |text, _| log_filter(text).map(Some)),
    },
];

/// Returns the settings of the fleet, whose flags `FleetArgs` defines.
pub(super) fn fleet_settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.in_file.is_some())
}

/// Names of settings that code refers to.
pub(crate) const SAMPLING_PERIOD: &str = "sampling_period";
pub(crate) const API_URL: &str = "api_url";
pub(super) const METRICS_LISTEN: &str = "metrics_listen";

fn debug(value: &impl Debug) -> String {
    format!("{value:?}")
}

/// Returns the path of a file. A relative path in boards.toml starts at the folder of that file.
fn file_path(boards: &Boards, file: &Option<Located<String>>) -> Option<Located<String>> {
    as_text(file, |file| boards.base_dir.join(file).display().to_string())
}

/// Renders a value that boards.toml has parsed already as the text of a flag, so that all sources share one parser.
fn as_text<T>(value: &Option<Located<T>>, text: impl Fn(&T) -> String) -> Option<Located<String>> {
    value.as_ref().map(|located| Located { value: text(&located.value), at: located.at.clone() })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
