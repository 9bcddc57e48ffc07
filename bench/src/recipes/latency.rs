//! Latency of notifications to many clients: a barrier is opened, or a znode is changed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::super::report::Section;
use super::super::stats::Sample;
use super::super::targets::Target;
use super::implementations::{Implementations, numbers, wait_until_watched};
use super::{CLIENTS, Clients, Pair, Scale, in_turns, min_ratio};

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
        let mut delays = Sample::default();
        delays.extend(times.iter().map(|time| (time - at) / 1e6));
        let (first, last) = delays.min_max();
        ensure!(first > 0.0, "a client was notified before the request was sent");
        Ok(Latency { first, median: delays.median(), last })
    }
}

/// Results for one set of clients.
#[derive(Clone, Default)]
struct Results {
    first: Pair,
    median: Pair,
    last: Pair,
    /// From the first to the last client.
    spread: Pair,
}

impl Results {
    fn add(&mut self, atalaya: Latency, kazoo: Latency) {
        self.first.add_delays(atalaya.first, kazoo.first);
        self.median.add_delays(atalaya.median, kazoo.median);
        self.last.add_delays(atalaya.last, kazoo.last);
        self.spread.add_delays(atalaya.last - atalaya.first, kazoo.last - kazoo.first);
    }

    fn rows(&self, clients: Clients) -> Vec<Vec<String>> {
        let rows = [
            (clients.to_string(), "first", &self.first),
            (String::new(), "median", &self.median),
            (String::new(), "last", &self.last),
            (String::new(), "from first to last", &self.spread),
        ];
        rows.map(|(clients, what, pair)| [clients, what.to_owned()].into_iter().chain(pair.cells()).collect())
            .to_vec()
    }

    fn pairs(&self) -> [&Pair; 4] {
        [&self.first, &self.median, &self.last, &self.spread]
    }
}

/// Clients that wait at a barrier, for each of [`CLIENT_SETS`].
pub(super) struct Barriers {
    results: [Results; CLIENT_SETS.len()],
}

impl Barriers {
    pub(super) fn new() -> Barriers {
        Barriers { results: Default::default() }
    }

    pub(super) fn round(
        &mut self,
        implementations: &mut Implementations<'_>,
        round: usize,
    ) -> anyhow::Result<()> {
        for (at, clients) in CLIENT_SETS.into_iter().enumerate() {
            let (atalaya, kazoo) =
                implementations.in_turns(round, |implementation, controller, server| {
                    let path = implementation.path("barrier", clients, round);
                    controller.ask(&format!("close {path}"))?;
                    implementation.ask(clients, |count| format!("await {path} {count}"))?;
                    wait_until_watched(server, &path, clients.count())?;
                    std::thread::sleep(SETTLE_TIME);
                    let at = controller.ask(&format!("open {path}"))?;
                    Latency::of(
                        &at,
                        &numbers(&implementation.next_answers(clients)?, "passed")?,
                        clients.count(),
                    )
                })?;
            if round > 0 {
                self.results[at].add(atalaya, kazoo);
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, scale: Scale) -> Section {
        Section {
            title: format!("Recipes of Atalaya and Kazoo: {CLIENTS} clients wait at a barrier"),
            method: format!(
                "{CLIENTS} clients wait, each with a session of its own, with their watches registered at the server; then \
                 another client, the same for both implementations, deletes the znode. Milliseconds from its request until \
                 the first, the median and the last of them have passed. {}",
                in_turns(scale),
            ),
            head: ["ms", "", "Atalaya", "Kazoo", "ratio"].map(str::to_owned).to_vec(),
            rows: CLIENT_SETS
                .iter()
                .zip(&self.results)
                .flat_map(|(clients, result)| result.rows(*clients))
                .collect(),
            notes: Vec::new(),
            targets: vec![min_ratio(
                &format!("{CLIENTS} clients wait at a barrier"),
                self.results.iter().flat_map(Results::pairs),
            )],
        }
    }
}

/// Clients that watch a znode, for each of [`CLIENT_SETS`].
pub(super) struct Watches {
    results: [Results; CLIENT_SETS.len()],
}

impl Watches {
    pub(super) fn new() -> Watches {
        Watches { results: Default::default() }
    }

    pub(super) fn round(
        &mut self,
        implementations: &mut Implementations<'_>,
        round: usize,
        scale: Scale,
    ) -> anyhow::Result<()> {
        for (at, clients) in CLIENT_SETS.into_iter().enumerate() {
            let (atalaya, kazoo) =
                implementations.in_turns(round, |implementation, controller, server| {
                    let path = implementation.path("watched", clients, round);
                    controller.ask(&format!("set {path} before"))?;
                    implementation.ask(clients, |count| format!("watch {path} {count}"))?;
                    let mut latencies = Vec::new();
                    for change in 0..scale.changes {
                        wait_until_watched(server, &path, clients.count())?;
                        std::thread::sleep(SETTLE_TIME);
                        let at = controller.ask(&format!("set {path} {change}"))?;
                        std::thread::sleep(SETTLE_TIME);
                        let seen =
                            numbers(&implementation.ask(clients, |_| format!("seen {change}"))?, "seen")?;
                        latencies.push(Latency::of(&at, &seen, clients.count())?);
                    }
                    implementation.ask(clients, |_| "unwatch".into())?;
                    Ok(latencies)
                })?;
            if round > 0 {
                atalaya
                    .into_iter()
                    .zip(kazoo)
                    .for_each(|(atalaya, kazoo)| self.results[at].add(atalaya, kazoo));
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, scale: Scale) -> Section {
        let mut targets = vec![min_ratio(
            &format!("{CLIENTS} clients watch a znode"),
            self.results.iter().flat_map(Results::pairs),
        )];
        for (clients, result) in CLIENT_SETS.iter().zip(&self.results) {
            if matches!(clients, Clients::Processes(_)) {
                let name = format!("notification of {clients} that watch, median");
                targets.insert(0, Target::at_most(&name, 10.0, " ms", result.median.atalaya.median()));
            }
        }
        Section {
            title: format!("Recipes of Atalaya and Kazoo: {CLIENTS} clients watch a znode"),
            method: format!(
                "{CLIENTS} clients watch one znode with `DataWatch`, each with a session of its own; another client, the same \
                 for both implementations, sets it. Milliseconds from its request until the first, the median and the last \
                 of them have the new value: they were notified, and have read it. All of them watch again before the next \
                 change, and are idle for {} ms. {} changes per round. {}",
                SETTLE_TIME.as_millis(),
                scale.changes,
                in_turns(scale),
            ),
            head: ["ms", "", "Atalaya", "Kazoo", "ratio"].map(str::to_owned).to_vec(),
            rows: CLIENT_SETS
                .iter()
                .zip(&self.results)
                .flat_map(|(clients, result)| result.rows(*clients))
                .collect(),
            notes: Vec::new(),
            targets,
        }
    }
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
