//! Tests of the pages of nodes in a browser.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::browser::Page;
use crate::common::{Running, full, started};

/// Creates a sample from `ago` seconds ago. Later samples have higher numbers.
fn sample(series: (&str, &str, &str), ago: i64, value: f64, clock: &str) -> Value {
    let time = (Timestamp::now() - SignedDuration::from_secs(ago)).as_millisecond();
    json!({"seq": 1_000_000_000 - ago, "sensor": series.0, "quantity": series.1, "unit": series.2, "value": value,
        "time_ms": time, "clock": clock})
}

const OUTSIDE: (&str, &str, &str) = ("outside", "temperature", "Cel");
const CELLAR: (&str, &str, &str) = ("cellar", "humidity", "%RH");

async fn send(collector: &Running, node: &str, samples: &[Value]) {
    let batch = json!({"node": node, "boot": "b1", "samples": samples});
    let answer = collector.post("/api/v1/measurements").json(&batch).send().await.unwrap();
    let result: Value = answer.json().await.unwrap();
    assert_eq!(result["accepted"], samples.len(), "{result}");
}

/// Stores one hour of three nodes, one of them with names that are hard to display, and an old node; then sends the
/// status and the averages of the fleet.
async fn hour(collector: &Running) {
    let hebrew = "מרתף ".repeat(25);
    let long = ("x".repeat(128), "שלום<b>".repeat(18), "m".repeat(32));
    let hard = (long.0.as_str(), long.1.as_str(), long.2.as_str());
    let name = format!("{}<i>{}", "W".repeat(45), "שלום");
    for (node, shift) in [("pi-1", 0.0), ("pi-2", 0.7), (&name, 1.4)] {
        let mut samples = Vec::new();
        for ago in (1..3_400_i64).rev().step_by(10).filter(|ago| !(900..1_300).contains(ago)) {
            let value = 21.0 + shift + (ago as f64 / 600.0).sin();
            let clock = match ago {
                3_000.. if shift > 0.0 => "unsynchronised",
                2_500.. if shift > 0.0 => "corrected",
                _ => "synchronised",
            };
            samples.push(sample(OUTSIDE, ago, value, clock));
            samples.push(sample(CELLAR, ago, 60.0 - value, clock));
        }
        if shift > 1.0 {
            samples.push(sample(hard, 1, -1.234e-300, "unsynchronised"));
            samples.push(sample((hebrew.trim_end(), "temperature", "Cel"), 1, 1.5, "synchronised"));
        }
        send(collector, node, &samples).await;
    }
    send(collector, "pi-9", &[sample(OUTSIDE, 9_000, 3.5, "synchronised")]).await;
    for ago in (0..3_400_i64).rev().step_by(60) {
        let mut report = full(8, 4_000 - ago, 22.0);
        report["time"] = json!((Timestamp::now() - SignedDuration::from_secs(ago)).to_string());
        assert_eq!(collector.post("/api/v1/reports").json(&report).send().await.unwrap().status(), 201);
    }
    let status = json!({"epoch": 8, "cycle": 4_000, "leader": "pi-1", "period": 10.0, "nodes": [
        {"id": "pi-1", "age": 0.5, "health": "ok"},
        {"id": "pi-2", "age": 0.5, "health": "failing", "problem": "cellar: no acknowledge at 0x23 on i2c-1"}]});
    assert_eq!(collector.post("/api/v1/fleet").json(&status).send().await.unwrap().status(), 204);
}

/// Opens a browser that records errors and violations of the policy in `window.wrong`.
async fn recording_page(more: &[&str]) -> Page {
    let page = Page::new(more).await;
    let script = "window.wrong = [];
        console.error = console.warn = (...all) => wrong.push(all.join(' '));
        for (const kind of ['error', 'unhandledrejection', 'securitypolicyviolation'])
            addEventListener(kind, (event) => wrong.push(kind + ' ' + (event.message ?? event.reason ?? event.violatedDirective)), true);";
    page.devtools("Page.addScriptToEvaluateOnNewDocument", json!({"source": script})).await;
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_nodes_fit_in_all_widths_and_colours() {
    let collector = started().await;
    hour(&collector).await;
    let page = recording_page(&[]).await;
    for lang in ["en", "es"] {
        for (name, address, ready) in [
            ("nodes", "/nodes?find=", "document.querySelectorAll('#list .spark').length === 3"),
            ("node", "/node?node=pi-2", "document.querySelectorAll('#node article').length === 2"),
            ("names", "/node?range=1h&node=W", "document.querySelectorAll('#node article').length === 4"),
        ] {
            let hard: String =
                form_urlencoded::byte_serialize(format!("{}<i>{}", "W".repeat(45), "שלום").as_bytes())
                    .collect();
            let address = address.replace("=W", &format!("={hard}"));
            page.open(&collector.url(&format!("{address}&lang={lang}"))).await;
            page.wait_for(ready).await;
            for (width, height) in [(1100, 900), (360, 780)] {
                page.size(width, height).await;
                for scheme in ["light", "dark"] {
                    page.prefer_scheme(scheme).await;
                    let found = page.evaluate("document.documentElement.scrollWidth").await;
                    assert_eq!(found, width, "{name}: nothing overflows");
                    page.screenshot(&format!("{name}-{lang}-{width}-{scheme}")).await;
                }
            }
            assert_eq!(page.evaluate("window.wrong").await, json!([]), "{name}");
        }
    }
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_filtered_and_opened_with_the_keyboard() {
    let collector = started().await;
    hour(&collector).await;
    let page = recording_page(&[]).await;
    page.open(&collector.url("/nodes?lang=en")).await;
    page.evaluate("(document.querySelector('[name=find]').focus())").await;
    page.devtools("Input.insertText", json!({"text": "PI-2"})).await;
    page.press("Enter").await;
    page.wait_for(
        "location.search.includes('find=PI-2') && document.querySelectorAll('.nodes > li').length === 1",
    )
    .await;
    assert_eq!(page.evaluate("document.documentElement.lang").await, "en", "the language stays");
    // From the text over the order, the range and the button to the node.
    page.evaluate("(document.querySelector('[name=find]').focus())").await;
    for _ in 0..4 {
        page.press("Tab").await;
    }
    assert_eq!(page.evaluate("document.activeElement.id").await, "node-pi-2");
    let outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle").await;
    assert_eq!(outline, "solid", "the focus is visible");
    page.press("Enter").await;
    page.wait_for("document.querySelectorAll('#node article').length === 2").await;

    // A table stays open, and the focus stays, while the page is updated and while the range changes.
    page.evaluate("(window.same = true)").await;
    page.evaluate("(document.querySelector('#table-1').open = true)").await;
    page.evaluate("(document.querySelector('#range-24h').focus())").await;
    page.press("Enter").await;
    page.wait_for(
        "location.search.includes('range=24h') && document.querySelector('#range-24h').ariaCurrent",
    )
    .await;
    send(&collector, "pi-2", &[sample(OUTSIDE, 0, 99.5, "synchronised")]).await;
    page.wait_for("document.querySelector('#node').innerText.includes('99.50 °C')").await;
    assert_eq!(page.evaluate("document.querySelector('#table-1').open").await, true);
    assert_eq!(page.evaluate("document.activeElement.id").await, "range-24h");
    assert_eq!(page.evaluate("[window.same, window.wrong.length]").await, json!([true, 0]));
    page.quit().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_nodes_work_without_javascript() {
    let collector = started().await;
    // The browser starts first: the page shows another gap when the samples are half a minute old.
    let page = Page::new(&["--accept-lang=es-ES,es"]).await;
    hour(&collector).await;
    page.devtools("Emulation.setScriptExecutionDisabled", json!({"value": true})).await;
    page.open(&collector.url("/")).await;
    page.click(".pages a[href^=nodes]").await;
    page.wait_for("document.querySelectorAll('#list .spark').length === 3").await;
    page.evaluate("(document.querySelector('[name=sort]').value = 'age')").await;
    page.evaluate("(document.querySelector('[name=range]').value = '24h')").await;
    page.click(".filter button").await;
    page.wait_for(
        "location.search.includes('sort=age') && document.querySelectorAll('#list .spark').length === 4",
    )
    .await;
    assert_eq!(page.text(".nodes .name").await, "pi-9");
    assert!(page.text(".nodes > li").await.contains("datos antiguos"));
    page.click("#node-pi-2").await;
    page.wait_for("document.querySelectorAll('#node article').length === 2").await;
    page.click("#range-1h").await;
    page.wait_for("location.search.includes('range=1h') && document.querySelector('#node .plot')").await;
    let text = page.text("#node").await;
    for word in ["reloj corregido: ", "reloj sin sincronizar: ", "1 hueco", "media de la flota", "con fallos"]
    {
        assert!(text.contains(word), "{word} in {text}");
    }
    page.click("#range-5m").await;
    page.wait_for("location.search.includes('range=5m') && document.querySelector('#node .plot')").await;
    page.quit().await;
}
