//! Waveforms: plain descriptions of the values that a simulated sensor measures. [`crate::Generator`] generates them.

use std::path::PathBuf;
use std::time::Duration;

/// Series of generated numbers.
#[derive(Clone, Debug, PartialEq)]
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
        /// Path of the file; a relative one starts from the base folder of the simulator.
        file: PathBuf,
        /// Column with the numbers; None for the first.
        column: Option<Column>,
    },
}

/// Column of a CSV file.
#[derive(Clone, Debug, PartialEq, Eq)]
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
