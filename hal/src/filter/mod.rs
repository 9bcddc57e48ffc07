//! Filter chain of a sensor: the steps between the chip and the node. [`Filter`] is the configuration in boards.toml,
//! [`Chain`] applies it to one series of values, [`Filtered`] to all quantities of a sensor.

use std::collections::VecDeque;

use crate::error::{Cause, Place, ReadError};
use crate::reading::{Quantity, Reading, Readings, without_negative_zero};
use crate::sensor::{Sensor, SensorInfo};

/// Maximum window of a filter.
pub const MAX_WINDOW: usize = 1000;

/// Maximum number of decimals of a rounded value.
pub const MAX_DECIMALS: u8 = 12;

/// One step between the chip and the node. Filters apply in the order in which boards.toml lists them.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Filter {
    /// Adds a number.
    Offset(f64),
    /// Multiplies by a number.
    Scale(f64),
    /// Calibrates with two points: measured and actual values.
    Linear {
        /// Two measured values; they differ.
        measured: [f64; 2],
        /// Actual values at these points.
        actual: [f64; 2],
    },
    /// Median of the last N values, or of all values since the last fault if there are fewer.
    Median(usize),
    /// Mean of the last N values, or of all values since the last fault if there are fewer.
    Mean(usize),
    /// Exponential smoothing: `alpha` (0 to 1) is the weight of the new value.
    Exponential(f64),
    /// Limits a value to low..=high.
    Clamp(f64, f64),
    /// Drops a value outside low..=high.
    Range(f64, f64),
    /// Drops a value that differs by less than this from the last value that passed.
    Delta(f64),
    /// Rounds to this number of decimals.
    Round(u8),
}

/// Filter with the past values that it needs.
#[derive(Clone, Debug)]
struct Step {
    filter: Filter,
    /// Window of `median` and `mean`; last value of `exponential` and `delta`.
    past: VecDeque<f64>,
}

/// Filter chain for one series of values. Pure: no clock, no I/O.
#[derive(Clone, Debug)]
pub struct Chain(Vec<Step>);

impl Chain {
    /// Creates a chain of these filters, in order, without past values.
    pub fn new(filters: &[Filter]) -> Chain {
        Chain(filters.iter().map(|filter| Step { filter: filter.clone(), past: VecDeque::new() }).collect())
    }

    /// Filters the next value of the series. Returns None if a filter dropped it, or if the result is not finite; the
    /// filters after the one that dropped it do not see it. Never returns negative zero.
    pub fn apply(&mut self, value: f64) -> Option<f64> {
        let finite = |value: f64| value.is_finite().then_some(without_negative_zero(value));
        self.0.iter_mut().try_fold(finite(value)?, |value, step| step.apply(value).and_then(finite))
    }

    /// Discards the past values, so that values from before a fault do not influence later results.
    pub fn reset(&mut self) {
        self.0.iter_mut().for_each(|step| step.past.clear());
    }
}

impl Step {
    fn apply(&mut self, value: f64) -> Option<f64> {
        Some(match self.filter {
            Filter::Offset(offset) => value + offset,
            Filter::Scale(factor) => value * factor,
            Filter::Linear { measured: [m0, m1], actual: [a0, a1] } => {
                a0 + (value - m0) * ((a1 - a0) / (m1 - m0))
            }
            Filter::Median(window) => {
                self.remember(value, window);
                median(&self.past)
            }
            Filter::Mean(window) => {
                self.remember(value, window);
                // Each value is divided before the sum: the sum of finite values may not be finite.
                let count = self.past.len() as f64;
                self.past.iter().map(|past| past / count).sum()
            }
            Filter::Exponential(alpha) => {
                let smooth = self.past.back().map_or(value, |last| alpha * value + (1.0 - alpha) * last);
                if smooth.is_finite() {
                    self.remember(smooth, 1);
                }
                smooth
            }
            // Not f64::clamp, which panics if low > high.
            Filter::Clamp(low, high) => value.max(low).min(high),
            Filter::Range(low, high) => return (low <= value && value <= high).then_some(value),
            Filter::Delta(least) => {
                if self.past.back().is_some_and(|last| (value - last).abs() < least) {
                    return None;
                }
                self.remember(value, 1);
                value
            }
            Filter::Round(decimals) => {
                let factor = 10_f64.powi(i32::from(decimals.min(MAX_DECIMALS)));
                let scaled = value * factor;
                // Such a large value has no decimals to round.
                if scaled.is_finite() { scaled.round() / factor } else { value }
            }
        })
    }

    fn remember(&mut self, value: f64, window: usize) {
        while self.past.len() >= window.clamp(1, MAX_WINDOW) {
            self.past.pop_front();
        }
        self.past.push_back(value);
    }
}

/// Returns the middle value, or the mean of the middle two of an even number of values.
fn median(values: &VecDeque<f64>) -> f64 {
    let mut sorted: Vec<f64> = values.iter().copied().collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1] / 2.0 + sorted[middle] / 2.0 }
}

/// Sensor with filters. Each quantity has its own chain; a fault passes through and resets all chains.
pub struct Filtered {
    sensor: Box<dyn Sensor>,
    /// One chain per quantity: few enough for a linear search.
    chains: Vec<(Quantity, Chain)>,
}

impl Filtered {
    /// Wraps `sensor` in `filters`; returns the sensor itself if there are none.
    pub fn wrap(sensor: Box<dyn Sensor>, filters: &[Filter]) -> Box<dyn Sensor> {
        if filters.is_empty() {
            return sensor;
        }
        let chains =
            sensor.info().quantities.iter().map(|&quantity| (quantity, Chain::new(filters))).collect();
        Box::new(Filtered { sensor, chains })
    }
}

impl Sensor for Filtered {
    fn info(&self) -> &SensorInfo {
        self.sensor.info()
    }

    fn blocks(&self) -> bool {
        self.sensor.blocks()
    }

    fn may_drop(&self) -> bool {
        true
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        // Filtered in place: moving the result costs as much as reading a simulated chip.
        let mut result = self.sensor.read();
        match &mut result {
            // Filters may drop all readings, but a sensor that returns none is faulty.
            Ok(readings) if readings.is_empty() && !self.sensor.may_drop() => {
                let SensorInfo { bus, address, .. } = self.info();
                let place = Place { bus: bus.clone(), address: *address };
                result = Err(ReadError::with_source(Cause::Other, place, "its driver gave no reading"));
            }
            Ok(readings) => readings.retain(|reading| {
                let chain = self.chains.iter_mut().find(|(quantity, _)| *quantity == reading.quantity());
                let Some((quantity, chain)) = chain else { return true };
                match chain.apply(reading.value()).map(|value| Reading::new(*quantity, value)) {
                    Some(Ok(filtered)) => {
                        *reading = filtered;
                        true
                    }
                    _ => false,
                }
            }),
            Err(_) => {}
        }
        if result.is_err() {
            self.chains.iter_mut().for_each(|(_, chain)| chain.reset());
        }
        result
    }
}

#[cfg(test)]
mod tests;
