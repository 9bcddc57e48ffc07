//! How soon many hear of something: that a barrier is open, that a znode has another value.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::super::figures::{Aim, Sample, Section};
use super::sides::{Sides, numbers, until_watched};
use super::{CROWD, Effort, Pair, Who, in_turns, worst};

const LISTENERS: [Who; 2] = [Who::Processes(CROWD), Who::Sessions(CROWD)];
/// They are left alone for so long before and after the moment, so that nothing else wants the processors.
const CALM: Duration = Duration::from_millis(150);

/// When the first, the one in the middle and the last heard of it, in milliseconds after it was sent.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Heard {
    first: f64,
    middle: f64,
    last: f64,
}

impl Heard {
    fn of(at: &Value, moments: &[f64], count: usize) -> anyhow::Result<Heard> {
        ensure!(moments.len() == count, "{} of {count} have heard of it", moments.len());
        let at = at["at"].as_f64().context("the hand does not say when")?;
        let mut delays = Sample::default();
        delays.extend(moments.iter().map(|moment| (moment - at) / 1e6));
        let (first, last) = delays.ends();
        ensure!(first > 0.0, "somebody has heard of it before it was sent");
        Ok(Heard { first, middle: delays.median(), last })
    }
}

/// What came out for one kind of listeners.
#[derive(Clone, Default)]
struct Outcome {
    first: Pair,
    middle: Pair,
    last: Pair,
    spread: Pair,
}

impl Outcome {
    fn add(&mut self, ours: Heard, theirs: Heard) {
        self.first.less(ours.first, theirs.first);
        self.middle.less(ours.middle, theirs.middle);
        self.last.less(ours.last, theirs.last);
        self.spread.less(ours.last - ours.first, theirs.last - theirs.first);
    }

    fn rows(&self, who: Who) -> Vec<Vec<String>> {
        let rows = [
            (who.to_string(), "first", &self.first),
            (String::new(), "median", &self.middle),
            (String::new(), "last", &self.last),
            (String::new(), "from first to last", &self.spread),
        ];
        rows.map(|(who, what, pair)| [who, what.to_owned()].into_iter().chain(pair.cells()).collect())
            .to_vec()
    }

    fn pairs(&self) -> [&Pair; 4] {
        [&self.first, &self.middle, &self.last, &self.spread]
    }
}

/// Those who wait at a barrier, for each of [`LISTENERS`].
pub(super) struct Barriers {
    outcomes: [Outcome; LISTENERS.len()],
}

impl Barriers {
    pub(super) fn new() -> Barriers {
        Barriers { outcomes: Default::default() }
    }

    pub(super) fn round(&mut self, sides: &mut Sides<'_>, round: usize) -> anyhow::Result<()> {
        for (at, who) in LISTENERS.into_iter().enumerate() {
            let (ours, theirs) = sides.in_turns(round, |side, hand, server| {
                let path = side.path("barrier", who, round);
                hand.ask(&format!("close {path}"))?;
                side.ask(who, |count| format!("await {path} {count}"))?;
                until_watched(server, &path, who.count())?;
                std::thread::sleep(CALM);
                let at = hand.ask(&format!("open {path}"))?;
                Heard::of(&at, &numbers(&side.more(who)?, "passed")?, who.count())
            })?;
            if round > 0 {
                self.outcomes[at].add(ours, theirs);
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, effort: Effort) -> Section {
        Section {
            title: format!("Recipes beside Kazoo: {CROWD} wait at a barrier"),
            method: format!(
                "{CROWD} wait, each with a session of its own, and are known to the server; then another client, the same \
                 for both sides, deletes the znode. Milliseconds from its request until the first, the median and the \
                 last of them have passed. {}",
                in_turns(effort),
            ),
            head: ["ms", "", "Atalaya", "Kazoo", "times as soon"].map(str::to_owned).to_vec(),
            rows: LISTENERS
                .iter()
                .zip(&self.outcomes)
                .flat_map(|(who, outcome)| outcome.rows(*who))
                .collect(),
            notes: Vec::new(),
            aims: vec![worst(
                &format!("{CROWD} wait at a barrier"),
                self.outcomes.iter().flat_map(Outcome::pairs),
            )],
        }
    }
}

/// Those who watch a znode, for each of [`LISTENERS`].
pub(super) struct Watches {
    outcomes: [Outcome; LISTENERS.len()],
}

impl Watches {
    pub(super) fn new() -> Watches {
        Watches { outcomes: Default::default() }
    }

    pub(super) fn round(
        &mut self,
        sides: &mut Sides<'_>,
        round: usize,
        effort: Effort,
    ) -> anyhow::Result<()> {
        for (at, who) in LISTENERS.into_iter().enumerate() {
            let (ours, theirs) = sides.in_turns(round, |side, hand, server| {
                let path = side.path("watched", who, round);
                hand.ask(&format!("set {path} before"))?;
                side.ask(who, |count| format!("watch {path} {count}"))?;
                let mut heard = Vec::new();
                for change in 0..effort.changes {
                    until_watched(server, &path, who.count())?;
                    std::thread::sleep(CALM);
                    let at = hand.ask(&format!("set {path} {change}"))?;
                    std::thread::sleep(CALM);
                    let seen = numbers(&side.ask(who, |_| format!("seen {change}"))?, "seen")?;
                    heard.push(Heard::of(&at, &seen, who.count())?);
                }
                side.ask(who, |_| "unwatch".into())?;
                Ok(heard)
            })?;
            if round > 0 {
                ours.into_iter().zip(theirs).for_each(|(ours, theirs)| self.outcomes[at].add(ours, theirs));
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, effort: Effort) -> Section {
        let mut aims =
            vec![worst(&format!("{CROWD} watch a znode"), self.outcomes.iter().flat_map(Outcome::pairs))];
        for (who, outcome) in LISTENERS.iter().zip(&self.outcomes) {
            if matches!(who, Who::Processes(_)) {
                let what = format!("a change reaches {who} that watch, median");
                aims.insert(0, Aim::at_most(&what, 10.0, " ms", outcome.middle.ours.median()));
            }
        }
        Section {
            title: format!("Recipes beside Kazoo: {CROWD} watch a znode"),
            method: format!(
                "{CROWD} watch one znode with `DataWatch`, each with a session of its own; another client, the same for \
                 both sides, sets it. Milliseconds from its request until the first, the median and the last of them \
                 have the new value: they were told, and have read it. All of them watch again before the next one, and \
                 are left alone for {} ms. {} changes a round. {}",
                CALM.as_millis(),
                effort.changes,
                in_turns(effort),
            ),
            head: ["ms", "", "Atalaya", "Kazoo", "times as soon"].map(str::to_owned).to_vec(),
            rows: LISTENERS
                .iter()
                .zip(&self.outcomes)
                .flat_map(|(who, outcome)| outcome.rows(*who))
                .collect(),
            notes: Vec::new(),
            aims,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn delays_count_from_the_request() {
        let at = json!({"at": 1_000_000});
        let heard = Heard::of(&at, &[4e6, 2e6, 3e6], 3).unwrap();
        assert_eq!(heard, Heard { first: 1.0, middle: 2.0, last: 3.0 });
        assert!(Heard::of(&at, &[4e6, 2e6], 3).is_err(), "one has not heard of it");
        assert!(Heard::of(&at, &[0.5e6], 1).is_err(), "before it was sent");
    }
}
