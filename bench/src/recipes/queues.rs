//! Entries per second through a queue.

use super::super::report::Section;
use super::implementations::{Implementations, numbers};
use super::{Clients, Pair, Scale, in_turns, min_ratio};

/// The two kinds of queue: name in commands, and name in the table.
const KINDS: [(&str, &str); 2] = [("plain", "`Queue`"), ("locking", "`LockingQueue`, take and consume")];
/// Batches: number of entries that are put before they are taken, and number of repetitions.
const BATCHES: [(usize, usize); 2] = [(1, 50), (100, 1)];
const STEPS: [&str; 3] = ["put", "taken", "put and taken"];
const ONE: Clients = Clients::Sessions(1);

/// Results for each kind, batch and step.
pub(super) struct Queues {
    pairs: [[[Pair; STEPS.len()]; BATCHES.len()]; KINDS.len()],
}

impl Queues {
    pub(super) fn new() -> Queues {
        Queues { pairs: Default::default() }
    }

    pub(super) fn round(
        &mut self,
        implementations: &mut Implementations<'_>,
        round: usize,
    ) -> anyhow::Result<()> {
        for ((kind, _), pairs) in KINDS.iter().zip(&mut self.pairs) {
            for ((batch, times), pairs) in BATCHES.iter().zip(pairs) {
                let (atalaya, kazoo) = implementations.in_turns(round, |implementation, _, _| {
                    let path = implementation.path(&format!("{kind}-{batch}"), ONE, round);
                    let answers =
                        implementation.ask(ONE, |_| format!("queue {kind} {path} {batch} {times}"))?;
                    let seconds = |name| numbers(&answers, name).map(|ns| ns.iter().sum::<f64>() / 1e9);
                    let (put, taken) = (seconds("put")?, seconds("take")?);
                    Ok::<_, anyhow::Error>(
                        [put, taken, put + taken].map(|time| (batch * times) as f64 / time),
                    )
                })?;
                if round > 0 {
                    pairs
                        .iter_mut()
                        .zip(atalaya)
                        .zip(kazoo)
                        .for_each(|((pair, atalaya), kazoo)| pair.add_rates(atalaya, kazoo));
                }
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, scale: Scale) -> Section {
        let mut rows = Vec::new();
        for ((_, kind), pairs) in KINDS.iter().zip(&self.pairs) {
            for ((batch, _), pairs) in BATCHES.iter().zip(pairs) {
                for (at, (step, pair)) in STEPS.iter().zip(pairs).enumerate() {
                    let first = match at {
                        0 => format!("{kind}, {batch} at a time"),
                        _ => String::new(),
                    };
                    rows.push([first, (*step).to_owned()].into_iter().chain(pair.cells()).collect());
                }
            }
        }
        let turns = BATCHES.map(|(batch, times)| match times {
            1 => format!("{batch} put, then taken, once"),
            _ => format!("{batch} put, then taken, {times} times"),
        });
        Section {
            title: "Recipes of Atalaya and Kazoo: queue".into(),
            method: format!(
                "One client puts entries of a few bytes and takes them, one request after the other: {}. The benchmark \
                 checks that they are taken in the order in which they were put. {}",
                turns.join("; and "),
                in_turns(scale),
            ),
            head: ["per second", "", "Atalaya", "Kazoo", "ratio"].map(str::to_owned).to_vec(),
            rows,
            notes: Vec::new(),
            targets: vec![min_ratio("queue", self.pairs.iter().flatten().flatten())],
        }
    }
}
