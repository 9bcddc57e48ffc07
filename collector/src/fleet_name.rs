//! Names of fleets. Reports, epochs and the fleet status are kept per fleet.

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

/// Name of a fleet: 1 to 64 letters, digits, `.`, `_` and `-` of ASCII. The default is `default`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "Cow<str>")]
pub struct FleetName(
    /// `None` for [`DEFAULT`], so that most reports need no memory for it.
    Option<Arc<str>>,
);

impl FleetName {
    /// Returns the name.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(DEFAULT)
    }

    /// Returns true for the fleet whose nodes send no name.
    pub fn is_default(&self) -> bool {
        self.0.is_none()
    }
}

impl FromStr for FleetName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<FleetName, Invalid> {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if text.is_empty() || text.len() > MAX_LENGTH || !text.bytes().all(is_allowed) {
            return Err(Invalid::new(format!(
                "{:?} is not the name of a fleet: 1 to {MAX_LENGTH} letters, digits, '.', '_' or '-'",
                shortened(text)
            )));
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
}
