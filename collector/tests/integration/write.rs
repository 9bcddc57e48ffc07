//! Tests of the routes that receive reports.

use serde_json::{Value, json};

use crate::common::{full, refused, started};

/// The request that `requests.get(url, params={"dato": mean})` sends.
#[tokio::test]
async fn report_of_a_kazoo_leader_is_recorded() {
    let collector = started().await;
    for mean in ["78.4", "80", "78.4"] {
        let answer = collector
            .raw(format!(
                "GET /nuevo?dato={mean} HTTP/1.1\r\nHost: {}\r\nUser-Agent: python-requests/2.32.3\r\n\
                 Accept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: close\r\n\r\n",
                collector.address
            ))
            .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.contains("cache-control: no-store"), "no proxy swallows the next: {answer}");
    }
    assert_eq!(collector.means().await, [78.4, 80.0, 78.4], "each request is a report of its own");
    let reports = collector.json("/api/v1/reports").await;
    let first = &reports["reports"][0];
    assert_eq!(first["reporter"], "python-requests/2.32.3");
    assert_eq!(first["time"], first["received"]);
    assert_eq!(first["epoch"], Value::Null);
    let plain = collector.get("/listar").send().await.unwrap();
    assert_eq!(plain.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(plain.text().await.unwrap(), "78.4\n80\n78.4\n");
}

#[tokio::test]
async fn post_accepts_address_form_and_json() {
    let collector = started().await;
    let form = ("content-type", "application/x-www-form-urlencoded");
    let requests = [
        collector.post("/nuevo?dato=1"),
        collector.post("/nuevo").header(form.0, form.1).body("dato=2&other=x"),
        collector.post("/nuevo").json(&json!({"dato": 3})),
        collector.post("/nuevo").json(&json!({"mean": 4.0, "unit": null})),
        collector.post("/nuevo").json(&full(7, 5, 5.0)),
        collector
            .post("/nuevo")
            .header("content-type", "application/json; charset=utf-8")
            .body(r#"{"dato":6}"#),
    ];
    for request in requests {
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    let mut means = collector.means().await;
    means.sort_by(f64::total_cmp);
    assert_eq!(means, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
}

#[tokio::test]
async fn each_key_is_recorded_once() {
    let collector = started().await;
    let send = |key: &str, mean: &str| {
        collector.get(&format!("/nuevo?dato={mean}")).header("Idempotency-Key", key.to_owned())
    };
    for (status, key) in
        [("recorded", "7-1"), ("repeated", "7-1"), ("recorded", "7-1-Cel"), ("recorded", "7-2")]
    {
        let response = send(key, "79.5").send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.json::<Value>().await.unwrap()["status"], status);
    }
    let problem = refused(send("7-1", "79.6"), 409).await;
    assert_eq!(problem["type"], "urn:problem-type:atalaya:conflict");
    assert_eq!(problem["kept"], 79.5);
    // The same report by the other route.
    let whole = collector.post("/api/v1/reports").json(&full(7, 1, 79.5)).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(collector.means().await.len(), 3);
    let filtered = collector.json("/api/v1/reports?unit=Cel").await;
    assert_eq!(filtered["reports"][0]["epoch"], 7, "{filtered}");
}

#[tokio::test]
async fn report_of_a_deposed_leader_is_a_conflict() {
    let collector = started().await;
    let send = |epoch, cycle| collector.post("/api/v1/reports").json(&full(epoch, cycle, 1.0));
    assert_eq!(send(7, 1).send().await.unwrap().status(), 201);
    assert_eq!(send(8, 5).send().await.unwrap().status(), 201);
    let problem = refused(send(7, 5), 409).await;
    assert_eq!(problem["type"], "urn:problem-type:atalaya:stale");
    assert_eq!((&problem["epoch"], &problem["first_cycle"]), (&json!(8), &json!(5)));
    assert_eq!(send(7, 4).send().await.unwrap().status(), 201, "rejected and sent again");
    let later = jiff::Timestamp::now().as_second();
    assert_eq!(send(later, 6).send().await.unwrap().status(), 201, "simply a later leader");
    let fleet = collector.json("/api/v1/fleet").await;
    let epochs: Vec<_> =
        fleet["epochs"].as_array().unwrap().iter().map(|epoch| epoch["epoch"].as_i64().unwrap()).collect();
    assert_eq!(epochs, [later, 8, 7]);
}

#[tokio::test]
async fn a_batch_is_recorded_together_or_not_at_all() {
    let collector = started().await;
    let send = |batch: Value| collector.post("/api/v1/reports").json(&batch);
    let wrong = json!([full(7, 1, 1.0), {"mean": 1.0, "min": 3, "max": 2}]);
    let problem = refused(send(wrong), 400).await;
    assert_eq!(problem["detail"], "report 1: min is above max");
    refused(send(json!([full(7, 1, 1.0)])).header("Idempotency-Key", "7-1"), 400).await;
    refused(send((0..1001).map(|cycle| json!({"epoch": 1, "cycle": cycle, "mean": 1})).collect()), 400).await;
    assert!(collector.means().await.is_empty());
    let mixed = json!([full(8, 3, 1.0), full(8, 3, 1.0), full(8, 3, 2.0), full(7, 3, 1.0), {"mean": 9}]);
    let answer: Value = send(mixed).send().await.unwrap().json().await.unwrap();
    let results = json!([{"status": "recorded", "id": 1}, {"status": "repeated"}, {"status": "conflict", "kept": 1.0},
        {"status": "stale", "epoch": 8, "first_cycle": 3}, {"status": "recorded", "id": 2}]);
    assert_eq!(answer["results"], results);
    let none: Value = send(json!([])).send().await.unwrap().json().await.unwrap();
    assert_eq!(none, json!({"results": []}));
}

#[tokio::test]
async fn wrong_query_or_key_is_refused_and_not_recorded() {
    let collector = started().await;
    let queries = "? ?dato ?dato= ?dato=NaN ?dato=inf ?dato=-Infinity ?dato=1e400 ?dato=78,4 ?dato=x ?dato=%FF ?dato=1&dato=2 \
                   ?data=1 ?dato=1&unit= ?dato=1&unit=%FF ?dato=1&unit=a%00b ?DATO=1 ?dato=1&x=%FF";
    for query in queries.split(' ').chain([""]) {
        refused(collector.get(&format!("/nuevo{query}")), 400).await;
        refused(collector.post(&format!("/nuevo{query}")), 400).await;
    }
    for key in ["", "x", "7", "0-1", "-1-1", "7-1-", "9223372036854775808-1", "7-1-%RH"] {
        // The last one contradicts the unit.
        refused(collector.get("/nuevo?dato=1&unit=Cel").header("Idempotency-Key", key), 400).await;
    }
    let twice =
        collector.get("/nuevo?dato=1").header("Idempotency-Key", "7-1").header("Idempotency-Key", "7-2");
    refused(twice, 400).await;
    let broken = reqwest::header::HeaderValue::from_bytes(b"7-1-\xff").unwrap();
    refused(collector.get("/nuevo?dato=1").header("Idempotency-Key", broken), 400).await;
    assert!(collector.means().await.is_empty());
}

#[tokio::test]
async fn wrong_body_is_refused_and_not_recorded() {
    let collector = started().await;
    let body = |kind: &'static str, body: &[u8]| {
        collector.post("/api/v1/reports").header("content-type", kind).body(body.to_vec())
    };
    for wrong in [
        "",
        "{",
        "null",
        "1",
        "\"x\"",
        "{}",
        r#"{"mean": NaN}"#,
        r#"{"mean": null}"#,
        r#"{"mean": "1"}"#,
        r#"{"mean": 1e400}"#,
        r#"{"mean": 1, "dato": 1}"#,
        r#"{"mean": 1, "epoch": 1}"#,
        r#"{"mean": 1, "cycle": 1}"#,
        r#"{"mean": 1} x"#,
        r#"{"mean": 1, "epoch": 0, "cycle": 1}"#,
        r#"{"mean": 1, "epoch": 1.5, "cycle": 1}"#,
        r#"{"mean": 1, "epoch": 9223372036854775808, "cycle": 1}"#,
        r#"{"mean": 1, "epoch": 1, "cycle": -1}"#,
        r#"{"mean": 1, "time": "yesterday"}"#,
        r#"{"mean": 1, "time": "1969-12-31T23:59:59Z"}"#,
        r#"{"mean": 1, "count": -1}"#,
        r#"{"mean": 1, "stddev": -1}"#,
        r#"{"mean": 1, "min": 2, "max": 1}"#,
        r#"{"mean": 1, "unit": ""}"#,
        r#"{"mean": 1, "unit": "a\u0000"}"#,
        r#"{"mean": 1, "unit": "\ud800"}"#,
        "[[]]",
        "[1]",
    ] {
        refused(body("application/json", wrong.as_bytes()), 400).await;
    }
    refused(body("application/json", b"{\"mean\": 1, \"unit\": \"\xff\"}"), 400).await;
    refused(body("application/json", "[".repeat(100_000).as_bytes()), 400).await;
    let long = json!({"mean": 1, "unit": "x".repeat(65)}).to_string();
    refused(body("application/json", long.as_bytes()), 400).await;
    for kind in ["text/plain", "application/xml", "multipart/form-data", "application/jsonx", ""] {
        refused(body(kind, b"{\"mean\": 1}"), 415).await;
        refused(collector.post("/nuevo").header("content-type", kind).body("dato=1"), 415).await;
    }
    refused(collector.post("/nuevo?dato=1").json(&json!({"dato": 1})), 400).await;
    assert!(collector.means().await.is_empty());
}

#[tokio::test]
async fn other_paths_and_methods_are_refused_and_record_nothing() {
    let collector = started().await;
    for path in
        "/nuevo/ //nuevo /nuevo/../nuevo?dato=1 /%6euevo?dato=1 /NUEVO /api/v1 /api/v1/reports/1".split(' ')
    {
        let answer =
            collector.raw(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{path}: {answer}");
        assert!(answer.contains("application/problem+json"), "{path}: {answer}");
    }
    for request in [
        collector.client.delete(collector.url("/nuevo?dato=1")),
        collector.client.put(collector.url("/api/v1/reports")),
    ] {
        refused(request, 405).await;
    }
    let head = collector.client.head(collector.url("/nuevo?dato=1")).send().await.unwrap();
    assert_eq!(head.status(), 405, "HEAD records no report");
    assert!(collector.means().await.is_empty());
}

/// If it were stored, every later report of a real leader would count as one of a deposed leader, or as older.
#[tokio::test]
async fn report_of_the_future_is_refused() {
    let collector = started().await;
    let now = jiff::Timestamp::now();
    for epoch in [now.as_second() + 400 * 86_400, now.as_millisecond(), i64::MAX] {
        let keyed = |path| collector.get(path).header("Idempotency-Key", format!("{epoch}-1"));
        let problem = refused(keyed("/nuevo?dato=1"), 400).await;
        assert!(problem["detail"].as_str().unwrap().contains("in the future"), "{problem}");
        refused(collector.post("/api/v1/reports").json(&full(epoch, 1, 1.0)), 400).await;
        refused(collector.post("/api/v1/reports").json(&json!([full(7, 1, 1.0), full(epoch, 1, 1.0)])), 400)
            .await;
        let status = json!({"epoch": epoch, "cycle": 1, "leader": "1", "nodes": []});
        refused(collector.post("/api/v1/fleet").json(&status), 400).await;
    }
    let mut late = full(7, 1, 1.0);
    late["time"] = json!("9999-01-01T00:00:00Z");
    let problem = refused(collector.post("/api/v1/reports").json(&late), 400).await;
    assert!(problem["detail"].as_str().unwrap().contains("in the future"), "it would stay the newest");
    assert!(collector.means().await.is_empty());
    // Epochs of our own fleet: its first leader and the next one.
    for (epoch, cycle) in [(now.as_second(), 1), (now.as_second() + 1, 2)] {
        let kept = collector.post("/api/v1/reports").json(&full(epoch, cycle, 1.0)).send().await.unwrap();
        assert_eq!(kept.status(), 201);
        let status = json!({"epoch": epoch, "cycle": cycle, "leader": "1", "nodes": []});
        let answer = collector.post("/api/v1/fleet").json(&status).send().await.unwrap();
        assert_eq!(answer.status(), 204);
    }
}

#[tokio::test]
async fn body_of_ten_megabytes_is_refused() {
    let collector = started().await;
    let long = vec![b' '; 10 << 20];
    for path in ["/api/v1/reports", "/nuevo"] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\n"
        );
        let declared = format!("{head}Content-Length: {}\r\n\r\n", long.len());
        let answer = collector.raw(declared).await;
        let is_refused = answer.starts_with("HTTP/1.1 413") && answer.contains("too-large");
        assert!(is_refused, "before the body is sent: {answer}");
        let chunked = [
            format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n", long.len()).as_bytes(),
            &long[..1 << 20],
        ]
        .concat();
        let answer = collector.raw(chunked).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    assert!(collector.means().await.is_empty());
}
