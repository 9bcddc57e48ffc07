//! Tests of the routes that return reports.

use serde_json::{Value, json};

use crate::common::{Running, full, refused, started};

async fn with_reports(cycles: impl IntoIterator<Item = i64>) -> Running {
    let collector = started().await;
    let batch: Vec<Value> = cycles.into_iter().map(|cycle| full(7, cycle, cycle as f64)).collect();
    let answer = collector.post("/api/v1/reports").json(&batch).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    collector
}

fn cycles(reports: &Value) -> Vec<i64> {
    reports["reports"].as_array().unwrap().iter().map(|report| report["cycle"].as_i64().unwrap()).collect()
}

#[tokio::test]
async fn reports_are_returned_in_pages() {
    let collector = with_reports([3, 1, 2, 5, 4]).await;
    let mut path = "/api/v1/reports?limit=2&unit=Cel".to_owned();
    let mut seen = Vec::new();
    loop {
        let response = collector.get(&path).send().await.unwrap();
        let link = response.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Value = response.json().await.unwrap();
        seen.extend(cycles(&page));
        assert_eq!(link.is_some(), page["next"].is_string());
        let Some(link) = link else { break };
        let link = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
        assert!(!link.starts_with('/'), "relative, for proxies: {link}");
        let next = reqwest::Url::parse(&collector.url(&path)).unwrap().join(link).unwrap();
        path = format!("{}?{}", next.path(), next.query().unwrap());
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    let newest = collector.json("/api/v1/reports?order=desc&limit=2").await;
    assert_eq!(cycles(&newest), [5, 4]);
    let range =
        "/api/v1/reports?from=2026-11-21T08:00:02Z&to=2026-11-21T09:00:04%2B01:00&quantity=temperature";
    assert_eq!(cycles(&collector.json(range).await), [2, 3]);
    let mut one = collector.json("/api/v1/reports?limit=1").await["reports"][0].take();
    assert!(one["received"].take().is_string() && one["id"].take() == 2);
    let mut expected = full(7, 1, 1.0);
    expected["id"] = Value::Null;
    expected["received"] = Value::Null;
    expected["reporter"] = Value::Null;
    assert_eq!(one, expected);
}

#[tokio::test]
async fn csv_is_returned_if_preferred() {
    let collector = with_reports([1]).await;
    let csv = |path: &str| collector.get(path).header("accept", "text/csv");
    let response = csv("/api/v1/reports").send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    let text = response.text().await.unwrap();
    let (names, row) = text.trim_end().split_once('\n').unwrap();
    let columns = "id,epoch,cycle,time,quantity,unit,mean,min,max,stddev,count,excluded,received,reporter";
    assert_eq!(names, columns);
    assert!(row.starts_with("1,7,1,2026-11-21T08:00:01Z,temperature,Cel,1,0,2,0.5,2,1,2"), "{row}");
    let latest = csv("/api/v1/latest").send().await.unwrap().text().await.unwrap();
    assert_eq!(latest, text);
    let series =
        csv("/api/v1/series?from=2026-11-21T08:00:00Z&step=1h").send().await.unwrap().text().await.unwrap();
    assert_eq!(
        series,
        "time,quantity,unit,reports,mean,min,max\n2026-11-21T08:00:00Z,temperature,Cel,1,1,0,2\n"
    );
}

#[tokio::test]
async fn series_has_min_mean_and_max_of_each_step() {
    let collector = with_reports(0..90).await;
    let series =
        collector.json("/api/v1/series?from=2026-11-21T08:00:00Z&to=2026-11-21T09:00:00Z&step=1m").await;
    let points: Vec<_> = series["points"]
        .as_array()
        .unwrap()
        .iter()
        .map(|point| json!([point["time"], point["reports"], point["mean"], point["min"], point["max"]]))
        .collect();
    let first = json!(["2026-11-21T08:00:00Z", 60, 29.5, -1.0, 60.0]);
    assert_eq!(points, [first, json!(["2026-11-21T08:01:00Z", 30, 74.5, 59.0, 90.0])]);
    assert_eq!(series["step"], 60.0);
    let usual = collector.json("/api/v1/series?to=2026-11-21T09:00:00Z").await;
    assert_eq!((&usual["from"], &usual["step"]), (&json!("2026-11-20T09:00:00Z"), &json!(300.0)));
}

#[tokio::test]
async fn invalid_parameters_are_refused() {
    let collector = started().await;
    let questions = "reports?limt=5 reports?limit=0 reports?limit=5001 reports?order=up reports?cursor=x reports?from=x \
                     reports?from=2026-11-21 reports?unit= reports?limit=1&limit=1 reports?unit=%ff series?step=0 \
                     series?from=2026-11-21T09:00:00Z&to=2026-11-21T08:00:00Z series?from=2026-11-21T09:00:00Z&to=2026-11-21T09:00:00Z \
                     series?from=2025-11-21T09:00:00Z&step=1 series?to=-009999-01-02T00:00:00Z fleet?limit=x stream?after=x";
    for question in questions.split(' ') {
        refused(collector.get(&format!("/api/v1/{question}")), 400).await;
    }
    refused(collector.get("/listar?limit=x"), 400).await;
}

/// Reads events until there are `count` of them.
async fn events(response: &mut reqwest::Response, text: &mut String, count: usize) -> Vec<(String, Value)> {
    loop {
        let whole: Vec<&str> = text.split("\n\n").filter(|event| event.contains("data:")).collect();
        if whole.len() >= count && text.ends_with("\n\n") {
            let field = |event: &str, name: &str| {
                event.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
            };
            let read =
                |event: &&str| (field(event, "id:"), serde_json::from_str(&field(event, "data:")).unwrap());
            return whole.iter().map(read).collect();
        }
        let chunk = response.chunk().await.unwrap().expect("the stream goes on");
        text.push_str(std::str::from_utf8(&chunk).unwrap());
    }
}

#[tokio::test]
async fn stream_sends_every_recorded_report() {
    let collector = with_reports([1, 2]).await;
    let mut stream = collector.get("/api/v1/stream").send().await.unwrap();
    assert_eq!(stream.headers()["content-type"], "text/event-stream");
    collector.post("/api/v1/reports").json(&full(7, 3, 3.0)).send().await.unwrap();
    let new_events = events(&mut stream, &mut String::new(), 1).await;
    assert_eq!((new_events[0].0.as_str(), &new_events[0].1["cycle"]), ("3", &json!(3)), "from now on");
    drop(stream);
    let mut again = collector.get("/api/v1/stream").header("last-event-id", "1").send().await.unwrap();
    let mut text = String::new();
    let ids = |events: &[(String, Value)]| events.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&events(&mut again, &mut text, 2).await), ["2", "3"]);
    collector.get("/nuevo?dato=4").send().await.unwrap();
    assert_eq!(ids(&events(&mut again, &mut text, 3).await), ["2", "3", "4"]);
    // The stream does not delay the shutdown.
    collector.stop().await;
    assert!(matches!(again.chunk().await, Ok(None)), "an orderly end");
}

/// Collects all references in the document.
fn references(part: &Value) -> Vec<String> {
    match part {
        Value::Object(parts) => {
            let own = parts.get("$ref").and_then(Value::as_str).map(str::to_owned);
            own.into_iter().chain(parts.values().flat_map(references)).collect()
        }
        Value::Array(parts) => parts.iter().flat_map(references).collect(),
        _ => Vec::new(),
    }
}

#[tokio::test]
async fn openapi_document_and_metrics_describe_the_collector() {
    let collector = started().await;
    let document = collector.json("/api/v1/openapi.json").await;
    let paths: Vec<_> = document["paths"].as_object().unwrap().keys().cloned().collect();
    let routes = "/nuevo /listar /api/v1/reports /api/v1/series /api/v1/latest /api/v1/fleet /api/v1/stream /healthz /readyz /metrics";
    for path in routes.split(' ') {
        assert!(paths.iter().any(|known| known == path), "{path} of {paths:?}");
    }
    assert!(document["paths"]["/nuevo"]["post"]["responses"]["409"].is_object());
    let same: Value = serde_json::from_str(&atalaya_collector::openapi().unwrap()).unwrap();
    assert_eq!(same, document);
    let dangling = references(&document)
        .into_iter()
        .find(|reference| document.pointer(reference.strip_prefix('#').unwrap()).is_none());
    assert_eq!(dangling, None);
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], "bearer");
    let served = reqwest::Url::parse("http://host/sub/api/v1/openapi.json").unwrap();
    let base = served.join(document["servers"][0]["url"].as_str().unwrap()).unwrap();
    assert_eq!(base.as_str(), "http://host/sub/", "behind a proxy that removes a prefix");
    assert_eq!(collector.get("/healthz").send().await.unwrap().text().await.unwrap(), "ok\n");
    assert_eq!(collector.get("/readyz").send().await.unwrap().text().await.unwrap(), "ready\n");
    collector.get("/nuevo?dato=1").send().await.unwrap();
    refused(collector.get("/no/such/path"), 404).await;
    let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        r#"atalaya_collector_reports_total{outcome="recorded"} 1"#,
        r#"atalaya_collector_requests_total{path="/nuevo",status="200"} 1"#,
        r#"atalaya_collector_requests_total{path="",status="404"} 1"#,
        r#"atalaya_collector_reports_total{outcome="conflict"} 0"#,
        "atalaya_collector_store_ready 1",
        "# EOF",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}
