//! Measurement of the pages of a collector: of the HTML, and of the first paint in headless Chromium.

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::{Collector, Options, Store};
use tokio::task::JoinHandle;
use tokio_rustls::rustls::crypto::ring;
use tokio_util::sync::CancellationToken;

use crate::browser::Page;

/// Collector with the default options, and a client.
pub(super) struct Served {
    pub(super) url: String,
    pub(super) client: reqwest::Client,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

pub(super) async fn serve(store: Arc<dyn Store>) -> Served {
    let collector = Collector::bind("127.0.0.1:0", store, Options::default()).await.unwrap();
    let url = format!("http://{}", collector.address().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(collector.run(stop.clone()));
    // reqwest takes the process-wide provider; this fails if it is set already.
    let _ = ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    Served { url, client, stop, running }
}

impl Served {
    /// Prints the medians of each page, and stops the collector.
    pub(super) async fn measure(self, addresses: &[&str]) {
        println!("page                              HTML ms   KiB   first paint ms   (medians)");
        let page = Page::new(&[]).await;
        for address in addresses {
            let full = format!("{}/{address}", self.url);
            let (mut html, mut paints, mut size) = (Vec::new(), Vec::new(), 0);
            for _ in 0..11 {
                let asked = Instant::now();
                let answer = self.client.get(&full).send().await.unwrap().error_for_status().unwrap();
                size = answer.bytes().await.unwrap().len();
                html.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            for _ in 0..5 {
                page.devtools("Network.clearBrowserCache", serde_json::json!({})).await;
                page.open(&full).await;
                let paint = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime";
                page.wait_for(paint).await;
                paints.push(page.evaluate(paint).await.as_f64().unwrap());
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            println!("/{address:<32} {:>8.1} {:>5} {:>16.0}", median(html), size >> 10, median(paints));
        }
        page.quit().await;
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
