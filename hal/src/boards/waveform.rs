//! Waveforms of simulated chips: plain data, as in boards.toml. atalaya-sim generates the numbers.
//!
//! ```toml
//! sim = { temperature = { uniform = [75, 85], step = 1, seed = 7 } }
//! ```

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value::{Finite, Interval, NonNegative, Period, Positive, Seed, Table};

/// Series of generated numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Table<Raw>")]
pub struct Waveform {
    /// Shape of the series.
    pub shape: Shape,
    /// Step of the numbers: 1 for whole numbers, 0.5 for the resolution of an LM75.
    pub step: Option<f64>,
    /// Seed; the same seed gives the same series. Without one, every start gives a different series.
    pub seed: Option<u64>,
}

/// Shape of a [`Waveform`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Shape {
    /// Uniform distribution from low to high. With a step, both ends are as likely as the other values.
    Uniform {
        /// Minimum.
        low: f64,
        /// Maximum.
        high: f64,
    },
    /// Normal distribution.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        stddev: f64,
    },
    /// Random walk within its limits.
    Walk {
        /// First value.
        start: f64,
        /// Maximum change from one value to the next.
        step: f64,
        /// Lower limit.
        min: f64,
        /// Upper limit.
        max: f64,
    },
    /// Sine of the time since the start, with normal noise.
    Sine {
        /// Mean.
        mean: f64,
        /// Amplitude: the maximum distance from the mean, without the noise.
        amplitude: f64,
        /// Period of the sine.
        period: Duration,
        /// Standard deviation of the noise; 0 for none.
        noise: f64,
    },
    /// Constant value.
    Constant(f64),
    /// Numbers of a CSV file, one per read; continues from the start after the last.
    Replay {
        /// Path of the file, relative to the folder of boards.toml.
        file: PathBuf,
        /// Column with the numbers; None for the first.
        column: Option<Column>,
    },
}

/// Column of a CSV file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "invalid column, expected a header's name, or a number that counts from 1")]
pub enum Column {
    /// Position, counted from 1.
    Number(std::num::NonZeroU16),
    /// Header.
    Name(String),
}

impl Default for Waveform {
    /// Returns whole numbers from 75 to 85, as the fleets that Atalaya replaces measured them.
    fn default() -> Self {
        Waveform { shape: Shape::Uniform { low: 75.0, high: 85.0 }, step: Some(1.0), seed: None }
    }
}

/// Keys of the table; exactly one of the first six must be present.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    uniform: Option<Interval>,
    normal: Option<Table<Normal>>,
    walk: Option<Table<Walk>>,
    sine: Option<Table<Sine>>,
    constant: Option<Finite>,
    replay: Option<PathBuf>,
    /// Only with `replay`.
    column: Option<Column>,
    step: Option<Positive>,
    seed: Option<Seed>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Normal {
    mean: Finite,
    stddev: NonNegative,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Walk {
    start: Finite,
    step: Positive,
    min: Finite,
    max: Finite,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sine {
    mean: Finite,
    amplitude: NonNegative,
    period: Period,
    noise: Option<NonNegative>,
}

impl TryFrom<Table<Raw>> for Waveform {
    type Error = String;

    fn try_from(Table(raw): Table<Raw>) -> Result<Self, Self::Error> {
        let shapes = [
            raw.uniform.map(|i| Shape::Uniform { low: i.low, high: i.high }),
            raw.normal.map(|Table(n)| Shape::Normal { mean: n.mean.0, stddev: n.stddev.0 }),
            raw.walk.map(|Table(w)| Shape::Walk {
                start: w.start.0,
                step: w.step.0,
                min: w.min.0,
                max: w.max.0,
            }),
            raw.sine.map(|Table(s)| Shape::Sine {
                mean: s.mean.0,
                amplitude: s.amplitude.0,
                period: s.period.0,
                noise: s.noise.map_or(0.0, |n| n.0),
            }),
            raw.constant.map(|c| Shape::Constant(c.0)),
            raw.replay.map(|file| Shape::Replay { file, column: raw.column.clone() }),
        ];
        let mut shapes = shapes.into_iter().flatten();
        let (Some(shape), None) = (shapes.next(), shapes.next()) else {
            return Err(
                "a waveform has one shape, expected exactly one of `uniform`, `normal`, `walk`, `sine`, \
                        `constant` and `replay`"
                    .to_owned(),
            );
        };
        let step = raw.step.map(|step| step.0);
        match (&shape, step) {
            (Shape::Replay { file, .. }, _) if file.as_os_str().is_empty() => {
                return Err("`replay` names no file, expected the path of a CSV file".to_owned());
            }
            (Shape::Replay { .. }, _) => {}
            _ if raw.column.is_some() => {
                return Err(
                    "`column` without `replay`, expected a CSV file to take the column from".to_owned()
                );
            }
            (Shape::Walk { start, min, max, .. }, _) if !(min <= start && start <= max) => {
                return Err(format!(
                    "the walk starts at {start}, outside {min}..={max}, expected `min` <= `start` <= `max`"
                ));
            }
            (Shape::Uniform { low, high }, Some(step)) if (high / step).floor() < (low / step).ceil() => {
                return Err(format!(
                    "no multiple of the step {step} lies in {low}..={high}, expected a smaller `step` or a wider `uniform`"
                ));
            }
            _ => {}
        }
        Ok(Waveform { shape, step, seed: raw.seed.map(|seed| seed.0) })
    }
}
