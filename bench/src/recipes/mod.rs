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
use super::report::Section;
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;
use counters::Counters;
use implementations::Implementations;
use latency::{Barriers, Watches};
use locks::Locks;
use queues::Queues;

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
    let (mut locks, mut counters, mut queues) = (Locks::new(), Counters::new(), Queues::new());
    let (mut barriers, mut watches) = (Barriers::new(), Watches::new());
    // The first round includes one-time work, such as loading, compiling and allocating, so it does not count.
    for round in 0..=scale.rounds {
        eprintln!("recipes, round {round} of {}", scale.rounds);
        locks.round(&mut implementations, round, scale)?;
        counters.round(&mut implementations, round, scale)?;
        queues.round(&mut implementations, round)?;
        barriers.round(&mut implementations, round)?;
        watches.round(&mut implementations, round, scale)?;
    }
    Ok(vec![
        locks.section(scale),
        counters.section(scale),
        queues.section(scale),
        barriers.section(scale),
        watches.section(scale),
        requests,
    ])
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
        [show(&self.atalaya), show(&self.kazoo), show(&self.ratio)]
    }
}

fn show(sample: &Sample) -> String {
    format!("**{}** ({})", ThreeDigits(sample.median()), sample.middle_half())
}

/// Returns the target of a table: Atalaya is not slower than Kazoo in any row.
fn min_ratio<'a>(name: &str, pairs: impl Iterator<Item = &'a Pair>) -> Target {
    let min = pairs.map(|pair| pair.ratio.median()).fold(f64::INFINITY, f64::min);
    Target::at_least(&format!("recipes relative to Kazoo: {name}, minimum"), 1.0, " times", min)
}

/// Clients that take part in a benchmark.
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
