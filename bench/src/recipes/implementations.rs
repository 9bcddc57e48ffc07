//! Atalaya and Kazoo, each as one process with many sessions and as many processes; and the controller, which triggers
//! the events that both wait for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Kazoo, ZooKeeper};
use serde_json::Value;

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::machine::Machine;
use super::{CLIENTS, Clients};

const SCRIPT: &str = "bench_recipes.py";
/// Names of the implementations, which are also their paths below `/bench`.
const ATALAYA: &str = "atalaya";
const KAZOO: &str = "kazoo";
/// Timeout until all clients have set their watches: longer than fifty clients take for one request each on a busy
/// machine.
const WATCH_TIMEOUT: Duration = Duration::from_secs(30);
/// Interval at which the watches are counted.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Processes of one implementation.
pub(super) struct Implementation {
    /// Name, which is part of its paths, so that the implementations do not share znodes.
    name: &'static str,
    pub(super) one: Coprocess,
    each: Vec<Coprocess>,
}

impl Implementation {
    fn start(name: &'static str, start: impl Fn() -> Coprocess) -> anyhow::Result<(Implementation, Value)> {
        let (mut one, mut each) = (start(), (0..CLIENTS).map(|_| start()).collect::<Vec<_>>());
        let versions = one.value()?;
        for process in &mut each {
            process.value()?;
        }
        Ok((Implementation { name, one, each }, versions))
    }

    /// Returns a path that only this implementation uses.
    pub(super) fn path(&self, what: &str, clients: Clients, round: usize) -> String {
        let clients = match clients {
            Clients::Sessions(count) => format!("s{count}"),
            Clients::Processes(count) => format!("p{count}"),
        };
        format!("/bench/{}/{what}-{clients}-{round}", self.name)
    }

    /// Sends a command to the processes of `clients`, and returns their answers. `command` is called with the number of
    /// sessions per process.
    pub(super) fn ask(
        &mut self,
        clients: Clients,
        command: impl Fn(usize) -> String,
    ) -> anyhow::Result<Vec<Value>> {
        let (processes, sessions) = self.select(clients);
        let command = command(sessions);
        processes.iter_mut().for_each(|process| process.send(&command));
        self.next_answers(clients).with_context(|| format!("answers to {command}"))
    }

    pub(super) fn next_answers(&mut self, clients: Clients) -> anyhow::Result<Vec<Value>> {
        self.select(clients).0.iter_mut().map(Coprocess::value).collect()
    }

    pub(super) fn is_atalaya(&self) -> bool {
        self.name == ATALAYA
    }

    /// Returns the processes of `clients`, and the number of sessions per process.
    fn select(&mut self, clients: Clients) -> (&mut [Coprocess], usize) {
        match clients {
            Clients::Sessions(count) => (std::slice::from_mut(&mut self.one), count),
            Clients::Processes(count) => (&mut self.each[..count], 1),
        }
    }
}

/// Both implementations, connected to one server.
pub(super) struct Implementations<'a> {
    pub(super) atalaya: Implementation,
    pub(super) kazoo: Implementation,
    /// Client that triggers the events: sets, closes, opens.
    pub(super) controller: Coprocess,
    server: &'a ZooKeeper,
}

impl<'a> Implementations<'a> {
    pub(super) fn start(bench: &Bench, server: &'a ZooKeeper, machine: &mut Machine) -> anyhow::Result<Self> {
        let hosts = server.connect_string();
        let (atalaya, _) = Implementation::start(ATALAYA, || start_atalaya(bench, &hosts))?;
        let (kazoo, versions) = Implementation::start(KAZOO, || start_kazoo(&bench.kazoo, &hosts))?;
        machine.kazoo(&versions);
        let mut controller = start_atalaya(bench, &hosts);
        controller.value()?;
        Ok(Implementations { atalaya, kazoo, controller, server })
    }

    /// Runs `measure` with both implementations, in alternating order. Returns the results of Atalaya and of Kazoo.
    pub(super) fn in_turns<T>(
        &mut self,
        round: usize,
        mut measure: impl FnMut(&mut Implementation, &mut Coprocess, &ZooKeeper) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, T)> {
        let Implementations { atalaya, kazoo, controller, server } = self;
        if round.is_multiple_of(2) {
            let atalaya = measure(atalaya, controller, server)?;
            Ok((atalaya, measure(kazoo, controller, server)?))
        } else {
            let kazoo = measure(kazoo, controller, server)?;
            Ok((measure(atalaya, controller, server)?, kazoo))
        }
    }
}

pub(super) fn start_atalaya(bench: &Bench, hosts: &str) -> Coprocess {
    Coprocess::client(&bench.recipes, hosts)
}

pub(super) fn start_kazoo(kazoo: &Kazoo, hosts: &str) -> Coprocess {
    Coprocess::new(kazoo.piped(SCRIPT, &[hosts]))
}

pub(super) fn wait_until_watched(server: &ZooKeeper, path: &str, count: usize) -> anyhow::Result<()> {
    let end = Instant::now() + WATCH_TIMEOUT;
    loop {
        let watching = watchers(&server.four("wchp"), path);
        if watching == count {
            return Ok(());
        }
        ensure!(Instant::now() < end, "only {watching} of {count} sessions watch {path}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Returns the number of sessions that watch `path`. `answer` is that of the four-letter word `wchp`: paths, each
/// followed by its sessions in indented lines.
fn watchers(answer: &str, path: &str) -> usize {
    let below = answer.lines().skip_while(|line| *line != path).skip(1);
    below.take_while(|line| line.starts_with('\t')).count()
}

/// Returns the numbers under `name` in all answers, each a list or a single number.
pub(super) fn numbers(answers: &[Value], name: &str) -> anyhow::Result<Vec<f64>> {
    let mut numbers = Vec::new();
    for answer in answers {
        let found = match &answer[name] {
            Value::Array(values) => values.iter().map(Value::as_f64).collect::<Option<Vec<_>>>(),
            value => value.as_f64().map(|value| vec![value]),
        };
        numbers.extend(found.with_context(|| format!("no {name} in {answer}"))?);
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_of_a_path_are_counted() {
        let answer = "/a/b\n\t0x1\n\t0x2\n/a\n\t0x1\n";
        assert_eq!([watchers(answer, "/a/b"), watchers(answer, "/a"), watchers(answer, "/c")], [2, 1, 0]);
    }

    #[test]
    fn numbers_are_read_from_lists_and_single_values() {
        let answers = [serde_json::json!({"a": [1, 2], "b": 3}), serde_json::json!({"a": [], "b": 4})];
        assert_eq!(numbers(&answers, "a").unwrap(), [1.0, 2.0]);
        assert_eq!(numbers(&answers, "b").unwrap(), [3.0, 4.0]);
        assert!(numbers(&answers, "c").is_err());
    }
}
