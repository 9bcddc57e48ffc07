//! A program that reads commands from standard input and answers with lines of JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Line, Process, parent_death_command};
use serde_json::Value;

/// Timeout for an answer: longer than a round of the slowest program on a slow machine.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);

pub(crate) struct Coprocess {
    process: Process,
    /// Time of the last command or answer. Answers are searched in the output after it.
    last: Instant,
}

impl Coprocess {
    /// Starts a benchmark program that takes the address of a server.
    pub(crate) fn client(program: &Path, hosts: &str) -> Coprocess {
        Coprocess::client_with(program, hosts, Vec::new())
    }

    /// Like [`Coprocess::client`], with variables in its environment.
    pub(crate) fn client_with(program: &Path, hosts: &str, variables: Vec<(String, String)>) -> Coprocess {
        let mut command = parent_death_command(program);
        command.arg(hosts).envs(variables);
        Coprocess::new(Process::spawn_piped(command))
    }

    pub(crate) fn new(process: Process) -> Coprocess {
        Coprocess { process, last: Instant::now() }
    }

    pub(crate) fn ask(&mut self, command: &str) -> anyhow::Result<Value> {
        self.send(command);
        self.value().with_context(|| format!("answer to {command}"))
    }

    /// Sends a command, without waiting for the answer.
    pub(crate) fn send(&mut self, command: &str) {
        self.last = Instant::now();
        self.process.write_line(command);
    }

    /// Waits for the next line of JSON and parses it.
    pub(crate) fn value(&mut self) -> anyhow::Result<Value> {
        let line = self.answer();
        serde_json::from_str(&line.text).with_context(|| format!("not JSON: {}", line.text))
    }

    /// Waits for the next line of JSON. Returns it with the time at which it came.
    pub(crate) fn answer(&mut self) -> Line {
        let line = self.process.wait_for_line_since(self.last, "{", ANSWER_TIMEOUT);
        self.last = line.at;
        line
    }
}

/// Returns the durations under `name`, which the answer has in nanoseconds, in milliseconds.
pub(crate) fn milliseconds(answer: &Value, name: &str) -> Vec<f64> {
    let times = answer[name].as_array().map(Vec::as_slice).unwrap_or_default();
    times.iter().filter_map(Value::as_f64).map(|ns| ns / 1e6).collect()
}

/// Waits for the end of a program, and returns its last line of JSON.
pub(crate) fn last_answer(process: &mut Process, timeout: Duration) -> anyhow::Result<Value> {
    let exit = process.wait_exit(timeout);
    let line = process.log().into_iter().map(|line| line.text).rfind(|text| text.starts_with('{'));
    ensure!(exit.success(), "the program ended with {exit}: {:?}", process.log().last());
    Ok(serde_json::from_str(&line.context("the program printed no result")?)?)
}
