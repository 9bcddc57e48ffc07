//! How often something is added to a counter.

use anyhow::{Context as _, ensure};

use super::super::figures::{Aim, Sample, Section};
use super::sides::{Sides, numbers};
use super::{Effort, Pair, Who, in_turns, show, worst};

const WRITERS: [Who; 3] = [Who::Sessions(1), Who::Processes(10), Who::Sessions(10)];

/// What came out for one of [`WRITERS`].
#[derive(Clone, Default)]
struct Outcome {
    compatible: Sample,
    /// Exact beside Kazoo's.
    exact: Pair,
}

/// What came out.
pub(super) struct Counters {
    outcomes: [Outcome; WRITERS.len()],
    /// Additions that Kazoo gave up.
    given_up: f64,
}

impl Counters {
    pub(super) fn new() -> Counters {
        Counters { outcomes: Default::default(), given_up: 0.0 }
    }

    pub(super) fn round(
        &mut self,
        sides: &mut Sides<'_>,
        round: usize,
        effort: Effort,
    ) -> anyhow::Result<()> {
        for (at, who) in WRITERS.into_iter().enumerate() {
            let (ours, theirs) = sides.in_turns(round, |side, _, _| {
                let kinds: &[&str] = if side.is_ours() { &["exact", "compatible"] } else { &["kazoo"] };
                let (mut rates, mut given_up) = (Vec::new(), 0.0);
                for kind in kinds {
                    let path = side.path(kind, who, round);
                    let answers =
                        side.ask(who, |count| format!("add {path} {kind} {count} {}", effort.ms))?;
                    let value = side.ask_one(&format!("value {path}"))?;
                    let all: f64 = numbers(&answers, "all")?.iter().sum();
                    let value = value["value"].as_f64().context("no value")?;
                    ensure!(value == all, "{path}: {all} were added, and it is at {value}");
                    given_up += numbers(&answers, "failed")?.iter().sum::<f64>();
                    let begin = numbers(&answers, "begin")?.into_iter().fold(f64::INFINITY, f64::min);
                    let end = numbers(&answers, "end")?.into_iter().fold(0.0, f64::max);
                    rates.push(numbers(&answers, "added")?.iter().sum::<f64>() * 1e9 / (end - begin));
                }
                Ok((rates, given_up))
            })?;
            let (&[exact, compatible], &[kazoo]) = (&ours.0[..], &theirs.0[..]) else {
                anyhow::bail!("a rate is missing")
            };
            if round > 0 {
                self.outcomes[at].exact.more(exact, kazoo);
                self.outcomes[at].compatible.push(compatible);
                self.given_up += theirs.1;
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, effort: Effort) -> Section {
        let mut rows: Vec<Vec<String>> = Vec::new();
        for (who, Outcome { compatible, exact }) in WRITERS.iter().zip(&self.outcomes) {
            let [ours, theirs, times] = exact.cells();
            rows.push(vec![who.to_string(), ours, show(compatible), theirs, times]);
        }
        let lost = [
            "when a reply is lost",
            "exact",
            "says that it cannot know",
            "may count twice, says nothing",
            "",
        ];
        rows.push(lost.map(str::to_owned).to_vec());
        let compatible: Vec<f64> = self
            .outcomes
            .iter()
            .map(|outcome| outcome.compatible.median() / outcome.exact.theirs.median())
            .collect();
        let least = compatible.into_iter().fold(f64::INFINITY, f64::min);
        Section {
            title: "Recipes beside Kazoo: a counter".into(),
            method: format!(
                "So many writers, each with a session of its own, add 1 to one counter, over and over, for {} ms: \
                 `Counter::exact`, `Counter::compatible`, and Kazoo's `Counter`. What the counter is at afterwards was \
                 looked at each time: it was the number of additions. {} The pairs are the exact one's and Kazoo's.",
                effort.ms,
                in_turns(effort),
            ),
            head: ["additions a second", "Atalaya, exact", "Atalaya, compatible", "Kazoo", "times"]
                .map(str::to_owned)
                .to_vec(),
            rows,
            notes: vec![format!(
                "No reply was lost here; the last line is for when one is. Kazoo gave up {} additions, because others were \
                 faster too often; Atalaya none.",
                self.given_up
            )],
            aims: vec![
                worst("an exact counter", self.outcomes.iter().map(|outcome| &outcome.exact)),
                Aim::at_least("recipes beside Kazoo: a compatible counter, worst line", 1.0, " times", least),
            ],
        }
    }
}
