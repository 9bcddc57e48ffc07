//! Targets: limits for measured values, and whether the results meet them.

use super::stats::ThreeDigits;

/// A limit for a measured value, with the result.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// Name of the measured value. Identifies the row when a page is updated.
    pub(crate) name: String,
    pub(crate) limit: String,
    pub(crate) result: String,
    pub(crate) met: bool,
}

impl Target {
    /// A value that must not exceed `limit`.
    pub(crate) fn at_most(name: &str, limit: f64, unit: &str, value: f64) -> Target {
        Target {
            name: name.to_owned(),
            limit: format!("at most {limit}{unit}"),
            result: format!("{}{unit}", ThreeDigits(value)),
            met: value <= limit,
        }
    }

    /// A value that must not fall below `limit`.
    pub(crate) fn at_least(name: &str, limit: f64, unit: &str, value: f64) -> Target {
        Target {
            name: name.to_owned(),
            limit: format!("at least {limit}{unit}"),
            result: format!("{}{unit}", ThreeDigits(value)),
            met: value >= limit,
        }
    }
}
