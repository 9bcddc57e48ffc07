//! Format of a measurement's znode: a number as text, or a SenML pack. A node writes it; the leader reads it, and so
//! do Kazoo programs of the same fleet, which call `float(data)` or `int(data)`. No I/O.

use atalaya_hal::{Reading, SensorInfo};

use crate::model::senml::{self, PackError, Value, Values};

/// Maximum size of a measurement that is read, in bytes. A SenML pack of a hundred readings has a tenth of it.
pub const MAX_SIZE: usize = 64 * 1024;

/// Reason why a znode is excluded from the average.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exclusion {
    /// Only white space.
    #[error("is empty")]
    Empty,
    /// Larger than [`MAX_SIZE`].
    #[error("is larger than 64 KiB")]
    TooLarge,
    /// Not UTF-8.
    #[error("is not UTF-8 text")]
    NotUtf8,
    /// NaN, infinite, or too large for an `f64`.
    #[error("is not a finite number")]
    NotFinite,
    /// Neither a number nor a valid SenML pack.
    #[error(transparent)]
    NotAPack(#[from] PackError),
    /// Its units and those of the other measurements exceed the maximum number of units.
    #[error("has units beyond the 64 that are averaged")]
    TooManyUnits,
    /// Not written for three sampling periods.
    #[error("is older than three sampling periods")]
    Stale,
    /// Listed, but deleted before it was read, or not readable.
    #[error("is gone or cannot be read")]
    Gone,
}

impl Exclusion {
    /// Labels of the variants in metrics.
    pub const REASONS: [&str; 8] =
        ["empty", "too_large", "not_text", "not_finite", "not_a_number", "too_many_units", "stale", "gone"];

    /// Returns the index of the label in [`Exclusion::REASONS`].
    pub const fn reason(self) -> usize {
        match self {
            Exclusion::Empty => 0,
            Exclusion::TooLarge => 1,
            Exclusion::NotUtf8 => 2,
            Exclusion::NotFinite => 3,
            Exclusion::NotAPack(_) => 4,
            Exclusion::TooManyUnits => 5,
            Exclusion::Stale => 6,
            Exclusion::Gone => 7,
        }
    }
}

/// Parses a measurement: a number as text, with optional white space around it, or a SenML pack.
///
/// # Errors
/// The data is not a measurement.
pub fn parse(data: &[u8]) -> Result<Values, Exclusion> {
    if data.len() > MAX_SIZE {
        return Err(Exclusion::TooLarge);
    }
    let text = std::str::from_utf8(data).map_err(|_| Exclusion::NotUtf8)?.trim();
    if text.is_empty() {
        return Err(Exclusion::Empty);
    }
    match text.parse::<f64>() {
        // Adding positive zero turns a negative zero into zero.
        Ok(value) if value.is_finite() => Ok(Values::from([Value { unit: None, value: value + 0.0 }])),
        Ok(_) => Err(Exclusion::NotFinite),
        Err(_) => Ok(senml::parse(text)?),
    }
}

/// Format in which a node writes its measurements. It depends only on the sensors of the board, so it does not change
/// when a sensor fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// The number as text, for a board with one quantity of one sensor.
    Number,
    /// A SenML pack, for a board with several quantities.
    Pack,
}

impl Format {
    /// Returns the format for a board with these sensors.
    pub fn for_sensors<'a>(sensors: impl IntoIterator<Item = &'a SensorInfo>) -> Format {
        let quantities: usize = sensors.into_iter().map(|sensor| sensor.quantities.len()).sum();
        if quantities == 1 { Format::Number } else { Format::Pack }
    }

    /// Returns the data for the znode, or `None` without a reading.
    pub fn encode(self, node: &str, readings: &[(&str, Reading)]) -> Option<Vec<u8>> {
        match (self, readings) {
            (_, []) => None,
            // Rust writes the shortest text that parses to the same number, without ".0" after an integer.
            (Format::Number, [(_, reading), ..]) => Some((reading.value() + 0.0).to_string().into_bytes()),
            (Format::Pack, readings) => Some(senml::pack(node, readings.iter().copied()).into_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use atalaya_hal::Quantity;
    use proptest::prelude::*;

    use super::*;
    use crate::model::node_info::tests::sensor_info;

    fn number(value: f64) -> Values {
        Values::from([Value { unit: None, value }])
    }

    #[test]
    fn measurement_is_a_finite_number_or_a_senml_pack() {
        for (data, value) in [
            ("78", 78.0),
            (" 78.4\n", 78.4),
            ("-5", -5.0),
            ("1e3", 1000.0),
            ("+3.0", 3.0),
            ("\u{2003}7", 7.0),
        ] {
            assert_eq!(parse(data.as_bytes()), Ok(number(value)), "{data}");
        }
        let large = vec![b'7'; 900_000];
        for (data, why) in [
            (&b"abc"[..], Exclusion::NotAPack(PackError::Malformed)),
            (b"", Exclusion::Empty),
            (b" \n", Exclusion::Empty),
            (b"nan", Exclusion::NotFinite),
            (b"NaN", Exclusion::NotFinite),
            (b"inf", Exclusion::NotFinite),
            (b"-infinity", Exclusion::NotFinite),
            (b"1e400", Exclusion::NotFinite),
            (b"78,4", Exclusion::NotAPack(PackError::Malformed)),
            (b"\xff\xfe", Exclusion::NotUtf8),
            (&large, Exclusion::TooLarge),
            (b"[]", Exclusion::NotAPack(PackError::Empty)),
        ] {
            assert_eq!(parse(data), Err(why), "{:?}", String::from_utf8_lossy(&data[..data.len().min(20)]));
        }
        assert_eq!(
            parse(br#"[{"u":"Cel","v":21.5}]"#),
            Ok(Values::from([Value { unit: Some("Cel".into()), value: 21.5 }]))
        );
    }

    #[test]
    fn one_quantity_is_a_number_as_text_and_several_are_a_pack() {
        let one = [sensor_info("s", "c", &[Quantity::Temperature])];
        let two = [sensor_info("s", "c", &[Quantity::Temperature, Quantity::Humidity])];
        let reading = Reading::new(Quantity::Temperature, 78.0).unwrap();
        assert_eq!(Format::for_sensors(&one).encode("1", &[("s", reading)]), Some(b"78".to_vec()));
        assert_eq!(Format::for_sensors(&one).encode("1", &[]), None);
        let pack = Format::for_sensors(&two).encode("1", &[("s", reading)]).unwrap();
        let value = parse(&pack).unwrap().remove(0);
        assert_eq!(value.unit.as_deref(), Some("Cel"), "a pack even while one quantity is missing");
    }

    #[test]
    fn measurement_has_no_negative_zero() {
        for text in ["-0", "-0.0", "-1e-999", r#"[{"v":-0.0}]"#, r#"[{"bv":-0.0,"v":-0.0}]"#] {
            assert_eq!(parse(text.as_bytes()).unwrap()[0].value.to_string(), "0", "{text}");
        }
        let zero = Reading::new(Quantity::Temperature, -0.0).unwrap();
        for form in [Format::Number, Format::Pack] {
            let data = String::from_utf8(form.encode("1", &[("s", zero)]).unwrap()).unwrap();
            assert!(!data.contains("-0"), "{data}");
        }
    }

    proptest! {
        #[test]
        fn encoded_number_parses_to_the_same_value(value in prop::num::f64::NORMAL | prop::num::f64::ZERO | prop::num::f64::SUBNORMAL) {
            let reading = Reading::new(Quantity::Temperature, value).unwrap();
            let data = Format::Number.encode("1", &[("s", reading)]).unwrap();
            prop_assert_eq!(parse(&data), Ok(number(value)));
        }

        #[test]
        fn measurement_parses_any_bytes_in_linear_time_to_a_bounded_result(data in crate::model::foreign_input::bytes()) {
            let parsed = crate::model::foreign_input::in_time(data.len(), || parse(&data));
            let Ok(values) = parsed else { return Ok(()) };
            prop_assert!(values.len() <= senml::MAX_VALUES);
            prop_assert!(values.iter().all(|value| value.value.is_finite() && value.value.to_string() != "-0"));
        }
    }
}
