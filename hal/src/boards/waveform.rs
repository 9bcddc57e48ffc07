//! What a pretend chip measures: plain data, as boards.toml writes it. atalaya-sim turns it into numbers.
//!
//! ```toml
//! sim = { temperature = { uniform = [75, 85], step = 1, seed = 7 } }
//! ```

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::value::{Finite, Interval, NonNegative, Period, Positive, Seed, Table};

/// A series of numbers to be generated.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Table<Raw>")]
pub struct Waveform {
    /// How the numbers come about.
    pub shape: Shape,
    /// Numbers are multiples of this: 1 for whole numbers, 0.5 for what an LM75 can tell apart.
    pub step: Option<f64>,
    /// The same seed gives the same series; without one every start gives another.
    pub seed: Option<u64>,
}

/// How the numbers of a [`Waveform`] come about.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Shape {
    /// Anything from low to high, all equally likely. With a step, both ends are as likely as the rest.
    Uniform {
        /// The smallest value.
        low: f64,
        /// The largest value.
        high: f64,
    },
    /// Normally distributed.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        stddev: f64,
    },
    /// A random walk that stays within its limits.
    Walk {
        /// The first value.
        start: f64,
        /// The most it moves from one value to the next.
        step: f64,
        /// The lower limit.
        min: f64,
        /// The upper limit.
        max: f64,
    },
    /// A sine of the time since the start, with normal noise.
    Sine {
        /// The mean.
        mean: f64,
        /// The largest distance from the mean, without the noise.
        amplitude: f64,
        /// The time of one wave.
        period: Duration,
        /// The standard deviation of the noise; 0 for none.
        noise: f64,
    },
    /// Always the same.
    Constant(f64),
    /// The numbers of a CSV file, one per read, from the start again after the last.
    Replay {
        /// The file; relative to the folder of boards.toml.
        file: PathBuf,
        /// The column with the numbers; None for the first.
        column: Option<Column>,
    },
}

/// A column of a CSV file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "invalid column, expected a header's name, or a number that counts from 1")]
pub enum Column {
    /// By its position, counted from 1.
    Number(std::num::NonZeroU16),
    /// By its header.
    Name(String),
}

impl Default for Waveform {
    /// Whole numbers from 75 to 85, as the fleets that Atalaya replaces measured them.
    fn default() -> Self {
        Waveform { shape: Shape::Uniform { low: 75.0, high: 85.0 }, step: Some(1.0), seed: None }
    }
}

/// The keys of the table; exactly one of the first six.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    uniform: Option<Interval>,
    normal: Option<Table<Normal>>,
    walk: Option<Table<Walk>>,
    sine: Option<Table<Sine>>,
    constant: Option<Finite>,
    replay: Option<PathBuf>,
    /// With `replay` only.
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
