//! Recipes of Atalaya and Kazoo: operations per second, latency, and number of requests.
//!
//! Both implementations are programs that execute the same commands (`recipes/benches/recipes`,
//! `testbed/kazoo/bench_recipes.py`): one process with many sessions, and many processes with one session each.

mod counters;
mod implementations;
mod latency;
mod locks;
mod queues;
mod requests;

use std::fmt;

use atalaya_testbed::ZooKeeper;

use super::Bench;
use super::cycle::TICK;
use super::machine::Machine;
use super::report::{Section, cells, row};
use super::stats::Sample;
use super::targets::Target;
use counters::Counters;
use implementations::Implementations;

/// Number of waiting and of watching clients, and the maximum number of clients in any benchmark.
const CLIENTS: usize = 50;

/// Number of rounds and duration of their parts.
#[derive(Clone, Copy)]
struct Scale {
    rounds: usize,
    /// Duration of one turn of a lock or a counter, in milliseconds.
    ms: u32,
    /// Changes of the watched znode per round.
    changes: usize,
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let scale = match bench.quick {
        false => Scale { rounds: 12, ms: 300, changes: 4 },
        true => Scale { rounds: 2, ms: 150, changes: 2 },
    };
    let requests = requests::measure(bench)?;
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    eprintln!("starting {CLIENTS} processes of each implementation");
    let mut implementations = Implementations::start(bench, &server, machine)?;
    let mut counters = Counters::default();
    let [mut locks, mut queues, mut barriers, mut watches] = <[Results; 4]>::default();
    for round in 0..=scale.rounds {
        eprintln!("recipes, round {round} of {}", scale.rounds);
        locks::round(&mut locks, &mut implementations, round, scale)?;
        counters.round(&mut implementations, round, scale)?;
        queues::round(&mut queues, &mut implementations, round)?;
        latency::barrier_round(&mut barriers, &mut implementations, round)?;
        latency::watch_round(&mut watches, &mut implementations, round, scale)?;
        // The first round includes one-time work, such as loading, compiling and allocating, so it does not count.
        if round == 0 {
            counters = Counters::default();
            [locks, queues, barriers, watches] = Default::default();
        }
    }
    Ok(vec![
        locks::section(&locks, scale),
        counters.section(scale),
        queues::section(&queues, scale),
        latency::barrier_section(&barriers, scale),
        latency::watch_section(&mut watches, scale),
        requests,
    ])
}

/// Results of one benchmark: the two labels of each row of its table, and the values of both implementations.
#[derive(Default)]
struct Results(Vec<([String; 2], Pair)>);

impl Results {
    /// Returns the values of a row, which is added if it is new.
    fn row(&mut self, group: impl ToString, name: &str) -> &mut Pair {
        let labels = [group.to_string(), name.to_owned()];
        let known = self.0.iter().position(|(known, _)| *known == labels);
        let at = known.unwrap_or_else(|| {
            self.0.push((labels, Pair::default()));
            self.0.len() - 1
        });
        &mut self.0[at].1
    }

    fn pairs(&self) -> impl Iterator<Item = &Pair> {
        self.0.iter().map(|(_, pair)| pair)
    }

    /// Builds the section. Its target is that Atalaya is not slower than Kazoo in any row.
    fn section(&self, title: &str, method: &str, unit: &str, scale: Scale) -> Section {
        let mut group = "";
        let mut rows = Vec::new();
        for ([first, second], pair) in &self.0 {
            // Only the first row of a group has its label.
            let is_same = std::mem::replace(&mut group, first) == first;
            let label = if is_same { String::new() } else { first.clone() };
            rows.push(row(label, [second.clone()].into_iter().chain(pair.cells())));
        }
        Section {
            title: format!("Recipes of Atalaya and Kazoo: {title}"),
            method: format!("{method} {}", in_turns(scale)),
            head: cells([unit, "", "Atalaya", "Kazoo", "ratio"]),
            rows,
            notes: Vec::new(),
            targets: vec![min_ratio(title, self.pairs())],
        }
    }
}

/// Results of both implementations for one value.
#[derive(Clone, Default)]
struct Pair {
    atalaya: Sample,
    kazoo: Sample,
    /// Ratio of both in the same round, above 1 where Atalaya is better.
    ratio: Sample,
}

impl Pair {
    /// Adds the rates of one round. Higher is better.
    fn add_rates(&mut self, atalaya: f64, kazoo: f64) {
        self.atalaya.push(atalaya);
        self.kazoo.push(kazoo);
        self.ratio.push(atalaya / kazoo);
    }

    /// Adds the delays of one round. Lower is better.
    fn add_delays(&mut self, atalaya: f64, kazoo: f64) {
        self.atalaya.push(atalaya);
        self.kazoo.push(kazoo);
        self.ratio.push(kazoo / atalaya);
    }

    fn cells(&self) -> [String; 3] {
        [&self.atalaya, &self.kazoo, &self.ratio].map(Sample::with_middle_half)
    }
}

/// Returns the target of a table: Atalaya is not slower than Kazoo in any row.
fn min_ratio<'a>(name: &str, pairs: impl Iterator<Item = &'a Pair>) -> Target {
    let min = pairs.map(|pair| pair.ratio.median()).fold(f64::INFINITY, f64::min);
    Target::at_least(&format!("recipes relative to Kazoo: {name}, minimum"), 1.0, " times", min)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Clients {
    /// This number of sessions in one process.
    Sessions(usize),
    /// This number of processes with one session each.
    Processes(usize),
}

impl Clients {
    fn count(self) -> usize {
        match self {
            Clients::Sessions(count) | Clients::Processes(count) => count,
        }
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Clients::Sessions(1) => write!(f, "1 session"),
            Clients::Sessions(count) => write!(f, "{count} sessions of one process"),
            Clients::Processes(count) => write!(f, "{count} processes"),
        }
    }
}

/// Returns the end of a method text: number of rounds, and how they alternate.
fn in_turns(scale: Scale) -> String {
    format!(
        "**Median** (middle half) of {} rounds, in each of which both implementations have their turn, one right after the \
         other; *ratio* is computed for each of these pairs.",
        scale.rounds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pair_ratio_is_above_one_where_atalaya_is_better() {
        let mut rates = Pair::default();
        rates.add_rates(300.0, 100.0);
        assert_eq!(rates.ratio.median(), 3.0);
        let mut delays = Pair::default();
        delays.add_delays(2.0, 10.0);
        delays.add_delays(4.0, 2.0);
        assert_eq!((delays.ratio.len(), delays.ratio.range()), (2, "0.500 – 5.00".to_owned()));
        let target = min_ratio("something", [rates, delays].iter());
        assert!(target.met && target.result == "2.75 times", "{target:?}");
    }
}
