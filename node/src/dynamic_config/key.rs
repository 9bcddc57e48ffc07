//! What a fleet can be told while it runs: the keys below `/config`, what may stand there, and what it means.

use std::fmt;
use std::time::Duration;

use atalaya_hal::boards::SyncMode;
use reqwest::Url;

use crate::model::node_id::NodeId;
use crate::model::text;
use crate::settings::{self, Settings};

/// What the whole fleet follows stands below this znode.
pub const FLEET: &str = "/config";
/// What one node follows, before what the fleet follows, stands below a child of this znode.
pub const NODES: &str = "/config/nodes";

/// Longest value that is looked at, in bytes.
const LONGEST: usize = 4096;

/// One thing that can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// How often to measure, and to average when leading.
    SamplingPeriod,
    /// Where the leader reports.
    ApiUrl,
    /// Who sets the pace.
    Sync,
    /// What is logged.
    Log,
}

impl Key {
    /// All of them.
    pub const ALL: [Key; 4] = [Key::SamplingPeriod, Key::ApiUrl, Key::Sync, Key::Log];

    /// The name of its znode.
    pub fn name(self) -> &'static str {
        match self {
            Key::SamplingPeriod => "sampling_period",
            Key::ApiUrl => "api_url",
            Key::Sync => "sync",
            Key::Log => "log",
        }
    }

    /// The key that a whole path is one of, if it is one.
    pub fn at(path: &str) -> Option<Key> {
        let rest = path.strip_prefix(FLEET)?.strip_prefix('/')?;
        let name = match rest.split_once('/') {
            None => rest,
            Some(("nodes", own)) => {
                let (id, name) = own.split_once('/')?;
                id.parse::<NodeId>().ok()?;
                name
            }
            Some(_) => return None,
        };
        Key::ALL.into_iter().find(|key| key.name() == name)
    }

    /// What the data of its znode means; nothing but blanks is "not set".
    ///
    /// # Errors
    /// Why it means nothing, and what would be right: one line of bounded length.
    pub(super) fn read(self, data: &[u8]) -> Result<Option<Value>, String> {
        if data.len() > LONGEST {
            return Err(format!("{} bytes are too many; expected at most {LONGEST}", data.len()));
        }
        let text = std::str::from_utf8(data).map_err(|_| {
            let shown = text::sanitize_for_log(&String::from_utf8_lossy(data));
            format!("\"{shown}\" is not UTF-8; expected text")
        })?;
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let value = match self {
            Key::SamplingPeriod => settings::period(text).map(Value::SamplingPeriod),
            Key::ApiUrl => settings::api_url(text).map(Value::ApiUrl),
            Key::Sync => settings::sync_mode(text).map(Value::Sync),
            Key::Log => settings::log_filter(text).map(Value::Log),
        };
        value.map(Some).map_err(|bad| bad.to_string())
    }
}

/// Whether `value` may stand at `path`: anything may, but at the keys that fleets follow.
///
/// # Errors
/// Why not, and what would be right.
pub fn check(path: &str, value: &[u8]) -> Result<(), String> {
    match Key::at(path) {
        Some(key) => key.read(value).map(|_| ()),
        None => Ok(()),
    }
}

/// The sampling period that the data of a znode tells, if it is one.
pub fn period(data: &[u8]) -> Option<Duration> {
    match Key::SamplingPeriod.read(data) {
        Ok(Some(Value::SamplingPeriod(period))) => Some(period),
        _ => None,
    }
}

/// What is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    SamplingPeriod(Duration),
    ApiUrl(Url),
    Sync(SyncMode),
    Log(String),
}

impl Value {
    /// Puts it into `settings`.
    pub(super) fn put_into(&self, settings: &mut Settings) {
        match self {
            Value::SamplingPeriod(period) => settings.sampling_period = *period,
            Value::ApiUrl(url) => settings.api_url = Some(url.clone()),
            Value::Sync(sync) => settings.sync = *sync,
            Value::Log(filter) => settings.log = Some(filter.clone()),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::SamplingPeriod(period) => write!(f, "{period:?}"),
            // What may be a secret in it is nobody's business.
            Value::ApiUrl(url) => {
                write!(
                    f,
                    "{}{}",
                    text::sanitize_for_log(&url.origin().ascii_serialization()),
                    text::sanitize_for_log(url.path())
                )
            }
            Value::Sync(SyncMode::Free) => f.write_str("free"),
            Value::Sync(SyncMode::Barrier) => f.write_str("barrier"),
            Value::Log(filter) => f.write_str(&text::sanitize_for_log(filter)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_known_by_their_paths() {
        assert_eq!(Key::at("/config/sampling_period"), Some(Key::SamplingPeriod));
        assert_eq!(Key::at("/config/nodes/greenhouse-2/log"), Some(Key::Log));
        for path in [
            "/config",
            "/config/",
            "/config/nodes",
            "/config/nodes/3",
            "/config/nodes/3/other",
            "/config/nodes//log",
            "/config/nodes/3/log/deeper",
            "/config/others/3/log",
            "/config/log/deeper",
            "/configs/log",
            "/fleet/config/log",
        ] {
            assert_eq!(Key::at(path), None, "{path}");
        }
    }

    #[test]
    fn what_a_fleet_follows_is_checked_before_it_is_written() {
        for (path, value) in [
            ("/config/sampling_period", "5"),
            ("/config/sampling_period", " 2.5\r\n"),
            ("/config/sampling_period", "500ms"),
            ("/config/sampling_period", ""),
            ("/config/sampling_period", "\n"),
            ("/config/api_url", "http://127.0.0.1:8000/\n"),
            ("/config/sync", "Barrier\n"),
            ("/config/log", "debug"),
            ("/config/nodes/3/log", "atalaya=debug,info"),
            ("/config/nodes/3/sync", "free"),
            ("/configs/demo", "anything"),
        ] {
            assert_eq!(check(path, value.as_bytes()), Ok(()), "{path} {value}");
        }
        let wrong = |path, value: &[u8]| check(path, value).unwrap_err();
        assert!(wrong("/config/sampling_period", b"soon").contains("a duration such as"));
        assert!(wrong("/config/sampling_period", b"1ms").contains("100ms"));
        assert!(wrong("/config/nodes/3/sampling_period", b"nan").contains("a duration such as"));
        assert!(wrong("/config/api_url", b"ftp://h/").contains("http"));
        assert!(wrong("/config/api_url", b"\xff").contains("UTF-8"));
        assert!(wrong("/config/sync", b"kazoo").contains("free or barrier"));
        assert!(wrong("/config/log", b"loud=very").contains("such as debug"));
    }

    #[test]
    fn what_an_address_may_hide_is_not_shown() {
        let value = Key::ApiUrl.read(b"https://me:secret@host:8000/nuevo?token=secret").unwrap().unwrap();
        assert_eq!(value.to_string(), "https://host:8000/nuevo");
    }

    proptest! {
        #[test]
        fn config_value_reads_any_bytes_in_linear_time_to_a_bounded_result(data in crate::model::foreign_input::bytes()) {
            for key in Key::ALL {
                let began = std::time::Instant::now();
                let read = key.read(&data);
                prop_assert!(crate::model::foreign_input::in_time(began, data.len()));
                match read {
                    Ok(value) => prop_assert!(value.is_none_or(|value| value.to_string().chars().count() < 300)),
                    Err(problem) => prop_assert!(problem.chars().count() < 300, "{}", problem),
                }
            }
        }

        #[test]
        fn config_value_of_the_largest_size_is_read_in_bounded_time(
            (front, piece, behind) in prop_oneof![
                ("", "[a-z0-9.,=:/_ \\[\\]{}()|*+-]{1,12}", ""),
                ("(http|https)://", "[a-z0-9üß日א.@:%-]{1,12}", "(/nuevo)?"),
                ("http://h/", "(\\.\\./|%2e%2e/|[?#&=]|%[0-9a-f]{2}|é){1,4}", ""),
                ("", "([0-9]{1,3}(h|m|s|ms|days?|,)? ?){1,4}", ""),
            ],
        ) {
            let room = LONGEST - front.len() - behind.len();
            let data = format!("{front}{}{behind}", piece.repeat(room / piece.len()));
            let began = std::time::Instant::now();
            for key in Key::ALL {
                let _ = key.read(data.as_bytes());
            }
            // Debug builds on a busy machine; milliseconds otherwise.
            prop_assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        }

        #[test]
        fn whatever_stands_there_gives_a_value_or_one_short_line(
            data in prop_oneof![
                prop::collection::vec(any::<u8>(), 0..300),
                "[a-z:/=,\\[\\]{}. \n\u{1b}]{0,300}".prop_map(String::into_bytes),
                (0usize..2_000_000).prop_map(|length| vec![b'7'; length]),
            ],
        ) {
            for key in Key::ALL {
                match key.read(&data) {
                    Ok(Some(value)) => prop_assert!(value.to_string().chars().count() < 300),
                    Ok(None) => prop_assert!(data.iter().all(|byte| !byte.is_ascii_graphic())),
                    Err(problem) => {
                        prop_assert!(problem.chars().count() < 300, "{}", problem);
                        prop_assert!(!problem.chars().any(char::is_control), "{:?}", problem);
                    }
                }
            }
        }
    }
}
