use std::collections::BTreeSet;

use atalaya_config::ReceiverConfig;
use atalaya_testbed::{Prometheus as Server, TcpProxy};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::outputs::Output;
use crate::outputs::test_support::*;

const WINDOW: &str = "storage:\n  tsdb:\n    out_of_order_time_window: 7d\n";
const WITHOUT: &str = "global: {}\n";
const HOUR: i64 = 3_600_000;

fn receiver(url: &str, node: &str) -> Output {
    output(url, ReceiverConfig::Prometheus, node)
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

fn values(server: &Server, selector: &str) -> Vec<f64> {
    server.samples(selector).into_iter().map(|(_, value)| value).collect()
}

fn numbers(range: std::ops::Range<i64>) -> Vec<f64> {
    range.map(|number| number as f64).collect()
}

/// Returns an expression that selects a series by its sensor.
fn selector(sensor: &str) -> String {
    format!("atalaya_measurement{{sensor={}}}", serde_json::to_string(sensor).unwrap())
}

fn is_name(name: &str) -> bool {
    let mut characters = name.chars();
    characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && characters.all(|c| c.is_ascii_alphanumeric() || c == '_')
}

proptest! {
    #[test]
    fn request_has_sorted_labels_and_samples_of_any_records(
        names in prop::collection::vec(".{0,64}", 1..4),
        records in prop::collection::vec((0..3_usize, 0..20_i64, prop::num::f64::ANY), 1..40),
    ) {
        let samples: Vec<StoredSample> = records.iter().enumerate().map(|(seq, (name, time, value))| {
            let mut sample = sample(seq as i64, &names[name % names.len()], *time, *value);
            sample.quantity.clone_from(&names[0]);
            sample
        }).collect();
        let (kept, refused) = prepare(&samples);
        let request = WriteRequest { series: sample_series(&sender("1"), &kept) };
        let decoded = WriteRequest::decode(&request.encode_to_vec()[..]).unwrap();
        prop_assert_eq!(&decoded, &request);
        let mut labels = BTreeSet::new();
        for series in &decoded.series {
            prop_assert!(series.labels.is_sorted_by(|one, other| one.name < other.name));
            prop_assert!(series.labels.iter().all(|label| is_name(&label.name) && !label.value.is_empty()));
            prop_assert!(labels.insert(format!("{:?}", series.labels)), "two series have the same labels");
            prop_assert!(series.samples.is_sorted_by(|one, other| one.timestamp < other.timestamp));
            prop_assert!(series.samples.iter().all(|sample| sample.value.is_finite()));
        }
        // Each sample is sent, refused, or has the time and value of another one.
        let refused: BTreeSet<i64> = refused.iter().map(|sample| sample.seq).collect();
        for sample in samples.iter().filter(|sample| !refused.contains(&sample.seq)) {
            let has_sensor = |series: &&TimeSeries| series.labels.iter().any(|label| label.name == "sensor" && label.value == sample.sensor)
                || sample.sensor.is_empty() && series.labels.iter().all(|label| label.name != "sensor");
            let mut series = decoded.series.iter().filter(has_sensor).flat_map(|series| &series.samples);
            prop_assert!(series.any(|sent| sent.timestamp == sample.time_ms && sent.value == sample.value));
        }
    }
}

#[tokio::test]
async fn prometheus_has_the_values_labels_and_times_of_records_once() {
    let server = Server::receiver(WITHOUT);
    let output = receiver(&server.write_url(), "node,1");
    let start = now() - 60_000;
    for cycle in 1..=3 {
        for _ in 0..3 {
            accepted(
                output.send_report(&report(cycle, start + 1000 * cycle as i64, cycle as f64), TIMEOUT).await,
            );
        }
    }
    let times: Vec<i64> = server.samples("atalaya_average").iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [start + 1000, start + 2000, start + 3000]);
    for (metric, wanted) in [
        ("", [1.0, 2.0, 3.0]),
        ("_min", [0.0, 1.0, 2.0]),
        ("_max", [2.0, 3.0, 4.0]),
        ("_stddev", [0.5; 3]),
        ("_count", [2.0; 3]),
    ] {
        let selector = format!(
            "atalaya_average{metric}{{fleet=\"greenhouse, east\",quantity=\"temperature\",unit=\"Cel\"}}"
        );
        assert_eq!(values(&server, &selector), wanted, "{selector}");
    }
    let newlines = "new\nline\ttab\\";
    let mut samples: Vec<StoredSample> = HOSTILE
        .iter()
        .chain(&[newlines])
        .enumerate()
        .map(|(seq, name)| sample(seq as i64, name, start, seq as f64 / 3.0))
        .collect();
    samples.push(sample(98, "nan", start, f64::NAN));
    let Outcome::Accepted(refused) = output.send_samples(&batch(&samples), TIMEOUT).await else {
        panic!("not accepted")
    };
    assert_eq!(refused_for(&refused, "finite"), [98]);
    for sample in &samples[..samples.len() - 1] {
        assert_eq!(server.samples(&selector(&sample.sensor)), [(start, sample.value)], "{}", sample.sensor);
    }
    let labels = server.query("atalaya_measurement{sensor=\"plain\"}")[0].0.clone();
    let wanted = serde_json::json!({"__name__": "atalaya_measurement", "fleet": "greenhouse, east", "node": "node,1", "sensor": "plain", "quantity": "temperature", "unit": "Cel"});
    assert_eq!(labels, wanted);
}

#[tokio::test]
async fn prometheus_without_a_window_refuses_late_samples_alone() {
    let server = Server::receiver(WITHOUT);
    let output = receiver(&server.write_url(), "1");
    let start = now() - 60_000;
    let samples = series(0, 20, "s", start);
    accepted(output.send_samples(&batch(&samples[..10]), TIMEOUT).await);
    // The repeat of a batch is refused, except its last sample, and the new samples behind it are stored.
    let refused = deliver(&output, &samples).await;
    assert_eq!(refused_for(&refused, "out of order"), (0..9).collect::<Vec<_>>());
    assert_eq!(values(&server, &selector("s")), numbers(0..20));
    // One sample with another value, among good ones of other series and later times.
    let mut mixed = series(20, 10, "s", start + 20_000);
    mixed.insert(4, sample(90, "s", start + 19_000, 0.5));
    mixed.extend(series(30, 10, "other", start));
    mixed.push(sample(91, "other", start + 1000, 0.5));
    let refused = deliver(&output, &mixed).await;
    assert_eq!(refused.iter().map(|sample| sample.seq).collect::<BTreeSet<_>>(), [90, 91].into());
    assert_eq!(values(&server, &selector("s")), numbers(0..30));
    assert_eq!(values(&server, &selector("other")), numbers(30..40));
    // Another node was away for two hours: it catches up after newer samples of the first one.
    let late = [series(0, 5, "late", now() - 2 * HOUR), series(5, 5, "late", now() - 10_000)].concat();
    let refused = deliver(&receiver(&server.write_url(), "2"), &late).await;
    assert_eq!(refused_for(&refused, "out of bounds"), (0..5).collect::<Vec<_>>());
    assert_eq!(values(&server, &selector("late")), numbers(5..10));
    accepted(output.send_report(&report(2, start + 2000, 2.0), TIMEOUT).await);
    let outcome = output.send_report(&report(1, start + 1000, 1.0), TIMEOUT).await;
    assert!(matches!(&outcome, Outcome::Refused(reason) if reason.contains("out of order")), "{outcome:?}");
}

#[tokio::test]
async fn prometheus_with_a_window_accepts_repeats_and_late_samples() {
    let server = Server::receiver(WINDOW);
    let output = receiver(&server.write_url(), "1");
    let start = now() - 60_000;
    let samples = series(0, 20, "s", start);
    accepted(output.send_samples(&batch(&samples[..10]), TIMEOUT).await);
    for _ in 0..3 {
        accepted(output.send_samples(&batch(&samples), TIMEOUT).await);
    }
    accepted(output.send_samples(&batch(&samples[3..5]), TIMEOUT).await);
    assert_eq!(values(&server, &selector("s")), numbers(0..20));
    let other = receiver(&server.write_url(), "2");
    let late = [series(0, 10, "late", now() - 48 * HOUR), series(10, 10, "late", now() - 2 * HOUR)].concat();
    for _ in 0..2 {
        accepted(other.send_samples(&batch(&late), TIMEOUT).await);
    }
    assert_eq!(values(&server, &selector("late")), numbers(0..20));
    // Older than the window: Prometheus 2.42 answers 500, which must not block the others.
    let older =
        [series(50, 3, "older", now() - 8 * 24 * HOUR), series(60, 3, "older", now() - 10_000)].concat();
    let refused = deliver(&other, &older).await;
    assert_eq!(refused_for(&refused, "too old"), [50, 51, 52]);
    assert_eq!(values(&server, &selector("older")), numbers(60..63));
    for cycle in [2, 1, 2, 1] {
        accepted(
            output.send_report(&report(cycle, start + 1000 * cycle as i64, cycle as f64), TIMEOUT).await,
        );
    }
    assert_eq!(values(&server, "atalaya_average"), [1.0, 2.0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn prometheus_away_hanging_empty_or_cut_off_loses_and_repeats_nothing() {
    let mut server = Server::receiver(WINDOW);
    let proxy = TcpProxy::to(server.port());
    let output = receiver(&format!("http://{}/api/v1/write", proxy.address()), "1");
    let direct = receiver(&server.write_url(), "1");
    let samples = series(0, 100, "s", now() - 100_000);
    let mut parts = samples.chunks(10);
    let mut next = || batch(parts.next().unwrap());
    let check = |server: &_, samples| assert_eq!(values(server, &selector("s")), numbers(0..samples));
    send_through_faults(&mut server, (&direct, &output), &proxy, &mut next, check).await;
    accepted(direct.send_samples(&next(), TIMEOUT).await);
    assert_eq!(values(&server, &selector("s")), numbers(60..70));
}
