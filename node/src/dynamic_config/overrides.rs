//! The overrides of one node: the values of the keys in ZooKeeper, and the settings with them applied. No I/O.

use std::collections::BTreeMap;

use super::key::{FLEET_FOLDER, NODES_FOLDER, dynamic_settings, parse};
use crate::model::node_id::NodeId;
use crate::settings::Settings;
use crate::settings::setting::Setting;

/// Nodes that a key is for. A key for one node takes precedence over the same key for the fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scope {
    Fleet,
    Node,
}

/// The scopes, those that take precedence last.
const SCOPES: [Scope; 2] = [Scope::Fleet, Scope::Node];

#[derive(Debug)]
pub(super) struct Overrides {
    id: NodeId,
    /// The node's own settings.
    pub(super) base: Settings,
    /// Default settings with one value changed, by the name of that setting. `None` if the key is not set or cannot be
    /// read; keys that were not read yet are missing. Boxed, because few keys are set.
    values: BTreeMap<(&'static str, Scope), Option<Box<Settings>>>,
}

impl Overrides {
    pub(super) fn new(id: NodeId, base: Settings) -> Overrides {
        Overrides { id, base, values: BTreeMap::new() }
    }

    /// Returns true if all keys of both scopes have been read, or cannot be read.
    pub(super) fn is_complete(&self) -> bool {
        self.values.len() == dynamic_settings().count() * SCOPES.len()
    }

    /// Returns the path of the parent of the keys.
    pub(super) fn folder(&self, scope: Scope) -> String {
        match scope {
            Scope::Fleet => FLEET_FOLDER.to_owned(),
            Scope::Node => format!("{NODES_FOLDER}/{}", self.id),
        }
    }

    pub(super) fn path(&self, scope: Scope, setting: &Setting) -> String {
        format!("{}/{}", self.folder(scope), setting.name)
    }

    /// Updates one key. `data` is `None` if its znode does not exist. Returns a line for the log if the value has
    /// changed, or the error for the log if it is invalid. Then the previous one stays.
    pub(super) fn update(
        &mut self,
        scope: Scope,
        setting: &'static Setting,
        data: Option<&[u8]>,
    ) -> Result<Option<String>, String> {
        let key = (setting.name, scope);
        let parsed =
            data.map_or(Ok(None), |data| parse(setting, data)).and_then(|value| match value.map(Box::new) {
                Some(value) if !self.is_allowed(&value) => {
                    let problem = "its origin is not in api_origins";
                    Err(format!("{problem}; expected one of the origins in this node's own settings"))
                }
                value => Ok(value),
            });
        let path = self.path(scope, setting);
        let current = self.values.entry(key).or_default();
        let value = parsed.map_err(|problem| {
            let consequence = match current {
                Some(value) => format!("keeping {}", shown(setting, value)),
                None => "treating it as not set".to_owned(),
            };
            format!("{path} is rejected, {consequence}: {problem}")
        })?;
        if value == *current {
            return Ok(None);
        }
        current.clone_from(&value);
        let own = self.value(Scope::Node, setting).filter(|_| scope == Scope::Fleet);
        Ok(Some(match (value, own) {
            (Some(value), None) => format!("follows {path}: {}", shown(setting, &value)),
            (Some(value), Some(own)) => format!(
                "{path} is {}, but {} takes precedence: {}",
                shown(setting, &value),
                self.path(Scope::Node, setting),
                shown(setting, own)
            ),
            (None, _) => format!("{path} is no longer set; {}", self.describe_effective(setting)),
        }))
    }

    /// Records that a key cannot be read. Its previous value stays.
    pub(super) fn skip(&mut self, scope: Scope, setting: &'static Setting) {
        self.values.entry((setting.name, scope)).or_default();
    }

    fn value(&self, scope: Scope, setting: &Setting) -> Option<&Settings> {
        self.values.get(&(setting.name, scope))?.as_deref()
    }

    /// Returns the value that applies now, for the log.
    fn describe_effective(&self, setting: &Setting) -> String {
        for scope in [Scope::Node, Scope::Fleet] {
            if let Some(value) = self.value(scope, setting) {
                return format!("follows {}: {}", self.path(scope, setting), shown(setting, value));
            }
        }
        "the node's own setting applies again".to_owned()
    }

    /// Returns the node's own settings with the overrides applied.
    pub(super) fn effective(&self) -> Settings {
        let mut settings = self.base.clone();
        for scope in SCOPES {
            for setting in dynamic_settings() {
                // The allowed origins may have changed at SIGHUP.
                if let Some(value) = self.value(scope, setting).filter(|value| self.is_allowed(value)) {
                    (setting.field.copy)(value, &mut settings);
                }
            }
        }
        settings
    }

    /// Returns false if `value` sets an `api_url` whose origin the node's own settings do not allow.
    fn is_allowed(&self, value: &Settings) -> bool {
        value.api_url.as_ref().is_none_or(|url| self.base.allows_api(url))
    }
}

fn shown(setting: &Setting, value: &Settings) -> String {
    (setting.show)(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::Url;

    use super::*;

    type Update = Result<Option<String>, String>;

    fn overrides() -> Overrides {
        Overrides::new("3".parse().unwrap(), Settings::default())
    }

    fn setting(name: &str) -> &'static Setting {
        dynamic_settings().find(|setting| setting.name == name).unwrap()
    }

    fn update(overrides: &mut Overrides, scope: Scope, name: &str, data: Option<&[u8]>) -> Update {
        overrides.update(scope, setting(name), data)
    }

    fn update_period(overrides: &mut Overrides, scope: Scope, data: Option<&[u8]>) -> Update {
        update(overrides, scope, "sampling_period", data)
    }

    fn changed(text: &str) -> Update {
        Ok(Some(text.to_owned()))
    }

    fn seconds(overrides: &Overrides) -> u64 {
        overrides.effective().sampling_period.as_secs()
    }

    #[test]
    fn overrides_of_a_node_precede_those_of_the_fleet_and_both_its_own_settings() {
        let mut overrides = overrides();
        assert_eq!(seconds(&overrides), 5);
        let update = update_period(&mut overrides, Scope::Fleet, Some(b"7\n"));
        assert_eq!((update, seconds(&overrides)), (changed("follows /config/sampling_period: 7s"), 7));
        let update = update_period(&mut overrides, Scope::Node, Some(b"1s"));
        assert_eq!(
            (update, seconds(&overrides)),
            (changed("follows /config/nodes/3/sampling_period: 1s"), 1)
        );
        let update = update_period(&mut overrides, Scope::Fleet, Some(b"8"));
        let text = "/config/sampling_period is 8s, but /config/nodes/3/sampling_period takes precedence: 1s";
        assert_eq!((update, seconds(&overrides)), (changed(text), 1));
        let update = update_period(&mut overrides, Scope::Node, None);
        let text = "/config/nodes/3/sampling_period is no longer set; follows /config/sampling_period: 8s";
        assert_eq!((update, seconds(&overrides)), (changed(text), 8));
        let update = update_period(&mut overrides, Scope::Fleet, Some(b" "));
        let text = "/config/sampling_period is no longer set; the node's own setting applies again";
        assert_eq!((update, seconds(&overrides)), (changed(text), 5));
        assert_eq!(update_period(&mut overrides, Scope::Fleet, None), Ok(None));
    }

    #[test]
    fn overrides_reject_invalid_values_and_keep_the_last_valid_one() {
        let mut overrides = overrides();
        let update = update_period(&mut overrides, Scope::Fleet, Some(b"soon"));
        let text = update.unwrap_err();
        assert!(
            text.starts_with("/config/sampling_period is rejected, treating it as not set: \"soon\" is not"),
            "{text}"
        );
        assert_eq!(seconds(&overrides), 5);
        update_period(&mut overrides, Scope::Fleet, Some(b"7")).unwrap();
        let update = update_period(&mut overrides, Scope::Fleet, Some(b"0"));
        let text = update.unwrap_err();
        assert!(text.contains("keeping 7s") && text.contains("expected a duration"), "{text}");
        assert_eq!(seconds(&overrides), 7);
        assert_eq!(update_period(&mut overrides, Scope::Fleet, Some(b"7.0")), Ok(None));
        assert!(matches!(update_period(&mut overrides, Scope::Fleet, None), Ok(Some(_))));
        assert!(update_period(&mut overrides, Scope::Fleet, Some(b"0")).is_err());
        assert_eq!(seconds(&overrides), 5, "a deleted key has no previous value");
    }

    #[test]
    fn overrides_follow_only_api_origins_that_the_settings_list() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let mut overrides = overrides();
        overrides.base.api_origins = vec![url("https://api.example")];
        let update = |overrides: &mut Overrides, scope, data: &[u8]| {
            let update = overrides.update(scope, setting("api_url"), Some(data));
            (update, overrides.effective().api_url.map(String::from))
        };
        let (rejected, url_now) = update(&mut overrides, Scope::Fleet, b"http://10.0.0.1:2375/images?x=1");
        let text = rejected.unwrap_err();
        assert!(text.contains("api_origins") && !text.contains("10.0.0.1"), "{text}");
        assert_eq!(url_now, None);
        let (_, url_now) = update(&mut overrides, Scope::Fleet, b"https://api.example/nuevo");
        assert_eq!(url_now.as_deref(), Some("https://api.example/nuevo"));
        // The list may change at SIGHUP, after an address was accepted.
        overrides.base.api_origins = vec![url("https://b.example")];
        overrides.base.api_url = Some(url("https://api.example/own"));
        let (second, url_now) = update(&mut overrides, Scope::Node, b"https://api.example/2");
        assert!(matches!(second, Ok(Some(_))));
        assert_eq!(url_now.as_deref(), Some("https://api.example/2"), "the node's own origin");
        overrides.base.api_url = None;
        assert_eq!(overrides.effective().api_url, None);
    }

    #[test]
    fn each_override_changes_its_own_setting() {
        let mut overrides = overrides();
        for (name, data) in [
            ("sampling_period", &b"2.5"[..]),
            ("api_url", b"http://h/"),
            ("sync", b"barrier"),
            ("log", b"debug"),
        ] {
            update(&mut overrides, Scope::Node, name, Some(data)).unwrap();
        }
        let expected = Settings {
            sampling_period: Duration::from_millis(2_500),
            api_url: Some("http://h/nuevo".parse().unwrap()),
            sync: atalaya_config::SyncMode::Barrier,
            log: Some("debug".to_owned()),
            ..Settings::default()
        };
        assert_eq!(overrides.effective(), expected);
    }

    #[test]
    fn overrides_are_complete_when_all_keys_of_both_scopes_were_visited() {
        let mut overrides = overrides();
        for scope in SCOPES {
            for setting in dynamic_settings() {
                assert!(!overrides.is_complete());
                match setting.name {
                    "log" => overrides.skip(scope, setting),
                    name => drop(update(&mut overrides, scope, name, None).unwrap()),
                }
            }
        }
        assert!(overrides.is_complete());
    }
}
