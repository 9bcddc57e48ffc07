//! The part of SenML (RFC 8428) that measurements need: numeric records with units, with resolved base fields.

use std::collections::BTreeSet;

use atalaya_hal::{Quantity, Reading};
use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

/// One record of a pack, with the short labels of RFC 8428, section 4.3 (table 1). Fields that do not affect the
/// number of a measurement (times, sums, data values) are ignored.
#[derive(Debug, Default, Deserialize, Serialize)]
struct Record {
    #[serde(rename = "bu", skip_serializing_if = "Option::is_none", default)]
    base_unit: Option<String>,
    #[serde(rename = "bv", skip_serializing_if = "Option::is_none", default)]
    base_value: Option<f64>,
    #[serde(rename = "bver", skip_serializing_if = "Option::is_none", default)]
    base_version: Option<u32>,
    #[serde(rename = "bn", skip_serializing_if = "Option::is_none", default)]
    base_name: Option<String>,
    #[serde(rename = "n", skip_serializing_if = "Option::is_none", default)]
    name: Option<String>,
    #[serde(rename = "u", skip_serializing_if = "Option::is_none", default)]
    unit: Option<String>,
    #[serde(rename = "v", skip_serializing_if = "Option::is_none", default)]
    value: Option<f64>,
}

/// The numbers of a measurement: most have one.
pub type Values = SmallVec<[Value; 1]>;

/// A number with its unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// Name of the unit as registered for SenML, if the record or a base field has one.
    pub unit: Option<String>,
    /// A finite number.
    pub value: f64,
}

/// Reason why a text is not a pack of measurements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackError {
    /// Not JSON, or not an array of records.
    #[error("is neither a number nor a SenML pack")]
    Malformed,
    /// A version of SenML other than 10 (RFC 8428, section 4.4).
    #[error("is a SenML pack of a version other than 10")]
    Version,
    /// An invalid unit: longer than 32 bytes, or not only visible ASCII characters.
    #[error("is a SenML pack with an invalid unit")]
    Unit,
    /// More than [`MAX_UNITS`] units.
    #[error("is a SenML pack with more than 32 units")]
    Units,
    /// More than [`MAX_VALUES`] numbers.
    #[error("is a SenML pack with more than 1024 numbers")]
    Values,
    /// No record has a finite number.
    #[error("is a SenML pack without a finite number")]
    Empty,
}

const VERSION: u32 = 10;
/// Maximum number of different units in a pack. Each causes a report.
pub const MAX_UNITS: usize = 32;
/// Maximum number of values in a pack. It limits the memory of the leader, because any client can store a pack.
pub const MAX_VALUES: usize = 1024;
/// Maximum length of the name of a unit, in bytes. The longest registered name has 8.
const MAX_UNIT: usize = 32;

/// Returns the numbers of a pack.
///
/// # Errors
/// The text is not a valid pack, or has no number.
pub fn parse(text: &str) -> Result<Values, PackError> {
    let records: Vec<Record> = serde_json::from_str(text).map_err(|_| PackError::Malformed)?;
    let mut base_unit = None;
    let mut base_value = 0.0;
    let mut values = Values::new();
    for record in records {
        if record.base_version.is_some_and(|version| version != VERSION) {
            return Err(PackError::Version);
        }
        base_unit = record.base_unit.or(base_unit);
        base_value = record.base_value.unwrap_or(base_value);
        let Some(value) = record.value.map(|value| value + base_value).filter(|value| value.is_finite())
        else {
            continue;
        };
        let unit = record.unit.or_else(|| base_unit.clone());
        if unit.as_deref().is_some_and(|unit| !is_unit(unit)) {
            return Err(PackError::Unit);
        }
        if values.len() == MAX_VALUES {
            return Err(PackError::Values);
        }
        // Adding positive zero turns a negative zero into zero.
        values.push(Value { unit, value: value + 0.0 });
    }
    let units: BTreeSet<&Option<String>> = values.iter().map(|value| &value.unit).collect();
    if units.len() > MAX_UNITS {
        return Err(PackError::Units);
    }
    if values.is_empty() { Err(PackError::Empty) } else { Ok(values) }
}

/// Returns true if `unit` can be used in the headers and URLs of reports.
pub(crate) fn is_unit(unit: &str) -> bool {
    (1..=MAX_UNIT).contains(&unit.len()) && unit.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Returns a pack with the readings of a node, each named `{node}/{sensor}/{quantity}`.
#[expect(clippy::expect_used, reason = "strings and numbers can always be serialised")]
pub fn pack<'a>(node: &str, readings: impl IntoIterator<Item = (&'a str, Reading)>) -> String {
    let mut records: Vec<Record> = readings
        .into_iter()
        .map(|(sensor, reading)| Record {
            name: Some(format!("{sensor}/{}", reading.quantity().name())),
            unit: Some(reading.quantity().unit().to_owned()),
            value: Some(reading.value() + 0.0),
            ..Record::default()
        })
        .collect();
    if let Some(first) = records.first_mut() {
        first.base_name = Some(format!("{node}/"));
    }
    serde_json::to_string(&records).expect("the pack is serialisable")
}

/// Returns the quantity whose canonical unit is `unit`.
pub fn quantity_of(unit: &str) -> Option<Quantity> {
    Quantity::ALL.into_iter().find(|quantity| quantity.unit() == unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn base_fields_of_a_pack_apply_to_all_following_records() {
        // RFC 8428, section 5.1.3: "bn", "bu" and "bver" hold for all records that follow.
        let text = r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":10,"n":"voltage","u":"V","v":120.1},
            {"n":"current","t":-5,"v":1.2},{"n":"label","vs":"x"},{"bv":20,"u":"Cel","v":1.5}]"#;
        let values = parse(text).unwrap();
        let pairs: Vec<_> = values.iter().map(|value| (value.unit.as_deref(), value.value)).collect();
        assert_eq!(pairs, [(Some("V"), 120.1), (Some("A"), 1.2), (Some("Cel"), 21.5)]);
    }

    fn many_units(count: usize) -> String {
        let records: Vec<String> = (0..count).map(|n| format!(r#"{{"u":"u{n}","v":{n}}}"#)).collect();
        format!("[{}]", records.join(","))
    }

    #[test]
    fn pack_may_have_many_units_and_many_records_of_one_unit() {
        assert_eq!(parse(&many_units(MAX_UNITS)).unwrap().len(), MAX_UNITS);
        let same = format!("[{}]", vec![r#"{"u":"V","v":1}"#; 1_000].join(","));
        assert_eq!(parse(&same).unwrap().len(), 1_000);
        assert!(Quantity::ALL.into_iter().all(|quantity| is_unit(quantity.unit())));
    }

    #[test]
    fn invalid_pack_is_an_error_with_the_reason() {
        for (text, why) in [
            ("", PackError::Malformed),
            ("{}", PackError::Malformed),
            ("[1]", PackError::Malformed),
            ("[]", PackError::Empty),
            (r#"[{"n":"x","vs":"7"}]"#, PackError::Empty),
            (r#"[{"bver":11,"v":1}]"#, PackError::Version),
            (r#"[{"u":"","v":1}]"#, PackError::Unit),
            (r#"[{"bu":"a b","v":1}]"#, PackError::Unit),
            (r#"[{"u":"Cel\r\nX-Evil: 1","v":1}]"#, PackError::Unit),
            (r#"[{"u":"µ","v":1}]"#, PackError::Unit),
            (&format!(r#"[{{"u":"{}","v":1}}]"#, "x".repeat(33)), PackError::Unit),
            (&many_units(MAX_UNITS + 1), PackError::Units),
            (r#"[{"bv":1e308,"v":1e308}]"#, PackError::Empty),
            (&format!("[{}]", vec![r#"{"v":1}"#; MAX_VALUES + 1].join(",")), PackError::Values),
            (&"[".repeat(60_000), PackError::Malformed),
        ] {
            assert_eq!(parse(text), Err(why), "{}", text.get(..20).unwrap_or(text));
        }
    }

    #[test]
    fn pack_parses_to_the_same_values_and_units() {
        let readings = [
            ("air", Reading::new(Quantity::Temperature, 21.5).unwrap()),
            ("air", Reading::new(Quantity::Humidity, 40.0).unwrap()),
        ];
        let text = pack("7", readings);
        assert_eq!(
            text,
            r#"[{"bn":"7/","n":"air/temperature","u":"Cel","v":21.5},{"n":"air/humidity","u":"%RH","v":40.0}]"#
        );
        assert_eq!(parse(&text).unwrap()[1], Value { unit: Some("%RH".into()), value: 40.0 });
        assert_eq!(quantity_of("%RH"), Some(Quantity::Humidity));
    }

    proptest! {
        #[test]
        fn senml_parses_any_bytes_in_linear_time_to_a_bounded_result(data in crate::model::foreign_input::bytes()) {
            let text = String::from_utf8_lossy(&data);
            let parsed = crate::model::foreign_input::in_time(text.len(), || parse(&text));
            let Ok(values) = parsed else { return Ok(()) };
            prop_assert!(values.len() <= MAX_VALUES);
            for value in values {
                prop_assert!(value.value.is_finite() && value.value.to_string() != "-0");
                prop_assert!(value.unit.is_none_or(|unit| is_unit(&unit)));
            }
        }

        #[test]
        fn senml_pack_of_any_records_gives_few_finite_numbers_with_units(
            records in prop::collection::vec(
                (prop::option::of(any::<f64>()), prop::option::of("[ -~µ]{0,40}"), prop::option::of(any::<f64>())), 0..20,
            ),
            times in 1usize..200,
        ) {
            let records: Vec<Record> = std::iter::repeat_n(records, times)
                .flatten()
                .map(|(value, unit, base_value)| Record { value, unit, base_value, ..Record::default() })
                .collect();
            let Ok(values) = parse(&serde_json::to_string(&records).unwrap()) else { return Ok(()) };
            prop_assert!((1..=MAX_VALUES).contains(&values.len()));
            prop_assert!(values.iter().all(|value| value.value.is_finite() && value.value.to_string() != "-0"));
            prop_assert!(values.iter().flat_map(|value| &value.unit).all(|unit| is_unit(unit)));
        }
    }
}
