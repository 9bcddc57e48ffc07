//! Generates the values of a [`Waveform`]. Used by the simulated chips and by `random`.
//!
//! The time is an argument, never read from a clock: the values depend only on the seed and the times. They are always
//! finite.

use std::f64::consts::TAU;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use atalaya_hal::reading::without_negative_zero;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;

use crate::replay::{self, ReplayError};
use crate::waveform::{Shape, Waveform};

/// Values of one waveform, one per call.
pub struct Generator {
    shape: State,
    step: Option<f64>,
    rng: StdRng,
    /// Last value, returned again if arithmetic overflows.
    last: f64,
}

/// A shape with its state.
enum State {
    Uniform { low: f64, high: f64 },
    Normal { mean: f64, stddev: f64 },
    Walk { next: f64, step: f64, min: f64, max: f64 },
    Sine { mean: f64, amplitude: f64, period: Duration, noise: f64 },
    Constant(f64),
    Replay { values: Vec<f64>, next: usize },
}

impl fmt::Debug for Generator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Generator {
    /// Creates the generator of `waveform`. Reads the file of a `replay`; a relative path starts at `base_dir`.
    ///
    /// # Errors
    ///
    /// Returns an error if that file is missing, too large, or not numeric.
    pub fn new(waveform: &Waveform, base_dir: &Path) -> Result<Generator, ReplayError> {
        let shape = match waveform.shape {
            Shape::Uniform { low, high } => State::Uniform { low, high },
            Shape::Normal { mean, stddev } => State::Normal { mean, stddev },
            Shape::Walk { start, step, min, max } => State::Walk { next: start, step, min, max },
            Shape::Sine { mean, amplitude, period, noise } => State::Sine { mean, amplitude, period, noise },
            Shape::Constant(value) => State::Constant(value),
            Shape::Replay { ref file, ref column } => {
                State::Replay { values: replay::load(&base_dir.join(file), column.as_ref())?, next: 0 }
            }
        };
        let rng = match waveform.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => rand::make_rng(),
        };
        Ok(Generator { shape, step: waveform.step, rng, last: 0.0 })
    }

    /// Returns the next value, `elapsed` after the start, never negative zero. Only a sine uses the time.
    pub fn next(&mut self, elapsed: Duration) -> f64 {
        let step = self.step;
        let value = self.shape.next(&mut self.rng, step, elapsed);
        let value = step.map_or(value, |step| multiple((value / step).round(), step).unwrap_or(value));
        if value.is_finite() {
            self.last = without_negative_zero(value);
        }
        self.last
    }
}

impl State {
    fn next(&mut self, rng: &mut StdRng, multiples_of: Option<f64>, elapsed: Duration) -> f64 {
        match self {
            State::Uniform { low, high } => uniform(*low, *high, multiples_of, rng),
            State::Normal { mean, stddev } => *mean + *stddev * rng.sample::<f64, _>(StandardNormal),
            State::Walk { next, step, min, max } => {
                let value = *next;
                let moved = value + *step * (2.0 * rng.random::<f64>() - 1.0);
                *next = moved.max(*min).min(*max);
                value
            }
            State::Sine { mean, amplitude, period, noise } => {
                // The remainder is taken first, because a sine of a large argument is inaccurate.
                let phase = match period.as_nanos() {
                    0 => 0.0,
                    period => (elapsed.as_nanos() % period) as f64 / period as f64,
                };
                let smooth = *mean + *amplitude * (TAU * phase).sin();
                if *noise > 0.0 { smooth + *noise * rng.sample::<f64, _>(StandardNormal) } else { smooth }
            }
            State::Constant(value) => *value,
            State::Replay { values, next } => {
                // Never empty: such a file is refused.
                let value = values.get(*next).copied().unwrap_or_default();
                *next = (*next + 1) % values.len().max(1);
                value
            }
        }
    }
}

/// Returns a uniformly distributed value from low to high, or one of the multiples of `step` in this range, all equally
/// likely. Rounding instead would halve the probability of the two ends.
fn uniform(low: f64, high: f64, step: Option<f64>, rng: &mut StdRng) -> f64 {
    if let Some(step) = step {
        let (first, last) = ((low / step).ceil(), (high / step).floor());
        let countable = 0.0..=2_f64.powi(53);
        if first.is_finite() && countable.contains(&(last - first)) {
            let index = first + rng.random_range(0..=(last - first) as u64) as f64;
            return multiple(index, step).unwrap_or(low);
        }
    }
    low + (high - low) * rng.random::<f64>()
}

/// Returns `index` times `step`; 3 × 0.1 is 0.3 here, not 0.30000000000000004. None if it is not finite.
fn multiple(index: f64, step: f64) -> Option<f64> {
    let per_unit = (1.0 / step).round();
    let whole = per_unit >= 1.0 && (per_unit * step - 1.0).abs() < 1e-9;
    let value = if whole { index / per_unit } else { index * step };
    value.is_finite().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn waveform(shape: Shape, step: Option<f64>, seed: Option<u64>) -> Waveform {
        Waveform { shape, step, seed }
    }

    fn generator(waveform: &Waveform) -> Generator {
        Generator::new(waveform, Path::new("")).unwrap()
    }

    fn series(waveform: &Waveform, count: usize) -> Vec<f64> {
        let mut generator = generator(waveform);
        (0..count).map(|second| generator.next(Duration::from_secs(second as u64))).collect()
    }

    const PERIOD: Duration = Duration::from_secs(60);
    const WALK: Shape = Shape::Walk { start: 20.0, step: 0.5, min: 19.0, max: 21.0 };

    fn seeded(seed: u64) -> [Waveform; 5] {
        let uniform = Shape::Uniform { low: 75.0, high: 85.0 };
        [
            waveform(uniform.clone(), None, Some(seed)),
            waveform(uniform, Some(0.5), Some(seed)),
            waveform(Shape::Normal { mean: 20.0, stddev: 2.0 }, None, Some(seed)),
            waveform(WALK, None, Some(seed)),
            waveform(
                Shape::Sine { mean: 20.0, amplitude: 5.0, period: PERIOD, noise: 0.1 },
                None,
                Some(seed),
            ),
        ]
    }

    #[test]
    fn the_same_seed_gives_the_same_series_and_another_another() {
        for (one, two) in seeded(1).iter().zip(&seeded(2)) {
            assert_eq!(series(one, 100), series(one, 100), "{one:?}");
            assert_ne!(series(one, 100), series(two, 100), "{one:?}");
        }
    }

    #[test]
    fn without_a_seed_every_start_gives_another_series() {
        let uniform = waveform(Shape::Uniform { low: 0.0, high: 1.0 }, None, None);
        assert_ne!(series(&uniform, 10), series(&uniform, 10));
    }

    #[test]
    fn whole_numbers_from_75_to_85_are_equally_likely() {
        let numbers = series(&Waveform { seed: Some(5), ..Waveform::default() }, 11_000);
        for whole in 75..=85 {
            let count = numbers.iter().filter(|&&number| number == f64::from(whole)).count();
            // 1000 expected, standard deviation 30: five standard deviations to either side.
            assert!((850..=1150).contains(&count), "{whole} came {count} times");
        }
        assert!(numbers.iter().all(|number| number.fract() == 0.0 && (75.0..=85.0).contains(number)));
    }

    #[test]
    fn a_normal_waveform_has_its_mean_and_deviation() {
        let normal = Shape::Normal { mean: 20.0, stddev: 2.0 };
        let numbers = series(&waveform(normal, None, Some(3)), 10_000);
        let mean = numbers.iter().sum::<f64>() / 10_000.0;
        let variance = numbers.iter().map(|number| (number - mean).powi(2)).sum::<f64>() / 10_000.0;
        assert!((mean - 20.0).abs() < 0.1, "{mean}");
        assert!((variance.sqrt() - 2.0).abs() < 0.1, "{variance}");
    }

    #[test]
    fn a_walk_starts_where_it_should_and_takes_small_steps_within_its_limits() {
        let numbers = series(&waveform(WALK, None, Some(4)), 2_000);
        assert_eq!(numbers[0], 20.0);
        assert!(numbers.iter().all(|number| (19.0..=21.0).contains(number)));
        assert!(numbers.windows(2).all(|pair| (pair[1] - pair[0]).abs() <= 0.5));
        assert!(numbers.iter().any(|number| *number < 19.5) && numbers.iter().any(|number| *number > 20.5));
    }

    #[test]
    fn a_sine_follows_the_time_it_is_given() {
        let shape = Shape::Sine { mean: 20.0, amplitude: 5.0, period: PERIOD, noise: 0.0 };
        let mut sine = generator(&waveform(shape, None, None));
        for (seconds, want) in
            [(0, 20.0), (15, 25.0), (30, 20.0), (45, 15.0), (60, 20.0), (6_000_000_015, 25.0)]
        {
            let got = sine.next(Duration::from_secs(seconds));
            assert!((got - want).abs() < 1e-9, "after {seconds} s: {got}, not {want}");
        }
    }

    #[test]
    fn steps_give_round_numbers() {
        let constant = |value, step| series(&waveform(Shape::Constant(value), step, None), 2);
        assert_eq!(constant(0.3, Some(0.1)), [0.3, 0.3]);
        assert_eq!(constant(20.26, Some(0.5)), [20.5, 20.5]);
        assert_eq!(constant(17.0, Some(5.0)), [15.0, 15.0]);
        assert_eq!(constant(17.25, None), [17.25, 17.25]);
    }

    #[test]
    fn no_waveform_gives_negative_zero() {
        let waveforms = [
            waveform(Shape::Constant(-0.0), None, None),
            waveform(Shape::Uniform { low: -0.4, high: 0.0 }, Some(1.0), None),
            waveform(Shape::Normal { mean: 0.0, stddev: 0.1 }, Some(1.0), None),
            waveform(Shape::Walk { start: -0.0, step: 0.1, min: -0.5, max: 0.0 }, Some(1.0), None),
            waveform(Shape::Sine { mean: 0.0, amplitude: 0.4, period: PERIOD, noise: 0.0 }, Some(1.0), None),
        ];
        for waveform in &waveforms {
            let mut generator = generator(waveform);
            for second in 0..200 {
                let value = generator.next(Duration::from_secs(second));
                assert!(value != 0.0 || value.is_sign_positive(), "{waveform:?} at {second} s");
            }
        }
    }

    proptest! {
        #[test]
        fn numbers_are_finite_whatever_the_shape(
            a in any::<f64>(), b in any::<f64>(), step in proptest::option::of(any::<f64>()), seed in any::<u64>(),
            seconds in any::<u32>(),
        ) {
            let period = Duration::from_secs(u64::from(seconds));
            let shapes = [
                Shape::Uniform { low: a, high: b },
                Shape::Normal { mean: a, stddev: b },
                Shape::Walk { start: a, step: b, min: a, max: b },
                Shape::Sine { mean: a, amplitude: b, period, noise: a },
                Shape::Constant(a),
            ];
            for shape in shapes {
                let waveform = Waveform { shape, step, seed: Some(seed) };
                let mut generator = Generator::new(&waveform, Path::new("")).unwrap();
                for second in 0..20 {
                    let value = generator.next(Duration::from_secs(second));
                    prop_assert!(value.is_finite(), "{waveform:?} gave {value}");
                }
            }
        }

        #[test]
        fn a_uniform_waveform_stays_within_its_limits(
            low in -1e6..1e6_f64, width in 0.0..1e6_f64, step in proptest::option::of(0.001..1e5_f64), seed in any::<u64>(),
        ) {
            let (high, slack) = (low + width, 1e-6);
            let multiple_inside = step.is_none_or(|step| (high / step).floor() >= (low / step).ceil());
            prop_assume!(multiple_inside);
            let waveform = Waveform { shape: Shape::Uniform { low, high }, step, seed: Some(seed) };
            let mut generator = Generator::new(&waveform, Path::new("")).unwrap();
            for _ in 0..20 {
                let value = generator.next(Duration::ZERO);
                prop_assert!(low - slack <= value && value <= high + slack, "{value} outside {low}..={high}");
            }
        }
    }
}
