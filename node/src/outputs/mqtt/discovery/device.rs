//! Announcement of one device: the JSON that Home Assistant reads, and the difference to an earlier one.
//!
//! Format: <https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload>.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::units::{Class, class_of, class_of_sensor};
use crate::model::node_info::SensorStatus;
use crate::outputs::mqtt::topics::{Topics, id, parse_id, quantity_of};

/// Maximum size of an announcement that is parsed, in bytes.
pub(super) const MAX_SIZE: usize = 512 * 1024;
/// Maximum number of components of a device.
pub(super) const MAX_COMPONENTS: usize = 512;
/// Maximum length of the key of a component that is removed.
const MAX_KEY: usize = 1024;
/// Key of the average of measurements without a unit.
const NUMBER: &str = "number";
/// Beginning of the key of an average with a unit.
const UNIT: &str = "unit__";

/// Names from which announcements are made.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) fleet: String,
    pub(super) node: String,
    pub(super) topics: Topics,
}

impl Names {
    pub(super) fn node_object(&self) -> String {
        format!("atalaya__{}__{}", id(&self.fleet), id(&self.node))
    }

    pub(super) fn averages_object(&self) -> String {
        format!("atalaya_averages__{}", id(&self.fleet))
    }

    /// Returns the announcement of the node, with a component for each quantity of each sensor.
    pub(super) fn node(&self, sensors: &[SensorStatus]) -> Value {
        let object = self.node_object();
        let mut components = Map::new();
        let quantities = sensors.iter().flat_map(|sensor| sensor.quantities.iter().map(move |q| (sensor, q)));
        for (sensor, quantity) in quantities.take(MAX_COMPONENTS) {
            let key = format!("{}__{}", id(&sensor.name), id(quantity));
            let unit = quantity.parse().ok().map(|quantity: atalaya_hal::Quantity| quantity.unit());
            let class = unit.map_or(class_of(None), |unit| class_of_sensor(unit, &sensor.chip));
            let topic = self.topics.sample(&sensor.name, quantity);
            let name = format!("{} {quantity}", sensor.name);
            let component = component(&format!("{object}__{key}"), &name, &topic, class);
            components.insert(key, component);
        }
        let mut announcement = device(&object, &format!("{} {}", self.fleet, self.node), components);
        announcement["availability_topic"] = self.topics.status().into();
        announcement
    }

    pub(super) fn averages<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Value {
        let object = self.averages_object();
        let mut components = Map::new();
        for key in keys {
            let Some(unit) = unit_of_key(key) else { continue };
            let (unit, topic) = (unit.as_deref(), self.topics.average(unit.as_deref()));
            let name = match (quantity_of(unit), unit) {
                (Some(quantity), _) => format!("average {quantity}"),
                (None, Some(unit)) => format!("average in {unit}"),
                (None, None) => "average".to_owned(),
            };
            let component = component(&format!("{object}__{key}"), &name, &topic, class_of(unit));
            components.insert(key.clone(), component);
        }
        device(&object, &format!("{} averages", self.fleet), components)
    }
}

pub(super) fn average_key(unit: Option<&str>) -> String {
    unit.map_or_else(|| NUMBER.to_owned(), |unit| format!("{UNIT}{}", id(unit)))
}

/// Returns the unit of a key. `None` if it is not the key of an average.
#[expect(clippy::option_option, reason = "an average may have no unit")]
pub(super) fn unit_of_key(key: &str) -> Option<Option<String>> {
    if key == NUMBER {
        return Some(None);
    }
    let unit = parse_id(key.strip_prefix(UNIT)?)?;
    crate::model::senml::is_unit(&unit).then_some(Some(unit))
}

fn component(unique_id: &str, name: &str, topic: &str, class: Class<'_>) -> Value {
    let mut component = json!({
        "p": "sensor",
        "unique_id": unique_id,
        "name": name,
        "state_topic": topic,
        "value_template": "{{ value_json.value }}",
        "state_class": "measurement",
    });
    for (key, value) in [("device_class", class.device_class), ("unit_of_measurement", class.unit)] {
        if let Some(value) = value {
            component[key] = value.into();
        }
    }
    component
}

fn device(object: &str, name: &str, components: Map<String, Value>) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "dev": { "ids": [object], "name": name, "mf": "Atalaya", "sw": version },
        "o": { "name": "atalaya", "sw": version },
        "cmps": components,
        "qos": 1,
    })
}

/// Components of a retained announcement of any client: keys of sensors, and true if the component is announced, false if
/// it is being removed. Content that is not an announcement has none.
pub(super) fn components(announcement: &Value) -> BTreeMap<&str, bool> {
    let components = ["cmps", "components"].iter().find_map(|key| announcement[key].as_object());
    let sensors = components.into_iter().flatten().filter_map(|(key, component)| {
        let platform = ["p", "platform"].iter().find_map(|name| component[name].as_str());
        let is_valid =
            platform == Some("sensor") && key.len() <= MAX_KEY && !key.chars().any(char::is_control);
        let is_announced = component.as_object().is_some_and(|fields| fields.len() > 1);
        is_valid.then_some((key.as_str(), is_announced))
    });
    sensors.take(MAX_COMPONENTS).collect()
}

/// Returns the announcements that lead from `before` to `wanted`, in order. Components that are gone are first announced
/// with only their platform, which makes Home Assistant remove them, and then left out.
pub(super) fn transition(before: Option<&Value>, wanted: &Value) -> Vec<Value> {
    let Some(before) = before else { return vec![wanted.clone()] };
    if before == wanted {
        return Vec::new();
    }
    let mut removal = wanted.clone();
    let mut is_removal = false;
    for key in components(before).into_keys() {
        if wanted["cmps"].get(key).is_none() {
            removal["cmps"][key] = json!({ "p": "sensor" });
            is_removal = true;
        }
    }
    if is_removal { vec![removal, wanted.clone()] } else { vec![wanted.clone()] }
}

/// Parses a retained announcement. Content that cannot be one is `Value::Null`, which differs from every announcement.
pub(super) fn parse(payload: &[u8]) -> Value {
    match payload.len() {
        0..=MAX_SIZE => serde_json::from_slice(payload).unwrap_or(Value::Null),
        _ => Value::Null,
    }
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
