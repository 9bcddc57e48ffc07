//! Tests of the page in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;
mod looking;

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::{Collector, MemoryStore, Options, Store, Tokens};
use common::{READER, Running, WRITER, open_to_all, run, started};
use jiff::{SignedDuration, Timestamp};
use looking::Looker;
use serde_json::{Value, json};

/// Creates a report from `ago` seconds ago.
fn report(epoch: i64, cycle: i64, ago: f64, unit: (&str, &str), mean: f64) -> Value {
    let time = Timestamp::now() - SignedDuration::from_secs_f64(ago);
    json!({"epoch": epoch, "cycle": cycle, "time": time, "quantity": unit.0, "unit": unit.1, "mean": mean,
        "min": mean - 1.5, "max": mean + 1.2, "stddev": 0.62, "count": 12, "excluded": 1})
}

const TEMPERATURE: (&str, &str) = ("temperature", "Cel");

async fn post(collector: &Running, reports: &[Value]) {
    for reports in reports.chunks(500) {
        let answer = collector.post("/api/v1/reports").json(reports).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{:?}", answer.text().await);
    }
}

/// Stores one hour of a fleet: three quantities every ten seconds, a gap and a change of leader; then sends its status.
async fn hour(collector: &Running) {
    let mut reports = Vec::new();
    for cycle in 0..360 {
        if (200..225).contains(&cycle) {
            continue;
        }
        #[allow(clippy::cast_precision_loss, reason = "small")]
        let (ago, phase) = ((359 - cycle) as f64 * 10.0 + 2.0, cycle as f64 / 40.0);
        let epoch = if cycle < 225 { 7 } else { 8 };
        let wobble = f64::from(u32::try_from(cycle * cycle * 7919 % 13).unwrap()) / 50.0;
        let kinds = [
            (TEMPERATURE, 21.5 + phase.sin() * 1.8 + wobble),
            (("humidity", "%RH"), 48.0 - phase.sin() * 6.0 + wobble),
            (("pressure", "Pa"), 101_325.0 + phase.cos() * 140.0 + wobble * 20.0),
        ];
        reports.extend(kinds.map(|(unit, mean)| report(epoch, cycle, ago, unit, mean)));
    }
    post(collector, &reports).await;
    tell(collector, 8, 0).await;
}

/// Sends the fleet status.
async fn tell(collector: &Running, epoch: i64, waiting: u64) {
    let node = |id: usize| {
        let failing = id == 4;
        json!({"id": format!("pi-{id}"), "age": 0.4 + 0.3 * id as f64, "host": format!("tower-{id}.local"),
            "health": if failing { "failing" } else { "ok" },
            "problem": failing.then_some("sky: no acknowledge at 0x23 on i2c-1"),
            "readings": [{"value": 21.1 + 0.2 * id as f64, "unit": "Cel"}, {"value": 47.0 + id as f64, "unit": "%RH"}]})
    };
    let status = json!({"epoch": epoch, "cycle": 360, "leader": "pi-2", "since": Timestamp::now() - SignedDuration::from_mins(22),
        "period": 10.0, "waiting": waiting, "delivered": 359, "nodes": (1..=6).map(node).collect::<Vec<_>>(), "more": 0});
    let answer = collector.post("/api/v1/fleet").json(&status).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{:?}", answer.text().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_the_fleet_by_day_by_night_and_on_a_phone() {
    let collector = started().await;
    hour(&collector).await;
    let looker = Looker::new(&["--lang=en"]).await;
    looker.open(&collector.url("/?lang=en")).await;
    looker.wait("document.querySelector('#history svg.plot polyline')").await;
    assert_eq!(looker.text("#now h1").await, "Temperature".to_owned());
    let spread = looker.text(".spread").await;
    for word in ["least", "most", "std. deviation", "0.62", "measured", "12", "excluded"] {
        assert!(spread.contains(word), "{word} in {spread}");
    }
    let fleet = looker.text("#fleet").await;
    for word in
        ["pi-2", "leads for", "22 min", "Reports waiting", "pi-6", "no acknowledge at 0x23", "tower-3.local"]
    {
        assert!(fleet.contains(word), "{word} in {fleet}");
    }
    let summary = looker.text(".summary").await;
    assert!(summary.contains("1 gap") && summary.contains("1 change of leader"), "{summary}");
    assert_eq!(looker.ask("document.querySelectorAll('.wide rect.gap').length").await, 1);
    assert_eq!(looker.ask("document.querySelectorAll('.wide g.epoch').length").await, 1);
    looker.prefer("light").await;
    looker.picture("wide-light").await;

    looker.prefer("dark").await;
    let dark = looker.ask("getComputedStyle(document.documentElement).backgroundColor").await;
    assert_eq!(dark, "rgb(12, 21, 30)");
    looker.picture("wide-dark").await;

    looker.size(360, 780).await;
    for scheme in ["dark", "light"] {
        looker.prefer(scheme).await;
        let width = looker.ask("document.documentElement.scrollWidth").await;
        assert_eq!(width, 360, "nothing sticks out");
        looker.picture(&format!("phone-{scheme}")).await;
    }

    // Nothing was loaded from another origin.
    let origins = looker
        .ask("[...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).origin))]")
        .await;
    assert_eq!(origins, json!([collector.url("")]));
    looker.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_changes_without_loading_the_page() {
    let collector = started().await;
    post(&collector, &[report(7, 1, 0.0, TEMPERATURE, 20.0)]).await;
    let looker = Looker::new(&[]).await;
    looker.open(&collector.url("/?lang=en")).await;
    looker.wait("document.querySelector('#now .number').innerText === '20.00'").await;
    looker.ask("(window.same = true)").await;
    for (cycle, mean) in [(2, 21.25), (3, 22.5)] {
        post(&collector, &[report(7, cycle, 0.0, TEMPERATURE, mean)]).await;
        looker.wait(&format!("document.querySelector('#now .number').innerText === '{mean:.2}'")).await;
    }
    assert_eq!(looker.ask("window.same").await, true, "it is the same document");
    assert_eq!(looker.ask("document.title").await, "22.50 °C · Atalaya");
    looker.wait("document.querySelector('#state .age').innerText.match(/^[2-9] s ago$/)").await;
    assert_eq!(looker.ask("document.querySelector('[aria-live=polite]') !== null").await, true);
    looker.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_quantities_are_chosen_by_mouse_and_keyboard() {
    let collector = started().await;
    hour(&collector).await;
    let looker = Looker::new(&[]).await;
    looker.open(&collector.url("/?lang=en")).await;
    let current = "document.querySelector('.ranges [aria-current]').innerText";
    looker.wait(&format!("{current} === '1 h'")).await;
    looker.ask("(window.same = true)").await;
    looker.click("#range-24h").await;
    looker.wait("document.querySelector('#history h2').innerText === 'The last 24 hours'").await;
    looker.wait(&format!("{current} === '24 h' && location.search.includes('range=24h')")).await;

    // Moves to the next link, with the keyboard only.
    looker.press("Tab").await;
    assert_eq!(looker.ask("document.activeElement.id").await, "range-7d");
    let outline = looker.ask("getComputedStyle(document.activeElement).outlineStyle").await;
    assert_eq!(outline, "solid", "one sees where one is");
    looker.press("Enter").await;
    looker.wait("document.querySelector('#history h2').innerText === 'The last 7 days'").await;
    assert_eq!(looker.ask("document.activeElement.id").await, "range-7d", "one stays there");

    looker.click("#kind-1").await;
    looker.wait("document.querySelector('#now h1').innerText === 'Pressure'").await;
    assert!(looker.text("#history h2").await.contains("7 days"), "the range stays");
    looker.ask("history.back()").await;
    looker.wait("document.querySelector('#now h1').innerText === 'Temperature'").await;
    assert_eq!(looker.ask("window.same").await, true);
    looker.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pointed_at_is_told() {
    let collector = started().await;
    let reports: Vec<_> = (0..=30)
        .map(|cycle| {
            report(7, cycle, f64::from(i32::try_from(31 - cycle).unwrap()) * 100.0, TEMPERATURE, 20.0)
        })
        .chain([report(7, 31, 0.0, TEMPERATURE, 25.0)])
        .collect();
    post(&collector, &reports).await;
    let looker = Looker::new(&["--lang=en"]).await;
    looker.open(&collector.url("/?lang=en")).await;
    looker.wait("document.querySelector('#history svg.plot polyline')").await;
    for (width, shown, hidden) in [(1100, "wide", "narrow"), (360, "narrow", "wide")] {
        looker.size(width, 900).await;
        looker
            .wait(&format!(
                "getComputedStyle(document.querySelector('.chart > .{hidden}')).display === 'none'"
            ))
            .await;
        // Done in one expression, because new reports replace the chart. The pointer is below the newest mean.
        let found = looker
            .ask(&format!(
                "((plot, move, middle) => {{
                    plot.scrollIntoView();
                    const [x, y] = middle(plot.querySelector('circle.last'));
                    move(document.elementFromPoint(x, y + 30), x, y + 30);
                    const pointed = plot.querySelector('.pointed.on circle');
                    const tip = document.querySelector('#tip');
                    const found = {{tip: !tip.hidden && tip.innerText, last: [x, y], pointed: middle(pointed)}};
                    move(document.querySelector('h1'), 1, 1);
                    found.gone = tip.hidden && !document.querySelector('.pointed.on');
                    move(document.elementFromPoint(x, y + 30), x, y + 30);
                    return found;
                }})(document.querySelector('.{shown}'),
                    (to, x, y) => to.dispatchEvent(new PointerEvent('pointermove', {{clientX: x, clientY: y, bubbles: true}})),
                    (of, box = of.getBoundingClientRect()) => [box.x + box.width / 2, box.y + box.height / 2])"
            ))
            .await;
        assert!(found["tip"].as_str().is_some_and(|tip| tip.starts_with("25 23.5 … 26.2")), "{found}");
        let away = |at: usize| found["last"][at].as_f64().unwrap() - found["pointed"][at].as_f64().unwrap();
        assert!(away(0).hypot(away(1)) < 2.0, "{found}");
        assert_eq!(found["gone"], true, "{found}");
        looker.picture(&format!("pointed-{shown}")).await;
    }
    looker.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_shows_and_goes() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let collector = run(Arc::clone(&store), open_to_all()).await;
    hour(&collector).await;
    let address = collector.address;
    let looker = Looker::new(&[]).await;
    looker.open(&collector.url("/?lang=en")).await;
    looker.wait("document.querySelector('#state').dataset.state === 'live'").await;
    assert_eq!(looker.ask("document.querySelector('#away').hidden").await, true);
    // The collector stops.
    collector.stop().await;
    looker.wait("!document.querySelector('#away').hidden").await;
    assert!(looker.text("#away").await.contains("The collector does not answer"));
    assert!(looker.text("#now .number").await.len() > 3, "what was seen last stays");
    looker.picture("outage-collector").await;
    // It is started again at the same address with the same store, but no reports arrive.
    let again = Collector::bind(address, Arc::clone(&store), open_to_all()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let done = tokio::spawn(again.run(stop.clone()));
    looker.wait("document.querySelector('#away').hidden").await;
    looker.wait("document.querySelector('#state').dataset.state === 'late'").await;
    let banner = looker.text("#state .banner").await;
    assert!(banner.contains("No report for"), "{banner}");
    looker.wait("document.querySelector('#spoken').innerText.includes('No report for')").await;
    looker.picture("outage-reports").await;
    let bare = reqwest::Client::builder().no_proxy().build().unwrap();
    let report = report(8, 400, 0.0, TEMPERATURE, 25.0);
    let url = format!("http://{address}/api/v1/reports");
    assert_eq!(bare.post(url).json(&report).send().await.unwrap().status(), 201);
    looker.wait("document.querySelector('#state').dataset.state === 'live'").await;
    assert_eq!(looker.text("#now .number").await, "25.00");
    looker.leave().await;
    stop.cancel();
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn it_speaks_spanish_and_needs_no_script() {
    let collector = started().await;
    hour(&collector).await;
    let looker = Looker::new(&["--accept-lang=es-ES,es"]).await;
    looker.tell("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    looker.open(&collector.url("/")).await;
    // Requests of the driver itself are answered too.
    assert_eq!(looker.ask("document.documentElement.lang").await, "es");
    assert_eq!(looker.text("#now h1").await, "Temperatura");
    assert!(looker.text("#now .number").await.contains(','), "numbers as they are written there");
    assert!(looker.text("#fleet").await.contains("lidera desde hace"));
    assert!(looker.text("#state .age").await.starts_with("hace "));
    assert_eq!(looker.ask("document.querySelector('#history svg.plot polyline') !== null").await, true);
    assert_eq!(looker.ask("document.querySelector('noscript meta[http-equiv=refresh], meta[http-equiv=refresh]') !== null").await, true);
    looker.click("#range-5m").await;
    looker.wait("location.search.includes('range=5m')").await;
    looker.wait("document.querySelector('#history h2').innerText === 'Últimos 5 minutos'").await;
    looker.picture("spanish").await;
    looker.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_signs_in_once() {
    let tokens = Tokens::parse(&format!("write {WRITER}\nread {READER}")).unwrap();
    let options = Options { tokens, ..open_to_all() };
    let collector = run(Arc::new(MemoryStore::new()), options).await;
    let posted = collector.post("/api/v1/reports").bearer_auth(WRITER);
    assert_eq!(posted.json(&report(7, 1, 0.0, TEMPERATURE, 20.0)).send().await.unwrap().status(), 201);
    let looker = Looker::new(&["--accept-lang=en"]).await;
    looker.open(&collector.url("/")).await;
    looker.picture("sign-in").await;
    looker.ask("(document.querySelector('#token').value = 'not the right one')").await;
    looker.click("form button").await;
    looker.wait("document.body.innerText.includes('not known')").await;
    looker.ask(&format!("(document.querySelector('#token').value = '{READER}')")).await;
    looker.click("form button").await;
    looker.wait("document.querySelector('#now .number')?.innerText === '20.00'").await;
    assert_eq!(looker.ask("document.cookie.includes('token')").await, false, "no script sees it");
    // The stream uses the same cookie.
    let posted = collector.post("/api/v1/reports").bearer_auth(WRITER);
    assert_eq!(posted.json(&report(7, 2, 0.0, TEMPERATURE, 30.0)).send().await.unwrap().status(), 201);
    looker.wait("document.querySelector('#now .number')?.innerText === '30.00'").await;
    looker.click("form button.link").await;
    looker.wait("document.querySelector('#token')").await;
    looker.leave().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_reports_are_shown_soon() {
    let folder = tempfile::tempdir().unwrap();
    let options = atalaya_collector::SqliteOptions::new(folder.path().join("reports.db"));
    let store = Arc::new(atalaya_collector::SqliteStore::open(options).unwrap());
    // 24 hours, with slightly less than a second between reports, written directly to the store.
    for start in (0..100_000_i64).step_by(5_000) {
        let reports = (start..start + 5_000).map(|cycle| {
            #[allow(clippy::cast_precision_loss, reason = "small")]
            let (ago, mean) = ((100_000 - cycle) as f64 * 0.86, 20.0 + (cycle as f64 / 9_000.0).sin());
            let incoming: atalaya_collector::report::Incoming =
                serde_json::from_value(report(7, cycle, ago, TEMPERATURE, mean)).unwrap();
            incoming.accept(None, Timestamp::now(), None).unwrap()
        });
        store.record(reports.collect()).await.unwrap();
    }
    let collector = run(store, open_to_all()).await;
    let looker = Looker::new(&[]).await;
    for range in ["5m", "1h", "24h", "7d"] {
        let start = Instant::now();
        looker.open(&collector.url(&format!("/?lang=en&range={range}"))).await;
        looker.wait("document.querySelector('#history svg.plot polyline')").await;
        let took = start.elapsed();
        let paint =
            looker.ask("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null").await;
        println!("{range}: {took:?}, first paint {paint} ms");
        assert!(took < Duration::from_secs(20), "{range}: {took:?}");
        let shown = looker.text(".summary").await;
        if range == "7d" {
            assert!(shown.contains("100\u{202f}000 reports"), "{shown}");
        }
    }
    looker.leave().await;
}
