//! Tests of several fleets in one collector.

use atalaya_collector::MemoryStore;
use serde_json::{Value, json};

use crate::common::{READER, Running, WRITER, full, open_to_all, refused, run, started, started_with_tokens};

/// Returns a report of a fleet as its leader sends it.
fn of(fleet: &str, epoch: i64, cycle: i64, mean: f64) -> Value {
    let mut report = full(epoch, cycle, mean);
    report["fleet"] = fleet.into();
    report
}

async fn post(collector: &Running, report: &Value) -> Value {
    let response = collector.post("/api/v1/reports").json(report).send().await.unwrap();
    response.json().await.unwrap()
}

async fn means(collector: &Running, path: &str) -> Vec<f64> {
    let told = collector.json(path).await;
    told["reports"].as_array().unwrap().iter().map(|report| report["mean"].as_f64().unwrap()).collect()
}

#[tokio::test]
async fn fleets_with_the_same_epochs_and_cycles_are_kept_apart() {
    let collector = started().await;
    for cycle in 1..=3 {
        for (fleet, mean) in [("home", 1.0), ("default", 2.0)] {
            assert_eq!(post(&collector, &of(fleet, 7, cycle, mean)).await["status"], "recorded");
        }
        // A node without a name reports to `default`.
        assert_eq!(post(&collector, &full(7, cycle, 2.0)).await["status"], "repeated");
    }
    assert_eq!(post(&collector, &of("home", 9, 2, 1.0)).await["status"], "recorded");
    assert_eq!(post(&collector, &of("home", 7, 4, 1.0)).await["type"], "urn:problem-type:atalaya:stale");
    for (query, mean, count) in
        [("", 2.0, 3), ("fleet=default", 2.0, 3), ("fleet=home", 1.0, 4), ("fleet=x", 0.0, 0)]
    {
        let path = |path: &str| format!("/api/v1/{path}?{query}");
        assert_eq!(means(&collector, &path("reports")).await, vec![mean; count], "{query}");
        assert_eq!(means(&collector, &path("latest")).await, vec![mean; count.min(1)]);
        let reports = collector.json(&path("reports")).await;
        let names = reports["reports"].as_array().unwrap().iter().map(|report| report["fleet"].as_str());
        let expected = (query == "fleet=home").then_some("home");
        assert!(names.into_iter().all(|name| name == expected), "{reports}");
        let series = collector
            .json(&(path("series") + "&from=2026-11-21T08:00:00Z&to=2026-11-21T09:00:00Z&step=1h"))
            .await;
        assert_eq!(series["points"].as_array().unwrap().len(), count.min(1), "{series}");
        let known = collector.json(&path("fleet")).await;
        assert_eq!(
            known["epochs"].as_array().unwrap().len(),
            [0, 1, 2][usize::from(count > 0) + usize::from(mean == 1.0)]
        );
        assert_eq!(known["warning"], Value::Null);
        let list = collector.get(&format!("/listar?{query}")).send().await.unwrap().text().await.unwrap();
        assert_eq!(list.lines().count(), count);
        let page = collector.get(&format!("/?{query}")).send().await.unwrap();
        assert_eq!(page.status(), 200);
    }
    let page = collector.get("/?fleet=home&range=7d").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("?fleet=home&amp;range="), "links of the page stay in the fleet");
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn nuevo_accepts_a_fleet_and_uses_default_without_one() {
    let collector = started().await;
    let ways = [
        (collector.get("/nuevo?dato=1"), "default"),
        (collector.get("/nuevo?dato=2&fleet=home"), "home"),
        (collector.post("/nuevo?dato=3&fleet=home"), "home"),
        (collector.post("/nuevo").header("content-type", FORM).body("dato=4&fleet=home"), "home"),
        (collector.post("/nuevo").json(&json!({"dato": 5, "fleet": "home"})), "home"),
        (collector.post("/nuevo").json(&json!({"dato": 6, "fleet": null})), "default"),
    ];
    for (at, (way, fleet)) in ways.into_iter().enumerate() {
        assert_eq!(way.send().await.unwrap().status(), 200);
        let last = means(&collector, &format!("/api/v1/reports?fleet={fleet}&order=desc&limit=1")).await;
        let expected = (at + 1) as f64;
        assert_eq!(last, [expected]);
    }
}

#[tokio::test]
async fn report_that_is_sent_by_get_and_by_post_is_recorded_once() {
    let collector = started().await;
    let get = collector.get("/nuevo?dato=79.5&quantity=temperature&unit=Cel&fleet=home");
    assert_eq!(get.header("Idempotency-Key", "7-1-Cel").send().await.unwrap().status(), 200);
    assert_eq!(post(&collector, &of("home", 7, 1, 79.5)).await["status"], "repeated");
    assert_eq!(means(&collector, "/api/v1/reports?fleet=home").await, [79.5]);
}

#[tokio::test]
async fn invalid_names_are_refused_and_an_array_may_have_reports_of_several_fleets() {
    let collector = started().await;
    for name in ["", "a b", "ñ", "../x", &"x".repeat(65)] {
        refused(collector.post("/api/v1/reports").json(&of(name, 7, 1, 1.0)), 400).await;
        let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        for path in ["reports", "latest", "series", "fleet", "stream"] {
            refused(collector.get(&format!("/api/v1/{path}?fleet={encoded}")), 400).await;
        }
        refused(collector.get(&format!("/nuevo?dato=1&fleet={encoded}")), 400).await;
    }
    let mixed = json!([of("home", 7, 1, 1.0), of("office", 7, 1, 2.0), of("home", 7, 2, 3.0)]);
    let answer = post(&collector, &mixed).await;
    let recorded = |result: &Value| result["status"] == "recorded";
    assert!(answer["results"].as_array().unwrap().iter().all(recorded), "{answer}");
    assert_eq!(answer["results"].as_array().unwrap().len(), 3);
    assert_eq!(means(&collector, "/api/v1/reports?fleet=home").await, [1.0, 3.0]);
    assert_eq!(means(&collector, "/api/v1/reports?fleet=office").await, [2.0]);
}

#[tokio::test]
async fn number_of_fleets_is_limited() {
    let store = std::sync::Arc::new(MemoryStore::new());
    let collector = run(store.clone(), open_to_all()).await;
    for number in 0..999 {
        assert_eq!(post(&collector, &of(&format!("f{number}"), 7, 1, 1.0)).await["status"], "recorded");
    }
    // The names are in the store.
    collector.stop().await;
    let collector = run(store, open_to_all()).await;
    let problem = refused(collector.post("/api/v1/reports").json(&of("more", 7, 1, 1.0)), 503).await;
    assert_eq!(problem["type"], "urn:problem-type:atalaya:fleets");
    assert!(problem["detail"].as_str().unwrap().contains("1000 fleets"), "{problem}");
    let status = json!({"fleet": "more", "epoch": 7, "cycle": 1, "leader": "1", "nodes": []});
    refused(collector.post("/api/v1/fleet").json(&status), 503).await;
    for known in [of("f500", 7, 2, 1.0), full(7, 2, 1.0)] {
        assert_eq!(post(&collector, &known).await["status"], "recorded");
    }
    let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\natalaya_collector_fleets 1000\n"), "{metrics}");
}

#[tokio::test]
async fn each_fleet_has_its_own_status() {
    let collector = started().await;
    let status = |fleet: Option<&str>, epoch, leader: &str| {
        let mut status = json!({"epoch": epoch, "cycle": 1, "leader": leader, "nodes": []});
        if let Some(fleet) = fleet {
            status["fleet"] = fleet.into();
        }
        collector.post("/api/v1/fleet").json(&status).send()
    };
    assert_eq!(status(Some("home"), 9, "h").await.unwrap().status(), 204);
    assert_eq!(status(None, 7, "d").await.unwrap().status(), 204, "of a lower epoch than the other fleet");
    assert_eq!(status(None, 6, "e").await.unwrap().status(), 409);
    assert_eq!(collector.json("/api/v1/fleet").await["status"]["leader"], "d");
    let home = collector.json("/api/v1/fleet?fleet=home").await;
    assert_eq!((&home["status"]["leader"], &home["status"]["fleet"]), (&json!("h"), &json!("home")));
    assert_eq!(collector.json("/api/v1/fleet?fleet=other").await["status"], Value::Null);
}

/// Both leaders are called node 1, and each takes over above the other, as our nodes do.
#[tokio::test]
async fn two_fleets_under_one_name_are_reported() {
    let collector = started().await;
    for fleet in ["default", "home"] {
        let mut problem = Value::Null;
        for round in 0..3 {
            let epoch = 100 + 2 * round;
            assert_eq!(
                post(&collector, &of(fleet, epoch + 1, 10 * round + 1, 1.0)).await["status"],
                "recorded"
            );
            problem = post(&collector, &of(fleet, epoch, 10 * round + 2, 2.0)).await;
            assert_eq!(problem["type"], "urn:problem-type:atalaya:stale", "{problem}");
            let has_warning = problem["detail"].as_str().unwrap().contains("two fleets");
            assert_eq!(has_warning, round > 0, "{problem}");
        }
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(&format!("{fleet:?}")) && detail.contains("fleet_name"), "{detail}");
        let warning = collector.json(&format!("/api/v1/fleet?fleet={fleet}")).await["warning"].take();
        assert!(warning.as_str().is_some_and(|warning| warning.contains("two fleets")), "{warning}");
    }
    let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("\natalaya_collector_fleets_mixed 2\n"), "{metrics}");
}

/// A leader that reports with GET recognises a collector by this header.
#[tokio::test]
async fn every_answer_has_the_header_of_a_collector() {
    let collector = started_with_tokens().await;
    let address = format!("/nuevo?dato=1&token={WRITER}");
    for (request, status) in [
        (collector.get(&address), 200),
        (collector.get("/nuevo?dato=1"), 401),
        (collector.get(&format!("/nuevo?dato=x&token={WRITER}")), 400),
        (collector.post("/api/v1/reports").bearer_auth(READER), 403),
        (collector.post("/api/v1/reports").bearer_auth(WRITER).json(&full(7, 1, 1.0)), 201),
        (collector.client.delete(collector.url("/api/v1/reports")), 405),
        (collector.get("/nothing"), 404),
        (collector.get("/healthz"), 200),
        (collector.get("/"), 401),
        (collector.get("/nuevo?dato=1").header("sec-fetch-site", "cross-site"), 403),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()["atalaya-collector"], "1", "{status}");
    }
}

#[tokio::test]
async fn list_of_fleets_contains_those_with_reports_and_those_with_measurements() {
    let collector = started().await;
    assert_eq!(collector.json("/api/v1/fleets").await, json!({"fleets": []}));
    for fleet in ["reporting", "both"] {
        assert_eq!(post(&collector, &of(fleet, 7, 1, 1.0)).await["status"], "recorded");
    }
    for fleet in ["both", "measuring"] {
        let sample = json!({"seq": 1, "sensor": "roof", "quantity": "temperature", "value": 1.0,
            "time_ms": 1_790_000_000_000_i64, "clock": "synchronised"});
        let batch = json!({"fleet": fleet, "node": "n1", "boot": "b", "samples": [sample]});
        let sent = collector.post("/api/v1/measurements").json(&batch).send().await.unwrap();
        assert_eq!(sent.json::<Value>().await.unwrap()["accepted"], 1);
    }
    let found = collector.json("/api/v1/fleets").await;
    let numbers = |fleet: &Value| {
        let received = fleet["received"].is_string();
        json!([fleet["fleet"], fleet["reports"], fleet["nodes"], fleet["series"], received])
    };
    let found: Vec<_> = found["fleets"].as_array().unwrap().iter().map(numbers).collect();
    let both = json!(["both", true, 1, 1, true]);
    let (measuring, reporting) =
        (json!(["measuring", false, 1, 1, true]), json!(["reporting", true, 0, 0, false]));
    assert_eq!(found, [both, measuring, reporting]);
    // A report without a name is of the fleet `default`.
    assert_eq!(post(&collector, &full(7, 1, 1.0)).await["status"], "recorded");
    let found = collector.json("/api/v1/fleets").await;
    let default = json!({"fleet": "default", "reports": true, "nodes": 0, "series": 0, "received": null});
    assert_eq!((found["fleets"].as_array().unwrap().len(), &found["fleets"][1]), (4, &default));
    collector.stop().await;
}

#[tokio::test]
async fn page_without_a_fleet_shows_the_named_one_if_there_is_no_other() {
    let collector = started().await;
    let location = async |path: &str| {
        let client = crate::common::client().redirect(reqwest::redirect::Policy::none()).build().unwrap();
        let answer = client.get(collector.url(path)).send().await.unwrap();
        let location = answer.headers().get("location").map(|url| url.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location)
    };
    let shown = (200, None);
    assert_eq!(location("/").await, shown);
    post(&collector, &of("home", 7, 1, 1.0)).await;
    assert_eq!(location("/?range=7d").await, (307, Some("./?fleet=home&range=7d".to_owned())));
    assert_eq!(location("/nodes").await, (307, Some("nodes?fleet=home".to_owned())));
    assert_eq!(location("/?fleet=default").await, shown, "the address may name a fleet without data");
    post(&collector, &full(7, 1, 2.0)).await;
    assert_eq!(location("/").await, shown);
}
