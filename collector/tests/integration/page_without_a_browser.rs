//! Tests of the page on the wire.

use std::sync::Arc;

use atalaya_collector::{MemoryStore, Options, SqliteOptions, Tokens};
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use crate::common::{
    READER, WRITER, damage, full, open_to_all, refused, run, started, started_with_file, started_with_tokens,
};

/// Returns all addresses in attributes of the page.
fn places(html: &str) -> Vec<&str> {
    let attributes = [" href=\"", " src=\"", " action=\""];
    let found = attributes.iter().flat_map(|name| html.split(name).skip(1));
    found.filter_map(|rest| rest.split('"').next()).collect()
}

#[tokio::test]
async fn page_has_no_inline_code_and_no_foreign_addresses() {
    let collector = started().await;
    collector.post("/api/v1/reports").json(&full(7, 1, 20.0)).send().await.unwrap();
    let answer = collector.get("/?range=1y").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(headers["x-content-type-options"], "nosniff");
    assert_eq!(headers["cache-control"], "no-store");
    assert_eq!(headers["atalaya-collector"], "1");
    let html = answer.text().await.unwrap();
    assert!(!html.contains("style=\"") && !html.contains("<style") && !html.contains(" onclick"), "{html}");
    assert!(!html.contains("<script>"));
    for place in places(&html) {
        assert!(!place.starts_with('/') && !place.contains(':'), "relative to the page: {place}");
        if place.starts_with("page/") {
            let asset = collector.get(&format!("/{place}")).send().await.unwrap();
            assert_eq!(asset.status(), 200, "{place}");
            assert!(asset.headers()["cache-control"].to_str().unwrap().contains("immutable"));
        }
    }
}

#[tokio::test]
async fn texts_of_requests_are_escaped() {
    let collector = started().await;
    let evil = "<script>alert(1)</script>\"'&";
    let mut report = full(7, 1, 1e300);
    (report["quantity"], report["unit"]) = (json!(evil), json!("<b>"));
    assert_eq!(collector.post("/api/v1/reports").json(&report).send().await.unwrap().status(), 201);
    let status = json!({"epoch": 7, "cycle": 1, "leader": evil, "nodes": [
        {"id": evil, "health": "failing", "problem": evil, "host": evil, "readings": [{"value": -1e-300, "unit": evil}]}]});
    assert_eq!(collector.post("/api/v1/fleet").json(&status).send().await.unwrap().status(), 204);
    for query in
        ["", "?range=%3Cscript%3E&quantity=%3Cscript%3E&unit=%22%3E&lang=%22", "?range=5m&range=1y&&=&%ff"]
    {
        for path in ["/", "/page/live"] {
            let answer = collector.get(&format!("{path}{query}")).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let html = answer.text().await.unwrap();
            assert!(!html.contains("<script>") && !html.contains("<b>"), "{html}");
        }
    }
}

#[tokio::test]
async fn cookie_of_a_reader_permits_reading_only() {
    let tokens = Tokens::parse(&format!("write {WRITER}\nread {READER};ñ")).unwrap();
    let collector = run(Arc::new(MemoryStore::new()), Options { tokens, ..open_to_all() }).await;
    let client = crate::common::client().redirect(Policy::none()).build().unwrap();
    let anonymous = collector.get("/").send().await.unwrap();
    assert_eq!(anonymous.status(), 401);
    assert!(anonymous.text().await.unwrap().contains("<form"));
    assert_eq!(collector.get("/page/live").send().await.unwrap().status(), 401);
    let sign_in =
        |token: &str| client.post(collector.url("/sign-in")).body(format!("token={}", encoded(token)));
    assert_eq!(sign_in("unknown-token-0123").send().await.unwrap().status(), 401);
    assert_eq!(sign_in(WRITER).send().await.unwrap().status(), 403, "a writer's token");
    let signed_in = sign_in(&format!(" {READER};ñ ")).send().await.unwrap();
    assert_eq!(
        (signed_in.status().as_u16(), &signed_in.headers()["location"]),
        (303, &"./".parse().unwrap())
    );
    let cookie = signed_in.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("; HttpOnly; SameSite=Strict; Max-Age="), "{cookie}");
    assert!(!cookie.contains("Path"), "only for the folder of the page: {cookie}");
    let cookie = cookie.split(';').next().unwrap();
    for path in ["/", "/page/live", "/api/v1/latest", "/metrics"] {
        let answer = collector.get(path).header("cookie", cookie).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
    let bearer = collector.get("/").bearer_auth(format!("{READER};ñ"));
    assert_eq!(bearer.send().await.unwrap().status(), 401, "that header is ASCII only");
    let writing = format!("atalaya_token={}", encoded(WRITER));
    for cookie in [cookie, &writing] {
        let write = collector.post("/api/v1/reports").header("cookie", cookie).json(&full(7, 1, 1.0));
        refused(write, 401).await;
    }
    let out = client.post(collector.url("/sign-out")).send().await.unwrap();
    assert!(out.headers()["set-cookie"].to_str().unwrap().contains("Max-Age=0"));
}

fn encoded(token: &str) -> String {
    form_urlencoded::byte_serialize(token.as_bytes()).collect()
}

#[tokio::test]
async fn page_without_required_token_has_no_sign_in() {
    let tokens = Tokens::parse(&format!("write {WRITER}\nread *")).unwrap();
    let collector = run(Arc::new(MemoryStore::new()), Options { tokens, ..open_to_all() }).await;
    let answer = collector.get("/").send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("No report has arrived yet"));
}

#[tokio::test]
async fn page_shows_the_fleet_although_the_store_fails() {
    let folder = tempfile::tempdir().unwrap();
    let collector = started_with_file(SqliteOptions::new(folder.path().join("reports.db"))).await;
    assert_eq!(collector.post("/api/v1/reports").json(&full(7, 1, 1.0)).send().await.unwrap().status(), 201);
    damage(folder.path());
    let status =
        json!({"epoch": 7, "cycle": 1, "leader": "tower-5", "waiting": 7, "nodes": [{"id": "tower-5"}]});
    assert_eq!(collector.post("/api/v1/fleet").json(&status).send().await.unwrap().status(), 204);
    for path in ["/", "/page/live"] {
        let answer = collector.get(path).send().await.unwrap();
        assert_eq!(answer.status(), 503);
        assert_eq!(answer.headers()["retry-after"], "2");
        let html = answer.text().await.unwrap();
        for text in ["data-state=\"store\"", "damaged", "tower-5"] {
            assert!(html.contains(text), "{html}");
        }
    }
}

#[tokio::test]
async fn fleet_status_of_the_leader_is_returned() {
    let collector = started().await;
    assert_eq!(collector.json("/api/v1/fleet").await["status"], Value::Null);
    let status = |epoch: i64, cycle: i64| {
        json!({"epoch": epoch, "cycle": cycle, "leader": "1", "period": 2.5, "waiting": 3, "delivered": cycle - 1,
            "nodes": [{"id": "1", "age": 0.5, "health": "ok", "readings": [{"value": 78.4, "unit": null}]}], "more": 2})
    };
    let push = |status: &Value| collector.post("/api/v1/fleet").header("user-agent", "test").json(status);
    assert_eq!(push(&status(7, 5)).send().await.unwrap().status(), 204);
    let stored = collector.json("/api/v1/fleet").await["status"].clone();
    for (name, value) in status(7, 5).as_object().unwrap() {
        if name != "nodes" {
            assert_eq!(&stored[name], value, "{name}");
        }
    }
    assert_eq!(stored["nodes"][0]["age"], 0.5);
    assert_eq!(stored["nodes"][0]["readings"][0]["value"], 78.4);
    assert_eq!(stored["reporter"], "test");
    assert!(stored["received_ago"].as_f64().unwrap() < 60.0 && stored["received"].is_string());
    // From a deposed leader, or late.
    refused(push(&status(7, 4)), 409).await;
    collector.post("/api/v1/reports").json(&full(8, 6, 1.0)).send().await.unwrap();
    refused(push(&status(7, 6)), 409).await;
    assert_eq!(push(&status(8, 6)).send().await.unwrap().status(), 204);
    // Invalid, and too long.
    refused(push(&json!({"epoch": 9, "cycle": 1, "leader": "1"})), 400).await;
    refused(push(&json!({"epoch": 0, "cycle": 1, "leader": "1", "nodes": []})), 400).await;
    let many = vec![json!({"id": "1"}); 1_001];
    refused(push(&json!({"epoch": 9, "cycle": 1, "leader": "1", "nodes": many})), 400).await;
    refused(collector.post("/api/v1/fleet").body("{}"), 415).await;
    refused(push(&status(9, 1)).header("content-encoding", "gzip"), 415).await;
    let long = "x".repeat(300 << 10);
    refused(push(&json!({"epoch": 9, "cycle": 1, "leader": long, "nodes": []})), 413).await;
    assert_eq!(collector.json("/api/v1/fleet").await["status"]["epoch"], 8);
}

#[tokio::test]
async fn page_shows_tasks_in_both_languages_and_escapes_their_texts() {
    let collector = started().await;
    let status = |cycle: i64, tasks: Value| {
        let mut status = json!({"epoch": 7, "cycle": cycle, "leader": "1", "nodes": [{"id": "1"}]});
        if tasks != Value::Null {
            status["tasks"] = tasks;
        }
        status
    };
    let push = |status: &Value| collector.post("/api/v1/fleet").json(status);
    let page = async |lang: &str| {
        let answer = collector.get(&format!("/?lang={lang}")).send().await.unwrap();
        answer.text().await.unwrap()
    };
    // From an older leader, or a fleet without tasks.
    assert_eq!(push(&status(1, Value::Null)).send().await.unwrap().status(), 204);
    assert!(page("en").await.contains("<section id=\"tasks\" hidden"));
    let tasks = json!({"live": 1, "list": [
        {"id": "t-0000000004", "action": "<i>", "state": "assigned", "node": "pi3", "progress": "step 2 of 5", "all": 1,
         "age": 4.0},
        {"id": "t-0000000003", "action": "sensors.selftest", "state": "failed", "done": 7, "failed": 1, "all": 10,
         "age": 60.0, "ended": 50.0, "reason": "<script>alert(1)</script>"},
        {"id": "t-0000000002", "action": "status", "state": "resting", "mood": 3}]});
    assert_eq!(push(&status(2, tasks.clone())).send().await.unwrap().status(), 204);
    let stored = collector.json("/api/v1/fleet").await["status"]["tasks"].clone();
    assert_eq!((&stored["live"], &stored["list"][1]["done"]), (&json!(1), &json!(7)));
    assert_eq!((&stored["list"][0]["ended"], &stored["list"][2]["state"]), (&Value::Null, &json!("unknown")));
    for (lang, words) in [
        ("en", ["Tasks", "in progress", "7 of 10 nodes done, 1 failed", "node pi3", "step 2 of 5"]),
        ("es", ["Tareas", "en curso", "7 de 10 nodos listos, 1 con fallo", "nodo pi3", "step 2 of 5"]),
    ] {
        let page = page(lang).await;
        for word in words {
            assert!(page.contains(word), "no {word} in {page}");
        }
        assert!(page.contains("&lt;i&gt;") && page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>alert"), "{page}");
    }
    // Too many tasks, and texts that do not print.
    refused(push(&status(3, json!({"list": vec![json!({"id": "t"}); 101]}))), 400).await;
    refused(push(&status(3, json!({"list": [{"id": "t", "reason": "\u{1b}[2J"}]}))), 400).await;
    refused(push(&status(3, json!({"list": [{"id": "t", "age": -1}]}))), 400).await;
    refused(push(&status(3, json!({"list": 7}))), 400).await;
    assert_eq!(collector.json("/api/v1/fleet").await["status"]["cycle"], 2);
}

#[tokio::test]
async fn page_names_nodes_on_standby() {
    let collector = started().await;
    let nodes = json!([{"id": "1"}, {"id": "2", "standby": true}]);
    let status = json!({"epoch": 7, "cycle": 1, "leader": "1", "nodes": nodes});
    assert_eq!(collector.post("/api/v1/fleet").json(&status).send().await.unwrap().status(), 204);
    let stored = collector.json("/api/v1/fleet").await["status"]["nodes"].clone();
    assert_eq!((stored[0].get("standby"), &stored[1]["standby"]), (None, &json!(true)));
    for (lang, words) in [("en", "· on standby"), ("es", "· en reserva")] {
        let page = collector.get(&format!("/?lang={lang}")).send().await.unwrap().text().await.unwrap();
        assert_eq!(page.matches(words).count(), 1, "{page}");
    }
}

#[tokio::test]
async fn page_shows_groups_outliers_and_withheld_values_in_both_languages() {
    let collector = started().await;
    let status = |cycle: i64, findings: Value| {
        json!({"epoch": 7, "cycle": cycle, "leader": "1", "findings": findings,
            "nodes": [{"id": "1", "group": "roof"}, {"id": "<i>"}]})
    };
    let push = |status: &Value| collector.post("/api/v1/fleet").json(status);
    let findings = json!({
        "withheld": [{"unit": "%RH", "value": 41.5, "nodes": 1, "needed": 3}],
        "outliers": [{"node": "<i>", "unit": "Cel", "value": 85.0}], "more_outliers": 2,
        "groups": [{"group": "roof", "unit": "Cel", "value": 31.25, "min": 30.0, "max": 32.5, "count": 4}]});
    assert_eq!(push(&status(1, findings.clone())).send().await.unwrap().status(), 204);
    let stored = collector.json("/api/v1/fleet").await["status"].clone();
    assert_eq!((&stored["findings"], &stored["nodes"][0]["group"]), (&findings, &json!("roof")));
    let english = "41.50 % RH is not reported: 1 of 3|Outliers: &lt;i&gt; (85.00 °C) and 2 more|Groups|31.25 °C|>outlier<";
    let spanish = "41,50 % RH no se informa: 1 de los 3|Valores atípicos: &lt;i&gt; (85,00 °C) y 2 más|Grupos|31,25 °C|\
        >atípico<";
    for (lang, words) in [("en", english), ("es", spanish)] {
        let page = collector.get(&format!("/?lang={lang}")).send().await.unwrap().text().await.unwrap();
        for word in words.split('|') {
            assert!(page.contains(word), "no {word} in {page}");
        }
        assert!(page.contains("· roof"), "{page}");
    }
    // A fleet without any, or an older leader.
    assert_eq!(push(&status(2, Value::Null)).send().await.unwrap().status(), 204);
    let page = collector.get("/").send().await.unwrap().text().await.unwrap();
    assert!(!page.contains("Outliers") && !page.contains("<table><caption>"), "{page}");
    refused(push(&status(3, json!({"outliers": vec![json!({"node": "1", "value": 1}); 101]}))), 400).await;
    refused(push(&status(3, json!({"outliers": [{"node": "\u{1b}[2J", "value": 1}]}))), 400).await;
}

#[tokio::test]
async fn only_writers_send_the_fleet_status() {
    let collector = started_with_tokens().await;
    let status = json!({"epoch": 9, "cycle": 1, "leader": "1", "nodes": []});
    let push = |token: &str| collector.post("/api/v1/fleet").bearer_auth(token).json(&status);
    refused(push(READER), 403).await;
    assert_eq!(push(WRITER).send().await.unwrap().status(), 204);
}

#[tokio::test]
async fn new_fleet_is_shown_with_the_shortest_range() {
    let collector = started().await;
    let html = async |query: &str| collector.get(query).send().await.unwrap().text().await.unwrap();
    let report = |cycle: i64, minutes: i64| {
        let mut report = full(7, cycle, 20.0);
        let time = jiff::Timestamp::now() - jiff::SignedDuration::from_mins(minutes);
        report["time"] = json!(time.to_string());
        report
    };
    collector.post("/api/v1/reports").json(&report(2, 0)).send().await.unwrap();
    assert!(html("/").await.contains("The last 5 minutes"));
    assert!(html("/?range=1h").await.contains("The last hour"), "the requested range");
    collector.post("/api/v1/reports").json(&report(1, 10)).send().await.unwrap();
    assert!(html("/").await.contains("The last hour"));
}
