//! Tests with input from other programs: wrong clocks, numbers at the limits of their types, text that other programs
//! interpret, and arbitrary bytes.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::time::{Duration, Instant};

use common::{full, refused, started};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

const DAY: i64 = 86_400;

fn dated(mut report: Value, ahead: SignedDuration) -> Value {
    report["time"] = json!((Timestamp::now() + ahead).to_string());
    report
}

#[tokio::test]
async fn collector_refuses_epochs_and_times_more_than_a_day_ahead() {
    let collector = started().await;
    let now = Timestamp::now().as_second();
    for epoch in [now + DAY + 60, now + 300 * DAY] {
        let problem = refused(collector.post("/api/v1/reports").json(&full(epoch, 1, 1.0)), 400).await;
        assert_eq!(problem["type"], "urn:problem-type:atalaya:future");
        assert_eq!(problem["report_epoch"], epoch);
        let highest = problem["max_epoch"].as_i64().unwrap();
        assert!((now + DAY - 1..now + DAY + 60).contains(&highest), "{problem}");
        let keyed = collector.get("/nuevo?dato=1").header("Idempotency-Key", format!("{epoch}-1"));
        refused(keyed, 400).await;
        refused(collector.post("/api/v1/reports").json(&json!([full(7, 1, 1.0), full(epoch, 1, 1.0)])), 400)
            .await;
        let status = json!({"epoch": epoch, "cycle": 1, "leader": "1", "nodes": []});
        refused(collector.post("/api/v1/fleet").json(&status), 400).await;
    }
    let late = dated(json!({"mean": 1}), SignedDuration::from_secs(DAY + 60));
    refused(collector.post("/api/v1/reports").json(&late), 400).await;
    assert!(collector.means().await.is_empty());
}

/// Small epochs, an epoch of the current time, many takeovers in a row, and a ZooKeeper whose clock is almost a day
/// ahead.
#[tokio::test]
async fn collector_accepts_every_epoch_that_an_honest_fleet_has() {
    let collector = started().await;
    let now = Timestamp::now().as_second();
    let epochs =
        [1, 2, 3, 100, now - 1_000].into_iter().chain(now..now + 500).chain([now + DAY - 60, now + DAY - 59]);
    for (cycle, epoch) in (1..).zip(epochs) {
        let kept = collector.post("/api/v1/reports").json(&full(epoch, cycle, 1.0)).send().await.unwrap();
        assert_eq!(kept.status(), 201, "{epoch}");
    }
}

#[tokio::test]
async fn conflict_answers_name_the_epoch_of_the_report_and_the_highest_epoch() {
    let collector = started().await;
    let send = |epoch, cycle, mean| collector.post("/api/v1/reports").json(&full(epoch, cycle, mean));
    for (epoch, cycle) in [(7, 1), (8, 5), (9, 6)] {
        assert_eq!(send(epoch, cycle, 1.0).send().await.unwrap().status(), 201);
    }
    let stale = refused(send(7, 5, 1.0), 409).await;
    assert_eq!(stale["type"], "urn:problem-type:atalaya:stale");
    let fields = |problem: &Value| {
        ["report_epoch", "highest_epoch", "epoch", "first_cycle"].map(|name| problem[name].clone())
    };
    assert_eq!(fields(&stale), [json!(7), json!(9), json!(8), json!(5)]);
    let keyed = collector.get("/nuevo?dato=1").header("Idempotency-Key", "7-6");
    assert_eq!(fields(&refused(keyed, 409).await), [json!(7), json!(9), json!(8), json!(5)]);
    let conflict = refused(send(8, 5, 2.0), 409).await;
    assert_eq!(conflict["type"], "urn:problem-type:atalaya:conflict");
    assert_eq!(fields(&conflict), [json!(8), json!(9), Value::Null, Value::Null]);
    let status = json!({"epoch": 7, "cycle": 9, "leader": "1", "nodes": []});
    let problem = refused(collector.post("/api/v1/fleet").json(&status), 409).await;
    assert_eq!(fields(&problem), [json!(7), json!(9), Value::Null, Value::Null]);
    let document = collector.json("/api/v1/openapi.json").await;
    for field in ["report_epoch", "highest_epoch", "max_epoch"] {
        assert!(document["components"]["schemas"]["Problem"]["properties"][field].is_object(), "{field}");
    }
}

#[tokio::test]
async fn latest_report_is_that_of_the_highest_cycle_whatever_its_time() {
    let collector = started().await;
    let hour = SignedDuration::from_hours(1);
    for (cycle, ahead) in [(1, hour * 23), (2, SignedDuration::ZERO), (3, -hour)] {
        let report = dated(full(7, cycle, cycle as f64), ahead);
        assert_eq!(collector.post("/api/v1/reports").json(&report).send().await.unwrap().status(), 201);
        let latest = collector.json("/api/v1/latest").await;
        assert_eq!(latest["reports"][0]["cycle"], cycle, "{latest}");
        let html = collector.get("/?lang=en").send().await.unwrap().text().await.unwrap();
        assert!(html.contains(&format!("<title>{cycle}.00 °C · Atalaya</title>")), "{html}");
    }
    // A report that was rejected and sent again later is not the newest, although it arrives last.
    let late = dated(full(7, 0, 0.0), hour);
    assert_eq!(collector.post("/api/v1/reports").json(&late).send().await.unwrap().status(), 201);
    assert_eq!(collector.json("/api/v1/latest").await["reports"][0]["cycle"], 3);
}

#[tokio::test]
async fn newest_averages_without_epoch_are_in_the_order_of_arrival_if_their_time_is_ahead() {
    let collector = started().await;
    let ahead = dated(json!({"mean": 1}), SignedDuration::from_hours(20));
    assert_eq!(collector.post("/api/v1/reports").json(&ahead).send().await.unwrap().status(), 201);
    assert_eq!(collector.get("/nuevo?dato=2").send().await.unwrap().status(), 200);
    assert_eq!(collector.json("/api/v1/latest").await["reports"][0]["mean"], 2.0);
    assert_eq!(collector.means().await, [1.0, 2.0]);
    let one = collector.get("/listar?limit=1").send().await.unwrap().text().await.unwrap();
    assert_eq!(one, "2\n");
    // Measured in the past and sent later, so it is not the newest.
    let past = dated(json!({"mean": 3}), SignedDuration::from_hours(-20));
    assert_eq!(collector.post("/api/v1/reports").json(&past).send().await.unwrap().status(), 201);
    assert_eq!(collector.json("/api/v1/latest").await["reports"][0]["mean"], 2.0);
    assert_eq!(collector.means().await, [3.0, 1.0, 2.0]);
}

#[tokio::test]
async fn negative_zero_is_zero_wherever_it_is_shown() {
    let collector = started().await;
    for dato in ["-0", "-0.0", "-0e5", "-1e-400"] {
        assert_eq!(collector.get(&format!("/nuevo?dato={dato}")).send().await.unwrap().status(), 200);
        let form = collector.post("/nuevo").header("content-type", "application/x-www-form-urlencoded");
        assert_eq!(form.body(format!("dato={dato}")).send().await.unwrap().status(), 200);
    }
    let whole =
        r#"{"epoch": 7, "cycle": 1, "unit": "Cel", "mean": -0.0, "min": -0.0, "max": -0.0, "stddev": -0.0}"#;
    for body in [whole.to_owned(), format!("[{}]", whole.replace("\"cycle\": 1", "\"cycle\": 2"))] {
        let sent = collector.post("/api/v1/reports").header("content-type", "application/json").body(body);
        assert!(sent.send().await.unwrap().status().is_success());
    }
    let status = r#"{"epoch": 7, "cycle": 1, "leader": "1", "period": -0.0,
        "nodes": [{"id": "1", "age": -0.0, "readings": [{"value": -0.0, "unit": "Cel"}]}]}"#;
    let request = collector.post("/api/v1/fleet").header("content-type", "application/json").body(status);
    assert_eq!(request.send().await.unwrap().status(), 204);
    let shown =
        ["/listar", "/api/v1/reports", "/api/v1/series?step=1h", "/api/v1/latest", "/api/v1/fleet", "/"];
    for path in shown {
        for accept in ["application/json", "text/csv", "text/plain"] {
            let text =
                collector.get(path).header("accept", accept).send().await.unwrap().text().await.unwrap();
            for zero in ["-0,", "-0\n", "-0.0", "-0]", "-0}", "\"-0\"", ">−0<", "−0.00", "−0 "] {
                assert!(!text.contains(zero), "{zero:?} in {path} as {accept}: {text}");
            }
        }
    }
}

#[tokio::test]
async fn csv_cells_of_text_are_not_formulas_and_numbers_stay_numbers() {
    let collector = started().await;
    let texts = ["=1+2", "+1", "-1", "@SUM(A1)", " =1", "＝1"];
    for (cycle, text) in (1..).zip(texts) {
        let mut report = full(7, cycle, -1.5);
        (report["quantity"], report["unit"]) = (json!(text), json!(text));
        let sent = collector.post("/api/v1/reports").header("user-agent", "=cmd|' /C calc'!A0").json(&report);
        assert_eq!(sent.send().await.unwrap().status(), 201);
    }
    for path in ["/api/v1/reports", "/api/v1/latest", "/api/v1/series?from=2026-11-21T00:00:00Z&step=1d"] {
        let csv =
            collector.get(path).header("accept", "text/csv").send().await.unwrap().text().await.unwrap();
        for text in texts {
            assert!(csv.contains(&format!(",'{text},'{text},")), "{text} in {csv}");
        }
        assert!(csv.contains(",-1.5,") && !csv.contains("'-1.5"), "{csv}");
        assert!(!csv.contains(",=") && !csv.contains("\"="), "{csv}");
    }
}

#[tokio::test]
async fn text_that_moves_a_cursor_or_turns_a_line_around_is_refused() {
    let collector = started().await;
    for character in
        ["\u{1b}", "\r", "\n", "\t", "\u{7f}", "\u{9b}", "\u{202e}", "\u{2066}", "\u{2028}", "\u{200f}"]
    {
        for field in ["unit", "quantity"] {
            let mut report = full(7, 1, 1.0);
            report[field] = json!(format!("a{character}b"));
            refused(collector.post("/api/v1/reports").json(&report), 400).await;
        }
    }
    let sent = collector.get("/nuevo?dato=1").header("user-agent", "a\tb").send().await.unwrap();
    assert_eq!(sent.status(), 200);
    assert_eq!(collector.json("/api/v1/reports").await["reports"][0]["reporter"], "a b");
}

#[tokio::test]
async fn collector_refuses_epochs_and_cycles_at_the_limits_of_their_types() {
    let collector = started().await;
    for number in
        ["9223372036854775806", "9223372036854775807", "9223372036854775808", "18446744073709551615", "1e30"]
    {
        for (epoch, cycle) in [("7", number), (number, "7")] {
            let body = format!(r#"{{"mean": 1, "epoch": {epoch}, "cycle": {cycle}}}"#);
            for body in [body.clone(), format!("[{body}]")] {
                let sent =
                    collector.post("/api/v1/reports").header("content-type", "application/json").body(body);
                refused(sent, 400).await;
            }
            refused(
                collector.get("/nuevo?dato=1").header("Idempotency-Key", format!("{epoch}-{cycle}")),
                400,
            )
            .await;
            let status = format!(r#"{{"epoch": {epoch}, "cycle": {cycle}, "leader": "1", "nodes": []}}"#);
            let request =
                collector.post("/api/v1/fleet").header("content-type", "application/json").body(status);
            refused(request, 400).await;
        }
    }
    assert!(collector.means().await.is_empty());
}

/// A number that passes the parser, such as a step, may still be too large for the arithmetic.
#[tokio::test]
async fn questions_with_huge_numbers_are_answered() {
    let collector = started().await;
    for question in [
        "series?step=99999999999999999d",
        "series?step=9223372036854775807d",
        "series?step=2562047788015216h",
        "series?step=153722867280912931m",
        "reports?cursor=9223372036854775808-1",
        "reports?limit=18446744073709551616",
        "series?from=+010000-01-01T00:00:00Z",
    ] {
        refused(collector.get(&format!("/api/v1/{question}")), 400).await;
    }
    for question in [
        "reports?cursor=9223372036854775807-9223372036854775807",
        "reports?cursor=0--9223372036854775808&order=desc",
        "reports?from=-009999-01-02T01:59:59Z&to=9999-12-30T22:00:00Z",
        "series?from=-009999-01-03T00:00:00Z&to=9999-12-30T22:00:00Z",
    ] {
        let answer = collector.get(&format!("/api/v1/{question}")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{question}");
    }
}

fn sample<T: std::fmt::Debug>(runner: &mut TestRunner, strategy: &impl Strategy<Value = T>) -> T {
    strategy.new_tree(runner).unwrap().current()
}

/// Generates JSON that is almost a report: wrong types, huge numbers, deep nesting, and fields that are missing,
/// unknown or duplicate.
fn nearly_json() -> impl Strategy<Value = String> {
    let value = prop_oneof![
        Just("-0.0".to_owned()),
        any::<f64>().prop_map(|number| format!("{number:e}")),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        (1..400_u32).prop_map(|power| format!("1e{power}")),
        (1..5_000_usize).prop_map(|digits| "9".repeat(digits)),
        (1..20_000_usize).prop_map(|depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth))),
        (1..20_000_usize).prop_map(|depth| "{\"a\":".repeat(depth)),
        ".{0,100}".prop_map(|text| serde_json::to_string(&text).unwrap()),
        Just("\"\\ud800\"".to_owned()),
        Just("null".to_owned()),
        Just("[]".to_owned()),
        Just("\"2026-11-21T08:00:00Z\"".to_owned()),
    ];
    let names: Vec<&str> = "mean dato epoch cycle time quantity unit min max stddev count excluded leader nodes period waiting more \
                            delivered since x".split(' ').collect();
    let fields = prop::collection::vec((prop::sample::select(names), value), 0..8);
    (fields, any::<bool>(), 1..4_usize).prop_map(|(fields, array, times)| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        let object = format!("{{{}}}", fields.join(","));
        if array { format!("[{}]", vec![object; times].join(",")) } else { object }
    })
}

fn bodies() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        nearly_json().prop_map(String::into_bytes),
        prop::collection::vec(any::<u8>(), 0..500),
        "[a-z]{0,6}=[^\u{0}]{0,40}(&dato=-?[0-9]{1,400}(\\.[0-9]{1,20})?(e-?[0-9]{1,4})?)?"
            .prop_map(String::into_bytes),
    ]
}

/// Returns the resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn memory() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[cfg(not(target_os = "linux"))]
fn memory() -> usize {
    0
}

/// Every body, key, cursor and parameter gets an answer quickly, and refused input does not increase memory.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn arbitrary_input_is_answered_in_bounded_time_and_memory() {
    let collector = started().await;
    let mut runner = TestRunner::deterministic();
    let (mut slowest, before) = (Duration::ZERO, memory());
    for round in 0..150 {
        let body = sample(&mut runner, &bodies());
        let text = sample(&mut runner, &"[!-~]{0,60}");
        let key = sample(&mut runner, &"[0-9]{0,22}-?[0-9]{0,22}-?[!-~]{0,80}");
        let query: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        let json = "application/json";
        let form = "application/x-www-form-urlencoded";
        let post =
            |path: &str, kind: &str| collector.post(path).header("content-type", kind).body(body.clone());
        let requests = [
            post("/api/v1/reports", json),
            post("/nuevo", json).header("Idempotency-Key", &key),
            post("/nuevo", form).header("Idempotency-Key", &key),
            post("/api/v1/fleet", json),
            post("/sign-in", form),
            collector.get(&format!("/nuevo?dato={query}")).header("Idempotency-Key", &key),
            collector.get(&format!("/api/v1/reports?cursor={query}")),
            collector.get(&format!("/api/v1/reports?cursor={key}&from={query}")),
            collector.get(&format!("/api/v1/series?step={query}")),
            collector.get(&format!("/api/v1/series?step={}d", key.split('-').next().unwrap_or_default())),
            collector.get(&format!("/listar?limit={query}&unit={query}")),
            collector.get(&format!("/?range={query}&quantity={query}&lang={query}")).header("cookie", &text),
            collector.get("/api/v1/stream?after=x").header("last-event-id", &text).header("accept", &text),
        ];
        for request in requests {
            let start = Instant::now();
            let answer =
                request.send().await.unwrap_or_else(|error| panic!("round {round}: no answer: {error}"));
            // The stream does not end, and its status is sufficient.
            let status = answer.status().as_u16();
            let expected = [200, 201, 204, 303, 400, 401, 409, 413, 415];
            assert!(expected.contains(&status), "round {round}: {status}");
            slowest = slowest.max(start.elapsed());
        }
    }
    let grown = memory().saturating_sub(before);
    println!("slowest answer {slowest:?}, memory grown by {grown} bytes");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(grown < 64 << 20, "{grown} bytes");
    assert_eq!(collector.get("/healthz").send().await.unwrap().status(), 200);
}
