//! Values of boards.toml for which serde alone would accept too much. Each type refuses invalid values while the file
//! is read, so the error has the location of the value. A message has the form "problem, expected remedy".

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use atalaya_hal::Quantity;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, Error, IntoDeserializer, MapAccess, SeqAccess, Unexpected, Visitor};

use crate::duration;

/// Maximum absolute value of a number. Larger numbers are typing errors, and sums of them would lose precision.
const LARGEST: f64 = 1e15;

/// Table. Serde alone would also read a struct from a list of its values, and ignore surplus values in the list.
pub(crate) struct Table<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Table<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Keys(PhantomData)).map(Table)
    }
}

/// Finite number of at most [`LARGEST`]. Integers such as `75` are accepted too.
#[derive(Clone, Copy)]
pub(crate) struct Finite(pub f64);

impl<'de> Deserialize<'de> for Finite {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;

        impl Visitor<'_> for Number {
            type Value = f64;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a finite number such as 20.5")
            }

            fn visit_f64<E: Error>(self, value: f64) -> Result<f64, E> {
                if value.abs() <= LARGEST {
                    return Ok(value);
                }
                Err(E::invalid_value(Unexpected::Float(value), &self))
            }

            fn visit_i64<E: Error>(self, value: i64) -> Result<f64, E> {
                self.visit_f64(value as f64)
            }

            fn visit_u64<E: Error>(self, value: u64) -> Result<f64, E> {
                self.visit_f64(value as f64)
            }
        }

        deserializer.deserialize_f64(Number).map(Finite)
    }
}

/// Number greater than zero.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Finite")]
pub(crate) struct Positive(pub f64);

impl TryFrom<Finite> for Positive {
    type Error = String;

    fn try_from(Finite(value): Finite) -> Result<Self, String> {
        if value > 0.0 {
            Ok(Positive(value))
        } else {
            Err(format!("{value} is not positive, expected a number above 0"))
        }
    }
}

/// Number greater than or equal to zero.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Finite")]
pub(crate) struct NonNegative(pub f64);

impl TryFrom<Finite> for NonNegative {
    type Error = String;

    fn try_from(Finite(value): Finite) -> Result<Self, String> {
        if value >= 0.0 {
            Ok(NonNegative(value))
        } else {
            Err(format!("{value} is negative, expected 0 or more"))
        }
    }
}

/// Two numbers. Read as a list, because serde reads the first two of three numbers into an array of two.
#[derive(Deserialize)]
#[serde(try_from = "Vec<Finite>")]
pub(crate) struct Pair(pub f64, pub f64);

impl TryFrom<Vec<Finite>> for Pair {
    type Error = String;

    fn try_from(list: Vec<Finite>) -> Result<Self, String> {
        match list[..] {
            [Finite(first), Finite(second)] => Ok(Pair(first, second)),
            _ => Err(format!("{} in this list, expected two numbers", list.len())),
        }
    }
}

/// `[low, high]`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "Pair")]
pub(crate) struct Interval {
    pub low: f64,
    pub high: f64,
}

impl TryFrom<Pair> for Interval {
    type Error = String;

    fn try_from(Pair(low, high): Pair) -> Result<Self, String> {
        if low <= high {
            return Ok(Interval { low, high });
        }
        Err(format!("[{low}, {high}] is upside down, expected [{high}, {low}]: the smaller number first"))
    }
}

/// One quantity, or a list of several.
pub(crate) struct Quantities(pub Vec<Quantity>);

impl<'de> Deserialize<'de> for Quantities {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> Visitor<'de> for OneOrMore {
            type Value = Vec<Quantity>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as \"temperature\", or a list of them")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Vec<Quantity>, E> {
                Quantity::deserialize(name.into_deserializer()).map(|quantity| vec![quantity])
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vec<Quantity>, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list))
            }
        }

        deserializer.deserialize_any(OneOrMore).map(Quantities)
    }
}

/// Seed of a generator. TOML's integers end at 2^63.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Seed(pub u64);

impl TryFrom<i64> for Seed {
    type Error = String;

    fn try_from(value: i64) -> Result<Self, String> {
        u64::try_from(value)
            .map(Seed)
            .map_err(|_| format!("{value} is negative, expected a whole number from 0 on"))
    }
}

/// Seven-bit I²C address that the specification does not reserve.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "i64")]
pub(crate) struct Address(pub u8);

impl TryFrom<i64> for Address {
    type Error = String;

    fn try_from(value: i64) -> Result<Self, String> {
        match u8::try_from(value) {
            Ok(address @ 0x03..=0x77) => Ok(Address(address)),
            _ if value < 0 => Err(format!("{value} is not an I²C address, expected 0x03 to 0x77")),
            _ => Err(format!(
                "{value:#04x} is not an I²C address, expected 0x03 to 0x77 (seven bits, without read/write)"
            )),
        }
    }
}

/// Duration from 100 ms to 31 days: a text that [`duration::parse`] accepts, or a number of seconds.
#[derive(Clone, Copy)]
pub(crate) struct Period(pub Duration);

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrSeconds;

        impl Visitor<'_> for TextOrSeconds {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"5s\" or \"500ms\", or a number of seconds")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                duration::parse(text).and_then(duration::period).map_err(E::custom)
            }

            fn visit_f64<E: Error>(self, seconds: f64) -> Result<Duration, E> {
                duration::from_seconds(seconds).and_then(duration::period).map_err(E::custom)
            }

            fn visit_i64<E: Error>(self, seconds: i64) -> Result<Duration, E> {
                self.visit_f64(seconds as f64)
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Duration, E> {
                self.visit_f64(seconds as f64)
            }
        }

        deserializer.deserialize_any(TextOrSeconds).map(Period)
    }
}
