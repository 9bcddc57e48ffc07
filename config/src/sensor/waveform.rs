//! Waveforms of simulated sensors in boards.toml.
//!
//! ```toml
//! sim = { temperature = { uniform = [75, 85], step = 1, seed = 7 } }
//! ```

use std::num::NonZeroU16;
use std::path::PathBuf;

use atalaya_sim::{Column, Shape, Waveform};
use serde::Deserialize;

use crate::value::{Finite, Interval, NonNegative, Period, Positive, Seed, Table};

/// Waveform that was read and checked.
#[derive(Deserialize)]
#[serde(try_from = "Table<Raw>")]
pub(super) struct RawWaveform(pub Waveform);

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
    column: Option<RawColumn>,
    step: Option<Positive>,
    seed: Option<Seed>,
}

/// [`Column`] of boards.toml.
#[derive(Clone, Deserialize)]
#[serde(untagged, expecting = "invalid column, expected a header's name, or a number that counts from 1")]
enum RawColumn {
    Number(NonZeroU16),
    Name(String),
}

impl From<RawColumn> for Column {
    fn from(raw: RawColumn) -> Column {
        match raw {
            RawColumn::Number(number) => Column::Number(number),
            RawColumn::Name(name) => Column::Name(name),
        }
    }
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

impl TryFrom<Table<Raw>> for RawWaveform {
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
            raw.replay.map(|file| Shape::Replay { file, column: raw.column.clone().map(Column::from) }),
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
        Ok(RawWaveform(Waveform { shape, step, seed: raw.seed.map(|seed| seed.0) }))
    }
}
