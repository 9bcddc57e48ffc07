//! Series: sums of hours where an hour lies within a step, sums of minutes where a minute does, and single reports at
//! the edges and for shorter steps. A year in steps of a day takes 9 000 sums instead of 6 million reports.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redis::{cmd, pipe};

use super::connection::{Failure, Result};
use super::keys::{self, MINUTE};
use super::reader::{Members, Reader};
use crate::store::interface::{Filter, HOUR, Sum};
use crate::store::rollup::{Kind, Rollup, kind};

/// Number of hours that are read at once.
const HOUR_CHUNK: usize = 200;
/// Number of reports that are read at once.
const CHUNK: usize = 1_000;

/// Reads an hour and its pruned part in one script, so that nothing is counted twice or omitted.
const READ: &str = "local all = {}
for place, key in ipairs(KEYS) do all[place] = redis.call('HGETALL', key) end
return all";

/// Requested steps.
#[derive(Clone, Copy, Debug)]
struct Steps {
    from: i64,
    /// End, exclusive.
    to: i64,
    step: i64,
}

impl Steps {
    fn begin(&self, time: i64) -> i64 {
        time - time.rem_euclid(self.step)
    }

    /// Returns true if this time range is requested as a whole and lies within one step.
    fn contains_whole(&self, start: i64, length: i64) -> bool {
        let last = start.saturating_add(length - 1);
        start >= self.from && last < self.to && self.begin(start) == self.begin(last)
    }
}

/// Sums read so far.
struct Sums {
    steps: Steps,
    limit: usize,
    /// True if moments are wanted. Sums without them are not used then.
    with_moments: bool,
    sums: BTreeMap<(i64, Kind), Rollup>,
}

impl Sums {
    fn add(&mut self, time: i64, kind: &Kind, sum: Rollup) {
        let key = (self.steps.begin(time), kind.clone());
        self.sums.entry(key).and_modify(|all| all.add(sum)).or_insert(sum);
    }

    /// Returns true if reports from `time` on cannot change the first `limit` points.
    fn are_enough(&self, time: i64) -> bool {
        let end = self.steps.begin(time);
        self.sums.len() >= self.limit
            && self.sums.keys().nth(self.limit.saturating_sub(1)).is_none_or(|(last, _)| *last < end)
    }

    /// Returns true if all of these sums can be used.
    fn can_use<'a>(&self, mut sums: impl Iterator<Item = &'a str>) -> bool {
        !self.with_moments || sums.all(keys::has_moments)
    }

    /// Adds all sums of a time range that begins at `start`.
    fn add_all(
        &mut self,
        fields: &HashMap<String, String>,
        start: i64,
        kinds: &HashMap<String, Kind>,
    ) -> Result<()> {
        for (number, sum) in fields {
            if let Some(kind) = kinds.get(number) {
                self.add(start, kind, keys::sum(sum).ok_or_else(Failure::foreign_data)?);
            }
        }
        Ok(())
    }

    fn first(self) -> Vec<Sum> {
        let sums = self.sums.into_iter().take(self.limit);
        sums.map(|((time, kind), sum)| sum.of_step(time, kind)).collect()
    }
}

/// Sums of the minutes of an hour.
#[derive(Debug, Default, PartialEq)]
struct Minutes {
    sums: Vec<(i64, String, Rollup)>,
    /// Time ranges whose reports are read one by one.
    rest: Vec<(i64, i64)>,
}

/// Divides the minutes of an hour into sums and single reports.
fn minutes(
    hour: i64,
    steps: Steps,
    can_use: impl Fn(&[(&str, &str)]) -> bool,
    fields: &HashMap<String, String>,
) -> Option<Minutes> {
    /// True if a part of the minute has been pruned, and its sums.
    type Minute<'a> = (bool, Vec<(&'a str, &'a str)>);
    let mut there: BTreeMap<i64, Minute<'_>> = BTreeMap::new();
    for (field, sum) in fields {
        let (minute, kind) = field.split_at_checked(2)?;
        let (partial, kinds) = there.entry(minute.parse().ok()?).or_default();
        match kind.strip_prefix(':') {
            Some(kind) => kinds.push((kind, sum)),
            None => *partial = true,
        }
    }
    let mut made = Minutes::default();
    for (minute, (partial, kinds)) in there {
        let start = hour * HOUR + minute * MINUTE;
        let (from, to) = (start.max(steps.from), (start + MINUTE).min(steps.to));
        if from >= to {
            continue;
        }
        if !partial && steps.contains_whole(start, MINUTE) && can_use(&kinds) {
            for (kind, sum) in kinds {
                made.sums.push((start, kind.to_owned(), keys::sum(sum)?));
            }
        } else if let Some(last) = made.rest.last_mut().filter(|last| last.1 == from) {
            last.1 = to;
        } else {
            made.rest.push((from, to));
        }
    }
    Some(made)
}

impl Reader<'_> {
    /// Returns the next hours from `hour` on that have data, in order.
    async fn hours(&mut self, hour: i64, last: i64) -> Result<Vec<i64>> {
        let mut commands = pipe();
        for set in ["hours", "old"] {
            commands.cmd("ZRANGEBYSCORE").arg(self.key(set)).arg(hour).arg(last);
            commands.arg("LIMIT").arg(0).arg(HOUR_CHUNK);
        }
        let (there, old): (Vec<i64>, Vec<i64>) = self.connection.query_all(&commands).await?;
        // If a list was cut off, it may have more entries after its last one.
        let end =
            |list: &[i64]| list.last().copied().filter(|_| list.len() == HOUR_CHUNK).unwrap_or(i64::MAX);
        let end = end(&there).min(end(&old));
        let all: BTreeSet<i64> = there.into_iter().chain(old).filter(|hour| *hour <= end).collect();
        Ok(all.into_iter().collect())
    }

    /// Returns the first `limit` steps that have reports.
    pub(super) async fn sums(
        mut self,
        filter: Filter,
        step: i64,
        limit: usize,
        with_moments: bool,
    ) -> Result<Vec<Sum>> {
        let from = filter.from.map_or(0, |from| from.as_microsecond().max(0));
        let to = filter.to.map_or(i64::MAX, |to| to.as_microsecond());
        let steps = Steps { from, to, step: step.max(1) };
        let mut sums = Sums { steps, limit, with_moments, sums: BTreeMap::new() };
        let kinds = self.kinds(&filter).await?;
        let mut next = from / HOUR;
        while to > from && !kinds.is_empty() {
            let hours = self.hours(next, (to - 1) / HOUR).await?;
            let Some(last) = hours.last() else { break };
            next = last + 1;
            let mut keys = Vec::new();
            for hour in &hours {
                let whole = steps.contains_whole(hour * HOUR, HOUR);
                keys.push(self.key(format_args!("{}:{hour}", if whole { "hour" } else { "minutes" })));
                keys.push(self.key(format_args!("old:{hour}")));
            }
            let read: Vec<HashMap<String, String>> =
                self.connection.query(cmd("EVAL").arg(READ).arg(keys.len()).arg(keys)).await?;
            for (hour, read) in hours.iter().zip(read.chunks(2)) {
                let [there, old] = read else { return Err(Failure::foreign_data()) };
                self.add_hour(*hour, &kinds, there, &mut sums).await?;
                let start = hour * HOUR;
                if start >= from && start < to {
                    sums.add_all(old, start, &kinds)?;
                }
                if sums.are_enough(start + HOUR) {
                    return Ok(sums.first());
                }
            }
        }
        Ok(sums.first())
    }

    /// Adds the unpruned part of an hour: its sums if they are usable, otherwise its minutes.
    async fn add_hour(
        &mut self,
        hour: i64,
        kinds: &HashMap<String, Kind>,
        there: &HashMap<String, String>,
        sums: &mut Sums,
    ) -> Result<()> {
        let whole = sums.steps.contains_whole(hour * HOUR, HOUR);
        if whole && !there.contains_key("!") && sums.can_use(there.values().map(String::as_str)) {
            return sums.add_all(there, hour * HOUR, kinds);
        }
        let again: HashMap<String, String>;
        let fields = if whole {
            let key = self.key(format_args!("minutes:{hour}"));
            again = self.connection.query(cmd("HGETALL").arg(key)).await?;
            &again
        } else {
            there
        };
        let can_use = |kinds: &[(&str, &str)]| sums.can_use(kinds.iter().map(|(_, sum)| *sum));
        let minutes = minutes(hour, sums.steps, can_use, fields).ok_or_else(Failure::foreign_data)?;
        for (start, number, sum) in minutes.sums {
            if let Some(kind) = kinds.get(&number) {
                sums.add(start, kind, sum);
            }
        }
        for (from, to) in minutes.rest {
            let mut walk = Members::new(Some(from), Some(to), None, false);
            loop {
                let members = walk.next(self, CHUNK).await?;
                let Some((last, _)) = members.last() else { break };
                let time = last.time;
                let wanted = members.iter().filter(|(_, kind)| kinds.contains_key(kind)).map(|(at, _)| at.id);
                for record in self.fetch(wanted).await? {
                    let report = &record.report;
                    sums.add(report.time.as_microsecond(), &kind(report), Rollup::of(report));
                }
                if sums.are_enough(time) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Each moment of the requested part of an hour is covered either by a sum or by single reports, never by both.
        #[test]
        fn every_moment_is_counted_once(
            from in 0..HOUR, length in 1..HOUR, step in 1..2 * HOUR, partial in prop::collection::vec(any::<bool>(), 60),
            moment in 0..HOUR,
        ) {
            let steps = Steps { from: 7 * HOUR + from, to: 7 * HOUR + from + length, step };
            let sum = "1 1 1 1".to_owned();
            let fields = partial.iter().enumerate().flat_map(|(minute, partial)| {
                let flag = partial.then(|| (format!("{minute:02}!"), "1".to_owned()));
                flag.into_iter().chain([(format!("{minute:02}:3"), sum.clone())])
            });
            let made = minutes(7, steps, |_| true, &fields.collect()).unwrap();
            let moment = 7 * HOUR + moment;
            let summed = made.sums.iter().filter(|(start, ..)| (*start..start + MINUTE).contains(&moment)).count();
            let read = made.rest.iter().filter(|(from, to)| (*from..*to).contains(&moment)).count();
            let asked = usize::from(moment >= steps.from && moment < steps.to);
            prop_assert_eq!(summed + read, asked);
            for (start, ..) in &made.sums {
                prop_assert_eq!(steps.begin(*start), steps.begin(start + MINUTE - 1));
                prop_assert!(!partial[usize::try_from((start - 7 * HOUR) / MINUTE).unwrap()]);
            }
        }
    }
}
