//! Topics of an output, and names as levels of topics and as ids.

use std::fmt::Write as _;

use atalaya_hal::Quantity;

/// Level below the fleet with the averages. A node with this name is escaped.
const AVERAGE: &str = "average";

#[derive(Clone, Debug)]
pub(super) struct Topics {
    /// First levels, and the fleet.
    fleet: String,
    /// The same, and the node.
    node: String,
}

impl Topics {
    /// Returns the topics below `prefix`, which is valid.
    pub(super) fn new(prefix: &str, fleet: &str, node: &str) -> Topics {
        let fleet = format!("{prefix}/{}", level(fleet));
        let node = match node {
            AVERAGE => format!("{fleet}/%61verage"),
            _ => format!("{fleet}/{}", level(node)),
        };
        Topics { fleet, node }
    }

    /// Returns the topic of the node's availability.
    pub(super) fn status(&self) -> String {
        format!("{}/status", self.node)
    }

    pub(super) fn sample(&self, sensor: &str, quantity: &str) -> String {
        format!("{}/{}/{}", self.node, level(sensor), level(quantity))
    }

    /// Returns the topic of the average of this unit: the name of the quantity, `unit/` and the unit if it belongs to no
    /// quantity, or `value` without a unit.
    pub(super) fn average(&self, unit: Option<&str>) -> String {
        match (unit, quantity_of(unit)) {
            (None, _) => format!("{}/{AVERAGE}/value", self.fleet),
            (_, Some(quantity)) => format!("{}/{AVERAGE}/{quantity}", self.fleet),
            (Some(unit), None) => format!("{}/{AVERAGE}/unit/{}", self.fleet, level(unit)),
        }
    }
}

/// Returns the quantity with this canonical unit.
pub(super) fn quantity_of(unit: Option<&str>) -> Option<Quantity> {
    Quantity::ALL.into_iter().find(|quantity| Some(quantity.unit()) == unit)
}

/// Returns a name as one level of a topic: letters, digits and most ASCII punctuation as they are, other characters as
/// `%` and two hexadecimal digits for each UTF-8 byte. Different names have different levels, which are never empty and
/// contain no wildcard.
pub(super) fn level(name: &str) -> String {
    let is_plain = |c: char| match c {
        '/' | '+' | '#' | '$' | '%' | '"' | '\\' => false,
        _ => c.is_ascii_graphic() || c.is_alphanumeric(),
    };
    match name {
        "" => "%".to_owned(),
        _ => escape(name, '%', is_plain),
    }
}

/// Returns a name as a part of an id for Home Assistant: ASCII letters, digits and `-` as they are, other bytes as `_` and
/// two hexadecimal digits. Different names have different ids, and `__` is in none of them.
pub(super) fn id(name: &str) -> String {
    escape(name, '_', |c| c.is_ascii_alphanumeric() || c == '-')
}

/// Returns the name of an id that [`id`] has returned.
pub(super) fn parse_id(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, tail) = match (first, tail) {
            (b'_', [high, low, tail @ ..]) => {
                let digits = [*high, *low];
                (u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?, tail)
            }
            _ => (*first, tail),
        };
        bytes.push(byte);
        rest = tail;
    }
    let name = String::from_utf8(bytes).ok()?;
    (id(&name) == text).then_some(name)
}

fn escape(name: &str, mark: char, is_plain: impl Fn(char) -> bool) -> String {
    let mut escaped = String::with_capacity(name.len());
    for c in name.chars() {
        if is_plain(c) {
            escaped.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a string never fails.
                let _ = write!(escaped, "{mark}{byte:02x}");
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Returns the name of a level.
    fn unescape(level: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = level.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'%' => {
                    let digits: Vec<u8> = rest.by_ref().take(2).collect();
                    if let Ok(byte) = u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16) {
                        bytes.push(byte);
                    }
                }
                byte => bytes.push(byte),
            }
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn level_is_reversible_and_has_no_wildcard_and_no_control_character(name in any::<String>()) {
            let level = level(&name);
            prop_assert_eq!(unescape(&level), name.clone());
            prop_assert!(!level.is_empty());
            prop_assert!(!level.contains(['/', '+', '#', '$', ' ', '\0']));
            prop_assert!(!level.chars().any(|c| c.is_control() || c.is_whitespace()));
            prop_assert!(level.len() <= 3 * name.len().max(1));
        }

        #[test]
        fn id_is_reversible_and_valid_for_home_assistant(name in any::<String>()) {
            let id = id(&name);
            prop_assert_eq!(parse_id(&id), Some(name));
            prop_assert!(id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'));
            prop_assert!(!id.contains("__") && !id.ends_with('_'));
        }

        #[test]
        fn text_that_is_no_id_is_refused(text in "[a-z_0-9é-]{0,12}") {
            if let Some(name) = parse_id(&text) {
                prop_assert_eq!(id(&name), text);
            }
        }

        #[test]
        fn topics_of_different_names_differ(
            names in prop::collection::vec(("[a%/ +#average]{0,9}", "[at/ ]{0,3}", "[a/]{0,2}"), 2..20),
        ) {
            let mut topics = BTreeMap::new();
            for (node, sensor, quantity) in names {
                let of_node = Topics::new("t", "home", &node);
                for topic in [
                    (of_node.status(), format!("{node:?}")),
                    (of_node.sample(&sensor, &quantity), format!("{:?}", (&node, &sensor, &quantity))),
                    (of_node.average(Some(&sensor)), format!("average of {sensor:?}")),
                ] {
                    let other = topics.insert(topic.0, topic.1.clone());
                    prop_assert!(other.is_none_or(|other| other == topic.1));
                }
            }
        }
    }

    #[test]
    fn topics_have_the_documented_form() {
        let topics = Topics::new("site/atalaya", "home", "greenhouse-2");
        assert_eq!(topics.status(), "site/atalaya/home/greenhouse-2/status");
        assert_eq!(
            topics.sample("outside", "temperature"),
            "site/atalaya/home/greenhouse-2/outside/temperature"
        );
        let averages: Vec<_> =
            [Some("Cel"), Some("mV"), Some("%"), None].map(|unit| topics.average(unit)).into();
        let expected = ["temperature", "unit/mV", "unit/%25", "value"];
        assert_eq!(averages, expected.map(|level| format!("site/atalaya/home/average/{level}")));
        assert_eq!(Topics::new("t", "a b", "average").status(), "t/a%20b/%61verage/status");
        assert_eq!(level("ático 1/2"), "ático%201%2f2");
        assert_eq!(id("ático_1"), "_c3_a1tico_5f1");
    }
}
