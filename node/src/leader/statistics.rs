//! Statistics of the readings of one quantity. Pure functions of finite numbers, in any order.
//!
//! * Quantiles are those of Hyndman and Fan, type 7 ("Sample Quantiles in Statistical Packages", The American
//!   Statistician 50, 1996): linear between the order statistics, as numpy's default and R's. The crates that have this
//!   type bring the arrays of `ndarray`; `statrs` has type 8.
//! * The trimmed mean is `scipy.stats.trim_mean`: the largest whole number of readings up to that share is cut from
//!   each end.
//! * Outliers are those of Iglewicz and Hoaglin ("How to Detect and Handle Outliers", ASQC 1993): a reading whose
//!   modified z-score, 0.6745 times its distance from the median divided by the median absolute deviation, is above 3.5.
//!   If that deviation is zero, because more than half of the readings are equal, the mean absolute deviation times
//!   1.253314 replaces it (as in SPSS), so that one sensor with 85 °C among equal ones is found.

/// Modified z-score above which a reading is an outlier.
const MAX_SCORE: f64 = 3.5;
/// Third quartile of the standard normal distribution: the median absolute deviation of a normal distribution with a
/// standard deviation of 1.
const NORMAL_MAD: f64 = 0.6745;
/// Standard deviation of a normal distribution whose mean absolute deviation is 1: the square root of π/2.
const NORMAL_MEAN_DEVIATION: f64 = 1.253_314;
/// Minimum number of readings for outliers: of two readings, either may be the wrong one.
pub const MIN_FOR_OUTLIERS: usize = 3;
/// Deviation from the median that is never an outlier, as a share of the largest number: a rounding error.
const ROUNDING: f64 = 1e-12;

/// Returns the sum divided by the count, as the other programs of the fleet compute it. If the sum of finite numbers is
/// not finite, each is divided first.
pub fn mean(values: impl ExactSizeIterator<Item = f64> + Clone) -> f64 {
    let count = values.len() as f64;
    let mean = values.clone().sum::<f64>() / count;
    // Adding positive zero turns a negative zero into zero.
    (if mean.is_finite() { mean } else { values.map(|value| value / count).sum() }) + 0.0
}

/// Returns the standard deviation around `mean`, with the number of values as the divisor. `None` if it exceeds the
/// range of a number.
pub fn standard_deviation(values: impl ExactSizeIterator<Item = f64>, mean: f64) -> Option<f64> {
    let count = values.len() as f64;
    let variance = values.map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    Some(variance.sqrt()).filter(|deviation| deviation.is_finite())
}

/// Finite numbers in ascending order; never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct Sorted(Vec<f64>);

impl Sorted {
    /// Sorts numbers. NaN and infinities are left out. Returns `None` if nothing is left.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Option<Sorted> {
        // Adding positive zero turns a negative zero into zero.
        let mut values: Vec<f64> =
            values.into_iter().filter(|value| value.is_finite()).map(|value| value + 0.0).collect();
        values.sort_unstable_by(f64::total_cmp);
        (!values.is_empty()).then_some(Sorted(values))
    }

    /// Returns the number of values.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Returns the smallest value.
    pub fn min(&self) -> f64 {
        self.0[0]
    }

    /// Returns the largest value.
    pub fn max(&self) -> f64 {
        self.0[self.0.len() - 1]
    }

    /// Returns the quantile of the probability `p`, from 0 to 1.
    pub fn quantile(&self, p: f64) -> f64 {
        let position = p.clamp(0.0, 1.0) * (self.0.len() - 1) as f64;
        let low = self.0[position.floor() as usize];
        let high = self.0[position.ceil() as usize];
        between(low, high, position.fract())
    }

    /// Returns the median.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Returns the mean without the share `trimmed` of the values at each end, below 0.5.
    pub fn trimmed_mean(&self, trimmed: f64) -> f64 {
        let count = self.0.len();
        let cut = ((trimmed * count as f64) as usize).min((count - 1) / 2);
        let kept = &self.0[cut..count - cut];
        mean(kept.iter().copied()).clamp(kept[0], kept[kept.len() - 1])
    }

    /// Returns the lower and the upper bound outside of which a value is an outlier. `None` if there are fewer than
    /// [`MIN_FOR_OUTLIERS`] values, or the bounds exceed the range of a number.
    pub fn bounds(&self) -> Option<(f64, f64)> {
        if self.0.len() < MIN_FOR_OUTLIERS {
            return None;
        }
        let median = self.median();
        let scale = match self.median_deviation(median) / NORMAL_MAD {
            0.0 => self.mean_deviation(median) * NORMAL_MEAN_DEVIATION,
            scale => scale,
        };
        let rounding = ROUNDING * self.min().abs().max(self.max().abs());
        let reach = (MAX_SCORE * scale).max(rounding);
        let bounds = (median - reach, median + reach);
        (bounds.0.is_finite() && bounds.1.is_finite()).then_some(bounds)
    }

    fn median_deviation(&self, median: f64) -> f64 {
        let mut deviations: Vec<f64> = self.0.iter().map(|value| (value - median).abs()).collect();
        // Two sorted runs, one descending, which the stable sort merges in linear time.
        deviations.sort_by(f64::total_cmp);
        Sorted(deviations).median()
    }

    fn mean_deviation(&self, median: f64) -> f64 {
        mean(self.0.iter().map(|value| (value - median).abs()))
    }
}

/// Returns the number at `share` of the way from `low` to `high`.
fn between(low: f64, high: f64, share: f64) -> f64 {
    let distance = high - low;
    let value = match distance.is_finite() {
        // From the nearer end, as numpy does: the other end has no rounding error then.
        true if share < 0.5 => low + distance * share,
        true => high - distance * (1.0 - share),
        false => low * (1.0 - share) + high * share,
    };
    value.clamp(low, high) + 0.0
}

#[cfg(test)]
#[path = "statistics_tests.rs"]
mod tests;
