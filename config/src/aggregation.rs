//! Settings of the fleet's values: the main value, the quorum, outliers and quantiles. Each has one text, the same in
//! boards.toml (where some are also numbers, lists or tables), flags, environment and ZooKeeper.

use std::fmt::{self, Display};
use std::str::FromStr;

use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

/// Maximum number of quantiles.
pub const MAX_QUANTILES: usize = 9;
const MAX_QUORUM: u32 = 1_000_000;

/// Main value of a fleet's report.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum AggregateMode {
    /// Arithmetic mean.
    #[default]
    Mean,
    /// Median.
    Median,
    /// Mean without this share of the readings at each end; below 0.5.
    Trimmed(f64),
    /// Quantile of this probability, from 0 to 1.
    Quantile(f64),
}

impl AggregateMode {
    const EXPECTED: &str = "mean, median, { trimmed = 0.1 } or { quantile = 0.9 }";

    fn with_number(kind: &str, number: f64) -> Result<AggregateMode, String> {
        match kind {
            "trimmed" if (0.0..0.5).contains(&number) => Ok(AggregateMode::Trimmed(number + 0.0)),
            "trimmed" => Err(format!(
                "{number:?} is not a share to cut from each end, expected a number from 0 to below 0.5"
            )),
            "quantile" if (0.0..=1.0).contains(&number) => Ok(AggregateMode::Quantile(number + 0.0)),
            "quantile" => Err(format!("{number:?} is not a probability, expected a number from 0 to 1")),
            _ => Err(format!("unknown value, expected {}", AggregateMode::EXPECTED)),
        }
    }
}

impl FromStr for AggregateMode {
    type Err = String;

    /// Parses `mean`, `median`, `trimmed=0.1` or `quantile=0.9`, the last two also as TOML has them.
    fn from_str(text: &str) -> Result<AggregateMode, String> {
        let bare = text.trim().trim_start_matches('{').trim_end_matches('}').trim();
        match bare.split_once('=') {
            None if bare.eq_ignore_ascii_case("mean") => Ok(AggregateMode::Mean),
            None if bare.eq_ignore_ascii_case("median") => Ok(AggregateMode::Median),
            None => Err(format!("unknown value, expected {}", AggregateMode::EXPECTED)),
            Some((kind, number)) => {
                let number = number.trim().parse().map_err(|_| {
                    format!("the number cannot be read, expected {}", AggregateMode::EXPECTED)
                })?;
                AggregateMode::with_number(kind.trim(), number)
            }
        }
    }
}

impl Display for AggregateMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AggregateMode::Mean => f.write_str("mean"),
            AggregateMode::Median => f.write_str("median"),
            AggregateMode::Trimmed(share) => write!(f, "trimmed={share:?}"),
            AggregateMode::Quantile(p) => write!(f, "quantile={p:?}"),
        }
    }
}

impl<'de> Deserialize<'de> for AggregateMode {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;

        impl<'de> Visitor<'de> for NameOrTable {
            type Value = AggregateMode;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"mean\", \"median\", { trimmed = 0.1 } or { quantile = 0.9 }")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<AggregateMode, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AggregateMode, A::Error> {
                const KEYS: &[&str] = &["trimmed", "quantile"];
                let expected =
                    || A::Error::custom(format!("one key is needed, expected {}", AggregateMode::EXPECTED));
                let key: String = map.next_key()?.ok_or_else(expected)?;
                if !KEYS.contains(&key.as_str()) {
                    return Err(A::Error::unknown_field(&key, KEYS));
                }
                let crate::value::Finite(number) = map.next_value()?;
                if map.next_key::<String>()?.is_some() {
                    return Err(expected());
                }
                AggregateMode::with_number(&key, number).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(NameOrTable)
    }
}

/// Minimum number of nodes that support a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quorum {
    /// Number of nodes, from 1.
    Nodes(u32),
    /// Percentage of the fleet's nodes, above 0 and up to 100.
    Percent(f64),
}

impl Quorum {
    const EXPECTED: &str = "a number of nodes such as 3, or a percentage such as 60%";

    /// Returns the number of nodes that a value needs in a fleet of `nodes`.
    pub fn needed(self, nodes: usize) -> usize {
        match self {
            Quorum::Nodes(needed) => needed as usize,
            // Less than a rounding error, so that 60% of 5 nodes are 3.
            Quorum::Percent(percent) => ((nodes as f64 * percent / 100.0 - 1e-9).ceil() as usize).max(1),
        }
    }

    fn of_nodes(nodes: i64) -> Result<Quorum, String> {
        match u32::try_from(nodes) {
            Ok(nodes @ 1..=MAX_QUORUM) => Ok(Quorum::Nodes(nodes)),
            _ => Err(format!("{nodes} is not a quorum, expected 1 to {MAX_QUORUM} nodes")),
        }
    }
}

impl FromStr for Quorum {
    type Err = String;

    fn from_str(text: &str) -> Result<Quorum, String> {
        let text = text.trim();
        let unreadable = || format!("not a quorum, expected {}", Quorum::EXPECTED);
        match text.strip_suffix('%') {
            None => Quorum::of_nodes(text.parse().map_err(|_| unreadable())?),
            Some(percent) => match percent.trim().parse::<f64>() {
                Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(Quorum::Percent(percent)),
                _ => Err(format!("not a percentage above 0% and up to 100%, expected {}", Quorum::EXPECTED)),
            },
        }
    }
}

impl Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quorum::Nodes(nodes) => write!(f, "{nodes}"),
            Quorum::Percent(percent) if percent.fract() == 0.0 => write!(f, "{percent:.0}%"),
            Quorum::Percent(percent) => write!(f, "{percent:?}%"),
        }
    }
}

impl<'de> Deserialize<'de> for Quorum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberOrPercentage;

        impl Visitor<'_> for NumberOrPercentage {
            type Value = Quorum;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of nodes such as 3, or a percentage such as \"60%\"")
            }

            fn visit_i64<E: Error>(self, nodes: i64) -> Result<Quorum, E> {
                Quorum::of_nodes(nodes).map_err(E::custom)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Quorum, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(NumberOrPercentage)
    }
}

/// Treatment of outliers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outliers {
    /// They are reported, and part of the values.
    #[default]
    Flag,
    /// They are reported, and not part of the values.
    Exclude,
}

/// Probabilities of the quantiles in a report, each from 0 to 1; at most [`MAX_QUANTILES`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quantiles(pub Vec<f64>);

impl Quantiles {
    fn check(list: Vec<f64>) -> Result<Quantiles, String> {
        if list.len() > MAX_QUANTILES {
            return Err(format!("{} quantiles are too many, expected at most {MAX_QUANTILES}", list.len()));
        }
        match list.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            Some(p) => Err(format!("{p:?} is not a probability, expected numbers from 0 to 1")),
            None => Ok(Quantiles(list.into_iter().map(|p| p + 0.0).collect())),
        }
    }
}

impl FromStr for Quantiles {
    type Err = String;

    /// Parses numbers that are separated by commas, also in the brackets of a list.
    fn from_str(text: &str) -> Result<Quantiles, String> {
        let bare = text.trim().trim_start_matches('[').trim_end_matches(']');
        let numbers = bare.split(',').map(str::trim).filter(|number| !number.is_empty());
        let numbers: Result<Vec<f64>, _> = numbers.map(str::parse).collect();
        let unreadable = "not numbers from 0 to 1, expected a list such as 0.1,0.9";
        Quantiles::check(numbers.map_err(|_| unreadable.to_owned())?)
    }
}

impl Display for Quantiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|p| format!("{p:?}")).collect();
        f.write_str(&texts.join(","))
    }
}

impl<'de> Deserialize<'de> for Quantiles {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;

        impl<'de> Visitor<'de> for List {
            type Value = Quantiles;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers from 0 to 1, such as [0.1, 0.9]")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Quantiles, A::Error> {
                let mut numbers = Vec::new();
                while let Some(crate::value::Finite(number)) = list.next_element()? {
                    numbers.push(number);
                }
                Quantiles::check(numbers).map_err(A::Error::custom)
            }
        }

        deserializer.deserialize_any(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aggregate_is_parsed_as_it_is_shown() {
        for (text, aggregate) in [
            ("mean", AggregateMode::Mean),
            ("median", AggregateMode::Median),
            ("trimmed=0.1", AggregateMode::Trimmed(0.1)),
            ("quantile=0.9", AggregateMode::Quantile(0.9)),
        ] {
            assert_eq!((text.parse(), aggregate.to_string()), (Ok(aggregate), text.to_owned()));
        }
        assert_eq!(" Median\n".parse(), Ok(AggregateMode::Median));
        assert_eq!("{ trimmed = 0.25 }".parse(), Ok(AggregateMode::Trimmed(0.25)));
        for wrong in [
            "",
            "mode",
            "trimmed",
            "trimmed=",
            "trimmed=0.5",
            "trimmed=-0.1",
            "quantile=2",
            "quantile=nan",
            "q=1",
        ] {
            assert!(wrong.parse::<AggregateMode>().unwrap_err().contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn quorum_is_a_number_or_a_percentage() {
        for (text, quorum) in
            [("3", Quorum::Nodes(3)), ("60%", Quorum::Percent(60.0)), ("12.5%", Quorum::Percent(12.5))]
        {
            assert_eq!((text.parse(), quorum.to_string()), (Ok(quorum), text.to_owned()));
        }
        for wrong in ["", "0", "-1", "1.5", "0%", "101%", "nan%", "%", "9999999"] {
            assert!(wrong.parse::<Quorum>().unwrap_err().contains("expected"), "{wrong}");
        }
    }

    #[test]
    fn quorum_of_a_percentage_is_rounded_up() {
        for (percent, nodes, needed) in [
            (60.0, 5, 3),
            (60.0, 4, 3),
            (50.0, 3, 2),
            (100.0, 7, 7),
            (0.1, 3, 1),
            (60.0, 0, 1),
            (1.0, 1_000, 10),
        ] {
            assert_eq!(Quorum::Percent(percent).needed(nodes), needed, "{percent} % of {nodes}");
        }
        assert_eq!(Quorum::Nodes(3).needed(1), 3);
    }

    #[test]
    fn quantiles_are_a_list_of_probabilities() {
        assert_eq!("0.1, 0.9".parse(), Ok(Quantiles(vec![0.1, 0.9])));
        assert_eq!("[0.1, 0.9]".parse::<Quantiles>().unwrap().to_string(), "0.1,0.9");
        assert_eq!("".parse(), Ok(Quantiles::default()));
        for wrong in ["a", "1.1", "-0.1", "nan", "0,0,0,0,0,0,0,0,0,0"] {
            assert!(wrong.parse::<Quantiles>().unwrap_err().contains("expected"), "{wrong}");
        }
    }
}
