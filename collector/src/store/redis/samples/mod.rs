//! Measurements of single sensors. One script adds the samples of all waiting batches, with their sums, marks and latest
//! values. The keys below the prefix and `m:` are
//!
//! | key | type | content |
//! |---|---|---|
//! | `last` | hash | highest numbers of a node, a series and a boot |
//! | `fleets` | hash | number of series of each fleet |
//! | `nodes` | hash | number of each `fleet\0node` |
//! | `series:NODE` | hash | number of each `sensor\0quantity` |
//! | `all` | sorted set | `series:node`, by the number of the series |
//! | `latest:NODE` | hash | latest sample of each series: boot, time, clock, time of arrival, value and unit |
//! | `boots:NODE` | hash | number of each boot, and the time of arrival of its last sample |
//! | `marks:BOOT` | hash | highest accepted number of each series |
//! | `raws:SERIES`, `raw:SERIES:HOUR` | sorted set, string | samples, in records of [`RECORD`] bytes |
//! | `minutes:SERIES`, `minutes:SERIES:HOUR` | sorted set, hash | sums per minute |
//! | `hours:SERIES` | hash | sums per hour |

mod reading;
mod retention;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use redis::pipe;

use super::connection::{Failure, Result};
use super::keys::{VERSION, padded};
use super::writer::Writer;
use crate::fleet_name::FleetName;
use crate::measurements::{
    ClockState, HOUR, MAX_BOOTS, MAX_FLEETS, MAX_SERIES, MINUTE, Sample, SampleBatch, SampleOutcome,
    SeriesName,
};
use crate::store::rollup::Rollup;
use crate::store::sums::Sums;

/// Length of a stored sample: number of the boot (4 bytes), time, number, value (8 bytes each) and clock, all with the
/// most significant byte first.
const RECORD: usize = 29;

/// Stored sample.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Record {
    boot: u32,
    time: i64,
    seq: i64,
    value: f64,
    clock: ClockState,
}

/// Appends a sample without its boot, which the script adds.
fn pack(sample: &Sample, records: &mut Vec<u8>) {
    records.extend(sample.time.to_be_bytes());
    records.extend(sample.seq.to_be_bytes());
    records.extend(sample.value.to_be_bytes());
    records.push(u8::try_from(sample.clock.number()).unwrap_or_default());
}

/// Parses the samples of an hour.
fn records(bytes: &[u8]) -> impl Iterator<Item = Record> + '_ {
    bytes.chunks_exact(RECORD).map(|record| {
        let number = |at: usize| {
            let part = record.get(at..at + 8).and_then(|part| part.try_into().ok());
            u64::from_be_bytes(part.unwrap_or_default())
        };
        let boot = record.get(..4).and_then(|part| part.try_into().ok()).unwrap_or_default();
        Record {
            boot: u32::from_be_bytes(boot),
            time: number(4).cast_signed(),
            seq: number(12).cast_signed(),
            value: f64::from_bits(number(20)),
            clock: ClockState::of_number(record.last().copied().unwrap_or_default().into()),
        }
    })
}

/// Samples of a batch by series, as indices.
fn by_series(batch: &SampleBatch) -> Vec<Vec<usize>> {
    let mut all = vec![Vec::new(); batch.series.len()];
    for (index, sample) in batch.samples.iter().enumerate() {
        if let Some(own) = all.get_mut(sample.series) {
            own.push(index);
        }
    }
    all
}

/// Samples of one series of a batch.
struct Entry<'b> {
    batch: &'b SampleBatch,
    name: &'b SeriesName,
    /// Indices of all of its samples.
    all: Vec<usize>,
    /// Mark of the series before the batch, as far as it is known.
    mark: Option<i64>,
}

impl<'b> Entry<'b> {
    fn of(batch: &'b SampleBatch) -> impl Iterator<Item = Entry<'b>> {
        let named = batch.series.iter().zip(by_series(batch));
        named.map(move |(name, all)| Entry { batch, name, all, mark: None })
    }

    /// Returns the samples with a number above the mark and above those before them, with their indices.
    fn new_samples(&self) -> impl Iterator<Item = (usize, &'b Sample)> {
        let (batch, mut mark) = (self.batch, self.mark);
        let samples = self.all.iter().filter_map(|index| Some((*index, batch.samples.get(*index)?)));
        samples.filter(move |(_, sample)| {
            let is_new = mark.is_none_or(|mark| sample.seq > mark);
            mark = if is_new { Some(sample.seq) } else { mark };
            is_new
        })
    }

    /// Formats the new samples as arguments of the script.
    fn script_arguments(&self, arguments: &mut Vec<Vec<u8>>) {
        let mut hours: BTreeMap<i64, (Vec<u8>, Sums)> = BTreeMap::new();
        let mut minutes: BTreeMap<i64, Sums> = BTreeMap::new();
        let (mut first, mut last) = (None, None);
        let (mut newest, mut worst) = (0, ClockState::default());
        for (_, sample) in self.new_samples() {
            let sums = Sums::of(sample);
            let hour = hours.entry(sample.time / HOUR);
            let (samples, _) = hour.and_modify(|(_, all)| all.add(sums)).or_insert((Vec::new(), sums));
            pack(sample, samples);
            minutes.entry(sample.time / MINUTE).and_modify(|all| all.add(sums)).or_insert(sums);
            first = first.or(Some(sample));
            last = Some(sample);
            newest = newest.max(sample.time);
            worst = worst.max(sample.clock);
        }
        let SeriesName { sensor, quantity, unit } = self.name;
        let text =
            |sample: Option<&Sample>, text: fn(&Sample) -> String| sample.map(text).unwrap_or_default();
        let texts = [
            format!("{sensor}\0{quantity}"),
            unit.clone().unwrap_or_default(),
            text(first, |first| padded(first.seq)),
            text(last, |last| padded(last.seq)),
            text(last, |last| last.time.to_string()),
            text(last, |last| last.clock.number().to_string()),
            text(last, |last| format!("{:?}", last.value)),
            newest.to_string(),
            worst.number().to_string(),
            hours.len().to_string(),
            minutes.len().to_string(),
        ];
        arguments.extend(texts.map(String::into_bytes));
        for (hour, (samples, sums)) in hours {
            arguments.extend([hour.to_string().into_bytes(), samples, sums_text(sums).into_bytes()]);
        }
        for (minute, sums) in minutes {
            let (hour, minute) = (minute * MINUTE / HOUR, minute * MINUTE % HOUR / MINUTE);
            arguments.extend([hour.to_string(), minute.to_string(), sums_text(sums)].map(String::into_bytes));
        }
    }
}

/// Formats sums as the script stores them.
fn sums_text(Sums { rollup: Rollup { reports, sum, min, max, .. }, clock }: Sums) -> String {
    format!("{reports} {sum:?} {min:?} {max:?} {}", clock.number())
}

/// Result of a series: its number, the number of the boot, and the mark, or [`NO_SERIES`].
type SeriesResult = (String, u32, String);

/// Mark of a series that may not exist.
const NO_SERIES: &str = "x";
/// Maximum number of calls of the script: one more than needed after a repeat, and some for other collectors that add
/// samples of the same series in the meantime.
const MAX_ATTEMPTS: usize = 10;

impl Writer {
    /// Returns the name of a key. Measurements of all fleets share one prefix.
    fn sample_key(&self, name: &str) -> String {
        self.key(&FleetName::default(), name)
    }

    /// Adds batches in their order, and returns the outcomes of each.
    pub(super) async fn add_samples(&mut self, batches: &[&SampleBatch]) -> Result<Vec<Vec<SampleOutcome>>> {
        let mut entries: Vec<Entry<'_>> = batches.iter().copied().flat_map(Entry::of).collect();
        for _ in 0..MAX_ATTEMPTS {
            let (is_written, results) = self.try_to_add(batches, &entries).await?;
            for (entry, (.., mark)) in entries.iter_mut().zip(&results) {
                entry.mark = mark.parse().ok();
            }
            if is_written {
                return self.outcomes(batches, &entries, &results).await;
            }
        }
        Err(Failure::Unusable("other collectors add samples of the same nodes".to_owned()))
    }

    /// Calls the script with the samples above the known marks. Returns false if the marks are higher.
    async fn try_to_add(
        &mut self,
        batches: &[&SampleBatch],
        entries: &[Entry<'_>],
    ) -> Result<(bool, Vec<SeriesResult>)> {
        let mut arguments = vec![VERSION.to_owned().into_bytes()];
        arguments.extend(
            [MAX_SERIES, MAX_FLEETS, MAX_BOOTS, batches.len()].map(|number| number.to_string().into_bytes()),
        );
        let mut left = entries.iter();
        for batch in batches {
            arguments.extend([&batch.fleet, &batch.node, &batch.boot].map(|text| text.clone().into_bytes()));
            let numbers = [batch.received.to_string(), batch.series.len().to_string()];
            arguments.extend(numbers.map(String::into_bytes));
            left.by_ref().take(batch.series.len()).for_each(|entry| entry.script_arguments(&mut arguments));
        }
        let (is_written, results): (i64, Vec<SeriesResult>) =
            self.eval(|opened| &opened.add_samples, &FleetName::default(), &arguments).await?;
        if results.len() != entries.len() {
            return Err(Failure::foreign_data());
        }
        Ok((is_written == 1, results))
    }

    /// Returns the outcomes of each batch, after its new samples were added.
    async fn outcomes(
        &mut self,
        batches: &[&SampleBatch],
        entries: &[Entry<'_>],
        results: &[SeriesResult],
    ) -> Result<Vec<Vec<SampleOutcome>>> {
        let kept = self.kept(entries, results).await?;
        let mut all = Vec::with_capacity(batches.len());
        let mut left = entries.iter().zip(results);
        for batch in batches {
            let mut outcomes = vec![SampleOutcome::TooManySeries; batch.samples.len()];
            for (entry, (series, boot, mark)) in left.by_ref().take(batch.series.len()) {
                if mark == NO_SERIES {
                    continue;
                }
                for index in &entry.all {
                    if let (Some(outcome), Some(sample)) =
                        (outcomes.get_mut(*index), batch.samples.get(*index))
                    {
                        let key = (series.as_str(), *boot, sample.time, sample.seq);
                        *outcome = SampleOutcome::of_repeat(sample, kept.get(&key).copied());
                    }
                }
                for (index, _) in entry.new_samples() {
                    if let Some(outcome) = outcomes.get_mut(index) {
                        *outcome = SampleOutcome::Accepted;
                    }
                }
            }
            all.push(outcomes);
        }
        Ok(all)
    }

    /// Returns the stored values of the hours that have repeats, by series, boot, time and number.
    async fn kept<'r>(
        &mut self,
        entries: &[Entry<'_>],
        results: &'r [SeriesResult],
    ) -> Result<HashMap<(&'r str, u32, i64, i64), f64>> {
        let mut hours = BTreeSet::new();
        for (entry, (series, _, mark)) in entries.iter().zip(results) {
            let new: HashSet<usize> = entry.new_samples().map(|(index, _)| index).collect();
            if mark == NO_SERIES || new.len() == entry.all.len() {
                continue;
            }
            let repeats = entry.all.iter().filter(|index| !new.contains(index));
            let repeats = repeats.filter_map(|index| entry.batch.samples.get(*index));
            hours.extend(repeats.map(|sample| (series.as_str(), sample.time / HOUR)));
        }
        let mut kept = HashMap::new();
        if hours.is_empty() {
            return Ok(kept);
        }
        let mut commands = pipe();
        for (series, hour) in &hours {
            commands.cmd("GET").arg(self.sample_key(&format!("m:raw:{series}:{hour}")));
        }
        let found: Vec<Option<Vec<u8>>> = self.opened().await?.connection.query_all(&commands).await?;
        for ((series, _), bytes) in hours.into_iter().zip(found) {
            for Record { boot, time, seq, value, .. } in records(&bytes.unwrap_or_default()) {
                kept.insert((series, boot, time, seq), value);
            }
        }
        Ok(kept)
    }

    /// Deletes a node with all of its data. Returns false if it is unknown.
    pub(super) async fn forget_node(&mut self, fleet: String, node: String) -> Result<bool> {
        let arguments = [VERSION.to_owned(), fleet, node];
        let forgotten: i64 =
            self.eval(|opened| &opened.forget_node, &FleetName::default(), &arguments).await?;
        Ok(forgotten == 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_sample_is_parsed() {
        let sample = Sample { series: 0, seq: i64::MAX, time: 7, value: -0.1, clock: ClockState::Corrected };
        let mut bytes = 9_u32.to_be_bytes().to_vec();
        pack(&sample, &mut bytes);
        assert_eq!(bytes.len(), RECORD);
        let found: Vec<_> = records(&[&bytes[..], &bytes[..5]].concat()).collect();
        let expected = Record { boot: 9, time: 7, seq: i64::MAX, value: -0.1, clock: ClockState::Corrected };
        assert_eq!(found, [expected]);
    }
}
