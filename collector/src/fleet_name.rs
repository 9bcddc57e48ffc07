//! Names of fleets and of their zones. Reports, epochs and the fleet status are kept per fleet and zone: each zone has
//! an election, and so epochs and cycles, of its own.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::invalid::Invalid;
use crate::values::shortened;

/// Maximum length of a name, in bytes.
const MAX_LENGTH: usize = 64;
/// Name of the fleet whose nodes send no name.
const DEFAULT: &str = "default";

/// Separates the zone from the fleet. No name contains it.
const SEPARATOR: char = '/';

/// Name of a fleet, 1 to 64 letters, digits, `.`, `_` and `-` of ASCII, or of one of its zones, `FLEET/ZONE`. The
/// default is `default`. A request names the zone apart from the fleet, so only [`FleetName::in_zone`] and
/// [`FleetName::from_key`] return the name of a zone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Cow<str>")]
pub struct FleetName(
    /// `None` for [`DEFAULT`], so that most reports need no memory for it.
    Option<Arc<str>>,
);

impl FleetName {
    /// Returns the name, with that of the zone: the key in a store.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(DEFAULT)
    }

    /// Returns true for the fleet whose nodes send no name, and no zone.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }

    /// Parses a key in a store: a fleet, or a fleet and a zone.
    ///
    /// # Errors
    /// Returns an error if the text is neither.
    pub fn from_key(key: &str) -> Result<FleetName, Invalid> {
        match key.split_once(SEPARATOR) {
            None => key.parse(),
            Some((fleet, zone)) => Ok(fleet.parse::<FleetName>()?.in_zone(Some(&zone.parse()?))),
        }
    }

    /// Returns the name of a zone of this fleet; without a zone, that of the fleet.
    #[must_use]
    pub fn in_zone(&self, zone: Option<&ZoneName>) -> FleetName {
        let fleet = self.fleet();
        match zone {
            None => fleet,
            Some(zone) => FleetName(Some(format!("{fleet}{SEPARATOR}{zone}").into())),
        }
    }

    /// Returns the name without the zone.
    #[must_use]
    pub fn fleet(&self) -> FleetName {
        match self.as_str().split_once(SEPARATOR) {
            None => self.clone(),
            Some((fleet, _)) => FleetName((fleet != DEFAULT).then(|| fleet.into())),
        }
    }

    /// Returns the zone, if the name has one.
    pub fn zone(&self) -> Option<ZoneName> {
        self.as_str().split_once(SEPARATOR).map(|(_, zone)| ZoneName(zone.into()))
    }
}

/// Returns true for the text of a fleet's or a zone's name.
fn is_name(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_LENGTH).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Returns the error for a text that is not the name of a `kind`.
fn not_a_name(text: &str, kind: &str) -> Invalid {
    let text = shortened(text);
    Invalid::new(format!(
        "{text:?} is not the name of a {kind}: 1 to {MAX_LENGTH} letters, digits, '.', '_' or '-'"
    ))
}

impl FromStr for FleetName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<FleetName, Invalid> {
        if !is_name(text) {
            return Err(not_a_name(text, "fleet"));
        }
        Ok(FleetName((text != DEFAULT).then(|| text.into())))
    }
}

impl TryFrom<Cow<'_, str>> for FleetName {
    type Error = Invalid;

    fn try_from(text: Cow<'_, str>) -> Result<FleetName, Invalid> {
        text.parse()
    }
}

impl fmt::Display for FleetName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl Serialize for FleetName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl PartialSchema for FleetName {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]{1,64}$"));
        let schema = schema.min_length(Some(1)).max_length(Some(MAX_LENGTH)).default(Some(DEFAULT.into()));
        schema.build().into()
    }
}

impl ToSchema for FleetName {}

/// Name of a zone: 1 to 64 letters, digits, `.`, `_` and `-` of ASCII.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Cow<str>")]
pub struct ZoneName(Arc<str>);

impl ZoneName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ZoneName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<ZoneName, Invalid> {
        if is_name(text) { Ok(ZoneName(text.into())) } else { Err(not_a_name(text, "zone")) }
    }
}

impl TryFrom<Cow<'_, str>> for ZoneName {
    type Error = Invalid;

    fn try_from(text: Cow<'_, str>) -> Result<ZoneName, Invalid> {
        text.parse()
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for ZoneName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl PartialSchema for ZoneName {
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[A-Za-z0-9._-]{1,64}$"));
        schema.min_length(Some(1)).max_length(Some(MAX_LENGTH)).build().into()
    }
}

impl ToSchema for ZoneName {}

/// Fleet and zone in an answer.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct FleetFields {
    /// Fleet of the sender; missing in JSON if it is `default`.
    #[serde(skip_serializing_if = "FleetName::is_default")]
    #[schema(value_type = Option<FleetName>, nullable = false)]
    fleet: FleetName,
    /// Zone of the sender; missing in JSON if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    zone: Option<ZoneName>,
}

/// Fleet and zone of measurements in an answer.
#[derive(Serialize, ToSchema)]
pub(crate) struct SampleFleet<'a> {
    /// Name of the fleet.
    fleet: &'a str,
    /// Zone of the fleet; missing in JSON if it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    zone: Option<&'a str>,
}

impl SampleFleet<'_> {
    /// Serializes the key of a fleet or zone as the fields of the object around it.
    pub(crate) fn serialize_key<S: Serializer>(key: &str, serializer: S) -> Result<S::Ok, S::Error> {
        let (fleet, zone) =
            key.split_once(SEPARATOR).map_or((key, None), |(fleet, zone)| (fleet, Some(zone)));
        SampleFleet { fleet, zone }.serialize(serializer)
    }
}

impl FleetFields {
    /// Serializes a name as the fields of the object around it.
    pub(crate) fn serialize_name<S: Serializer>(name: &FleetName, serializer: S) -> Result<S::Ok, S::Error> {
        FleetFields { fleet: name.fleet(), zone: name.zone() }.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_a_fleet_is_parsed_and_formatted() {
        let longest = "x".repeat(64);
        for name in ["home", "Fleet-2_b.example", "0", "..", &longest] {
            let parsed: FleetName = name.parse().unwrap();
            assert_eq!((parsed.as_str(), parsed.is_default()), (name, false));
            assert_eq!(serde_json::from_value::<FleetName>(name.into()).unwrap(), parsed);
        }
        assert_eq!("default".parse::<FleetName>().unwrap(), FleetName::default());
        assert_eq!(serde_json::to_value(FleetName::default()).unwrap(), "default");
        for wrong in ["", "a b", "ñ", "a/b", "a:b", "a\n", &"x".repeat(65), &"ñ".repeat(9_000)] {
            let error = wrong.parse::<FleetName>().unwrap_err().to_string();
            assert!(error.contains("1 to 64") && error.len() < 300, "{error}");
            assert!(serde_json::from_value::<FleetName>(wrong.into()).is_err());
        }
    }

    #[test]
    fn zone_is_part_of_the_key_and_apart_from_the_fleet_elsewhere() {
        let zone: ZoneName = "north".parse().unwrap();
        for (fleet, key) in [("home", "home/north"), ("default", "default/north")] {
            let fleet: FleetName = fleet.parse().unwrap();
            let name = fleet.in_zone(Some(&zone));
            assert_eq!((name.as_str(), name.fleet(), name.zone()), (key, fleet.clone(), Some(zone.clone())));
            assert_eq!(FleetName::from_key(key).unwrap(), name);
            assert!(!name.is_default() && name > fleet);
            assert_eq!((name.in_zone(None), fleet.zone()), (fleet.clone(), None));
            assert_eq!(FleetName::from_key(fleet.as_str()).unwrap(), fleet);
        }
        for wrong in ["", "a/", "/b", "a/b/c", "a/b c", "/"] {
            assert!(FleetName::from_key(wrong).is_err(), "{wrong}");
        }
        for wrong in ["", "a/b", "*", "ñ", &"x".repeat(65)] {
            let error = wrong.parse::<ZoneName>().unwrap_err().to_string();
            assert!(error.contains("name of a zone: 1 to 64"), "{error}");
        }
    }
}
