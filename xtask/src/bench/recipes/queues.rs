//! How fast entries go through a queue.

use super::super::figures::Section;
use super::sides::{Sides, numbers};
use super::{Effort, Pair, Who, in_turns, worst};

/// Both queues: the name in commands, and the name for readers.
const KINDS: [(&str, &str); 2] = [("plain", "`Queue`"), ("locking", "`LockingQueue`, take and consume")];
/// So many are put before they are taken, and so often.
const BATCHES: [(usize, usize); 2] = [(1, 50), (100, 1)];
const STEPS: [&str; 3] = ["put", "taken", "put and taken"];
const ONE: Who = Who::Sessions(1);

/// What came out, for each kind, batch and step.
pub(super) struct Queues {
    pairs: [[[Pair; STEPS.len()]; BATCHES.len()]; KINDS.len()],
}

impl Queues {
    pub(super) fn new() -> Queues {
        Queues { pairs: Default::default() }
    }

    pub(super) fn round(&mut self, sides: &mut Sides<'_>, round: usize) -> anyhow::Result<()> {
        for ((kind, _), pairs) in KINDS.iter().zip(&mut self.pairs) {
            for ((batch, times), pairs) in BATCHES.iter().zip(pairs) {
                let (ours, theirs) = sides.in_turns(round, |side, _, _| {
                    let path = side.path(&format!("{kind}-{batch}"), ONE, round);
                    let answers = side.ask(ONE, |_| format!("queue {kind} {path} {batch} {times}"))?;
                    let seconds = |name| numbers(&answers, name).map(|ns| ns.iter().sum::<f64>() / 1e9);
                    let (put, taken) = (seconds("put")?, seconds("take")?);
                    Ok::<_, anyhow::Error>(
                        [put, taken, put + taken].map(|time| (batch * times) as f64 / time),
                    )
                })?;
                if round > 0 {
                    pairs
                        .iter_mut()
                        .zip(ours)
                        .zip(theirs)
                        .for_each(|((pair, ours), theirs)| pair.more(ours, theirs));
                }
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, effort: Effort) -> Section {
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
        let turns = BATCHES.map(|(batch, times)| format!("{batch} put, then taken, {times} times"));
        Section {
            title: "Recipes beside Kazoo: a queue".into(),
            method: format!(
                "One client puts entries of a few bytes and takes them, one request after the other: {}. They come out as \
                 they were put: that is looked at. {}",
                turns.join("; and "),
                in_turns(effort),
            ),
            head: ["a second", "", "Atalaya", "Kazoo", "times"].map(str::to_owned).to_vec(),
            rows,
            notes: Vec::new(),
            aims: vec![worst("a queue", self.pairs.iter().flatten().flatten())],
        }
    }
}
