//! Additions to a counter per second.

use anyhow::{Context as _, ensure};

use super::super::report::{Section, cells};
use super::super::targets::Target;
use super::implementations::{Implementations, numbers};
use super::{Clients, Pair, Results, Scale, in_turns, min_ratio};

const WRITERS: [Clients; 3] = [Clients::Sessions(1), Clients::Processes(10), Clients::Sessions(10)];

#[derive(Default)]
pub(super) struct Counters {
    /// Atalaya's exact counter and Kazoo's counter.
    exact: Results,
    /// Atalaya's compatible counter and Kazoo's counter.
    compatible: Results,
    /// Additions that Kazoo gave up because of conflicts.
    given_up: f64,
}

impl Counters {
    pub(super) fn round(
        &mut self,
        implementations: &mut Implementations<'_>,
        round: usize,
        scale: Scale,
    ) -> anyhow::Result<()> {
        for clients in WRITERS {
            let (atalaya, kazoo_result) = implementations.in_turns(round, |implementation, _, _| {
                let kinds: &[&str] =
                    if implementation.is_atalaya() { &["exact", "compatible"] } else { &["kazoo"] };
                let (mut rates, mut given_up) = (Vec::new(), 0.0);
                for kind in kinds {
                    let path = implementation.path(kind, clients, round);
                    let answers = implementation
                        .ask(clients, |count| format!("add {path} {kind} {count} {}", scale.ms))?;
                    let value = implementation.one.ask(&format!("value {path}"))?;
                    let all: f64 = numbers(&answers, "all")?.iter().sum();
                    let value = value["value"].as_f64().context("no value")?;
                    ensure!(value == all, "{path}: {all} additions, but the counter is {value}");
                    given_up += numbers(&answers, "failed")?.iter().sum::<f64>();
                    let begin = numbers(&answers, "begin")?.into_iter().fold(f64::INFINITY, f64::min);
                    let end = numbers(&answers, "end")?.into_iter().fold(0.0, f64::max);
                    rates.push(numbers(&answers, "added")?.iter().sum::<f64>() * 1e9 / (end - begin));
                }
                Ok((rates, given_up))
            })?;
            let (&[exact, compatible], &[kazoo]) = (&atalaya.0[..], &kazoo_result.0[..]) else {
                anyhow::bail!("a rate is missing")
            };
            self.exact.row(clients, "").add_rates(exact, kazoo);
            self.compatible.row(clients, "").add_rates(compatible, kazoo);
            self.given_up += kazoo_result.1;
        }
        Ok(())
    }

    pub(super) fn section(&self, scale: Scale) -> Section {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for ((clients, exact), compatible) in
            WRITERS.iter().zip(self.exact.pairs()).zip(self.compatible.pairs())
        {
            let [atalaya, kazoo, ratio] = exact.cells();
            rows.push(vec![
                clients.to_string(),
                atalaya,
                compatible.atalaya.with_middle_half(),
                kazoo,
                ratio,
            ]);
        }
        rows.push(cells([
            "when a reply is lost",
            "exact",
            "reports that the outcome is unknown",
            "may count twice, reports nothing",
            "",
        ]));
        let ratio = |pair: &Pair| pair.atalaya.median() / pair.kazoo.median();
        let min = self.compatible.pairs().map(ratio).fold(f64::INFINITY, f64::min);
        Section {
            title: "Recipes of Atalaya and Kazoo: counter".into(),
            method: format!(
                "The given number of writers, each with a session of its own, add 1 to one counter, repeatedly, for {} \
                 ms: `Counter::exact`, `Counter::compatible`, and Kazoo's `Counter`. The benchmark checks after each \
                 round that the counter is equal to the number of additions. {} The pairs are those of the exact \
                 counter and Kazoo's.",
                scale.ms,
                in_turns(scale),
            ),
            head: cells(["additions per second", "Atalaya, exact", "Atalaya, compatible", "Kazoo", "ratio"]),
            rows,
            notes: vec![format!(
                "No reply was lost here; the last row describes the behaviour when one is. Kazoo gave up {} additions after \
                 too many conflicts; Atalaya none.",
                self.given_up
            )],
            targets: vec![
                min_ratio("exact counter", self.exact.pairs()),
                Target::at_least(
                    "recipes relative to Kazoo: compatible counter, minimum",
                    1.0,
                    " times",
                    min,
                ),
            ],
        }
    }
}
