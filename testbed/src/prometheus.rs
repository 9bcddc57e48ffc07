//! A Prometheus server, and `promtool`.

use std::path::Path;
use std::process::Command;

use derive_more::{Deref, DerefMut};
use serde_json::Value;

use crate::install::{self, Part};
use crate::server::Server;
use crate::spawn::parent_death_command;

/// A Prometheus server on loopback, with a reserved port and its own data.
#[derive(Deref, DerefMut)]
pub struct Prometheus(Server);

impl Prometheus {
    /// Starts a server with this configuration, and waits until it answers.
    #[track_caller]
    pub fn start(configuration: &Path) -> Self {
        Self::launch(Self::prepare(), &configuration.display().to_string(), &[])
    }

    /// Starts a server that only receives by remote write. `configuration`: its text, such as the window for samples out
    /// of order.
    #[track_caller]
    pub fn receiver(configuration: &str) -> Self {
        let server = Self::prepare();
        let file = server.write("prometheus.yml", configuration);
        Self::launch(server, &file, &["--web.enable-remote-write-receiver"])
    }

    #[track_caller]
    fn prepare() -> Server {
        let is_ready = |server: &Server| server.get("/-/ready").is_ok_and(|answer| answer.status == 200);
        Server::prepare("Prometheus", &[Part::Prometheus], is_ready)
    }

    #[track_caller]
    fn launch(server: Server, configuration: &str, options: &[&str]) -> Self {
        let file = format!("--config.file={configuration}");
        let data = format!("--storage.tsdb.path={}", server.folder().display());
        let listen = format!("--web.listen-address={}", server.address());
        let command = ["prometheus", &file, &data, &listen, "--log.level=warn"];
        Self(server.start(&[&command, options].concat()))
    }

    pub fn write_url(&self) -> String {
        format!("http://{}/api/v1/write", self.address())
    }

    /// Queries its API at a path below `/api/v1/`, such as `targets`. Returns the field `data`.
    #[track_caller]
    pub fn api(&self, path: &str) -> Value {
        let Ok(answer) = self.get(&format!("/api/v1/{path}")) else {
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
