//! Parsing of a batch: the envelope as a whole, the samples one by one, so that a sample that can never be accepted
//! does not hold up the others.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use axum::http::StatusCode;
use jiff::Timestamp;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::body::json;
use crate::invalid::Invalid;
use crate::measurements::{ClockState, DEFAULT_FLEET, Sample, SampleBatch, SampleOutcome, SeriesName};
use crate::plausibility::Clock;
use crate::problem::Problem;
use crate::values::{
    MAX_NAME, MAX_SENSOR, cut, is_printable, needed_integer, printable, without_negative_zero,
};

/// Maximum number of samples in a batch.
pub(crate) const MAX_SAMPLES: usize = 10_000;
/// Maximum length of a unit, in characters.
const MAX_UNIT: usize = 32;
/// 2000-01-01: a synchronised clock shows no time before.
const FIRST_TIME: i64 = 946_684_800_000;

/// Sample that is not stored.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct RefusedSample {
    /// Index in the batch.
    pub(crate) index: usize,
    /// Number of the sample; null if it is not valid.
    pub(crate) seq: Option<i64>,
    /// Field that is not valid; `sample` for the whole, `conflict` for a number that is stored with another value,
    /// `too_many_series` if the fleet has the maximum number.
    pub(crate) code: &'static str,
    /// Explanation.
    pub(crate) detail: String,
}

/// Batch without the samples that are not valid.
#[derive(Debug)]
pub(crate) struct ParsedBatch {
    pub(crate) batch: SampleBatch,
    /// Index in the request, and number, of each sample.
    pub(crate) positions: Vec<(usize, i64)>,
    /// Samples that are not valid.
    pub(crate) refused: Vec<RefusedSample>,
}

/// Returns all samples that are not stored, by their index: those that are `refused` already, and those that the store
/// has refused.
pub(crate) fn all_refused(
    mut refused: Vec<RefusedSample>,
    positions: &[(usize, i64)],
    outcomes: &[SampleOutcome],
) -> Vec<RefusedSample> {
    for (&(index, seq), outcome) in positions.iter().zip(outcomes) {
        let (code, detail) = match outcome {
            SampleOutcome::Accepted | SampleOutcome::Repeated => continue,
            SampleOutcome::Conflict(kept) => {
                ("conflict", format!("a sample with this time and number is stored with the value {kept}"))
            }
            SampleOutcome::TooManySeries => {
                let detail = "the fleet has the maximum number of series, or the collector that of fleets";
                ("too_many_series", detail.to_owned())
            }
        };
        refused.push(RefusedSample { index, seq: Some(seq), code, detail });
    }
    refused.sort_by_key(|refused| refused.index);
    refused
}

/// Envelope of the samples. Unknown fields are ignored.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default, borrow)]
    fleet: Option<Cow<'a, str>>,
    #[serde(default, borrow)]
    zone: Option<Cow<'a, str>>,
    #[serde(borrow)]
    node: Cow<'a, str>,
    #[serde(borrow)]
    boot: Cow<'a, str>,
    #[serde(borrow)]
    samples: RawSamples<'a>,
}

/// Elements of an array, at most one more than is allowed.
struct RawSamples<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for RawSamples<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of samples")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while elements.len() <= MAX_SAMPLES {
                    let Some(element) = all.next_element()? else { return Ok(elements) };
                    elements.push(element);
                }
                while all.next_element::<IgnoredAny>()?.is_some() {}
                Ok(elements)
            }
        }
        deserializer.deserialize_seq(Elements).map(RawSamples)
    }
}

/// Sample as it is sent. Unknown fields are ignored.
#[derive(Deserialize)]
struct RawSample<'a> {
    #[serde(deserialize_with = "natural")]
    seq: i64,
    #[serde(borrow)]
    sensor: Cow<'a, str>,
    #[serde(borrow)]
    quantity: Cow<'a, str>,
    #[serde(default, borrow)]
    unit: Option<Cow<'a, str>>,
    value: f64,
    #[serde(deserialize_with = "natural")]
    time_ms: i64,
    clock: ClockState,
}

/// Deserializes a whole number that is not negative.
fn natural<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number: u64 = needed_integer(deserializer)?;
    i64::try_from(number).map_err(serde::de::Error::custom)
}

/// Parses a batch that is received at the time of the `clock`.
pub(crate) fn parse(body: &[u8], received: Timestamp, clock: &Clock) -> Result<ParsedBatch, Problem> {
    let envelope: Envelope<'_> = json(body)?;
    let RawSamples(elements) = envelope.samples;
    if elements.len() > MAX_SAMPLES {
        let detail = format!("the maximum is {MAX_SAMPLES} samples");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too many samples", detail));
    }
    let fleet = envelope.fleet.as_deref().unwrap_or(DEFAULT_FLEET);
    let mut all = Collected::default();
    for (index, element) in elements.iter().enumerate() {
        if let Err((code, Invalid(detail))) = all.add(index, element, clock) {
            all.refused.push(RefusedSample { index, seq: seq(element), code, detail: cut(&detail) });
        }
    }
    let batch = SampleBatch {
        fleet: match envelope.zone.as_deref() {
            None => identifier("fleet", fleet)?,
            Some(zone) => format!("{}/{}", identifier("fleet", fleet)?, identifier("zone", zone)?),
        },
        node: printable(&envelope.node, MAX_NAME).map_err(|invalid| invalid.of("node"))?,
        boot: identifier("boot", &envelope.boot)?,
        received: received.as_millisecond(),
        series: all.series,
        samples: all.samples,
    };
    Ok(ParsedBatch { batch, positions: all.positions, refused: all.refused })
}

/// Checks the name of a fleet or the identifier of a boot.
fn identifier(field: &str, text: &str) -> Result<String, Invalid> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(is_allowed) {
        return Ok(text.to_owned());
    }
    Err(Invalid::new(format!("{field}: not 1 to {MAX_NAME} letters, digits, '.', '_' or '-' of ASCII")))
}

/// Samples that were parsed already.
#[derive(Default)]
struct Collected<'a> {
    series: Vec<SeriesName>,
    /// Index of each series.
    numbers: HashMap<(Cow<'a, str>, Cow<'a, str>), usize>,
    samples: Vec<Sample>,
    positions: Vec<(usize, i64)>,
    refused: Vec<RefusedSample>,
}

impl<'a> Collected<'a> {
    /// Adds a sample, or returns the code and the explanation of the refusal.
    fn add(
        &mut self,
        index: usize,
        element: &'a RawValue,
        clock: &Clock,
    ) -> Result<(), (&'static str, Invalid)> {
        let sample: RawSample<'_> = serde_json::from_str(element.get())
            .map_err(|error| (wrong_field(element), Invalid::new(error.to_string())))?;
        if !sample.value.is_finite() {
            return Err(("value", Invalid::new("the value is not finite")));
        }
        check_time(sample.time_ms, sample.clock, clock).map_err(|invalid| ("time", invalid))?;
        let unit = sample.unit.filter(|unit| !unit.is_empty());
        if let Some(unit) = &unit
            && (unit.chars().nth(MAX_UNIT).is_some() || !unit.chars().all(is_printable))
        {
            return Err(("unit", Invalid::new(format!("not at most {MAX_UNIT} printable characters"))));
        }
        let name = (sample.sensor, sample.quantity);
        let series = match self.numbers.get(&name) {
            Some(series) => *series,
            None => {
                let [sensor, quantity] = [("sensor", &name.0), ("quantity", &name.1)]
                    .map(|(code, text)| printable(text, MAX_SENSOR).map_err(|invalid| (code, invalid)));
                self.series.push(SeriesName { sensor: sensor?, quantity: quantity?, unit: None });
                *self.numbers.entry(name).or_insert(self.series.len() - 1)
            }
        };
        if let Some(known) = self.series.get_mut(series)
            && known.unit.as_deref() != unit.as_deref()
        {
            known.unit = unit.map(Cow::into_owned);
        }
        let (seq, time) = (sample.seq, sample.time_ms);
        let value = without_negative_zero(sample.value);
        self.samples.push(Sample { series, seq, time, value, clock: sample.clock });
        self.positions.push((index, seq));
        Ok(())
    }
}

fn check_time(millis: i64, state: ClockState, clock: &Clock) -> Result<(), Invalid> {
    if millis < FIRST_TIME && state != ClockState::Unsynchronised {
        return Err(Invalid::new("time_ms is before 2000, but the clock is synchronised"));
    }
    let time =
        Timestamp::from_millisecond(millis).map_err(|_| Invalid::new("time_ms is after the year 9999"))?;
    clock.check_time(time)
}

/// Fields of a sample that is not valid. `None`: the field is missing or null.
#[derive(Deserialize)]
struct RawFields<'a> {
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
    #[serde(borrow)]
    sensor: Option<&'a RawValue>,
    #[serde(borrow)]
    quantity: Option<&'a RawValue>,
    #[serde(borrow)]
    unit: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    time_ms: Option<&'a RawValue>,
    #[serde(borrow)]
    clock: Option<&'a RawValue>,
}

/// Returns the name of the first field that is not valid, or `sample`.
fn wrong_field(element: &RawValue) -> &'static str {
    fn is<'a, T: Deserialize<'a>>(text: &'a RawValue) -> bool {
        serde_json::from_str::<T>(text.get()).is_ok()
    }
    let Ok(fields) = serde_json::from_str::<RawFields<'_>>(element.get()) else { return "sample" };
    match fields {
        _ if fields.seq.is_none_or(|text| as_integer(text).is_none()) => "seq",
        _ if !fields.sensor.is_some_and(is::<String>) => "sensor",
        _ if !fields.quantity.is_some_and(is::<String>) => "quantity",
        _ if fields.unit.is_some_and(|text| !is::<String>(text)) => "unit",
        _ if !fields.value.is_some_and(is::<f64>) => "value",
        _ if fields.time_ms.is_none_or(|text| as_integer(text).is_none()) => "time",
        _ if !fields.clock.is_some_and(is::<ClockState>) => "clock",
        _ => "sample",
    }
}

/// Returns the number of a sample that is not valid.
fn seq(element: &RawValue) -> Option<i64> {
    as_integer(serde_json::from_str::<RawFields<'_>>(element.get()).ok()?.seq?)
}

fn as_integer(text: &RawValue) -> Option<i64> {
    natural(&mut serde_json::Deserializer::from_str(text.get())).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plausibility::MAX_CLOCK_SKEW;

    proptest! {
        /// Each element is either a sample or refused.
        #[test]
        fn arbitrary_samples_do_not_panic(texts in prop::collection::vec("[-0-9a-z\"\\\\{}:,.]{0,30}", 0..20), whole in ".*") {
            let now = Timestamp::now();
            let clock = Clock::new(now, MAX_CLOCK_SKEW);
            let _ = parse(whole.as_bytes(), now, &clock);
            let samples = serde_json::to_string(&texts).unwrap();
            let body = format!(r#"{{"node":"n","boot":"b","samples":{samples}}}"#);
            let parsed = parse(body.as_bytes(), now, &clock).unwrap();
            prop_assert_eq!(parsed.refused.len(), texts.len());
            let raw = format!(r#"{{"node":"n","boot":"b","samples":[{}]}}"#, texts.join(","));
            if let Ok(parsed) = parse(raw.as_bytes(), now, &clock) {
                prop_assert_eq!(parsed.refused.len() + parsed.batch.samples.len(), parsed.positions.len() + parsed.refused.len());
            }
        }
    }
}
