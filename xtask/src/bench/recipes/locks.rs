//! How often a lock changes hands.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::super::figures::Section;
use super::sides::Sides;
use super::{Effort, Pair, Who, in_turns, worst};

const CONTENDERS: [Who; 4] = [Who::Processes(2), Who::Processes(20), Who::Sessions(2), Who::Sessions(20)];

/// What came out, for each of [`CONTENDERS`].
pub(super) struct Locks {
    acquired: [Pair; CONTENDERS.len()],
    handed_over: [Pair; CONTENDERS.len()],
}

impl Locks {
    pub(super) fn new() -> Locks {
        Locks { acquired: Default::default(), handed_over: Default::default() }
    }

    pub(super) fn round(
        &mut self,
        sides: &mut Sides<'_>,
        round: usize,
        effort: Effort,
    ) -> anyhow::Result<()> {
        for (at, who) in CONTENDERS.into_iter().enumerate() {
            let ms = effort.ms;
            let (ours, theirs) = sides.in_turns(round, |side, _, _| {
                let path = side.path("lock", who, round);
                let answers = side.ask(who, |count| format!("contend {path} {count} {ms}"))?;
                rates(&held(&answers)?, f64::from(ms) * 1e6)
            })?;
            if round > 0 {
                self.acquired[at].more(ours.0, theirs.0);
                self.handed_over[at].more(ours.1, theirs.1);
            }
        }
        Ok(())
    }

    pub(super) fn section(&self, effort: Effort) -> Section {
        let mut rows = Vec::new();
        for (who, (acquired, handed_over)) in
            CONTENDERS.iter().zip(self.acquired.iter().zip(&self.handed_over))
        {
            let row = |first: String, second: &str, pair: &Pair| {
                [first, second.to_owned()].into_iter().chain(pair.cells()).collect()
            };
            rows.push(row(who.to_string(), "acquired", acquired));
            rows.push(row(String::new(), "  by another than before", handed_over));
        }
        Section {
            title: "Recipes beside Kazoo: a lock that changes hands".into(),
            method: format!(
                "So many contenders, each with a session of its own, acquire one lock and release it at once, over and \
                 over, for {} ms: Atalaya's `Lock` and Kazoo's. Counted is how often it is acquired a second, and how \
                 often by another contender than before. No two held it at the same time: that is looked at. {}",
                effort.ms,
                in_turns(effort),
            ),
            head: ["a second", "", "Atalaya", "Kazoo", "times"].map(str::to_owned).to_vec(),
            rows,
            notes: Vec::new(),
            aims: vec![worst("a lock that changes hands", self.acquired.iter().chain(&self.handed_over))],
        }
    }
}

/// One time of holding.
#[derive(Clone, Copy, Debug)]
struct Held {
    from: f64,
    to: f64,
    by: usize,
}

/// All of them, in their order.
fn held(answers: &[Value]) -> anyhow::Result<Vec<Held>> {
    let mut all = Vec::new();
    let contenders = answers.iter().filter_map(|answer| answer["held"].as_array()).flatten();
    for (by, contender) in contenders.enumerate() {
        let moments = contender.as_array().context("no moments")?;
        for pair in moments.chunks(2) {
            let [from, to] = pair else { anyhow::bail!("held without an end: {pair:?}") };
            let (from, to) = from.as_f64().zip(to.as_f64()).context("moments are numbers")?;
            all.push(Held { from, to, by });
        }
    }
    all.sort_by(|one, other| one.from.total_cmp(&other.from));
    Ok(all)
}

/// How often it was acquired a second, and how often by another one, in the first `time` nanoseconds: later fewer and fewer
/// take part.
fn rates(held: &[Held], time: f64) -> anyhow::Result<(f64, f64)> {
    let pairs = || held.iter().zip(held.iter().skip(1));
    for (one, next) in pairs() {
        ensure!(one.to <= next.from, "two held the lock at the same time: {one:?}, {next:?}");
    }
    let first = held.first().context("nobody had the lock")?.from;
    let in_time = || pairs().take_while(|(_, next)| next.from - first <= time);
    let (_, last) = in_time().last().context("the lock was acquired once only")?;
    let seconds = (last.from - first) / 1e9;
    let handed_over = in_time().filter(|(one, next)| one.by != next.by).count();
    Ok((in_time().count() as f64 / seconds, handed_over as f64 / seconds))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn hand_overs_are_counted() {
        let second = 1_000_000_000_u64;
        let answers = [
            json!({"held": [[0, 1, second, second + 1], [second / 2, second / 2 + 1]]}),
            // Too late to count.
            json!({"held": [[3 * second, 3 * second]]}),
        ];
        let held = held(&answers).unwrap();
        assert_eq!(rates(&held, 2e9).unwrap(), (2.0, 2.0));
        let alone = [json!({"held": [[0, 1, second / 2, second / 2, second, second]]})];
        assert_eq!(rates(&super::held(&alone).unwrap(), 2e9).unwrap(), (2.0, 0.0));
    }

    #[test]
    fn two_who_hold_at_once_are_an_error() {
        let held = held(&[json!({"held": [[0, 10], [9, 12]]})]).unwrap();
        assert!(rates(&held, 1e9).is_err());
    }
}
