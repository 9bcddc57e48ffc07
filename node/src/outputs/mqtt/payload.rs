//! Payloads of averages and samples.

#[cfg(feature = "history")]
use jiff::Timestamp;
#[cfg(feature = "history")]
use serde::Serialize;

use crate::model::json::to_json;
use crate::model::report::{Origin, Report};
#[cfg(feature = "history")]
use crate::model::sample::{ClockState, StoredSample};

/// Value of one quantity of one sensor. `boot` and `seq` are the same if it is sent again.
#[cfg(feature = "history")]
#[derive(Serialize)]
struct State<'a> {
    value: f64,
    unit: &'a str,
    time: Timestamp,
    clock: ClockState,
    boot: &'a str,
    seq: i64,
}

/// Returns the payload of a sample of the run `boot`, or the reason why it can never be sent.
#[cfg(feature = "history")]
pub(super) fn sample(sample: &StoredSample, boot: &str) -> Result<Vec<u8>, String> {
    let time = Timestamp::from_millisecond(sample.time_ms)
        .map_err(|_| format!("its time of {} ms is not a date", sample.time_ms))?;
    if !sample.value.is_finite() {
        return Err("its value is not a number".to_owned());
    }
    let StoredSample { value, unit, clock, seq, .. } = sample;
    Ok(to_json(&State { value: *value, unit, time, clock: *clock, boot, seq: *seq }))
}

/// Returns the payload of an average: the body of a report for the API, and `value`.
pub(super) fn average(report: &Report) -> Vec<u8> {
    let mut body = report.body(Origin::default());
    body["value"] = report.average.mean.into();
    to_json(&body)
}

#[cfg(test)]
mod tests {
    use crate::model::report::tests::cycle_report;

    #[cfg(feature = "history")]
    #[test]
    fn sample_has_the_documented_fields() {
        use super::*;

        let mut stored = crate::model::sample::tests::sample(17, "outside", 1_795_993_511_250, 21.53);
        stored.clock = ClockState::Corrected;
        let expected = r#"{"value":21.53,"unit":"Cel","time":"2026-11-29T23:05:11.25Z","clock":"corrected","boot":"3f0c","seq":17}"#;
        assert_eq!(String::from_utf8(sample(&stored, "3f0c").unwrap()).unwrap(), expected);
        stored.time_ms = i64::MAX;
        assert!(sample(&stored, "3f0c").unwrap_err().contains("not a date"));
        (stored.time_ms, stored.value) = (0, f64::NAN);
        assert!(sample(&stored, "3f0c").unwrap_err().contains("not a number"));
    }

    #[test]
    fn average_has_the_documented_fields() {
        let mut report = cycle_report(3, 41, Some("Cel")).reports().next().unwrap();
        report.time = "2026-11-29T23:05:11Z".parse().unwrap();
        let average = &mut report.average;
        (average.mean, average.min, average.max) = (20.5, 20.0, 21.0);
        let payload: serde_json::Value = serde_json::from_slice(&super::average(&report)).unwrap();
        let expected = serde_json::json!({
            "value": 20.5, "epoch": 3, "cycle": 41, "time": "2026-11-29T23:05:11Z", "quantity": "temperature",
            "unit": "Cel", "mean": 20.5, "min": 20.0, "max": 21.0, "stddev": 0.5, "count": 2, "excluded": 1,
        });
        assert_eq!(payload, expected);
    }
}
