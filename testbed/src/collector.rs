//! `atalaya collect` as a process: where reports go outside of tests, too.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use serde_json::Value;

use crate::chaos::millis_of;
use crate::http::{Answer, get_within};
use crate::node::clean_command;
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;

/// How long it may take until it listens, on a machine that is busy with other tests.
const START: Duration = Duration::from_secs(60);
/// How long an answer may take; one that is stopped never answers.
const ANSWER: Duration = Duration::from_secs(20);
/// Reports of a page: few, so that there are several.
const PAGE: usize = 50;

/// A collector on a port of its own, which stays its own while the process is gone. Dropping it kills it.
pub struct Collector {
    binary: PathBuf,
    args: Vec<String>,
    port: Port,
    folder: Scratch,
    process: Process,
}

/// A report that a collector holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Goes up in the order in which they were recorded.
    pub id: i64,
    /// Whose it is, if the sender counts its leaders.
    pub epoch: Option<i64>,
    /// Of which cycle, if the sender counts them.
    pub cycle: Option<u64>,
    /// Its unit, if it is known.
    pub unit: Option<String>,
    /// When the fleet was read, in milliseconds since 1970.
    pub time: i64,
    /// The average.
    pub mean: f64,
    /// The smallest measurement, if it was told.
    pub min: Option<f64>,
    /// The largest, if it was told.
    pub max: Option<f64>,
    /// How many were averaged, if it was told.
    pub count: Option<usize>,
    /// When it was received, in milliseconds since 1970.
    pub received: i64,
    /// The `User-Agent` that sent it.
    pub reporter: Option<String>,
}

impl Held {
    /// Reads one from what the collector tells.
    pub fn parse(value: &Value) -> Option<Held> {
        let text = |name: &str| value[name].as_str().map(str::to_owned);
        Some(Held {
            id: value["id"].as_i64()?,
            epoch: value["epoch"].as_i64(),
            cycle: value["cycle"].as_u64(),
            unit: text("unit"),
            time: millis_of(value["time"].as_str()?)?,
            mean: value["mean"].as_f64()?,
            min: value["min"].as_f64(),
            max: value["max"].as_f64(),
            count: value["count"].as_u64().and_then(|count| count.try_into().ok()),
            received: millis_of(value["received"].as_str()?)?,
            reporter: text("reporter"),
        })
    }

    /// Its `Idempotency-Key`, if it had one.
    pub fn key(&self) -> Option<String> {
        let (epoch, cycle) = self.epoch.zip(self.cycle)?;
        Some(match &self.unit {
            None => format!("{epoch}-{cycle}"),
            Some(unit) => format!("{epoch}-{cycle}-{unit}"),
        })
    }
}

impl Collector {
    /// `binary collect` with `args`, which may name the store: without, SQLite in a folder of its own. It listens when this
    /// returns.
    ///
    /// # Panics
    ///
    /// When it does not start.
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

    /// Starts it anew, at the same place with the same store, without waiting until it listens. The one before must have ended.
    ///
    /// # Panics
    ///
    /// When it has not ended.
    #[track_caller]
    pub fn spawn(&mut self) {
        assert!(!self.process.is_running(), "the collector has not ended");
        let command = command(&self.binary, &self.folder, &self.port, &self.args);
        self.process = Process::spawn(command).called("collector", 40);
    }

    /// Like [`spawn`](Self::spawn), and it listens when this returns.
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

    /// Ends it in order, and starts it with other arguments.
    #[track_caller]
    pub fn restart_with(&mut self, args: &[&str]) {
        self.end();
        self.args = args.iter().map(|arg| (*arg).to_owned()).collect();
        self.restart();
    }

    /// SIGTERM, and waits until it has ended in order.
    #[track_caller]
    pub fn end(&mut self) -> ExitStatus {
        self.process.term();
        self.process.wait_exit(START)
    }

    /// The process that runs, or ended last.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// The folder that it works in: `reports.db` is there, unless it was told otherwise.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where reports go: `http://127.0.0.1:PORT/nuevo`, or `https:`.
    pub fn url(&self) -> String {
        let scheme = if self.args.iter().any(|arg| arg == "--tls-certificate") { "https" } else { "http" };
        format!("{scheme}://{}/nuevo", self.address())
    }

    /// `127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Asks for `path`, with this token if there is one.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub fn try_get(&self, path: &str, token: Option<&str>, patience: Duration) -> Result<Answer, String> {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let head: Vec<(&str, &str)> =
            bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
        get_within(&self.address(), path, &head, patience)
    }

    /// Asks for `path`.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        match self.try_get(path, None, ANSWER) {
            Ok(answer) => answer,
            Err(error) => panic!("the collector does not answer {path}: {error}"),
        }
    }

    /// Everything that it holds, page by page, in the order in which it was recorded.
    ///
    /// # Errors
    ///
    /// It does not tell.
    pub fn try_reports(&self, token: Option<&str>) -> Result<Vec<Held>, String> {
        let mut held = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/reports?limit={PAGE}{cursor}");
            let answer = self.try_get(&path, token, ANSWER)?;
            let page: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let (200, Some(reports)) = (answer.status, page["reports"].as_array()) else {
                return Err(format!("{path}: {answer:?}"));
            };
            for report in reports {
                held.push(Held::parse(report).ok_or_else(|| format!("not understood: {report}"))?);
            }
            match page["next"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        held.sort_by_key(|held| held.id);
        Ok(held)
    }

    /// Like [`try_reports`](Self::try_reports).
    ///
    /// # Panics
    ///
    /// When it does not tell.
    #[track_caller]
    pub fn reports(&self) -> Vec<Held> {
        match self.try_reports(None) {
            Ok(held) => held,
            Err(error) => panic!("the collector does not tell what it holds: {error}"),
        }
    }

    /// What became of reports since it was started, by its metrics: `recorded`, `repeated`, `conflict`, `stale`.
    ///
    /// # Errors
    ///
    /// There is no answer.
    pub fn became(&self, outcome: &str, patience: Duration) -> Result<u64, String> {
        let answer = self.try_get("/metrics", None, patience)?;
        let name = format!("atalaya_collector_reports_total{{outcome=\"{outcome}\"}} ");
        let line = answer.body.lines().find_map(|line| line.strip_prefix(&name));
        Ok(line.and_then(|number| number.trim().parse().ok()).unwrap_or(0))
    }
}

fn command(binary: &Path, folder: &Scratch, port: &Port, args: &[String]) -> Command {
    let mut command = clean_command(folder.path(), &binary.display().to_string());
    command.args(["collect", "--listen", &format!("127.0.0.1:{}", port.number())]).args(args);
    command
}
