//! Tests of the zones of a fleet.

use std::time::Duration;

use serde_json::{Value, json};

use crate::common::{Running, eventually, full, refused, started};

const HOUR: &str = "from=2026-11-21T08:00:00Z&to=2026-11-21T09:00:00Z&step=1h";

/// Returns a report of a zone of the fleet `home`, of readings with a mean and a standard deviation of 0.
fn of(zone: &str, cycle: i64, mean: f64, count: i64) -> Value {
    let mut report = full(7, cycle, mean);
    (report["fleet"], report["zone"]) = ("home".into(), zone.into());
    (report["count"], report["stddev"]) = (count.into(), 0.0.into());
    report
}

async fn post(collector: &Running, report: &Value) -> Value {
    let response = collector.post("/api/v1/reports").json(report).send().await.unwrap();
    response.json().await.unwrap()
}

async fn recorded(collector: &Running, report: &Value) {
    assert_eq!(post(collector, report).await["status"], "recorded", "{report}");
}

async fn delete(collector: &Running, zone: &str) -> u16 {
    let url = collector.url(&format!("/api/v1/zones?fleet=home&zone={zone}"));
    collector.client.delete(url).send().await.unwrap().status().as_u16()
}

async fn csv(collector: &Running, path: &str) -> String {
    collector.get(path).header("accept", "text/csv").send().await.unwrap().text().await.unwrap()
}

#[tokio::test]
async fn zones_with_the_same_epochs_and_cycles_are_kept_apart() {
    let collector = started().await;
    for (zone, mean) in [("north", 1.0), ("south", 2.0)] {
        recorded(&collector, &of(zone, 1, mean, 3)).await;
        assert_eq!(post(&collector, &of(zone, 1, mean, 3)).await["status"], "repeated");
    }
    // A later epoch of one zone deposes the leader of that zone only.
    let mut later = of("north", 2, 1.0, 3);
    later["epoch"] = 9.into();
    recorded(&collector, &later).await;
    assert_eq!(post(&collector, &of("north", 3, 1.0, 3)).await["type"], "urn:problem-type:atalaya:stale");
    recorded(&collector, &of("south", 3, 2.0, 3)).await;
    for (query, means) in [("", vec![]), ("&zone=north", vec![1.0, 1.0]), ("&zone=south", vec![2.0, 2.0])] {
        let path = |path: &str| format!("/api/v1/{path}?fleet=home{query}");
        let reports = collector.json(&path("reports")).await;
        let reports = reports["reports"].as_array().unwrap();
        assert_eq!(reports.iter().map(|report| report["mean"].as_f64().unwrap()).collect::<Vec<_>>(), means);
        assert!(reports.iter().all(|report| query.ends_with(report["zone"].as_str().unwrap())));
        assert!(reports.iter().all(|report| report["fleet"] == "home"));
        let latest = collector.json(&path("latest")).await;
        assert_eq!(latest["reports"].as_array().unwrap().len(), means.len().min(1));
        let known = collector.json(&path("fleet")).await;
        assert_eq!(
            known["epochs"].as_array().unwrap().len(),
            [0, 1, 2][usize::from(!means.is_empty()) + usize::from(query.ends_with("north"))]
        );
        assert_eq!(known["warning"], Value::Null);
        let listed = collector.get(&format!("/listar?fleet=home{query}")).send().await.unwrap();
        assert_eq!(listed.text().await.unwrap().lines().count(), means.len());
    }
    let fleets = collector.json("/api/v1/fleets").await;
    assert_eq!(fleets["fleets"][0]["fleet"], "home");
    assert_eq!((&fleets["fleets"][0]["zones"], &fleets["fleets"][0]["reports"]), (&2.into(), &true.into()));
}

#[tokio::test]
async fn combined_series_weights_zones_by_their_readings_and_names_missing_ones() {
    let collector = started().await;
    for (zone, cycle, mean, count) in [("north", 1, 20.0, 3), ("north", 2, 20.0, 3), ("south", 1, 30.0, 2)] {
        recorded(&collector, &of(zone, cycle, mean, count)).await;
    }
    let series = collector.json(&format!("/api/v1/series?fleet=home&zone=*&{HOUR}")).await;
    let point = &series["points"][0];
    assert_eq!(series["points"].as_array().unwrap().len(), 1, "{series}");
    assert_eq!((&point["mean"], &point["readings"], &point["reports"]), (&22.5.into(), &8.into(), &3.into()));
    assert_eq!((&point["min"], &point["max"], &point["zones"]), (&19.0.into(), &31.0.into(), &2.into()));
    assert_eq!(point["missing"], json!([]));
    assert!((point["stddev"].as_f64().unwrap() - 18.75_f64.sqrt()).abs() < 1e-12, "{point}");
    // In the minute of cycle 61 only the north reports.
    recorded(&collector, &of("north", 61, 10.0, 1)).await;
    let minutes = "from=2026-11-21T08:01:00Z&to=2026-11-21T08:02:00Z&step=1m";
    let path = format!("/api/v1/series?fleet=home&zone=*&{minutes}");
    let point = collector.json(&path).await["points"][0].clone();
    assert_eq!((&point["mean"], &point["missing"]), (&10.0.into(), &json!(["south"])));
    let text = csv(&collector, &path).await;
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("time,quantity,unit,zones,missing,reports,readings,mean,stddev,min,max"));
    assert_eq!(lines.next(), Some("2026-11-21T08:01:00Z,temperature,Cel,1,south,1,1,10,0,9,11"));
    // One zone has the series of its reports.
    let one = collector.json(&format!("/api/v1/series?fleet=home&zone=south&{HOUR}")).await;
    assert_eq!((&one["points"][0]["mean"], &one["points"][0]["reports"]), (&30.0.into(), &1.into()));
    assert!(one["points"][0].get("zones").is_none());
}

#[tokio::test]
async fn medians_and_averages_without_a_count_are_not_combined() {
    let collector = started().await;
    recorded(&collector, &of("north", 1, 20.0, 3)).await;
    let mut median = of("south", 1, 90.0, 3);
    median["details"] = json!({"aggregate": "median", "statistics": {"mean": 50.0}});
    recorded(&collector, &median).await;
    let mut bare = of("west", 1, 80.0, 3);
    bare["count"] = Value::Null;
    recorded(&collector, &bare).await;
    let mut mean = of("east", 1, 30.0, 3);
    mean["details"] = json!({"aggregate": "mean"});
    recorded(&collector, &mean).await;
    let series = collector.json(&format!("/api/v1/series?fleet=home&zone=*&{HOUR}")).await;
    let point = &series["points"][0];
    assert_eq!((&point["mean"], &point["max"]), (&25.0.into(), &31.0.into()));
    assert_eq!(point["missing"], json!(["south", "west"]));
    let kept = collector.json("/api/v1/latest?fleet=home&zone=south").await;
    assert_eq!(kept["reports"][0]["aggregate"], "median");
    let kept = collector.json("/api/v1/latest?fleet=home&zone=east").await;
    assert!(kept["reports"][0].get("aggregate").is_none());
}

/// A collector that was used before the fleet had zones: its reports are the part without a zone.
#[tokio::test]
async fn reports_without_a_zone_are_a_part_of_the_fleet() {
    let collector = started().await;
    let mut old = of("x", 1, 10.0, 1);
    old.as_object_mut().unwrap().remove("zone");
    recorded(&collector, &old).await;
    old["zone"] = Value::Null;
    assert_eq!(post(&collector, &old).await["status"], "repeated");
    recorded(&collector, &of("north", 1, 20.0, 1)).await;
    let zones = collector.json("/api/v1/zones?fleet=home").await;
    let names: Vec<_> = zones["zones"].as_array().unwrap().iter().map(|zone| zone["zone"].clone()).collect();
    assert_eq!(names, ["", "north"]);
    let series = collector.json(&format!("/api/v1/series?fleet=home&zone=*&{HOUR}")).await;
    assert_eq!((&series["points"][0]["mean"], &series["points"][0]["zones"]), (&15.0.into(), &2.into()));
    let series = collector.json(&format!("/api/v1/series?fleet=home&{HOUR}")).await;
    assert_eq!(series["points"][0]["mean"], 10.0);
}

#[tokio::test]
async fn invalid_zones_are_refused_with_the_index_of_the_report() {
    let collector = started().await;
    for name in ["", "a b", "ñ", "../x", "a/b", "*", &"x".repeat(65)] {
        let problem = refused(collector.post("/api/v1/reports").json(&of(name, 1, 1.0, 1)), 400).await;
        assert!(problem["detail"].as_str().unwrap().starts_with("zone: "), "{problem}");
        let batch = json!([of("north", 1, 1.0, 1), of(name, 2, 1.0, 1)]);
        let problem = refused(collector.post("/api/v1/reports").json(&batch), 400).await;
        assert!(problem["detail"].as_str().unwrap().starts_with("report 1: zone: "), "{problem}");
        let encoded: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
        for path in ["reports", "latest", "fleet", "stream"] {
            refused(collector.get(&format!("/api/v1/{path}?zone={encoded}")), 400).await;
        }
        refused(collector.get(&format!("/nuevo?dato=1&zone={encoded}")), 400).await;
        let samples = json!({"zone": name, "node": "1", "boot": "b", "samples": []});
        refused(collector.post("/api/v1/measurements").json(&samples), 400).await;
        let status = json!({"epoch": 1, "cycle": 1, "leader": "1", "nodes": [], "zone": name});
        refused(collector.post("/api/v1/fleet").json(&status), 400).await;
    }
    assert_eq!(collector.json("/api/v1/zones?fleet=home").await["zones"], json!([]), "nothing is recorded");
}

#[tokio::test]
async fn number_of_zones_is_limited_and_deleting_one_makes_room() {
    let collector = started().await;
    for number in 0..100 {
        recorded(&collector, &of(&format!("zone-{number}"), 1, 1.0, 1)).await;
    }
    let problem = refused(collector.post("/api/v1/reports").json(&of("one-more", 1, 1.0, 1)), 503).await;
    assert_eq!(problem["type"], "urn:problem-type:atalaya:zones");
    assert!(problem["detail"].as_str().unwrap().contains("100 zones, the maximum: check zone"), "{problem}");
    recorded(&collector, &of("zone-7", 2, 1.0, 1)).await;
    assert_eq!(delete(&collector, "zone-8").await, 204);
    recorded(&collector, &of("one-more", 1, 1.0, 1)).await;
}

#[tokio::test]
async fn renamed_zone_is_a_new_one_and_the_old_one_can_be_deleted() {
    let collector = started().await;
    recorded(&collector, &of("north", 1, 1.0, 1)).await;
    recorded(&collector, &of("norte", 1, 1.0, 1)).await;
    let sample = json!({"seq": 1, "sensor": "s", "quantity": "t", "value": 1.5, "time_ms": 1_795_000_000_000_i64,
        "clock": "synchronised"});
    for (zone, node) in [(Some("north"), "1"), (Some("norte"), "1"), (Some("north"), "2"), (None, "1")] {
        let batch = json!({"fleet": "home", "zone": zone, "node": node, "boot": "b", "samples": [sample]});
        let response = collector.post("/api/v1/measurements").json(&batch).send().await.unwrap();
        assert_eq!(
            response.json::<Value>().await.unwrap()["accepted"],
            1,
            "nodes of zones may have one name"
        );
    }
    let latest = async |query: &str| {
        let latest = collector.json(&format!("/api/v1/measurements/latest{query}")).await;
        let named = |sample: &Value| {
            format!("{}/{}/{}", sample["fleet"], sample["zone"], sample["node"]).replace('"', "")
        };
        latest["measurements"].as_array().unwrap().iter().map(named).collect::<Vec<_>>()
    };
    assert_eq!(latest("?fleet=home").await, ["home/null/1"]);
    assert_eq!(latest("?fleet=home&zone=north").await, ["home/north/1", "home/north/2"]);
    assert_eq!(latest("").await.len(), 4);
    assert_eq!(latest("?zone=north").await, [""; 0], "of the fleet default");
    assert_eq!(delete(&collector, "north").await, 204);
    assert_eq!(delete(&collector, "north").await, 404);
    assert_eq!(latest("").await, ["home/null/1", "home/norte/1"]);
    let zones = collector.json("/api/v1/zones?fleet=home").await;
    assert_eq!(zones["zones"].as_array().unwrap().len(), 1, "{zones}");
    assert_eq!(zones["zones"][0]["zone"], "norte");
    recorded(&collector, &of("north", 1, 1.0, 1)).await;
}

#[tokio::test]
async fn zone_that_stops_reporting_is_late_in_the_list_and_on_the_page() {
    let collector = started().await;
    for (zone, mean, period) in [("north", 20.0, 0.2), ("south", 40.0, 1_000.0)] {
        recorded(&collector, &of(zone, 1, mean, 3)).await;
        let status = json!({"fleet": "home", "zone": zone, "epoch": 7, "cycle": 1, "leader": "1", "nodes": [], "period": period});
        let response = collector.post("/api/v1/fleet").json(&status).send().await.unwrap();
        assert_eq!(response.status(), 204);
    }
    let zones = eventually("north is late", Duration::from_secs(30), async || {
        let zones = collector.json("/api/v1/zones?fleet=home").await;
        (zones["zones"][0]["late"] == true).then_some(zones)
    });
    let zones = zones.await;
    assert_eq!((&zones["zones"][0]["zone"], &zones["zones"][0]["period"]), (&"north".into(), &0.2.into()));
    assert_eq!((&zones["zones"][1]["late"], &zones["zones"][1]["epoch"]), (&false.into(), &7.into()));
    let text = csv(&collector, "/api/v1/zones?fleet=home").await;
    assert!(text.starts_with("zone,late,period,id,") && text.contains("\nnorth,true,0.2,1,7,1,"), "{text}");

    let page = async |query: &str| collector.get(query).send().await.unwrap().text().await.unwrap();
    // The average is that of the zone that reports.
    let whole = page("/?fleet=home").await;
    for part in [
        "40.00",
        "average of all zones",
        "1 of 2 report",
        "No reports",
        "home · all zones",
        "fleet=home%2Fsouth",
    ] {
        assert!(whole.contains(part), "{part}: {whole}");
    }
    let spanish = page("/?fleet=home&lang=es").await;
    for part in ["40,00", "media de todas las zonas", "informan 1 de 2", "Sin informes", "todas las zonas"] {
        assert!(spanish.contains(part), "{part}: {spanish}");
    }
    let north = page("/?fleet=home%2Fnorth").await;
    assert!(north.contains("20.00") && north.contains("average of the fleet"), "{north}");
    assert!(north.contains(r#"<option value="home/north" selected>home · north</option>"#), "{north}");
    assert!(page("/page/live?fleet=home").await.contains(r#"class="card" id="zones""#));
    assert!(page("/page/live?fleet=home%2Fnorth").await.contains(r#"id="zones" hidden"#));
}
