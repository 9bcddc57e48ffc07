//! A collector in a process of its own: this test's program, started once more.

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStdout, Command, Stdio};

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
pub struct Child {
    process: std::process::Child,
    /// Closed, it would end the child: a test that takes long says so.
    _output: Lines<BufReader<ChildStdout>>,
}

impl Child {
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts one, and tells where it listens.
pub fn start(store: &str) -> (Child, String) {
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "collector", "--nocapture"])
        .env(STORE, store)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let address = lines
        .by_ref()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("listens at ").map(str::to_owned));
    (Child { process, _output: lines }, address.expect("it listens"))
}
