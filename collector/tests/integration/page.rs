//! Tests of the page in a browser.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::{Collector, MemoryStore, Store};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::browser::Page;
use crate::common::{READER, Running, WRITER, open_to_all, run, started, started_with_tokens};

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
    send_status(collector, 8, 0).await;
}

/// Sends the fleet status.
async fn send_status(collector: &Running, epoch: i64, waiting: u64) {
    let node = |id: usize| {
        let failing = id == 4;
        json!({"id": format!("pi-{id}"), "age": 0.4 + 0.3 * id as f64, "host": format!("tower-{id}.local"),
            "health": if failing { "failing" } else { "ok" },
            "problem": failing.then_some("sky: no acknowledge at 0x23 on i2c-1"),
            "readings": [{"value": 21.1 + 0.2 * id as f64, "unit": "Cel"}, {"value": 47.0 + id as f64, "unit": "%RH"}]})
    };
    let tasks = json!({"live": 2, "list": [
        {"id": "t-0000000007", "action": "sensors.selftest", "state": "assigned", "done": 3, "failed": 1, "all": 6, "age": 40.0},
        {"id": "t-0000000006", "action": "firmware.fetch", "state": "waiting", "node": "pi-5", "progress": "step 2 of 5",
         "all": 1, "age": 75.0, "reason": "exit code 7"},
        {"id": "t-0000000005", "action": "status", "state": "done", "done": 6, "all": 6, "age": 300.0, "ended": 240.0},
        {"id": "t-0000000004", "action": "reboot", "state": "timed-out", "node": "pi-1", "failed": 1, "all": 1, "age": 900.0,
         "ended": 600.0, "reason": "no result within 300 s"}]});
    let status = json!({"epoch": epoch, "cycle": 360, "leader": "pi-2", "since": Timestamp::now() - SignedDuration::from_mins(22),
        "period": 10.0, "waiting": waiting, "delivered": 359, "nodes": (1..=6).map(node).collect::<Vec<_>>(), "more": 0,
        "tasks": tasks});
    let answer = collector.post("/api/v1/fleet").json(&status).send().await.unwrap();
    assert_eq!(answer.status(), 204, "{:?}", answer.text().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn page_shows_the_fleet_in_both_colour_schemes_and_on_a_phone() {
    let collector = started().await;
    // The browser starts first: the page shows another gap when the reports are half a minute old.
    let page = Page::new(&["--lang=en"]).await;
    hour(&collector).await;
    page.open(&collector.url("/?lang=en")).await;
    page.wait_for("document.querySelector('#history svg.plot polyline')").await;
    assert_eq!(page.text("#now h1").await, "Temperature".to_owned());
    let spread = page.text(".spread").await;
    for word in ["min", "max", "std. deviation", "0.62", "measured", "12", "excluded"] {
        assert!(spread.contains(word), "{word} in {spread}");
    }
    let fleet = page.text("#fleet").await;
    for word in
        ["pi-2", "leader for", "22 min", "Reports waiting", "pi-6", "no acknowledge at 0x23", "tower-3.local"]
    {
        assert!(fleet.contains(word), "{word} in {fleet}");
    }
    let tasks = page.text("#tasks").await;
    let texts = "2 in progress or waiting|sensors.selftest|in progress|3 of 6 nodes done, 1 failed|waiting to retry|\
                 node pi-5|step 2 of 5|exit code 7|6 of 6 nodes done|timed out|no result within 300 s";
    for text in texts.split('|') {
        assert!(tasks.contains(text), "{text} in {tasks}");
    }
    let outcomes = "[...document.querySelectorAll('.tasks li')].map(task => task.className)";
    assert_eq!(page.evaluate(outcomes).await, json!(["live", "live", "ok", "failing"]));
    let progress = "[...document.querySelectorAll('.tasks progress')].map(bar => [bar.value, bar.max])";
    assert_eq!(page.evaluate(progress).await, json!([[4, 6], [6, 6]]));
    let summary = page.text(".summary").await;
    assert!(summary.contains("1 gap") && summary.contains("1 change of leader"), "{summary}");
    assert_eq!(page.evaluate("document.querySelectorAll('.wide rect.gap').length").await, 1);
    assert_eq!(page.evaluate("document.querySelectorAll('.wide g.epoch').length").await, 1);
    page.prefer_scheme("light").await;
    page.screenshot("wide-light").await;

    page.prefer_scheme("dark").await;
    let dark = page.evaluate("getComputedStyle(document.documentElement).backgroundColor").await;
    assert_eq!(dark, "rgb(12, 21, 30)");
    page.screenshot("wide-dark").await;

    page.size(360, 780).await;
    for scheme in ["dark", "light"] {
        page.prefer_scheme(scheme).await;
        let width = page.evaluate("document.documentElement.scrollWidth").await;
        assert_eq!(width, 360, "nothing overflows");
        page.screenshot(&format!("phone-{scheme}")).await;
    }

    // Nothing was loaded from another origin.
    let origins = page
        .evaluate("[...new Set(performance.getEntriesByType('resource').map(e => new URL(e.name).origin))]")
        .await;
    assert_eq!(origins, json!([collector.url("")]));
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_report_is_shown_without_loading_the_page() {
    let collector = started().await;
    post(&collector, &[report(7, 1, 0.0, TEMPERATURE, 20.0)]).await;
    let page = Page::new(&[]).await;
    page.open(&collector.url("/?lang=en")).await;
    page.wait_for("document.querySelector('#now .number').innerText === '20.00'").await;
    page.evaluate("(window.same = true)").await;
    for (cycle, mean) in [(2, 21.25), (3, 22.5)] {
        post(&collector, &[report(7, cycle, 0.0, TEMPERATURE, mean)]).await;
        page.wait_for(&format!("document.querySelector('#now .number').innerText === '{mean:.2}'")).await;
    }
    assert_eq!(page.evaluate("window.same").await, true, "it is the same document");
    assert_eq!(page.evaluate("document.title").await, "22.50 °C · Atalaya");
    page.wait_for("document.querySelector('#state .age').innerText.match(/^[2-9] s ago$/)").await;
    assert_eq!(page.evaluate("document.querySelector('[aria-live=polite]') !== null").await, true);
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_and_quantities_are_selected_by_mouse_and_keyboard() {
    let collector = started().await;
    hour(&collector).await;
    let page = Page::new(&[]).await;
    page.open(&collector.url("/?lang=en")).await;
    let current = "document.querySelector('.ranges [aria-current]').innerText";
    page.wait_for(&format!("{current} === '1 h'")).await;
    page.evaluate("(window.same = true)").await;
    page.click("#range-24h").await;
    page.wait_for("document.querySelector('#history h2').innerText === 'The last 24 hours'").await;
    page.wait_for(&format!("{current} === '24 h' && location.search.includes('range=24h')")).await;

    // Moves to the next link, with the keyboard only.
    page.press("Tab").await;
    assert_eq!(page.evaluate("document.activeElement.id").await, "range-7d");
    let outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle").await;
    assert_eq!(outline, "solid", "the focus is visible");
    page.press("Enter").await;
    page.wait_for("document.querySelector('#history h2').innerText === 'The last 7 days'").await;
    assert_eq!(page.evaluate("document.activeElement.id").await, "range-7d", "the focus stays");

    page.click("#kind-1").await;
    page.wait_for("document.querySelector('#now h1').innerText === 'Pressure'").await;
    assert!(page.text("#history h2").await.contains("7 days"), "the range stays");
    page.evaluate("history.back()").await;
    page.wait_for("document.querySelector('#now h1').innerText === 'Temperature'").await;
    assert_eq!(page.evaluate("window.same").await, true);
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn values_at_the_pointer_are_shown() {
    let collector = started().await;
    let reports: Vec<_> = (0..=30)
        .map(|cycle| {
            report(7, cycle, f64::from(i32::try_from(31 - cycle).unwrap()) * 100.0, TEMPERATURE, 20.0)
        })
        .chain([report(7, 31, 0.0, TEMPERATURE, 25.0)])
        .collect();
    post(&collector, &reports).await;
    let page = Page::new(&["--lang=en"]).await;
    page.open(&collector.url("/?lang=en")).await;
    page.wait_for("document.querySelector('#history svg.plot polyline')").await;
    for (width, shown, hidden) in [(1100, "wide", "narrow"), (360, "narrow", "wide")] {
        page.size(width, 900).await;
        page.wait_for(&format!(
            "getComputedStyle(document.querySelector('.chart > .{hidden}')).display === 'none'"
        ))
        .await;
        // Done in one expression, because new reports replace the chart. The pointer is below the newest mean.
        let found = page.evaluate(&format!(
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
        page.screenshot(&format!("pointed-{shown}")).await;
    }
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_is_shown_until_it_ends() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let collector = run(Arc::clone(&store), open_to_all()).await;
    let address = collector.address;
    // The browser starts first: reports that are half a minute old are late.
    let page = Page::new(&[]).await;
    hour(&collector).await;
    page.open(&collector.url("/?lang=en")).await;
    page.wait_for("document.querySelector('#state').dataset.state === 'live'").await;
    assert_eq!(page.evaluate("document.querySelector('#away').hidden").await, true);
    // The collector stops.
    collector.stop().await;
    page.wait_for("!document.querySelector('#away').hidden").await;
    assert!(page.text("#away").await.contains("The collector does not answer"));
    assert!(page.text("#now .number").await.len() > 3, "the last value stays");
    page.screenshot("outage-collector").await;
    // It is started again at the same address with the same store, but no reports arrive.
    let again = Collector::bind(address, Arc::clone(&store), open_to_all()).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let done = tokio::spawn(again.run(stop.clone()));
    page.wait_for("document.querySelector('#away').hidden").await;
    page.wait_for("document.querySelector('#state').dataset.state === 'late'").await;
    let banner = page.text("#state .banner").await;
    assert!(banner.contains("No report for"), "{banner}");
    page.wait_for("document.querySelector('#spoken').innerText.includes('No report for')").await;
    page.screenshot("outage-reports").await;
    let bare = crate::common::client().build().unwrap();
    let report = report(8, 400, 0.0, TEMPERATURE, 25.0);
    let url = format!("http://{address}/api/v1/reports");
    assert_eq!(bare.post(url).json(&report).send().await.unwrap().status(), 201);
    page.wait_for("document.querySelector('#state').dataset.state === 'live'").await;
    assert_eq!(page.text("#now .number").await, "25.00");
    page.quit().await;
    stop.cancel();
    done.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn page_in_spanish_works_without_javascript() {
    let collector = started().await;
    hour(&collector).await;
    let page = Page::new(&["--accept-lang=es-ES,es"]).await;
    page.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    page.open(&collector.url("/")).await;
    // Requests of the driver itself are answered too.
    assert_eq!(page.evaluate("document.documentElement.lang").await, "es");
    assert_eq!(page.text("#now h1").await, "Temperatura");
    assert!(page.text("#now .number").await.contains(','), "numbers have a decimal comma");
    assert!(page.text("#fleet").await.contains("líder desde hace"));
    assert!(page.text("#state .age").await.starts_with("hace "));
    let tasks = page.text("#tasks").await;
    for text in ["en curso", "3 de 6 nodos listos, 1 con fallo", "nodo pi-5", "tiempo agotado"] {
        assert!(tasks.contains(text), "{text} in {tasks}");
    }
    assert_eq!(page.evaluate("document.querySelector('#history svg.plot polyline') !== null").await, true);
    let refresh =
        "document.querySelector('noscript meta[http-equiv=refresh], meta[http-equiv=refresh]') !== null";
    assert_eq!(page.evaluate(refresh).await, true);
    page.click("#range-5m").await;
    page.wait_for("location.search.includes('range=5m')").await;
    page.wait_for("document.querySelector('#history h2').innerText === 'Últimos 5 minutos'").await;
    page.screenshot("spanish").await;
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_signs_in_once() {
    let collector = started_with_tokens().await;
    let posted = collector.post("/api/v1/reports").bearer_auth(WRITER);
    assert_eq!(posted.json(&report(7, 1, 0.0, TEMPERATURE, 20.0)).send().await.unwrap().status(), 201);
    let page = Page::new(&["--accept-lang=en"]).await;
    page.open(&collector.url("/")).await;
    page.screenshot("sign-in").await;
    page.evaluate("(document.querySelector('#token').value = 'not the right one')").await;
    page.click("form button").await;
    page.wait_for("document.body.innerText.includes('not known')").await;
    page.evaluate(&format!("(document.querySelector('#token').value = '{READER}')")).await;
    page.click("form button").await;
    page.wait_for("document.querySelector('#now .number')?.innerText === '20.00'").await;
    assert_eq!(page.evaluate("document.cookie.includes('token')").await, false, "no script can read it");
    // The stream uses the same cookie.
    let posted = collector.post("/api/v1/reports").bearer_auth(WRITER);
    assert_eq!(posted.json(&report(7, 2, 0.0, TEMPERATURE, 30.0)).send().await.unwrap().status(), 201);
    page.wait_for("document.querySelector('#now .number')?.innerText === '30.00'").await;
    page.click("form button.link").await;
    page.wait_for("document.querySelector('#token')").await;
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hundred_thousand_reports_are_shown_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let options = atalaya_collector::SqliteOptions::new(folder.path().join("reports.db"));
    let store = Arc::new(atalaya_collector::SqliteStore::open(options).unwrap());
    // 24 hours, with slightly less than a second between reports, written directly to the store.
    for start in (0..100_000_i64).step_by(5_000) {
        let reports = (start..start + 5_000).map(|cycle| {
            let (ago, mean) = ((100_000 - cycle) as f64 * 0.86, 20.0 + (cycle as f64 / 9_000.0).sin());
            let incoming: atalaya_collector::report::Incoming =
                serde_json::from_value(report(7, cycle, ago, TEMPERATURE, mean)).unwrap();
            incoming.accept(None, Timestamp::now(), None).unwrap()
        });
        store.record(reports.collect()).await.unwrap();
    }
    let collector = run(store, open_to_all()).await;
    let page = Page::new(&[]).await;
    for range in ["5m", "1h", "24h", "7d"] {
        let start = Instant::now();
        page.open(&collector.url(&format!("/?lang=en&range={range}"))).await;
        page.wait_for("document.querySelector('#history svg.plot polyline')").await;
        let took = start.elapsed();
        let paint = page
            .evaluate("performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null")
            .await;
        println!("{range}: {took:?}, first paint {paint} ms");
        assert!(took < Duration::from_secs(20), "{range}: {took:?}");
        let shown = page.text(".summary").await;
        if range == "7d" {
            assert!(shown.contains("100\u{202f}000 reports"), "{shown}");
        }
    }
    page.quit().await;
}
