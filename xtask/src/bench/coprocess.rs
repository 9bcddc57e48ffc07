//! A program that is told on its standard input what to measure, and answers with lines of JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use atalaya_testbed::{Line, Process, guarded};
use serde_json::Value;

/// Longer than any round of the slowest program on a slow machine.
const ANSWER: Duration = Duration::from_secs(300);

pub(crate) struct Coprocess {
    process: Process,
    told: Instant,
}

impl Coprocess {
    /// The client of `node/benches`.
    pub(crate) fn client(program: &Path, hosts: &str) -> Coprocess {
        let mut command = guarded(program);
        command.arg(hosts);
        Coprocess::of(Process::spawn_piped(command))
    }

    /// One that was just started.
    pub(crate) fn of(process: Process) -> Coprocess {
        Coprocess { process, told: Instant::now() }
    }

    /// One command and its answer.
    pub(crate) fn ask(&mut self, command: &str) -> anyhow::Result<Value> {
        self.tell(command);
        self.value().with_context(|| format!("the answer to {command}"))
    }

    /// One command, whose answer is looked at later.
    pub(crate) fn tell(&mut self, command: &str) {
        self.told = Instant::now();
        self.process.write_line(command);
    }

    /// The first line of JSON since the last call, read.
    pub(crate) fn value(&mut self) -> anyhow::Result<Value> {
        let line = self.answer();
        serde_json::from_str(&line.text).with_context(|| format!("no JSON: {}", line.text))
    }

    /// The first line of JSON since the last call, with the moment it came.
    pub(crate) fn answer(&mut self) -> Line {
        let line = self.process.wait_for_line_since(self.told, "{", ANSWER);
        self.told = line.at;
        line
    }
}

/// The milliseconds that an answer gives as nanoseconds under `name`.
pub(crate) fn milliseconds(answer: &Value, name: &str) -> Vec<f64> {
    let times = answer[name].as_array().map(Vec::as_slice).unwrap_or_default();
    times.iter().filter_map(Value::as_f64).map(|ns| ns / 1e6).collect()
}
