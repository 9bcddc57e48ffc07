//! A collector in a process of its own: this test's program, started once more.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use atalaya_collector::{Collector, Options, open_store};
use tokio_util::sync::CancellationToken;

/// The store of the collector that this process is to be. Not set: it is the test.
const STORE: &str = "COLLECTOR_TEST_STORE";

/// What the test `collector` of such a program does: serves for ever, if it was started for that.
pub async fn serve(options: Options) {
    let Ok(store) = std::env::var(STORE) else { return };
    let store = open_store(&store).unwrap();
    let collector = Collector::bind("127.0.0.1:0", store, options).await.unwrap();
    println!("\nlistens at {}", collector.address().unwrap());
    collector.run(CancellationToken::new()).await;
}

/// Is killed when it is dropped.
pub struct Child(std::process::Child);

impl Child {
    pub fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts one, and tells where it listens.
pub fn start(store: &str) -> (Child, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "collector", "--nocapture"])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let child = Child(child);
    let address =
        lines.map_while(Result::ok).find_map(|line| line.strip_prefix("listens at ").map(str::to_owned));
    (child, address.expect("it listens"))
}
