//! Lock hand-overs: acquisitions per second with several contenders.

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::super::report::Section;
use super::implementations::Implementations;
use super::{Clients, Results, Scale};

const CONTENDERS: [Clients; 4] =
    [Clients::Processes(2), Clients::Processes(20), Clients::Sessions(2), Clients::Sessions(20)];

pub(super) fn round(
    results: &mut Results,
    implementations: &mut Implementations<'_>,
    round: usize,
    scale: Scale,
) -> anyhow::Result<()> {
    for clients in CONTENDERS {
        let ms = scale.ms;
        let (atalaya, kazoo) = implementations.in_turns(round, |implementation, _, _| {
            let path = implementation.path("lock", clients, round);
            let answers = implementation.ask(clients, |count| format!("contend {path} {count} {ms}"))?;
            rates(&holdings(&answers)?, f64::from(ms) * 1e6)
        })?;
        results.row(clients, "acquired").add_rates(atalaya.0, kazoo.0);
        results.row(clients, "  after another contender").add_rates(atalaya.1, kazoo.1);
    }
    Ok(())
}

pub(super) fn section(results: &Results, scale: Scale) -> Section {
    let method = format!(
        "The given number of contenders, each with a session of its own, acquire one lock and release it at once, \
         repeatedly, for {} ms: Atalaya's `Lock` and Kazoo's. The table has the acquisitions per second, and those \
         that follow an acquisition by another contender. The benchmark checks that no two hold it at the same time.",
        scale.ms,
    );
    results.section("lock hand-over", &method, "per second", scale)
}

/// Interval during which a contender holds the lock, in nanoseconds.
#[derive(Clone, Copy, Debug)]
struct Holding {
    from: f64,
    to: f64,
    by: usize,
}

/// Returns the intervals of all contenders, sorted by their start.
fn holdings(answers: &[Value]) -> anyhow::Result<Vec<Holding>> {
    let mut all = Vec::new();
    let contenders = answers.iter().filter_map(|answer| answer["held"].as_array()).flatten();
    for (by, contender) in contenders.enumerate() {
        let times = contender.as_array().context("a contender without times")?;
        for pair in times.chunks(2) {
            let [from, to] = pair else { anyhow::bail!("an interval without an end: {pair:?}") };
            let (from, to) = from.as_f64().zip(to.as_f64()).context("a time that is not a number")?;
            all.push(Holding { from, to, by });
        }
    }
    all.sort_by(|one, other| one.from.total_cmp(&other.from));
    Ok(all)
}

/// Returns the acquisitions per second, and those after another contender, within the first `time` nanoseconds. Later
/// acquisitions are left out, because contenders end one after the other.
fn rates(holdings: &[Holding], time: f64) -> anyhow::Result<(f64, f64)> {
    let pairs = || holdings.iter().zip(holdings.iter().skip(1));
    for (one, next) in pairs() {
        ensure!(one.to <= next.from, "two contenders held the lock at the same time: {one:?}, {next:?}");
    }
    let first = holdings.first().context("no contender acquired the lock")?.from;
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
    fn lock_hand_overs_are_counted() {
        let second = 1_000_000_000_u64;
        let answers = [
            json!({"held": [[0, 1, second, second + 1], [second / 2, second / 2 + 1]]}),
            // Too late to count.
            json!({"held": [[3 * second, 3 * second]]}),
        ];
        let holdings = holdings(&answers).unwrap();
        assert_eq!(rates(&holdings, 2e9).unwrap(), (2.0, 2.0));
        let alone = [json!({"held": [[0, 1, second / 2, second / 2, second, second]]})];
        assert_eq!(rates(&super::holdings(&alone).unwrap(), 2e9).unwrap(), (2.0, 0.0));
    }

    #[test]
    fn two_holders_of_a_lock_at_once_are_an_error() {
        let holdings = holdings(&[json!({"held": [[0, 10], [9, 12]]})]).unwrap();
        assert!(rates(&holdings, 1e9).is_err());
    }
}
