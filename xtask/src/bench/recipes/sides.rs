//! Both sides: one process with many sessions, and many processes; and the one who does what both wait for.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Kazoo, ZooKeeper};
use serde_json::Value;

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::machine::Machine;
use super::{CROWD, Who};

/// The script of Kazoo's side.
const SCRIPT: &str = "bench_recipes.py";
/// What the sides' znodes are below.
const OURS: &str = "atalaya";
const THEIRS: &str = "kazoo";
/// Longer than fifty clients take for one request each, however busy the machine.
const ARMED: Duration = Duration::from_secs(30);
/// Between two looks whether they have made it.
const LOOK: Duration = Duration::from_millis(10);

/// One of the two sides.
pub(super) struct Side {
    /// What its znodes are called, so that nobody meets the other side's.
    name: &'static str,
    one: Coprocess,
    each: Vec<Coprocess>,
}

impl Side {
    fn start(name: &'static str, start: impl Fn() -> Coprocess) -> anyhow::Result<(Side, Value)> {
        let (mut one, mut each) = (start(), (0..CROWD).map(|_| start()).collect::<Vec<_>>());
        let said = one.value()?;
        for process in &mut each {
            process.value()?;
        }
        Ok((Side { name, one, each }, said))
    }

    /// A path of this side's own.
    pub(super) fn path(&self, what: &str, who: Who, round: usize) -> String {
        let who = match who {
            Who::Sessions(count) => format!("s{count}"),
            Who::Processes(count) => format!("p{count}"),
        };
        format!("/bench/{}/{what}-{who}-{round}", self.name)
    }

    /// Tells all of `who` the same, and returns the answers of their processes. The command is made for as many
    /// sessions as each process is to use.
    pub(super) fn ask(&mut self, who: Who, command: impl Fn(usize) -> String) -> anyhow::Result<Vec<Value>> {
        let (processes, sessions) = self.of(who);
        let command = command(sessions);
        processes.iter_mut().for_each(|process| process.tell(&command));
        self.more(who).with_context(|| format!("the answers to {command}"))
    }

    /// One more answer of each.
    pub(super) fn more(&mut self, who: Who) -> anyhow::Result<Vec<Value>> {
        self.of(who).0.iter_mut().map(Coprocess::value).collect()
    }

    /// Asks one process.
    pub(super) fn ask_one(&mut self, command: &str) -> anyhow::Result<Value> {
        self.one.ask(command)
    }

    /// Whether this is Atalaya's.
    pub(super) fn is_ours(&self) -> bool {
        self.name == OURS
    }

    fn of(&mut self, who: Who) -> (&mut [Coprocess], usize) {
        match who {
            Who::Sessions(count) => (std::slice::from_mut(&mut self.one), count),
            Who::Processes(count) => (&mut self.each[..count], 1),
        }
    }
}

/// Both of them, at one server.
pub(super) struct Sides<'a> {
    pub(super) ours: Side,
    pub(super) theirs: Side,
    /// Does what both wait for: sets, closes, opens.
    pub(super) hand: Coprocess,
    server: &'a ZooKeeper,
}

impl<'a> Sides<'a> {
    pub(super) fn start(bench: &Bench, server: &'a ZooKeeper, machine: &mut Machine) -> anyhow::Result<Self> {
        let hosts = server.connect_string();
        let (ours, _) = Side::start(OURS, || ours(bench, &hosts))?;
        let (theirs, said) = Side::start(THEIRS, || theirs(&bench.kazoo, &hosts))?;
        machine.kazoo(&said);
        let mut hand = self::ours(bench, &hosts);
        hand.value()?;
        Ok(Sides { ours, theirs, hand, server })
    }

    /// Both sides do the same, the one or the other first; what came of ours and of theirs.
    pub(super) fn in_turns<T>(
        &mut self,
        round: usize,
        mut act: impl FnMut(&mut Side, &mut Coprocess, &ZooKeeper) -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, T)> {
        let Sides { ours, theirs, hand, server } = self;
        if round.is_multiple_of(2) {
            let ours = act(ours, hand, server)?;
            Ok((ours, act(theirs, hand, server)?))
        } else {
            let theirs = act(theirs, hand, server)?;
            Ok((act(ours, hand, server)?, theirs))
        }
    }
}

/// One process of Atalaya's side.
pub(super) fn ours(bench: &Bench, hosts: &str) -> Coprocess {
    Coprocess::client(&bench.recipes, hosts)
}

/// One process of Kazoo's side.
pub(super) fn theirs(kazoo: &Kazoo, hosts: &str) -> Coprocess {
    Coprocess::of(kazoo.piped(SCRIPT, &[hosts]))
}

/// Waits until so many watch a znode.
pub(super) fn until_watched(server: &ZooKeeper, path: &str, count: usize) -> anyhow::Result<()> {
    let end = Instant::now() + ARMED;
    loop {
        let watching = watchers(&server.four("wchp"), path);
        if watching == count {
            return Ok(());
        }
        ensure!(Instant::now() < end, "{watching} of {count} watch {path}");
        std::thread::sleep(LOOK);
    }
}

/// How many sessions watch `path`, by what a server answers to `wchp`: paths, each with its sessions below it, indented.
fn watchers(answer: &str, path: &str) -> usize {
    let below = answer.lines().skip_while(|line| *line != path).skip(1);
    below.take_while(|line| line.starts_with('\t')).count()
}

/// The numbers that answers give under `name`, in a list or alone.
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
    fn those_who_watch_a_path_are_counted() {
        let answer = "/a/b\n\t0x1\n\t0x2\n/a\n\t0x1\n";
        assert_eq!([watchers(answer, "/a/b"), watchers(answer, "/a"), watchers(answer, "/c")], [2, 1, 0]);
    }

    #[test]
    fn numbers_stand_in_lists_or_alone() {
        let answers = [serde_json::json!({"a": [1, 2], "b": 3}), serde_json::json!({"a": [], "b": 4})];
        assert_eq!(numbers(&answers, "a").unwrap(), [1.0, 2.0]);
        assert_eq!(numbers(&answers, "b").unwrap(), [3.0, 4.0]);
        assert!(numbers(&answers, "c").is_err());
    }
}
