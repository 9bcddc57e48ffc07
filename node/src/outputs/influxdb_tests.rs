use std::collections::BTreeMap;
use std::fs;
use std::io::Read as _;

use atalaya_config::ReceiverConfig;
use atalaya_testbed::{Api, ApiMode, Scratch, TcpProxy};
use flate2::read::GzDecoder;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::outputs::Output;
use crate::outputs::test_support::*;

/// A time that all databases accept.
const TIME: i64 = 1_700_000_000_000;
const COUNT: &str = "SELECT COUNT(value) FROM atalaya_measurement";

fn v1(retention_policy: Option<&str>) -> ReceiverConfig {
    let retention_policy = retention_policy.map(str::to_owned);
    ReceiverConfig::Influxdb(InfluxdbConfig::V1 { database: "it's home".to_owned(), retention_policy })
}

fn server(options: &str) -> (atalaya_testbed::Influxdb, Output) {
    let server = atalaya_testbed::Influxdb::start();
    server.create_database("\"it's home\"", options);
    let output = output(&server.url(), v1(None), "node,1");
    (server, output)
}

fn query(server: &atalaya_testbed::Influxdb, query: &str) -> Value {
    server.query("it's home", query)
}

fn count(server: &atalaya_testbed::Influxdb) -> i64 {
    query(server, COUNT)[0]["values"][0][1].as_i64().unwrap_or(0)
}

/// Returns a character of tags as InfluxDB shows it, see [`push_tag`].
fn shown(text: &str) -> String {
    let text: String =
        text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect();
    match text.strip_suffix('\\') {
        Some(start) => format!("{start}{}", char::REPLACEMENT_CHARACTER),
        None => text,
    }
}

/// Divides a text at each `separator` without a backslash before it, as InfluxDB 1.x and 2.x do.
fn divide(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    for character in text.chars() {
        if character == separator && !parts.last().unwrap().ends_with('\\') {
            parts.push(String::new());
        } else {
            parts.last_mut().unwrap().push(character);
        }
    }
    parts
}

fn unescape(text: &str) -> String {
    text.replace("\\,", ",").replace("\\ ", " ").replace("\\=", "=")
}

/// Parses a line: measurement, tags, fields and time.
fn parse(line: &str) -> (String, BTreeMap<String, String>, BTreeMap<String, String>, i64) {
    let pairs = |parts: &[String]| -> BTreeMap<String, String> {
        let pair = |part: &String| match &divide(part, '=')[..] {
            [key, value] => (unescape(key), unescape(value)),
            other => panic!("{other:?} in {line:?}"),
        };
        parts.iter().map(pair).collect()
    };
    let parts = divide(line, ' ');
    let [key, fields, time] = &parts[..] else { panic!("{line:?}") };
    let key = divide(key, ',');
    (key[0].clone(), pairs(&key[1..]), pairs(&divide(fields, ',')), time.parse().unwrap())
}

proptest! {
    #[test]
    fn line_has_the_names_values_and_time_of_any_record(
        names in prop::array::uniform3("\\PC{0,64}|[\\\\ ,=\"\n\t#a]{0,9}"),
        value in any::<f64>(), time in -MAX_TIME_MS..=MAX_TIME_MS, stddev in prop::option::of(any::<f64>()),
    ) {
        let mut record = sample(1, &names[0], time, value);
        (record.quantity, record.unit) = (names[1].clone(), names[2].clone());
        let mut lines = String::new();
        let result = push_sample(&mut lines, &sender("node,1"), &record);
        prop_assert_eq!(result.is_ok(), value.is_finite());
        prop_assert_eq!(lines.is_empty(), result.is_err());
        let mut average = report(9, time, 0.5);
        (average.average.mean, average.average.stddev) = (value, stddev);
        (average.average.quantity, average.average.unit) = (Some(names[1].clone()), None);
        let result = push_average(&mut lines, "", &average);
        prop_assert_eq!(result.is_ok(), value.is_finite());
        if value.is_finite() {
            let rows: Vec<&str> = lines.lines().collect();
            prop_assert_eq!(rows.len(), 2);
            let (measurement, tags, fields, at) = parse(rows[0]);
            prop_assert_eq!((measurement.as_str(), at), (MEASUREMENT, time));
            let wanted = [("fleet", "greenhouse, east"), ("node", "node,1"), ("quantity", names[1].as_str()), ("sensor", names[0].as_str()), ("unit", names[2].as_str())];
            let wanted: BTreeMap<_, _> = wanted.into_iter().map(|(key, name)| (key.to_owned(), shown(name))).filter(|(_, name)| !name.is_empty()).collect();
            prop_assert_eq!(tags, wanted);
            prop_assert_eq!(fields.len(), 1);
            prop_assert_eq!(fields["value"].parse::<f64>().unwrap(), value);
            let (measurement, tags, fields, at) = parse(rows[1]);
            prop_assert_eq!((measurement.as_str(), at), (AVERAGE, time));
            prop_assert!(tags.keys().all(|key| key == "quantity"));
            prop_assert_eq!(fields["mean"].parse::<f64>().unwrap(), value);
            prop_assert_eq!(fields.contains_key("stddev"), stddev.is_some_and(f64::is_finite));
            prop_assert_eq!(fields["cycle"].as_str(), "9i");
        }
    }
}

#[test]
fn times_that_influxdb_does_not_have_are_refused() {
    for time in [i64::MIN, -MAX_TIME_MS - 1, MAX_TIME_MS + 1, i64::MAX] {
        assert!(push_sample(&mut String::new(), &sender("1"), &sample(1, "s", time, 1.0)).is_err(), "{time}");
    }
}

#[tokio::test]
async fn influxdb_has_the_values_tags_and_times_of_records_once() {
    let (server, output) = server("");
    for _ in 0..3 {
        for cycle in 1..=3 {
            accepted(output.send_report(&report(cycle, TIME + 1000 * cycle as i64, 20.25), TIMEOUT).await);
        }
    }
    let points = query(&server, "SELECT * FROM atalaya_average");
    let columns = json!([
        "time", "count", "cycle", "epoch", "excluded", "fleet", "max", "mean", "min", "quantity", "stddev",
        "unit"
    ]);
    assert_eq!(points[0]["columns"], columns);
    let point = |cycle: i64| {
        let time = TIME + 1000 * cycle;
        json!([time, 2, cycle, 7, 1, "greenhouse, east", 21.25, 20.25, 19.25, "temperature", 0.5, "Cel"])
    };
    assert_eq!(points[0]["values"], json!([point(1), point(2), point(3)]));

    let mut samples = Vec::new();
    for (number, name) in HOSTILE.iter().enumerate() {
        let mut sample = sample(number as i64, name, TIME, number as f64 + 0.125);
        (sample.quantity, sample.unit) = (format!("{name}q"), format!("u{name}"));
        samples.push(sample);
    }
    samples.push(sample(98, "newline\nback\\", TIME, 98.5));
    samples.push(sample(99, "", TIME, -1.5e-300));
    for _ in 0..3 {
        accepted(output.send_samples(&batch(&samples), TIMEOUT).await);
    }
    assert_eq!(count(&server), samples.len() as i64);
    let points = query(&server, "SELECT * FROM atalaya_measurement");
    assert_eq!(points[0]["columns"], json!(["time", "fleet", "node", "quantity", "sensor", "unit", "value"]));
    let stored: Vec<Value> = points[0]["values"].as_array().unwrap().clone();
    for sample in &samples {
        let sensor = if sample.sensor.is_empty() { Value::Null } else { shown(&sample.sensor).into() };
        let (quantity, unit) = (shown(&sample.quantity), shown(&sample.unit));
        let point = json!([TIME, "greenhouse, east", "node,1", quantity, sensor, unit, sample.value]);
        assert!(stored.contains(&point), "{point} is not in {stored:?}");
    }
}

#[tokio::test]
async fn influxdb_refuses_records_alone_and_stores_the_others() {
    let (server, output) = server(" WITH DURATION 2h");
    let now = Timestamp::now().as_millisecond();
    let old = series(0, 5, "old", TIME);
    // All points of a request are too old: each is refused, without further requests.
    let Outcome::Accepted(too_old) = output.send_samples(&batch(&old), TIMEOUT).await else {
        panic!("not accepted")
    };
    assert_eq!(refused_for(&too_old, "beyond retention policy"), [0, 1, 2, 3, 4]);
    let mut mixed = [series(10, 4, "good", now), old, series(20, 4, "other", now)].concat();
    mixed.insert(3, sample(97, "infinite", now, f64::INFINITY));
    mixed.insert(6, sample(98, "far", i64::MAX, 1.0));
    let mut too_old = deliver(&output, &mixed).await;
    too_old.retain(|sample| sample.seq < 90);
    assert_eq!(refused_for(&too_old, "beyond retention policy"), [0, 1, 2, 3, 4]);
    assert_eq!(count(&server), 8);
    let reason = refused(output.send_report(&report(1, TIME, 1.0), TIMEOUT).await);
    assert!(reason.contains("beyond retention policy"), "{reason}");

    // A field of another type, written by another program.
    let config = config(&server.url(), ReceiverConfig::Webhook);
    let ReceiverConfig::Influxdb(database) = v1(None) else { unreachable!() };
    let other = Influxdb::new(&config, &database, &sender("1")).unwrap();
    let answer = other.write(&format!("atalaya_average mean=\"text\" {now}\n"), TIMEOUT).await.unwrap();
    assert!(answer.status.is_success(), "{answer:?}");
    let reason = refused(output.send_report(&report(1, now, 1.0), TIMEOUT).await);
    assert!(reason.contains("field type conflict"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn influxdb_away_hanging_empty_or_cut_off_loses_and_repeats_nothing() {
    let (mut server, direct) = server("");
    let proxy = TcpProxy::to(server.port());
    let output = output(&format!("http://{}", proxy.address()), v1(None), "node,1");
    let samples = series(0, 100, "s", TIME);
    let mut parts = samples.chunks(10);
    let mut next = || batch(parts.next().unwrap());
    let check = |server: &_, samples| assert_eq!(count(server), samples, "accepted points survive SIGKILL");
    send_through_faults(&mut server, (&direct, &output), &proxy, &mut next, check).await;
    let part = next();
    let reason = failed(direct.send_samples(&part, TIMEOUT).await);
    assert!(
        reason.contains("database not found") && reason.ends_with("create it: CREATE DATABASE \"it's home\""),
        "{reason}"
    );
    assert!(failed(direct.send_report(&report(1, TIME, 1.0), TIMEOUT).await).contains("CREATE DATABASE"));
    server.create_database("\"it's home\"", "");
    accepted(direct.send_samples(&part, TIMEOUT).await);
    assert_eq!(count(&server), 10);
    let missing = super::super::test_support::output(&server.url(), v1(Some("missing")), "1");
    assert!(failed(missing.send_samples(&part, TIMEOUT).await).contains("retention policy not found"));
}

/// Debian has no package of InfluxDB 2.x: its request is compared with its documentation.
#[tokio::test]
async fn influxdb_2_gets_a_request_as_documented() {
    let (api, folder) = (Api::start(), Scratch::new("influxdb2"));
    let file = folder.path().join("token");
    fs::write(&file, "abc==\n").unwrap();
    let version = InfluxdbConfig::V2 { org: "my org".to_owned(), bucket: "b&c".to_owned() };
    let mut config = config(&format!("{}influx/", api.base_url()), ReceiverConfig::Influxdb(version));
    config.token_file = Some(located(file.to_str().unwrap()));
    let output = Output::new(config, &sender("1")).unwrap();
    accepted(output.send_samples(&batch(&series(0, 2, "s", TIME)), TIMEOUT).await);
    let requests = api.requests();
    let request = &requests[0];
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/influx/api/v2/write"));
    let query = [("org", "my org"), ("bucket", "b&c"), ("precision", "ms")];
    assert_eq!(request.query, query.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!(request.header("authorization"), Some("Token abc=="));
    assert_eq!(request.header("content-encoding"), Some("gzip"));
    let mut body = String::new();
    GzDecoder::new(&request.body[..]).read_to_string(&mut body).unwrap();
    let lines: Vec<_> = body.lines().map(parse).collect();
    assert_eq!((lines.len(), lines[1].3), (2, TIME + 1000));
    api.set(ApiMode::Status(404));
    failed(output.send_report(&report(1, TIME, 1.0), TIMEOUT).await);
    api.set(ApiMode::Status(422));
    refused(output.send_report(&report(1, TIME, 1.0), TIMEOUT).await);
}
