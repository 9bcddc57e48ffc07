//! The page in a browser: Chromium as packaged by Debian.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]
#![allow(
    dead_code,
    unreachable_pub,
    reason = "tests and the benchmark include it, and neither uses all of it"
)]

use std::time::Duration;

use atalaya_testbed::{Browser, Pauses};
use serde_json::{Value, json};
use thirtyfour::{Capabilities, WebDriver};
use tokio_rustls::rustls::crypto::ring;

/// Deadline of each step: a machine that runs tests may be slow.
const DEADLINE: Duration = Duration::from_secs(60);

/// Page of a browser window.
pub struct Page {
    driver: WebDriver,
    _browser: Browser,
}

impl Page {
    /// Starts Chromium with a window of 1100 × 900 pixels; `more` are further arguments.
    pub async fn new(more: &[&str]) -> Page {
        let browser = tokio::task::spawn_blocking(Browser::start).await.unwrap();
        let mut wanted = Capabilities::new();
        wanted.set("browserName", "chrome").unwrap();
        wanted.set("goog:chromeOptions", browser.options("profile", more)).unwrap();
        // reqwest takes the process-wide provider; this fails if it is set already.
        let _ = ring::default_provider().install_default();
        let driver = WebDriver::new(browser.url(), wanted).await.unwrap();
        let page = Page { driver, _browser: browser };
        page.size(1100, 900).await;
        page
    }

    pub async fn devtools(&self, method: &str, parameters: Value) -> Value {
        self.driver.cdp().send_raw(method, parameters).await.unwrap()
    }

    pub async fn size(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    pub async fn prefer_scheme(&self, scheme: &str) {
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.devtools("Emulation.setEmulatedMedia", features).await;
    }

    pub async fn open(&self, url: &str) {
        self.driver.goto(url).await.unwrap();
    }

    /// Evaluates a JavaScript expression and returns its value.
    pub async fn evaluate(&self, expression: &str) -> Value {
        let done = self.driver.execute(format!("return {expression}"), Vec::new()).await;
        done.unwrap_or_else(|error| panic!("{expression}: {error}")).json().clone()
    }

    pub async fn text(&self, selector: &str) -> String {
        let text = self.evaluate(&format!("document.querySelector({selector:?})?.innerText")).await;
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression of JavaScript is true.
    pub async fn wait_for(&self, expression: &str) {
        let mut pauses = Pauses::until(DEADLINE);
        while self.evaluate(&format!("Boolean({expression})")).await != json!(true) {
            let Some(pause) = pauses.next() else {
                let shown = self.evaluate("document.body.innerText").await;
                panic!("timeout waiting for {expression}; the page shows {shown}");
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Presses a key, such as `Tab`.
    pub async fn press(&self, key: &str) {
        let code = match key {
            "Tab" => 9,
            "Enter" => 13,
            _ => 0,
        };
        let text = if key == "Enter" { "\r" } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let event =
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text});
            self.devtools("Input.dispatchKeyEvent", event).await;
        }
    }

    /// Clicks on the middle of an element.
    pub async fn click(&self, selector: &str) {
        let found = self.driver.find(thirtyfour::By::Css(selector)).await.unwrap();
        found.click().await.unwrap();
    }

    /// Takes a screenshot of the whole page, for manual inspection.
    pub async fn screenshot(&self, name: &str) {
        let size = self.evaluate("[innerWidth, document.documentElement.scrollHeight]").await;
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1});
        let parameters = json!({"captureBeyondViewport": true, "clip": clip});
        let taken = self.devtools("Page.captureScreenshot", parameters).await;
        let picture = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            taken["data"].as_str().unwrap(),
        );
        std::fs::write(Browser::screenshots().join(format!("{name}.png")), picture.unwrap()).unwrap();
    }

    pub async fn quit(self) {
        self.driver.quit().await.unwrap();
    }
}
