//! `atalaya collect` as a process: the receiver of reports in production, too.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::http::{Answer, get_within};
use crate::node::clean_command;
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::time::millis_of;

/// Timeout until it listens, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);
/// Timeout of an answer; a stopped collector never answers.
const ANSWER: Duration = Duration::from_secs(20);
/// Reports in a page: few, so that there are several pages.
const PAGE: usize = 50;

/// A collector on a port that stays reserved while the process is down. Dropping it kills the process.
pub struct Collector {
    binary: PathBuf,
    args: Vec<String>,
    port: Port,
    folder: Scratch,
    process: Process,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct StoredReport {
    /// Increases in the order in which reports were recorded.
    pub id: i64,
    /// Epoch, if the sender counts its leaders.
    pub epoch: Option<i64>,
    /// Cycle, if the sender counts cycles.
    pub cycle: Option<u64>,
    pub unit: Option<String>,
    /// Time at which the fleet was read, in milliseconds since 1970.
    #[serde(deserialize_with = "millis")]
    pub time: i64,
    pub mean: f64,
    /// Smallest measurement, if the report contained it.
    pub min: Option<f64>,
    /// Largest measurement, if the report contained it.
    pub max: Option<f64>,
    /// Number of averaged measurements, if the report contained it.
    pub count: Option<usize>,
    /// Time at which it was received, in milliseconds since 1970.
    #[serde(deserialize_with = "millis")]
    pub received: i64,
    /// `User-Agent` of the sender.
    pub reporter: Option<String>,
}

impl StoredReport {
    /// Parses a report in the collector's JSON.
    pub fn parse(value: &Value) -> Option<StoredReport> {
        Self::deserialize(value).ok()
    }

    /// Returns its `Idempotency-Key`, if it had one.
    pub fn key(&self) -> Option<String> {
        let (epoch, cycle) = self.epoch.zip(self.cycle)?;
        Some(match &self.unit {
            None => format!("{epoch}-{cycle}"),
            Some(unit) => format!("{epoch}-{cycle}-{unit}"),
        })
    }
}

impl Collector {
    /// Starts `binary collect` with `args`, which may name the store: the default is SQLite in a new folder. The
    /// collector listens when this returns.
    #[track_caller]
    pub fn start(binary: impl AsRef<Path>, args: &[&str]) -> Collector {
        let (binary, port) = (binary.as_ref().to_path_buf(), Port::reserve());
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        let folder = Scratch::new("collector");
        let process = Process::spawn(command(&binary, &folder, &port, &args)).called("collector", 40);
        let collector = Collector { binary, args, port, folder, process };
        collector.listens();
        collector
    }

    /// Starts a new process with the same port and the same store, without waiting until it listens. The previous one
    /// must have ended.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(!self.process.is_running(), "the collector has not ended");
        let command = command(&self.binary, &self.folder, &self.port, &self.args);
        self.process = Process::spawn(command).called("collector", 40);
    }

    /// Starts a new process like [`spawn`](Self::spawn), and waits until it listens.
    #[track_caller]
    pub fn restart(&mut self) {
        self.spawn();
        self.listens();
    }

    /// Waits until it listens.
    #[track_caller]
    pub fn listens(&self) {
        self.process.wait_for_line("listening at ", START);
    }

    /// Shuts it down, and starts it with other arguments.
    #[track_caller]
    pub fn restart_with(&mut self, args: &[&str]) {
        self.end();
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.restart();
    }

    /// Sends SIGTERM, and waits until it has shut down.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.process.term();
        self.process.wait_exit(START)
    }

    /// Returns the running process, or the last one.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Returns its working folder: `reports.db` is there, unless an argument selects another store.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the URL for reports: `http://127.0.0.1:PORT/nuevo`, or `https:`.
    pub fn url(&self) -> String {
        let scheme = if self.args.iter().any(|arg| arg == "--tls-certificate") { "https" } else { "http" };
        format!("{scheme}://{}/nuevo", self.address())
    }

    /// Returns the address, `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Sends a GET request for `path`, with this token if there is one.
    pub fn try_get(&self, path: &str, token: Option<&str>, timeout: Duration) -> Result<Answer, String> {
        get_authorized(&self.address(), path, token, timeout)
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        match self.try_get(path, None, ANSWER) {
            Ok(answer) => answer,
            Err(error) => panic!("the collector does not answer {path}: {error}"),
        }
    }

    pub fn try_reports(&self, token: Option<&str>) -> Result<Vec<StoredReport>, String> {
        stored_reports(&self.address(), token)
    }

    #[track_caller]
    pub fn reports(&self) -> Vec<StoredReport> {
        match self.try_reports(None) {
            Ok(held) => held,
            Err(error) => panic!("the collector does not return its reports: {error}"),
        }
    }

    /// Returns the number of reports with this outcome since the start, from its metrics: `recorded`, `repeated`,
    /// `conflict`, `stale`.
    pub fn became(&self, outcome: &str, timeout: Duration) -> Result<u64, String> {
        let answer = self.try_get("/metrics", None, timeout)?;
        let name = format!("atalaya_collector_reports_total{{outcome=\"{outcome}\"}} ");
        let line = answer.body.lines().find_map(|line| line.strip_prefix(&name));
        Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
    }
}

/// Reads a time in the format of the reports.
fn millis<'de, D: Deserializer<'de>>(time: D) -> Result<i64, D::Error> {
    let text = String::deserialize(time)?;
    millis_of(&text).ok_or_else(|| D::Error::custom("not a time"))
}

fn command(binary: &Path, folder: &Scratch, port: &Port, args: &[String]) -> Command {
    let mut command = clean_command(folder.path(), &binary.display().to_string());
    command.args(["collect", "--listen", &format!("127.0.0.1:{}", port.number())]).args(args);
    command
}

fn get_authorized(
    address: &str,
    path: &str,
    token: Option<&str>,
    timeout: Duration,
) -> Result<Answer, String> {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let head: Vec<(&str, &str)> =
        authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    get_within(address, path, &head, timeout)
}

/// Returns all reports that the collector at this address has stored, read page by page, in the order in which they
/// were recorded.
pub fn stored_reports(address: &str, token: Option<&str>) -> Result<Vec<StoredReport>, String> {
    let mut stored = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/v1/reports?limit={PAGE}{cursor}");
        let answer = get_authorized(address, &path, token, ANSWER)?;
        let page: Value = serde_json::from_str(&answer.body).unwrap_or_default();
        let (200, Some(reports)) = (answer.status, page["reports"].as_array()) else {
            return Err(format!("{path}: {answer:?}"));
        };
        for report in reports {
            stored.push(StoredReport::parse(report).ok_or_else(|| format!("not understood: {report}"))?);
        }
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    stored.sort_by_key(|report| report.id);
    Ok(stored)
}
