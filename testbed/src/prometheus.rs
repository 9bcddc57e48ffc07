//! A Prometheus server, and `promtool`.

use std::fs;
use std::path::{Path, PathBuf};
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
    process: Option<Process>,
    port: Port,
    configuration: PathBuf,
    is_receiver: bool,
    scratch: Scratch,
}

impl Prometheus {
    /// Starts a server with this configuration, and waits until it answers.
    #[track_caller]
    pub fn start(configuration: &Path) -> Self {
        Self::launch(Scratch::new("prometheus"), configuration.to_owned(), false)
    }

    /// Starts a server that only receives by remote write. `configuration`: its text, such as the window for samples out
    /// of order.
    #[track_caller]
    pub fn receiver(configuration: &str) -> Self {
        let scratch = Scratch::new("prometheus");
        let file = scratch.path().join("prometheus.yml");
        fs::write(&file, configuration).expect("write Prometheus's configuration");
        Self::launch(scratch, file, true)
    }

    #[track_caller]
    fn launch(scratch: Scratch, configuration: PathBuf, is_receiver: bool) -> Self {
        install::require(&[Part::Prometheus]);
        let mut server = Self { process: None, port: Port::reserve(), configuration, is_receiver, scratch };
        server.restart();
        server
    }

    /// Starts it again, on the same port, with the data in its folder, and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "Prometheus at {} runs already", self.port());
        let mut command = parent_death_command("prometheus");
        command.arg(format!("--config.file={}", self.configuration.display()));
        command.arg(format!("--storage.tsdb.path={}", self.scratch.path().join("data").display()));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port()));
        command.arg("--log.level=warn");
        if self.is_receiver {
            command.arg("--web.enable-remote-write-receiver");
        }
        self.process = Some(Process::spawn(command).called("Prometheus", SHOWN));
        eventually("Prometheus starts", TIMEOUT, || {
            assert!(self.is_running(), "Prometheus ended while it started");
            self.get("/-/ready").filter(|answer| answer.status == 200)
        });
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the address for remote write.
    pub fn write_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/write", self.port())
    }

    /// Returns true if it runs: it may end by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends SIGKILL, and waits until it is gone. Does nothing if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Removes all data, as if its disk had been replaced. It must not run.
    #[track_caller]
    pub fn lose_all(&mut self) {
        assert!(self.process.is_none(), "Prometheus at {} runs", self.port());
        fs::remove_dir_all(self.scratch.path().join("data")).expect("remove Prometheus's folder");
    }

    /// Sends SIGSTOP: the server is frozen, its connections stay open, and the kernel accepts new ones.
    #[track_caller]
    pub fn stop_process(&mut self) {
        self.process.as_mut().expect("a killed Prometheus cannot be stopped").stop();
    }

    /// Sends SIGCONT: the server continues.
    #[track_caller]
    pub fn continue_process(&self) {
        self.process.as_ref().expect("a killed Prometheus cannot go on").cont();
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

    /// Returns all samples of the series of a metric with these labels (`{node="1"}`), as time in milliseconds and value,
    /// ordered by time.
    #[track_caller]
    pub fn samples(&self, selector: &str) -> Vec<(i64, f64)> {
        let escaped: String =
            form_urlencoded::byte_serialize(format!("{selector}[30d]").as_bytes()).collect();
        let data = self.api(&format!("query?query={escaped}"));
        let mut samples = Vec::new();
        for series in data["result"].as_array().into_iter().flatten() {
            for sample in series["values"].as_array().into_iter().flatten() {
                let time = (sample[0].as_f64().unwrap_or(f64::NAN) * 1000.0).round();
                let value = sample[1].as_str().and_then(|value| value.parse().ok()).unwrap_or(f64::NAN);
                samples.push((time as i64, value));
            }
        }
        samples.sort_by_key(|(time, _)| *time);
        samples
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
