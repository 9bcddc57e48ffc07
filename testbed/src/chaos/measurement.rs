//! Reads measurements as the protocol defines them, written independently of the node. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Maximum size of a measurement, in bytes.
const LARGEST: usize = 64 * 1024;
/// Maximum number of units in one SenML pack.
const MOST_UNITS: usize = 32;
/// Maximum length of a unit, in bytes.
const LONGEST_UNIT: usize = 32;
/// Version of SenML (RFC 8428).
const VERSION: u64 = 10;

/// The values of one measurement by unit; bare numbers have none.
pub(super) type Values = BTreeMap<Option<String>, Vec<f64>>;

/// Returns the values, or `None` if a leader must exclude the znode.
pub(super) fn parse(data: &[u8]) -> Option<Values> {
    if data.len() > LARGEST {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?.trim();
    if let Ok(value) = text.parse::<f64>() {
        return value.is_finite().then(|| Values::from([(None, vec![value])]));
    }
    let Value::Array(records) = serde_json::from_str(text).ok()? else { return None };
    let (mut base_unit, mut base_value, mut values) = (None, 0.0, Values::new());
    for record in &records {
        let record = record.as_object()?;
        if record.get("bver").is_some_and(|version| version.as_u64() != Some(VERSION)) {
            return None;
        }
        base_unit = record.get("bu").and_then(Value::as_str).map(str::to_owned).or(base_unit);
        base_value = record.get("bv").and_then(Value::as_f64).unwrap_or(base_value);
        let value = record.get("v").and_then(Value::as_f64).map(|value| value + base_value);
        let Some(value) = value.filter(|value| value.is_finite()) else { continue };
        let unit = record.get("u").and_then(Value::as_str).map(str::to_owned).or_else(|| base_unit.clone());
        if unit.as_deref().is_some_and(|unit| !is_unit(unit)) {
            return None;
        }
        values.entry(unit).or_default().push(value);
    }
    let units: BTreeSet<_> = values.keys().collect();
    (!units.is_empty() && units.len() <= MOST_UNITS).then_some(values)
}

fn is_unit(unit: &str) -> bool {
    (1..=LONGEST_UNIT).contains(&unit.len()) && unit.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::super::poison::MEASUREMENTS;
    use super::*;

    #[test]
    fn poisoned_measurements_are_valid_only_where_the_protocol_says_so() {
        let bare = |value: f64| Values::from([(None, vec![value])]);
        let unit = |unit: &str, value: f64| (Some(unit.to_owned()), vec![value]);
        for (poison, data) in MEASUREMENTS {
            let expected = match poison {
                "1e308" => Some(bare(1e308)),
                "-0" => Some(bare(-0.0)),
                "a valid number" => Some(bare(2_000_000_000_007.25)),
                "valid SenML" => Some(Values::from([unit("Cel", 21.5), unit("%RH", 40.0)])),
                _ => None,
            };
            assert_eq!(parse(&data(7)), expected, "{poison}");
        }
    }

    #[test]
    fn senml_base_fields_apply_to_later_records() {
        let values = parse(br#"[{"bu":"V","v":1},{"v":2},{"bv":10,"u":"Cel","v":1.5}]"#).unwrap();
        assert_eq!(
            values,
            Values::from([(Some("V".into()), vec![1.0, 2.0]), (Some("Cel".into()), vec![11.5])])
        );
    }
}
