//! Keys below `/config` in ZooKeeper: the names of the dynamic settings. No I/O.

use std::time::Duration;

use crate::model::node_id::NodeId;
use crate::model::text::sanitize_for_log;
use crate::settings::Settings;
use crate::settings::setting::{ChangeMode, Setting};
use crate::settings::table::{SAMPLING_PERIOD, SETTINGS};

/// Parent of the keys for the whole fleet.
pub(crate) const FLEET_FOLDER: &str = "/config";
/// Parent of the folders of single nodes, whose keys take precedence over those of the fleet.
pub(super) const NODES_FOLDER: &str = "/config/nodes";

/// Maximum size of a value that is parsed, in bytes.
const MAX_SIZE: usize = 4096;

pub(super) fn dynamic_settings() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(|setting| setting.change == ChangeMode::Dynamic)
}

/// Returns the path of a key for the whole fleet.
pub(crate) fn fleet_path(name: &str) -> String {
    format!("{FLEET_FOLDER}/{name}")
}

/// Returns the setting that the znode at `path` sets, if any.
fn setting_at(path: &str) -> Option<&'static Setting> {
    let rest = path.strip_prefix(FLEET_FOLDER)?.strip_prefix('/')?;
    let name = match rest.strip_prefix("nodes/").and_then(|own| own.split_once('/')) {
        Some((id, name)) => id.parse::<NodeId>().ok().map(|_| name)?,
        None => rest,
    };
    dynamic_settings().find(|setting| setting.name == name)
}

/// Parses the data of the znode of `setting`: the default settings with this value, or `None` if the data is blank,
/// which means "not set". An error is the problem and a hint, as one line of bounded length.
pub(super) fn parse(setting: &Setting, data: &[u8]) -> Result<Option<Settings>, String> {
    if data.len() > MAX_SIZE {
        return Err(format!("{} bytes are too many; expected at most {MAX_SIZE}", data.len()));
    }
    let text = std::str::from_utf8(data).map_err(|_| {
        let shown = sanitize_for_log(&String::from_utf8_lossy(data));
        format!("\"{shown}\" is not UTF-8; expected text")
    })?;
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let mut settings = Settings::default();
    let parsed = (setting.field.parse)(&mut settings, text, None);
    parsed.map(|()| Some(settings)).map_err(|problem| problem.to_string())
}

/// Checks a value before it is written to `path`. Any value is valid at a path that is not the key of a setting.
pub(crate) fn check(path: &str, value: &[u8]) -> Result<(), String> {
    setting_at(path).map_or(Ok(()), |setting| parse(setting, value).map(drop))
}

/// Parses the data of `/config/sampling_period`; `None` if it is not a sampling period.
pub(crate) fn parse_sampling_period(data: &[u8]) -> Option<Duration> {
    let setting = dynamic_settings().find(|setting| setting.name == SAMPLING_PERIOD)?;
    parse(setting, data).ok().flatten().map(|settings| settings.sampling_period)
}

#[cfg(test)]
mod tests {
    use atalaya_testbed::thread_time;
    use proptest::prelude::*;

    use super::*;
    use crate::settings::table::API_URL;

    fn name_at(path: &str) -> Option<&'static str> {
        setting_at(path).map(|setting| setting.name)
    }

    /// Returns the value for people, or the error.
    fn shown(setting: &Setting, data: &[u8]) -> Result<Option<String>, String> {
        let parsed = parse(setting, data)?;
        Ok(parsed.map(|settings| (setting.show)(&settings).unwrap_or_default()))
    }

    #[test]
    fn config_keys_are_recognized_by_their_paths() {
        assert_eq!(name_at("/config/sampling_period"), Some("sampling_period"));
        assert_eq!(name_at("/config/nodes/greenhouse-2/log"), Some("log"));
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
            "/config/zookeeper",
            "/configs/log",
            "/fleet/config/log",
        ] {
            assert_eq!(name_at(path), None, "{path}");
        }
    }

    #[test]
    fn config_values_are_checked_before_they_are_written() {
        for (path, value) in [
            ("/config/sampling_period", "5"),
            ("/config/sampling_period", " 2.5\r\n"),
            ("/config/sampling_period", "500ms"),
            ("/config/sampling_period", ""),
            ("/config/sampling_period", "\n"),
            ("/config/api_url", "http://127.0.0.1:8000/\n"),
            ("/config/sync", "Barrier\n"),
            ("/config/log", "debug"),
            ("/config/aggregate", "median\n"),
            ("/config/aggregate", "{ trimmed = 0.1 }"),
            ("/config/quorum", "60%"),
            ("/config/outliers", "exclude"),
            ("/config/quantiles", "0.1, 0.9"),
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
        assert!(wrong("/config/aggregate", b"mode").contains("expected mean, median"));
        assert!(wrong("/config/aggregate", b"trimmed=0.6").contains("from 0 to below 0.5"));
        assert!(wrong("/config/quorum", b"0").contains("1 to 1000000 nodes"));
        assert!(wrong("/config/outliers", b"hide").contains("flag or exclude"));
        assert!(wrong("/config/quantiles", b"2").contains("from 0 to 1"));
        assert!(wrong("/config/log", b"loud=very").contains("such as debug"));
    }

    #[test]
    fn config_api_url_is_shown_without_its_secrets() {
        let setting = dynamic_settings().find(|setting| setting.name == API_URL).unwrap();
        let text = shown(setting, b"https://me:secret@host:8000/nuevo?token=secret").unwrap().unwrap();
        assert_eq!(text, "https://host:8000/nuevo");
    }

    proptest! {
        #[test]
        fn config_value_of_the_largest_size_is_read_in_bounded_time(
            (front, piece, behind) in prop_oneof![
                ("", "[a-z0-9.,=:/_ \\[\\]{}()|*+-]{1,12}", ""),
                ("(http|https)://", "[a-z0-9üß日א.@:%-]{1,12}", "(/nuevo)?"),
                ("http://h/", "(\\.\\./|%2e%2e/|[?#&=]|%[0-9a-f]{2}|é){1,4}", ""),
                ("", "([0-9]{1,3}(h|m|s|ms|days?|,)? ?){1,4}", ""),
            ],
        ) {
            let room = MAX_SIZE - front.len() - behind.len();
            let data = format!("{front}{}{behind}", piece.repeat(room / piece.len()));
            let begin = thread_time();
            for setting in dynamic_settings() {
                let _ = parse(setting, data.as_bytes());
            }
            let used = thread_time() - begin;
            // For debug builds; milliseconds otherwise.
            prop_assert!(used < Duration::from_secs(1), "{used:?}");
        }

        #[test]
        fn config_value_of_any_bytes_gives_a_value_or_one_short_line_in_linear_time(
            data in prop_oneof![
                3 => crate::model::foreign_input::bytes(),
                1 => "[a-z:/=,\\[\\]{}. \n\u{1b}]{0,300}".prop_map(String::into_bytes),
                1 => (0usize..2_000_000).prop_map(|length| vec![b'7'; length]),
            ],
        ) {
            for setting in dynamic_settings() {
                let read = crate::model::foreign_input::in_time(data.len(), || shown(setting, &data));
                match read {
                    Ok(Some(value)) => prop_assert!(value.chars().count() < 300),
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
