//! Tests of the pages of nodes on the wire.

use atalaya_collector::SqliteOptions;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::common::{READER, Running, WRITER, damage, full, started, started_with_file, started_with_tokens};

/// Creates a sample from `ago` seconds ago. Later samples have higher numbers.
fn sample(sensor: &str, quantity: &str, unit: &str, ago: i64, value: f64) -> Value {
    let time = (Timestamp::now() - SignedDuration::from_secs(ago)).as_millisecond();
    json!({"seq": 1_000_000_000 - ago, "sensor": sensor, "quantity": quantity, "unit": unit, "value": value,
        "time_ms": time, "clock": "synchronised"})
}

fn temperature(ago: i64, value: f64) -> Value {
    sample("outside", "temperature", "Cel", ago, value)
}

async fn send(collector: &Running, fleet: &str, node: &str, samples: &[Value]) {
    let batch = json!({"fleet": fleet, "node": node, "boot": "b1", "samples": samples});
    let answer = collector.post("/api/v1/measurements").json(&batch).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let result: Value = answer.json().await.unwrap();
    assert_eq!(result["accepted"], samples.len(), "{result}");
}

async fn html(collector: &Running, address: &str) -> String {
    let answer = collector.get(address).send().await.unwrap();
    assert_eq!(answer.status(), 200, "{address}");
    answer.text().await.unwrap()
}

/// Returns the names of the nodes in the list.
fn names(html: &str) -> Vec<&str> {
    let links = html.split(" id=\"node-").skip(1);
    links.map(|rest| rest.split("<bdi>").nth(1).unwrap().split('<').next().unwrap()).collect()
}

#[tokio::test]
async fn list_shows_values_health_and_age_in_both_languages() {
    let collector = started().await;
    let humidity = sample("cellar", "humidity", "%RH", 1, 55.5);
    send(&collector, "default", "n1", &[temperature(120, 21.5), temperature(1, 21.75), humidity]).await;
    send(&collector, "default", "n2", &[temperature(7_200, -3.25)]).await;
    let status = json!({"epoch": 1, "cycle": 1, "leader": "n1", "period": 5.0, "nodes": [
        {"id": "n1", "age": 1.0, "health": "ok"},
        {"id": "n3", "age": 1.0, "health": "failing", "problem": "bus 1: no acknowledge"}]});
    assert_eq!(collector.post("/api/v1/fleet").json(&status).send().await.unwrap().status(), 204);
    let english = "21.75 °C;55.50 % RH;cellar;healthy;−3.25 °C;2 h ago;old data;3 of 3 nodes · 1 with old data;\
        No samples of this node.;failing";
    let spanish = "21,75 °C;55,50 % RH;cellar;en buen estado;−3,25 °C;hace 2 h;datos antiguos;\
        3 de 3 nodos · 1 con datos antiguos;No hay muestras de este nodo.;con fallos";
    for (lang, value, words) in [("en", "21.75 °C", english), ("es", "21,75 °C", spanish)] {
        let page = html(&collector, &format!("/nodes?lang={lang}")).await;
        for word in words.split(';').chain(["bus 1: no acknowledge"]) {
            assert!(page.contains(word), "no {word} in {page}");
        }
        assert_eq!(names(&page), ["n1", "n2", "n3"]);
        assert_eq!(page.matches("class=\"spark\"").count(), 1, "n2 has no data in this range");
        let live = html(&collector, &format!("/page/nodes?lang={lang}")).await;
        assert!(
            live.starts_with("<section id=\"state\"") && live.contains(value) && !live.contains("<form"),
            "{live}"
        );
    }
    let day = html(&collector, "/nodes?range=24h").await;
    assert_eq!(day.matches("class=\"spark\"").count(), 2, "{day}");
}

#[tokio::test]
async fn list_is_sorted_filtered_and_divided_into_parts() {
    let collector = started().await;
    for number in 1..=205_i64 {
        let value = ((number * 37) % 205) as f64;
        // So far apart that their order does not depend on when they are sent.
        let ago = 5 * number + 10;
        let mut samples = vec![temperature(ago, value)];
        if number == 7 {
            samples.insert(0, sample("attic", "humidity", "%RH", ago + 1, 99.0));
        }
        send(&collector, "default", &format!("n{number}"), &samples).await;
    }
    let list = async |query: &str| {
        let page = html(&collector, &format!("/nodes?{query}")).await;
        names(&page).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let first = list("").await;
    assert_eq!(
        (first.len(), &*first[0], &*first[1], &*first[9], &*first[99]),
        (100, "n1", "n2", "n10", "n100")
    );
    assert_eq!(list("page=3").await, ["n201", "n202", "n203", "n204", "n205"]);
    assert_eq!(list("page=99").await, list("page=3").await, "the last part");
    assert_eq!(list("sort=age").await[..2], ["n205", "n204"]);
    // 37 · 205 ≡ 0, and 37 · 72 ≡ 204. The first sensor of n7 is the attic, with 99.
    assert_eq!(list("sort=highest").await[..2], ["n72", "n144"]);
    assert_eq!(list("sort=lowest").await[0], "n205");
    assert_eq!(list("find=attic").await, ["n7"]);
    assert_eq!(list("find=N20").await, ["n20", "n200", "n201", "n202", "n203", "n204", "n205"]);
    assert_eq!(list("find=outside&sort=highest&page=3").await.len(), 5);
    assert!(html(&collector, "/nodes?find=nothing&lang=en").await.contains("No nodes found."));
    let page = html(&collector, "/nodes?find=n&sort=age&page=2&range=24h&lang=en").await;
    for address in [
        "nodes?find=n&amp;sort=age&amp;range=24h&amp;lang=en",
        "nodes?find=n&amp;sort=age&amp;page=3&amp;range=24h&amp;lang=en",
    ] {
        assert!(page.contains(&format!("href=\"{address}\"")), "no {address} in {page}");
    }
    assert!(
        page.contains("Page 2 of 3")
            && page.contains("value=\"age\" selected")
            && page.contains("205 of 205 nodes")
    );
}

#[tokio::test]
async fn page_of_a_node_has_a_chart_per_series_with_gaps_clocks_and_the_average() {
    let collector = started().await;
    let mut samples = Vec::new();
    for ago in (0..3_000).rev().step_by(10).filter(|ago| !(1_000..2_000).contains(ago)) {
        let mut one = temperature(ago, 20.0 + f64::from(u32::try_from(ago).unwrap()) / 1_000.0);
        one["clock"] = json!(match ago {
            2_500.. => "unsynchronised",
            2_000.. => "corrected",
            _ => "synchronised",
        });
        samples.push(one);
    }
    samples.push(sample("cellar", "humidity", "%RH", 0, 55.5));
    send(&collector, "default", "n1", &samples).await;
    let mut report = full(7, 1, 22.5);
    report["time"] = json!((Timestamp::now() - SignedDuration::from_secs(600)).to_string());
    assert_eq!(collector.post("/api/v1/reports").json(&report).send().await.unwrap().status(), 201);
    let english = "outside;Temperature;cellar;55.50 % RH;1 gap;clock corrected: 8 min;clock not synchronised: 8 min;\
        average of the fleet;no samples;Download as CSV;As a table";
    let spanish = "outside;Temperatura;cellar;55,50 % RH;1 hueco;reloj corregido: 8 min;reloj sin sincronizar: 8 min;\
        media de la flota;sin muestras;Descargar como CSV;Como tabla";
    for (lang, words) in [("en", english), ("es", spanish)] {
        for path in ["/node", "/page/node"] {
            let page = html(&collector, &format!("{path}?node=n1&range=1h&lang={lang}")).await;
            for word in words.split(';') {
                assert!(page.contains(word), "no {word} in {page}");
            }
            assert_eq!(page.matches("<article").count(), 2);
            assert_eq!(page.matches("<svg class=\"plot").count(), 4, "two widths of each");
            assert_eq!(page.matches("stroke=\"#0A0006\"").count(), 2, "the humidity has no average");
        }
    }
    let page = html(&collector, "/node?node=n1&range=1h").await;
    let csv = page.split("href=\"api/v1/measurements?").nth(2).unwrap().split('"').next().unwrap();
    let address = format!("/api/v1/measurements?{}", csv.replace("&amp;", "&"));
    let answer = collector.get(&address).send().await.unwrap();
    assert_eq!(
        (
            answer.status().as_u16(),
            answer.headers()["content-type"].to_str().unwrap().starts_with("text/csv")
        ),
        (200, true)
    );
    assert_eq!(answer.text().await.unwrap().lines().count(), 201, "{address}");
    for range in ["5m", "24h", "7d", "30d", "1y"] {
        assert!(
            html(&collector, &format!("/node?node=n1&range={range}")).await.contains("<article"),
            "{range}"
        );
    }
    assert!(html(&collector, "/node?node=unknown&lang=en").await.contains("No samples of this node."));
    assert!(html(&collector, "/node?lang=en").await.contains("No samples of this node."));
}

#[tokio::test]
async fn series_of_a_node_are_divided_into_parts() {
    let collector = started().await;
    let samples: Vec<_> = (10..35).map(|number| sample(&format!("s{number}"), "count", "", 1, 1.0)).collect();
    send(&collector, "default", "n1", &samples).await;
    let page = html(&collector, "/node?node=n1&page=2&lang=en").await;
    assert_eq!(page.matches("<article").count(), 12);
    assert!(page.contains("s22") && !page.contains("s21") && page.contains("Page 2 of 3"));
    let list = html(&collector, "/nodes?lang=en").await;
    assert!(list.contains("and 19 more values"), "{list}");
}

#[tokio::test]
async fn names_are_escaped() {
    let collector = started().await;
    let evil = "<script>alert(1)</script>\"'&";
    let long = format!("{}{}", "א".repeat(64), "x".repeat(64));
    let samples = [sample(evil, evil, "<b>", 1, 1.0), sample(&long, &long, "Cel", 1, 2.0)];
    let node = format!("{evil}/../?#%ff");
    send(&collector, "default", &node, &samples).await;
    let encoded: String = form_urlencoded::byte_serialize(node.as_bytes()).collect();
    for address in ["/nodes", "/nodes?find=%3Cscript%3E&sort=%22&page=%22", "/page/nodes"] {
        let page = html(&collector, address).await;
        assert!(
            !page.contains("<script>") && !page.contains("<b>") && page.contains("&lt;script&gt;"),
            "{page}"
        );
        assert!(page.contains(&format!("href=\"node?node={encoded}\"")), "{page}");
        assert!(page.contains(&format!("<bdi>{long}</bdi>")), "{page}");
    }
    for path in ["/node", "/page/node"] {
        let page = html(&collector, &format!("{path}?node={encoded}")).await;
        assert!(!page.contains("<script>") && !page.contains("<b>"), "{page}");
        assert_eq!(page.matches("<article").count(), 2);
    }
}

#[tokio::test]
async fn fleet_is_selected() {
    let collector = started().await;
    let alone = html(&collector, "/?lang=en").await;
    assert!(
        !alone.contains("<select") && !alone.contains("href=\"nodes"),
        "neither fleets nor nodes: {alone}"
    );
    send(&collector, "default", "n1", &[temperature(1, 1.0)]).await;
    assert!(!html(&collector, "/").await.contains("<select"), "one fleet");
    send(&collector, "home", "h1", &[temperature(1, 1.0)]).await;
    for (query, chosen, node) in [("", "default", "n1"), ("?fleet=home", "home", "h1")] {
        for path in ["/", "/nodes"] {
            let page = html(&collector, &format!("{path}{query}")).await;
            assert!(page.contains(&format!("<option value=\"{chosen}\" selected>")), "{page}");
            assert_eq!(page.matches("<option value=\"default\"").count(), 1);
            assert!(page.contains(&format!("href=\"nodes{query}\"")), "{page}");
            assert_eq!(path == "/nodes", page.contains(&format!("node={node}\"")), "{page}");
        }
    }
    let page = html(&collector, "/node?fleet=home&node=h1").await;
    assert!(page.contains("<article") && page.contains("href=\"nodes?fleet=home\""), "{page}");
    assert!(!html(&collector, "/node?node=h1").await.contains("<article"), "another fleet");
}

#[tokio::test]
async fn pages_have_no_inline_code_and_only_relative_addresses() {
    let collector = started().await;
    send(&collector, "home", "n1", &[temperature(90, 1.0), temperature(1, 1.0)]).await;
    for path in ["/nodes?fleet=home", "/node?fleet=home&node=n1"] {
        let answer = collector.get(path).send().await.unwrap();
        let policy = answer.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let html = answer.text().await.unwrap();
        assert!(
            !html.contains("style=\"") && !html.contains("<style") && !html.contains("<script>"),
            "{html}"
        );
        for name in [" href=\"", " src=\"", " action=\""] {
            for place in html.split(name).skip(1).filter_map(|rest| rest.split('"').next()) {
                let path = place.split('?').next().unwrap();
                assert!(!path.starts_with('/') && !path.contains(':'), "relative to the page: {place}");
            }
        }
    }
}

#[tokio::test]
async fn token_of_a_reader_is_required() {
    let collector = started_with_tokens().await;
    for path in ["/nodes", "/node?node=n1", "/page/nodes", "/page/node?node=n1"] {
        let asked = collector.get(path).send().await.unwrap();
        assert_eq!(asked.status(), 401, "{path}");
        assert!(asked.text().await.unwrap().contains("type=\"password\""));
        assert_eq!(collector.get(path).bearer_auth(WRITER).send().await.unwrap().status(), 401, "{path}");
        assert_eq!(collector.get(path).bearer_auth(READER).send().await.unwrap().status(), 200, "{path}");
    }
}

#[tokio::test]
async fn store_that_fails_is_shown() {
    let folder = tempfile::tempdir().unwrap();
    let collector = started_with_file(SqliteOptions::new(folder.path().join("reports.db"))).await;
    send(&collector, "default", "n1", &[temperature(1, 1.0)]).await;
    assert!(html(&collector, "/nodes").await.contains("n1"));
    damage(folder.path());
    for path in
        ["/nodes?lang=en", "/page/nodes?lang=en", "/node?node=n1&lang=en", "/page/node?node=n1&lang=en"]
    {
        let answer = collector.get(path).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].to_str().unwrap()), (503, "2"));
        let html = answer.text().await.unwrap();
        assert!(
            html.contains("data-state=\"store\"") && html.contains("The storage cannot be read."),
            "{html}"
        );
    }
}

#[tokio::test]
async fn start_page_links_to_the_nodes_with_samples() {
    let collector = started().await;
    send(&collector, "default", "n/1", &[temperature(1, 21.5)]).await;
    send(&collector, "other", "n2", &[temperature(1, 21.5)]).await;
    let status = json!({"epoch": 1, "cycle": 1, "leader": "n2", "period": 5.0, "nodes": [
        {"id": "n/1", "age": 1.0, "health": "ok"}, {"id": "n2", "age": 1.0, "health": "ok"}]});
    assert_eq!(collector.post("/api/v1/fleet").json(&status).send().await.unwrap().status(), 204);
    let page = html(&collector, "/?lang=en").await;
    assert!(page.contains("href=\"node?node=n%2F1&amp;lang=en\""), "{page}");
    assert!(page.contains("<strong>n2</strong>") && !page.contains("node?node=n2"), "{page}");
    collector.stop().await;
}

#[tokio::test]
async fn series_without_samples_for_longer_than_they_are_kept_leaves_the_list() {
    const WEEK: i64 = 7 * 86_400;
    let collector = started().await;
    let removed = sample("attic", "temperature", "Cel", WEEK + 100, 3.5);
    let paused = sample("cellar", "temperature", "Cel", WEEK - 100, 4.5);
    send(&collector, "default", "n1", &[removed.clone(), paused, temperature(1, 21.5)]).await;
    send(&collector, "default", "n2", &[removed]).await;
    let page = html(&collector, "/nodes?lang=en").await;
    assert_eq!(names(&page), ["n1", "n2"]);
    let node = |name: &str| page.split("<li class=").find(|part| part.contains(name)).unwrap();
    assert!(!node("node=n1").contains("attic") && node("node=n1").contains("cellar"), "{page}");
    assert!(
        node("node=n2").contains("attic") && node("node=n2").contains("old data"),
        "the only series stays"
    );
    let page = html(&collector, "/node?node=n1").await;
    let at = |sensor: &str| page.find(&format!("<bdi>{sensor}")).unwrap();
    assert!(at("cellar") < at("outside") && at("outside") < at("attic"), "{page}");
    collector.stop().await;
}
