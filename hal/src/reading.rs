//! What was measured: a quantity in its one canonical unit, and a finite value. Used by every driver and by the node.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A kind of thing a sensor measures. Each has one canonical unit, so numbers of one quantity can always be averaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Quantity {
    /// Degrees Celsius, `Cel`.
    Temperature,
    /// Relative humidity in percent, `%RH`.
    Humidity,
    /// Pascal, `Pa`.
    Pressure,
    /// Volt, `V`.
    Voltage,
    /// Ampere, `A`.
    Current,
    /// Watt, `W`.
    Power,
    /// Lux, `lx`.
    Illuminance,
    /// Parts per million, `ppm`.
    Concentration,
    /// A number of events or things, `count`.
    Count,
    /// A ratio without a unit, `/`.
    Dimensionless,
}

impl Quantity {
    /// All of them, in the order of the declaration.
    pub const ALL: [Quantity; 10] = [
        Quantity::Temperature,
        Quantity::Humidity,
        Quantity::Pressure,
        Quantity::Voltage,
        Quantity::Current,
        Quantity::Power,
        Quantity::Illuminance,
        Quantity::Concentration,
        Quantity::Count,
        Quantity::Dimensionless,
    ];

    /// The name as boards.toml and JSON write it: `temperature`.
    pub const fn name(self) -> &'static str {
        match self {
            Quantity::Temperature => "temperature",
            Quantity::Humidity => "humidity",
            Quantity::Pressure => "pressure",
            Quantity::Voltage => "voltage",
            Quantity::Current => "current",
            Quantity::Power => "power",
            Quantity::Illuminance => "illuminance",
            Quantity::Concentration => "concentration",
            Quantity::Count => "count",
            Quantity::Dimensionless => "dimensionless",
        }
    }

    /// The unit as SenML registers it (RFC 8428, section 12.1; `ppm` from the secondary units of RFC 8798).
    pub const fn unit(self) -> &'static str {
        match self {
            Quantity::Temperature => "Cel",
            Quantity::Humidity => "%RH",
            Quantity::Pressure => "Pa",
            Quantity::Voltage => "V",
            Quantity::Current => "A",
            Quantity::Power => "W",
            Quantity::Illuminance => "lx",
            Quantity::Concentration => "ppm",
            Quantity::Count => "count",
            Quantity::Dimensionless => "/",
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A text that names no quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a quantity; one of temperature, humidity, pressure, voltage, current, power, illuminance, concentration, count, dimensionless"
)]
pub struct UnknownQuantity(String);

impl FromStr for Quantity {
    type Err = UnknownQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Quantity::ALL.into_iter().find(|q| q.name() == text).ok_or_else(|| UnknownQuantity(text.to_owned()))
    }
}

/// A value that is NaN or infinite, and therefore no reading.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{quantity} of {value} is not a finite number")]
pub struct NotFinite {
    /// What was measured.
    pub quantity: Quantity,
    /// NaN or an infinity.
    pub value: f64,
}

/// One measured value, finite, in the canonical unit of its quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Reading {
    quantity: Quantity,
    value: f64,
}

/// Returns `value`, but 0 for -0: the sign would show as `-0` in JSON and text, and means nothing.
pub const fn without_negative_zero(value: f64) -> f64 {
    // IEEE 754, section 6.3: -0 + 0 is +0; every other sum with 0 is the other summand.
    value + 0.0
}

impl Reading {
    /// A reading of `value` in the unit of `quantity`. Negative zero becomes zero.
    ///
    /// # Errors
    /// `value` is NaN or infinite.
    pub fn new(quantity: Quantity, value: f64) -> Result<Reading, NotFinite> {
        let value = without_negative_zero(value);
        if value.is_finite() { Ok(Reading { quantity, value }) } else { Err(NotFinite { quantity, value }) }
    }

    /// What was measured.
    pub const fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// The value in [`Quantity::unit`]; always finite, never negative zero.
    pub const fn value(&self) -> f64 {
        self.value
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.quantity.unit())
    }
}

/// What one read of a sensor gives: at most one reading per quantity. Empty when filters dropped everything. Four of
/// them, which is as many as any chip here has, need no memory of their own.
pub type Readings = smallvec::SmallVec<[Reading; 4]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_through_text_and_json() {
        for quantity in Quantity::ALL {
            assert_eq!(quantity.name().parse(), Ok(quantity));
            assert_eq!(serde_json::to_string(&quantity).unwrap(), format!("\"{quantity}\""));
            assert_eq!(serde_json::from_str::<Quantity>(&format!("\"{quantity}\"")).unwrap(), quantity);
        }
        assert!("Temperature".parse::<Quantity>().is_err());
    }

    #[test]
    fn units_are_distinct() {
        let mut units: Vec<_> = Quantity::ALL.iter().map(|q| q.unit()).collect();
        units.sort_unstable();
        units.dedup();
        assert_eq!(units.len(), Quantity::ALL.len());
    }

    #[test]
    fn negative_zero_is_zero() {
        let reading = Reading::new(Quantity::Temperature, -0.0).unwrap();
        assert!(reading.value().is_sign_positive());
        assert_eq!(reading.to_string(), "0 Cel");
        assert!(serde_json::to_string(&reading).unwrap().ends_with("\"value\":0.0}"));
    }

    #[test]
    fn only_finite_values_are_readings() {
        let reading = Reading::new(Quantity::Temperature, 78.5).unwrap();
        assert_eq!((reading.quantity(), reading.value()), (Quantity::Temperature, 78.5));
        assert_eq!(reading.to_string(), "78.5 Cel");
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(Reading::new(Quantity::Count, value).is_err(), "{value}");
        }
    }
}
