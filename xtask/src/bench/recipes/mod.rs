//! Atalaya's recipes beside Kazoo's: how many a second, how soon, and with how many requests.
//!
//! Both sides are programs that are told the same (`recipes/benches/recipes`, `testbed/kazoo/bench_recipes.py`): one
//! process with many sessions each, and many processes with one session each.

mod counters;
mod locks;
mod moments;
mod queues;
mod requests;
mod sides;

use std::fmt;

use atalaya_testbed::ZooKeeper;

use super::Bench;
use super::cycle::TICK;
use super::figures::{Aim, Sample, Section, Short};
use super::machine::Machine;
use counters::Counters;
use locks::Locks;
use moments::{Barriers, Watches};
use queues::Queues;
use sides::Sides;

/// Those who wait and those who watch; the most that take part in anything.
const CROWD: usize = 50;

/// How much is measured.
#[derive(Clone, Copy)]
struct Effort {
    rounds: usize,
    /// How long one turn of a lock or a counter lasts, in milliseconds.
    ms: u32,
    /// Changes that are watched in one round.
    changes: usize,
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let effort = match bench.quick {
        false => Effort { rounds: 12, ms: 300, changes: 4 },
        true => Effort { rounds: 2, ms: 150, changes: 2 },
    };
    let requests = requests::measure(bench)?;
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    eprintln!("starting two times {CROWD} processes");
    let mut sides = Sides::start(bench, &server, machine)?;
    let (mut locks, mut counters, mut queues) = (Locks::new(), Counters::new(), Queues::new());
    let (mut barriers, mut watches) = (Barriers::new(), Watches::new());
    // What is loaded, compiled and allocated once is not a recipe's: the first round does not count.
    for round in 0..=effort.rounds {
        eprintln!("recipes, round {round} of {}", effort.rounds);
        locks.round(&mut sides, round, effort)?;
        counters.round(&mut sides, round, effort)?;
        queues.round(&mut sides, round)?;
        barriers.round(&mut sides, round)?;
        watches.round(&mut sides, round, effort)?;
    }
    Ok(vec![
        locks.section(effort),
        counters.section(effort),
        queues.section(effort),
        barriers.section(effort),
        watches.section(effort),
        requests,
    ])
}

/// One thing, as both sides do it.
#[derive(Clone, Default)]
struct Pair {
    ours: Sample,
    theirs: Sample,
    /// How many times Kazoo's ours is, or where less is better the other way round, of the same round.
    times: Sample,
}

impl Pair {
    /// Of both in one round: more is better.
    fn more(&mut self, ours: f64, theirs: f64) {
        self.ours.push(ours);
        self.theirs.push(theirs);
        self.times.push(ours / theirs);
    }

    /// The same: less is better.
    fn less(&mut self, ours: f64, theirs: f64) {
        self.ours.push(ours);
        self.theirs.push(theirs);
        self.times.push(theirs / ours);
    }

    fn cells(&self) -> [String; 3] {
        [show(&self.ours), show(&self.theirs), show(&self.times)]
    }
}

fn show(sample: &Sample) -> String {
    format!("**{}** ({})", Short(sample.median()), sample.middle())
}

/// What all rows of a table aim at: that none is slower than Kazoo.
fn worst<'a>(what: &str, pairs: impl Iterator<Item = &'a Pair>) -> Aim {
    let least = pairs.map(|pair| pair.times.median()).fold(f64::INFINITY, f64::min);
    Aim::at_least(&format!("recipes beside Kazoo: {what}, worst line"), 1.0, " times", least)
}

/// How many take part, and where.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    /// So many sessions of one process.
    Sessions(usize),
    /// So many processes with one session each.
    Processes(usize),
}

impl Who {
    fn count(self) -> usize {
        match self {
            Who::Sessions(count) | Who::Processes(count) => count,
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Sessions(1) => write!(f, "1 session"),
            Who::Sessions(count) => write!(f, "{count} sessions of one process"),
            Who::Processes(count) => write!(f, "{count} processes"),
        }
    }
}

/// How a table says what was done: so many rounds, in turns.
fn in_turns(effort: Effort) -> String {
    format!(
        "**Median** (middle half) of {} rounds, in each of which both sides have their turn, one right after the other; \
         *times* is of these pairs.",
        effort.rounds
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kazoo_beside_atalaya_is_told_in_times() {
        let mut rates = Pair::default();
        rates.more(300.0, 100.0);
        assert_eq!(rates.times.median(), 3.0);
        let mut delays = Pair::default();
        delays.less(2.0, 10.0);
        delays.less(4.0, 2.0);
        assert_eq!((delays.times.len(), delays.times.range()), (2, "0.500 – 5.00".to_owned()));
        let aim = worst("something", [rates, delays].iter());
        assert!(aim.reached && aim.came_out == "2.75 times", "{aim:?}");
    }
}
