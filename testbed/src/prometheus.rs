//! A Prometheus server, and `promtool`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::http::{self, Answer};
use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;
use crate::wait::eventually;

/// Timeout for the start of a server.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Number of log lines that are printed when a test panics.
const SHOWN: usize = 20;

/// A Prometheus server on loopback, with a reserved port and its own data.
pub struct Prometheus {
    // Drop order: the server must end before its folder is removed.
    _process: Process,
    port: Port,
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts a server with this configuration, and waits until it answers.
    #[track_caller]
    pub fn start(configuration: &Path) -> Self {
        install::require(&[Part::Prometheus]);
        let scratch = Scratch::new("prometheus");
        let port = Port::reserve();
        let mut command = parent_death_command("prometheus");
        command.arg(format!("--config.file={}", configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", scratch.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", port.number()));
        command.arg("--log.level=warn");
        let process = Process::spawn(command).called("Prometheus", SHOWN);
        let mut server = Self { _process: process, port, _scratch: scratch };
        eventually("Prometheus starts", TIMEOUT, || {
            assert!(server._process.is_running(), "Prometheus ended while it started");
            server.get("/-/ready").filter(|answer| answer.status == 200)
        });
        server
    }

    fn get(&self, target: &str) -> Option<Answer> {
        http::get(&format!("127.0.0.1:{}", self.port.number()), target, &[]).ok()
    }

    /// Queries its API at a path below `/api/v1/`, such as `targets`. Returns the field `data`.
    #[track_caller]
    pub fn api(&self, path: &str) -> Value {
        let Some(answer) = self.get(&format!("/api/v1/{path}")) else {
            panic!("Prometheus does not answer {path}")
        };
        let mut body: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        assert!(body["status"] == "success", "Prometheus refuses {path}: {}", answer.body);
        body["data"].take()
    }

    /// Evaluates an expression now. Returns each set of labels with its value.
    #[track_caller]
    pub fn query(&self, expression: &str) -> Vec<(Value, f64)> {
        let escaped: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let data = self.api(&format!("query?query={escaped}"));
        let Some(results) = data["result"].as_array() else {
            panic!("the result of {expression} is not a vector: {data}")
        };
        let sample = |result: &Value| {
            let value = result["value"][1].as_str().and_then(|value| value.parse().ok());
            (result["metric"].clone(), value.unwrap_or(f64::NAN))
        };
        results.iter().map(sample).collect()
    }
}

/// Returns the command `promtool`, to which a test appends arguments.
#[track_caller]
pub fn promtool() -> Command {
    install::require(&[Part::Prometheus]);
    parent_death_command("promtool")
}
