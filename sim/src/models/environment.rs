//! Physical environment of a simulated chip, such as the temperature, the light or the voltage that it measures. Every
//! model queries it once per conversion.

use std::fmt;
use std::time::Duration;

use atalaya_hal::Quantity;

/// Source of the physical values at the time of a conversion, in the quantity's canonical unit.
///
/// A finite value beyond the chip's range reads as the end of that range. An infinite one represents a broken element:
/// the converter outputs the end of its register's range. NaN has no position on the scale, and may read as any value.
pub struct Environment(Box<Source>);

/// Function of the channel, of the quantity and of the time.
type Source = dyn FnMut(Option<&str>, Quantity, Duration) -> f64 + Send;

impl Environment {
    /// Creates an environment that calls `source` at each conversion; the time is counted from the start of the bus's
    /// clock.
    pub fn new(mut source: impl FnMut(Quantity, Duration) -> f64 + Send + 'static) -> Environment {
        Environment::with_channels(move |_, quantity, now| source(quantity, now))
    }

    /// Creates the environment of a chip that measures different values on its channels.
    pub fn with_channels(
        source: impl FnMut(Option<&str>, Quantity, Duration) -> f64 + Send + 'static,
    ) -> Environment {
        Environment(Box::new(source))
    }

    /// Creates an environment that never changes; a quantity that is not in the list is 0.
    pub fn constant(values: &[(Quantity, f64)]) -> Environment {
        let values = values.to_vec();
        Environment::new(move |quantity, _| {
            values.iter().find(|(known, _)| *known == quantity).map_or(0.0, |(_, value)| *value)
        })
    }

    /// Returns the value for a conversion at `now`.
    pub fn at(&mut self, quantity: Quantity, now: Duration) -> f64 {
        (self.0)(None, quantity, now)
    }

    /// Returns the value of a channel for a conversion at `now`.
    pub fn at_channel(&mut self, channel: &str, quantity: Quantity, now: Duration) -> f64 {
        (self.0)(Some(channel), quantity, now)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

/// Returns the step of a signed register nearest to `value`: `value / lsb`, finite values clamped to `[min, max]` (in
/// the unit of `value`), infinite ones to the ends `[low, high]` (in steps).
pub(super) fn steps(value: f64, lsb: f64, range: [f64; 2], ends: [i32; 2]) -> i32 {
    let steps = match value {
        f64::INFINITY => ends[1],
        f64::NEG_INFINITY => ends[0],
        // A cast of a float saturates, and NaN becomes 0.
        finite => (finite.max(range[0]).min(range[1]) / lsb).round() as i32,
    };
    steps.max(ends[0]).min(ends[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finite_values_end_at_the_range_and_infinite_ones_at_the_rail() {
        let at = |value| steps(value, 0.5, [-55.0, 125.0], [-256, 255]);
        let table = [
            (0.2, 0),
            (0.3, 1),
            (-0.3, -1),
            (125.0, 250),
            (1e300, 250),
            (-1e300, -110),
            (f64::INFINITY, 255),
            (f64::NEG_INFINITY, -256),
        ];
        for (value, want) in table {
            assert_eq!(at(value), want, "{value}");
        }
        assert!((-110..=250).contains(&at(f64::NAN)));
    }
}
