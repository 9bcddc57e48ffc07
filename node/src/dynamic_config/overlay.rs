//! What ZooKeeper tells one node, key by key, and the settings that come of it. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use reqwest::Url;

use crate::dynamic_config::key::{FLEET, Key, NODES, Value};
use crate::model::node_id::NodeId;
use crate::settings::Settings;

/// Whom a key is meant for. What is meant for one node goes before what is meant for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// The whole fleet.
    Fleet,
    /// This node.
    Node,
}

impl Scope {
    /// Both.
    pub const ALL: [Scope; 2] = [Scope::Fleet, Scope::Node];

    /// The znode that the keys are children of.
    pub fn folder(self, id: &NodeId) -> String {
        match self {
            Scope::Fleet => FLEET.to_owned(),
            Scope::Node => format!("{NODES}/{id}"),
        }
    }
}

/// What is told at present.
#[derive(Debug)]
pub struct Overlay {
    id: NodeId,
    told: BTreeMap<(Key, Scope), Value>,
    /// What has been looked at.
    seen: BTreeSet<(Key, Scope)>,
    /// Origins that `api_url` may name; empty: any.
    origins: Vec<Url>,
}

/// Why an address is refused that is an address.
const FOREIGN: &str =
    "its origin is none of api_origins; expected one of those that this node's own settings list";

/// What a change comes to, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is as before.
    Same,
    /// Another value is followed.
    News(String),
    /// It is refused, and what was told before stays.
    Refused(String),
}

impl Overlay {
    /// Nothing is told yet.
    pub fn new(id: NodeId) -> Overlay {
        Overlay { id, told: BTreeMap::new(), seen: BTreeSet::new(), origins: Vec::new() }
    }

    /// Takes over from `base` which origins `api_url` may name.
    pub fn allow(&mut self, base: &Settings) {
        let own = base.api_url.iter().filter(|_| !base.api_origins.is_empty());
        self.origins = base.api_origins.iter().chain(own).cloned().collect();
    }

    fn base_allows(&self, url: &Url) -> bool {
        self.origins.is_empty() || self.origins.iter().any(|allowed| allowed.origin() == url.origin())
    }

    /// Whether every place has been looked at.
    pub fn is_complete(&self) -> bool {
        self.seen.len() == Key::ALL.len() * Scope::ALL.len()
    }

    /// The znode at `scope` and `key`.
    pub fn path(&self, scope: Scope, key: Key) -> String {
        format!("{}/{}", scope.folder(&self.id), key.name())
    }

    /// Takes note of what stands at `scope` and `key`; `None`: there is no such znode.
    pub fn on(&mut self, scope: Scope, key: Key, data: Option<&[u8]>) -> Outcome {
        self.seen.insert((key, scope));
        let path = self.path(scope, key);
        let read = data.map_or(Ok(None), |data| key.read(data));
        let allowed = |value: &Option<Value>| match value {
            Some(Value::ApiUrl(url)) => self.base_allows(url),
            _ => true,
        };
        let value =
            match read.and_then(|value| if allowed(&value) { Ok(value) } else { Err(FOREIGN.to_owned()) }) {
                Ok(value) => value,
                Err(problem) => {
                    let stays = match self.told.get(&(key, scope)) {
                        Some(value) => format!("{value} stays"),
                        None => "it counts as not set".to_owned(),
                    };
                    return Outcome::Refused(format!("{path} is refused, {stays}: {problem}"));
                }
            };
        let before = match &value {
            Some(value) => self.told.insert((key, scope), value.clone()),
            None => self.told.remove(&(key, scope)),
        };
        if value == before {
            return Outcome::Same;
        }
        let own = self.told.get(&(key, Scope::Node)).filter(|_| scope == Scope::Fleet);
        Outcome::News(match (value, own) {
            (Some(value), None) => format!("follows {path}: {value}"),
            (Some(value), Some(own)) => {
                format!("{path} is {value}, but {} comes first: {own}", self.path(Scope::Node, key))
            }
            (None, _) => format!("{path} is not set any more; {}", self.rest(key)),
        })
    }

    /// Notes that what stands there cannot be read: what was told before stays.
    pub fn unreadable(&mut self, scope: Scope, key: Key) {
        self.seen.insert((key, scope));
    }

    /// What holds for `key` now, in words.
    fn rest(&self, key: Key) -> impl fmt::Display {
        match self.told.range((key, Scope::Fleet)..=(key, Scope::Node)).next_back() {
            Some(((_, scope), value)) => format!("follows {}: {value}", self.path(*scope, key)),
            None => "what this node was started with holds again".to_owned(),
        }
    }

    /// The settings of a node that was told `base` where it stands, and follows what is told here.
    pub fn over(&self, base: &Settings) -> Settings {
        let mut settings = base.clone();
        // In order of their keys, and the node's own last.
        for value in self.told.values() {
            match value {
                Value::ApiUrl(url) if !base.allows_api(url) => {}
                value => value.put_into(&mut settings),
            }
        }
        settings
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::settings::tests::defaults;

    fn overlay() -> Overlay {
        Overlay::new("3".parse().unwrap())
    }

    fn news(text: &str) -> Outcome {
        Outcome::News(text.to_owned())
    }

    fn seconds(overlay: &Overlay) -> u64 {
        overlay.over(&defaults()).sampling_period.as_secs()
    }

    const PERIOD: Key = Key::SamplingPeriod;

    #[test]
    fn a_nodes_own_key_comes_before_the_fleets_and_both_before_what_it_was_started_with() {
        let mut overlay = overlay();
        assert_eq!(seconds(&overlay), 5);
        let outcome = overlay.on(Scope::Fleet, PERIOD, Some(b"7\n"));
        assert_eq!((outcome, seconds(&overlay)), (news("follows /config/sampling_period: 7s"), 7));
        let outcome = overlay.on(Scope::Node, PERIOD, Some(b"1s"));
        assert_eq!((outcome, seconds(&overlay)), (news("follows /config/nodes/3/sampling_period: 1s"), 1));
        let outcome = overlay.on(Scope::Fleet, PERIOD, Some(b"8"));
        let text = "/config/sampling_period is 8s, but /config/nodes/3/sampling_period comes first: 1s";
        assert_eq!((outcome, seconds(&overlay)), (news(text), 1));
        let outcome = overlay.on(Scope::Node, PERIOD, None);
        let text = "/config/nodes/3/sampling_period is not set any more; follows /config/sampling_period: 8s";
        assert_eq!((outcome, seconds(&overlay)), (news(text), 8));
        let outcome = overlay.on(Scope::Fleet, PERIOD, Some(b" "));
        let text = "/config/sampling_period is not set any more; what this node was started with holds again";
        assert_eq!((outcome, seconds(&overlay)), (news(text), 5));
        assert_eq!(overlay.on(Scope::Fleet, PERIOD, None), Outcome::Same);
    }

    #[test]
    fn what_is_wrong_is_refused_and_the_last_good_value_stays() {
        let mut overlay = overlay();
        let Outcome::Refused(text) = overlay.on(Scope::Fleet, PERIOD, Some(b"soon")) else { panic!() };
        assert!(
            text.starts_with("/config/sampling_period is refused, it counts as not set: \"soon\" is not"),
            "{text}"
        );
        assert_eq!(seconds(&overlay), 5);
        overlay.on(Scope::Fleet, PERIOD, Some(b"7"));
        let Outcome::Refused(text) = overlay.on(Scope::Fleet, PERIOD, Some(b"0")) else { panic!() };
        assert!(text.contains("7s stays") && text.contains("expected a duration"), "{text}");
        assert_eq!(seconds(&overlay), 7);
        assert_eq!(overlay.on(Scope::Fleet, PERIOD, Some(b"7.0")), Outcome::Same);
        assert!(matches!(overlay.on(Scope::Fleet, PERIOD, None), Outcome::News(_)));
        assert!(matches!(overlay.on(Scope::Fleet, PERIOD, Some(b"0")), Outcome::Refused(_)));
        assert_eq!(seconds(&overlay), 5, "after its end nothing of it is left to stay");
    }

    #[test]
    fn overlay_follows_only_api_origins_that_the_settings_list() {
        let url = |text: &str| text.parse::<Url>().unwrap();
        let api = |overlay: &Overlay, base: &Settings| overlay.over(base).api_url.map(String::from);
        let base = Settings { api_origins: vec![url("https://api.example")], ..defaults() };
        let mut overlay = overlay();
        overlay.allow(&base);
        let Outcome::Refused(text) =
            overlay.on(Scope::Fleet, Key::ApiUrl, Some(b"http://10.0.0.1:2375/images?x=1"))
        else {
            panic!()
        };
        assert!(text.contains("api_origins") && !text.contains("10.0.0.1"), "{text}");
        assert_eq!(api(&overlay, &base), None);
        overlay.on(Scope::Fleet, Key::ApiUrl, Some(b"https://api.example/nuevo"));
        assert_eq!(api(&overlay, &base).as_deref(), Some("https://api.example/nuevo"));
        // A list that is read again applies to addresses that were followed before.
        let stricter = Settings { api_origins: vec![url("https://b.example")], ..defaults() };
        assert_eq!(api(&overlay, &stricter), None);
        let own = Settings { api_url: Some(url("https://api.example/own")), ..stricter };
        assert_eq!(
            api(&overlay, &own).as_deref(),
            Some("https://api.example/nuevo"),
            "the node's own origin"
        );
        overlay.allow(&own);
        assert!(matches!(
            overlay.on(Scope::Node, Key::ApiUrl, Some(b"https://api.example/2")),
            Outcome::News(_)
        ));
    }

    #[test]
    fn every_key_changes_its_own_setting() {
        let mut overlay = overlay();
        overlay.on(Scope::Node, PERIOD, Some(b"2.5"));
        overlay.on(Scope::Node, Key::ApiUrl, Some(b"http://h/"));
        overlay.on(Scope::Node, Key::Sync, Some(b"barrier"));
        overlay.on(Scope::Node, Key::Log, Some(b"debug"));
        let expected = Settings {
            sampling_period: Duration::from_millis(2_500),
            api_url: Some("http://h/nuevo".parse().unwrap()),
            sync: atalaya_hal::boards::SyncMode::Barrier,
            log: Some("debug".to_owned()),
            ..defaults()
        };
        assert_eq!(overlay.over(&defaults()), expected);
    }

    #[test]
    fn it_is_complete_when_every_place_was_looked_at() {
        let mut overlay = overlay();
        for scope in Scope::ALL {
            for key in Key::ALL {
                assert!(!overlay.is_complete());
                match key {
                    Key::Log => overlay.unreadable(scope, key),
                    key => drop(overlay.on(scope, key, None)),
                }
            }
        }
        assert!(overlay.is_complete());
    }
}
