//! Serde structs of a sensor, with the location of every value that a later check may refuse.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::LazyLock;

use atalaya_hal::filter::{MAX_DECIMALS, MAX_WINDOW};
use atalaya_hal::{Chip, Filter};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::faults::RawSim;
use crate::value::{Address, Finite, Interval, NonNegative, Pair, Period, Quantities, Table};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawSensor {
    pub(super) name: Spanned<String>,
    pub(super) chip: Spanned<Chip>,
    pub(super) bus: Option<Spanned<String>>,
    pub(super) address: Option<Spanned<Address>>,
    pub(super) device: Option<Spanned<String>>,
    pub(super) channel: Option<Spanned<String>>,
    pub(super) quantity: Option<Spanned<Quantities>>,
    pub(super) path: Option<Spanned<PathBuf>>,
    pub(super) command: Option<Spanned<Vec<String>>>,
    pub(super) timeout: Option<Spanned<Period>>,
    pub(super) broker: Option<Spanned<String>>,
    pub(super) topic: Option<Spanned<String>>,
    pub(super) pointer: Option<Spanned<String>>,
    pub(super) max_age: Option<Spanned<Period>>,
    pub(super) user: Option<Spanned<String>>,
    pub(super) password_file: Option<Spanned<String>>,
    pub(super) ca: Option<Spanned<String>>,
    pub(super) settings: Option<Spanned<Table<RawSettings>>>,
    #[serde(default)]
    pub(super) filters: Vec<RawFilter>,
    #[serde(default)]
    pub(super) sim: RawSim,
}

/// Settings by key, in the order of the file; `settings` refuses those of other chips.
pub(super) struct RawSettings(pub Vec<(&'static str, Spanned<Finite>)>);

impl<'de> Deserialize<'de> for RawSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = RawSettings;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSettings, A::Error> {
                let mut settings = Vec::new();
                while let Some(SettingKey(key)) = map.next_key()? {
                    settings.push((key, map.next_value()?));
                }
                Ok(RawSettings(settings))
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// Key of a setting that some chip has.
struct SettingKey(&'static str);

impl<'de> Deserialize<'de> for SettingKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
            let keys = Chip::ALL.into_iter().flat_map(|chip| chip.spec().settings).map(|setting| setting.key);
            keys.collect::<BTreeSet<_>>().into_iter().collect()
        });
        let name = String::deserialize(deserializer)?;
        let known = KEYS.iter().find(|key| **key == name);
        known.map(|key| SettingKey(key)).ok_or_else(|| D::Error::unknown_field(&name, &KEYS))
    }
}

/// One filter: a table with one key.
#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawFilter {
    Offset(Finite),
    #[serde(deserialize_with = "factor")]
    Scale(f64),
    Linear(Points),
    #[serde(deserialize_with = "window")]
    Median(usize),
    #[serde(deserialize_with = "window")]
    Mean(usize),
    #[serde(deserialize_with = "weight")]
    Exponential(f64),
    Clamp(Interval),
    Range(Interval),
    Delta(NonNegative),
    #[serde(deserialize_with = "decimals")]
    Round(u8),
}

impl From<RawFilter> for Filter {
    fn from(raw: RawFilter) -> Filter {
        match raw {
            RawFilter::Offset(offset) => Filter::Offset(offset.0),
            RawFilter::Scale(factor) => Filter::Scale(factor),
            RawFilter::Linear(points) => Filter::Linear { measured: points.measured, actual: points.actual },
            RawFilter::Median(window) => Filter::Median(window),
            RawFilter::Mean(window) => Filter::Mean(window),
            RawFilter::Exponential(weight) => Filter::Exponential(weight),
            RawFilter::Clamp(interval) => Filter::Clamp(interval.low, interval.high),
            RawFilter::Range(interval) => Filter::Range(interval.low, interval.high),
            RawFilter::Delta(least) => Filter::Delta(least.0),
            RawFilter::Round(decimals) => Filter::Round(decimals),
        }
    }
}

/// Reads a factor; zero would make all values equal.
fn factor<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Finite::deserialize(deserializer)?.0 {
        0.0 => Err(D::Error::custom("a scale of 0 leaves nothing, expected another number")),
        value => Ok(value),
    }
}

/// `[[measured, actual], [measured, actual]]`.
#[derive(Deserialize)]
#[serde(try_from = "Vec<Pair>")]
pub(super) struct Points {
    measured: [f64; 2],
    actual: [f64; 2],
}

impl TryFrom<Vec<Pair>> for Points {
    type Error = String;

    fn try_from(points: Vec<Pair>) -> Result<Self, String> {
        const EXPECTED: &str = "expected two points: [[measured, actual], [measured, actual]]";
        match points[..] {
            [Pair(m0, _), Pair(m1, _)] if m0 == m1 => Err(format!("both points measure {m0}, {EXPECTED}")),
            [Pair(m0, a0), Pair(m1, a1)] => Ok(Points { measured: [m0, m1], actual: [a0, a1] }),
            _ => Err(format!("{} in this list, {EXPECTED}", points.len())),
        }
    }
}

/// Reads the number of values of a window.
fn window<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    let value = i64::deserialize(deserializer)?;
    match usize::try_from(value) {
        Ok(window @ 1..=MAX_WINDOW) => Ok(window),
        _ => Err(D::Error::custom(format!(
            "a window of {value}, expected a whole number from 1 to {MAX_WINDOW}"
        ))),
    }
}

/// Reads the weight of the newest value.
fn weight<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    match Finite::deserialize(deserializer)?.0 {
        value if value > 0.0 && value <= 1.0 => Ok(value),
        value => Err(D::Error::custom(format!("a weight of {value}, expected a number above 0 and up to 1"))),
    }
}

fn decimals<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u8, D::Error> {
    let value = i64::deserialize(deserializer)?;
    match u8::try_from(value) {
        Ok(decimals @ 0..=MAX_DECIMALS) => Ok(decimals),
        _ => Err(D::Error::custom(format!(
            "{value} decimals, expected a whole number from 0 to {MAX_DECIMALS}"
        ))),
    }
}
