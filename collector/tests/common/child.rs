//! A collector in a child process, which runs this test's program again.

use std::io::{BufRead, BufReader, Lines};
use std::process::{ChildStdout, Command, Stdio};

use atalaya_collector::{Collector, Options, open_store};
use tokio_util::sync::CancellationToken;

/// Store of the collector in the child process. Not set in the test itself.
const STORE: &str = "COLLECTOR_TEST_STORE";

/// Body of the test `collector` of such a program: runs a collector indefinitely if this process was started as a
/// child.
pub async fn serve(options: Options) {
    let Ok(store) = std::env::var(STORE) else { return };
    let store = open_store(&store).unwrap();
    let collector = Collector::bind("127.0.0.1:0", store, options).await.unwrap();
    println!("\nlistens at {}", collector.address().unwrap());
    collector.run(CancellationToken::new()).await;
}

/// Child process, which is killed when this value is dropped.
pub struct Child {
    process: std::process::Child,
    /// Kept open, because closing it would end the child: the test harness writes a message if a test takes long.
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

/// Starts a child process, and returns it with the address at which it listens.
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
