//! Tests of the page in a browser, through a reverse proxy that serves it below a path.

use serde_json::json;

use crate::browser::Page;
use crate::common::{READER, WRITER, full, proxy, started_with_tokens};

#[tokio::test(flavor = "multi_thread")]
async fn page_below_a_prefix_has_its_styles_script_links_stream_and_sign_in() {
    let collector = started_with_tokens().await;
    let post = async |cycle: i64, mean: f64| {
        let now = jiff::Timestamp::now();
        let mut report = full(7, cycle, mean);
        report["time"] = json!(now.to_string());
        let sent = collector.post("/api/v1/reports").bearer_auth(WRITER).json(&report).send().await.unwrap();
        assert_eq!(sent.status(), 201);
    };
    post(1, 20.0).await;
    let proxy = proxy::start(collector.address, "/towers/north").await;
    let url = format!("http://{proxy}/towers/north/");
    let page = Page::new(&["--accept-lang=en"]).await;
    page.open(&url).await;
    let styled = "getComputedStyle(document.querySelector('form.card')).borderTopLeftRadius !== '0px'";
    page.wait_for(styled).await;
    page.evaluate("(document.querySelector('#token').value = 'not the right one')").await;
    page.click("form button").await;
    page.wait_for("document.body.innerText.includes('not known')").await;
    page.wait_for(styled).await;
    page.evaluate(&format!("(document.querySelector('#token').value = '{READER}')")).await;
    page.click("form button").await;
    page.wait_for("document.querySelector('#now .number')?.innerText === '20.00'").await;
    assert_eq!(page.evaluate("location.href").await, url, "back at the page");

    // The script runs and reads the stream.
    page.evaluate("(window.same = true)").await;
    post(2, 21.0).await;
    page.wait_for("document.querySelector('#now .number').innerText === '21.00'").await;
    page.click("#range-24h").await;
    page.wait_for("document.querySelector('#history h2').innerText === 'The last 24 hours'").await;
    assert_eq!(page.evaluate("window.same").await, true);

    let metrics = collector.get("/metrics").bearer_auth(READER).send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("atalaya_collector_streams 1\n"), "{metrics}");

    // Everything that was loaded, and every link, is below the prefix and exists.
    let loaded =
        page.evaluate("performance.getEntriesByType('resource').map(e => [e.name, e.responseStatus])").await;
    for entry in loaded.as_array().unwrap() {
        assert!(entry[0].as_str().unwrap().starts_with(&url), "{entry}");
        assert_ne!(entry[1], 404, "{entry}");
    }
    for part in ["page/page.css", "page/page.js", "page/live"] {
        assert!(loaded.to_string().contains(&format!("{url}{part}")), "{part} in {loaded}");
    }
    let icon = page.evaluate("document.querySelector('link[rel=icon]').href").await;
    let links =
        page.evaluate("[...document.querySelectorAll('a[href]')].map(a => a.href.split('#')[0])").await;
    for link in links.as_array().unwrap().iter().chain([&icon]) {
        let link = link.as_str().unwrap();
        assert!(link.starts_with(&url), "{link}");
        let answer = collector.client.get(link).bearer_auth(READER).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{link}");
    }
    page.click("a.brand").await;
    page.wait_for(&format!("location.href === '{url}' && document.querySelector('#now .number')")).await;

    // The cookie applies only to the folder of the page, so no other program on this host receives it.
    let cookies = page.devtools("Network.getCookies", json!({"urls": [url]})).await;
    let token =
        cookies["cookies"].as_array().unwrap().iter().find(|cookie| cookie["name"] == "atalaya_token");
    assert_eq!(token.unwrap()["path"], "/towers/north");
    page.click("form button.link").await;
    page.wait_for("document.querySelector('#token')").await;
    assert_eq!(page.evaluate("location.href").await, url);
    page.quit().await;
}
