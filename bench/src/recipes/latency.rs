//! Latency of notifications to many clients: a barrier is opened, or a znode is changed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::super::report::Section;
use super::super::stats::Sample;
use super::super::targets::Target;
use super::implementations::{Implementations, numbers, wait_until_watched};
use super::{CLIENTS, Clients, Results, Scale};

const CLIENT_SETS: [Clients; 2] = [Clients::Processes(CLIENTS), Clients::Sessions(CLIENTS)];
/// Idle time before and after each event, so that no other work uses the processors.
const SETTLE_TIME: Duration = Duration::from_millis(150);

/// Latency of the first, the median and the last client after the request, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Latency {
    first: f64,
    median: f64,
    last: f64,
}

impl Latency {
    fn of(at: &Value, times: &[f64], count: usize) -> anyhow::Result<Latency> {
        ensure!(times.len() == count, "{} of {count} clients were notified", times.len());
        let at = at["at"].as_f64().context("the controller did not print the time of the request")?;
        let delays: Sample = times.iter().map(|time| (time - at) / 1e6).collect();
        let (first, last) = delays.min_max();
        ensure!(first > 0.0, "a client was notified before the request was sent");
        Ok(Latency { first, median: delays.median(), last })
    }
}

/// Adds the latencies of one event to the rows of these clients.
fn add(results: &mut Results, clients: Clients, atalaya: Latency, kazoo: Latency) {
    for (name, value) in [
        ("first", (|latency| latency.first) as fn(Latency) -> f64),
        ("median", |latency| latency.median),
        ("last", |latency| latency.last),
        ("from first to last", |latency| latency.last - latency.first),
    ] {
        results.row(clients, name).add_delays(value(atalaya), value(kazoo));
    }
}

/// Lets clients wait at a barrier, which is then opened.
pub(super) fn barrier_round(
    results: &mut Results,
    implementations: &mut Implementations<'_>,
    round: usize,
) -> anyhow::Result<()> {
    for clients in CLIENT_SETS {
        let (atalaya, kazoo) = implementations.in_turns(round, |implementation, controller, server| {
            let path = implementation.path("barrier", clients, round);
            controller.ask(&format!("close {path}"))?;
            implementation.ask(clients, |count| format!("await {path} {count}"))?;
            wait_until_watched(server, &path, clients.count())?;
            std::thread::sleep(SETTLE_TIME);
            let at = controller.ask(&format!("open {path}"))?;
            let passed = numbers(&implementation.next_answers(clients)?, "passed")?;
            Latency::of(&at, &passed, clients.count())
        })?;
        add(results, clients, atalaya, kazoo);
    }
    Ok(())
}

pub(super) fn barrier_section(results: &Results, scale: Scale) -> Section {
    let method = format!(
        "{CLIENTS} clients wait, each with a session of its own, with their watches registered at the server; then \
         another client, the same for both implementations, deletes the znode. Milliseconds from its request until the \
         first, the median and the last of them have passed."
    );
    results.section(&format!("{CLIENTS} clients wait at a barrier"), &method, "ms", scale)
}

/// Lets clients watch a znode, which is then changed several times.
pub(super) fn watch_round(
    results: &mut Results,
    implementations: &mut Implementations<'_>,
    round: usize,
    scale: Scale,
) -> anyhow::Result<()> {
    for clients in CLIENT_SETS {
        let (atalaya, kazoo) = implementations.in_turns(round, |implementation, controller, server| {
            let path = implementation.path("watched", clients, round);
            controller.ask(&format!("set {path} before"))?;
            implementation.ask(clients, |count| format!("watch {path} {count}"))?;
            let mut latencies = Vec::new();
            for change in 0..scale.changes {
                wait_until_watched(server, &path, clients.count())?;
                std::thread::sleep(SETTLE_TIME);
                let at = controller.ask(&format!("set {path} {change}"))?;
                std::thread::sleep(SETTLE_TIME);
                let seen = numbers(&implementation.ask(clients, |_| format!("seen {change}"))?, "seen")?;
                latencies.push(Latency::of(&at, &seen, clients.count())?);
            }
            implementation.ask(clients, |_| "unwatch".into())?;
            Ok(latencies)
        })?;
        atalaya.into_iter().zip(kazoo).for_each(|(atalaya, kazoo)| add(results, clients, atalaya, kazoo));
    }
    Ok(())
}

pub(super) fn watch_section(results: &mut Results, scale: Scale) -> Section {
    let method = format!(
        "{CLIENTS} clients watch one znode with `DataWatch`, each with a session of its own; another client, the same for \
         both implementations, sets it. Milliseconds from its request until the first, the median and the last of them \
         have the new value: they were notified, and have read it. All of them watch again before the next change, and \
         are idle for {} ms. {} changes per round.",
        SETTLE_TIME.as_millis(),
        scale.changes,
    );
    let processes = Clients::Processes(CLIENTS);
    let median = results.row(processes, "median").atalaya.median();
    let mut section = results.section(&format!("{CLIENTS} clients watch a znode"), &method, "ms", scale);
    let name = format!("notification of {processes} that watch, median");
    section.targets.insert(0, Target::at_most(&name, 10.0, " ms", median));
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn latency_is_measured_from_the_request() {
        let at = json!({"at": 1_000_000});
        let latencies = Latency::of(&at, &[4e6, 2e6, 3e6], 3).unwrap();
        assert_eq!(latencies, Latency { first: 1.0, median: 2.0, last: 3.0 });
        assert!(Latency::of(&at, &[4e6, 2e6], 3).is_err(), "one client was not notified");
        assert!(Latency::of(&at, &[0.5e6], 1).is_err(), "notified before the request");
    }
}
