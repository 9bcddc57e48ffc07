//! Entries per second through a queue.

use super::super::report::Section;
use super::implementations::{Implementations, numbers};
use super::{Clients, Results, Scale};

/// The two kinds of queue: name in commands, and name in the table.
const KINDS: [(&str, &str); 2] = [("plain", "`Queue`"), ("locking", "`LockingQueue`, take and consume")];
/// Batches: number of entries that are put before they are taken, and number of repetitions.
const BATCHES: [(usize, usize); 2] = [(1, 50), (100, 1)];
const STEPS: [&str; 3] = ["put", "taken", "put and taken"];
const ONE: Clients = Clients::Sessions(1);

pub(super) fn round(
    results: &mut Results,
    implementations: &mut Implementations<'_>,
    round: usize,
) -> anyhow::Result<()> {
    for (kind, name) in KINDS {
        for (batch, times) in BATCHES {
            let (atalaya, kazoo) = implementations.in_turns(round, |implementation, _, _| {
                let path = implementation.path(&format!("{kind}-{batch}"), ONE, round);
                let answers = implementation.ask(ONE, |_| format!("queue {kind} {path} {batch} {times}"))?;
                let seconds = |name| numbers(&answers, name).map(|ns| ns.iter().sum::<f64>() / 1e9);
                let (put, taken) = (seconds("put")?, seconds("take")?);
                Ok::<_, anyhow::Error>([put, taken, put + taken].map(|time| (batch * times) as f64 / time))
            })?;
            for ((step, atalaya), kazoo) in STEPS.into_iter().zip(atalaya).zip(kazoo) {
                results.row(format!("{name}, {batch} at a time"), step).add_rates(atalaya, kazoo);
            }
        }
    }
    Ok(())
}

pub(super) fn section(results: &Results, scale: Scale) -> Section {
    let turns = BATCHES.map(|(batch, times)| match times {
        1 => format!("{batch} put, then taken, once"),
        _ => format!("{batch} put, then taken, {times} times"),
    });
    let method = format!(
        "One client puts entries of a few bytes and takes them, one request after the other: {}. The benchmark checks that \
         they are taken in the order in which they were put.",
        turns.join("; and "),
    );
    results.section("queue", &method, "per second", scale)
}
