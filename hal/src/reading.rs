//! Readings: a quantity in its one canonical unit, and a finite value. Used by every driver and by the node.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Kind of measured quantity. Each has one canonical unit, so numbers of one quantity can always be averaged.
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
    /// Number of events or objects, `count`.
    Count,
    /// Ratio without a unit, `/`.
    Dimensionless,
}

impl Quantity {
    /// All quantities, in the order of their declaration.
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

    /// Returns the name in boards.toml and JSON: `temperature`.
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

    /// Returns the unit as registered for SenML (RFC 8428, section 12.1; `ppm` from the secondary units of RFC 8798).
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

/// Error for a text that is not the name of a quantity.
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

/// Error for a value that is NaN or infinite and therefore not a reading.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("{quantity} of {value} is not a finite number")]
pub struct NotFinite {
    /// Quantity of the value.
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

/// Returns `value`, but 0 for -0: the sign would appear as `-0` in JSON and text, and has no meaning.
pub const fn without_negative_zero(value: f64) -> f64 {
    // IEEE 754, section 6.3: -0 + 0 is +0; every other sum with 0 is the other summand.
    value + 0.0
}

impl Reading {
    /// Creates a reading of `value` in the unit of `quantity`. Negative zero becomes zero.
    ///
    /// # Errors
    /// `value` is NaN or infinite.
    pub fn new(quantity: Quantity, value: f64) -> Result<Reading, NotFinite> {
        let value = without_negative_zero(value);
        if value.is_finite() { Ok(Reading { quantity, value }) } else { Err(NotFinite { quantity, value }) }
    }

    /// Returns the measured quantity.
    pub const fn quantity(&self) -> Quantity {
        self.quantity
    }

    /// Returns the value in [`Quantity::unit`]; always finite, never negative zero.
    pub const fn value(&self) -> f64 {
        self.value
    }
}

impl fmt::Display for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.quantity.unit())
    }
}

/// Result of one read of a sensor: at most one reading per quantity. Empty if filters dropped all of them. Up to four
/// readings, the maximum of the chips here, need no allocation.
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
