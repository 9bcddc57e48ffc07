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

use std::collections::{BTreeSet, HashMap};

use redis::pipe;

use super::connection::Failure;
use super::keys::{VERSION, padded};
use super::writer::Writer;
use crate::fleet_name::FleetName;
use crate::measurements::{
    ClockState, HOUR, MAX_BOOTS, MAX_FLEETS, MAX_SERIES, MINUTE, Sample, SampleBatch, SampleOutcome,
};

pub(super) use self::reading::{fleets, latest, series};

pub(super) const ADD: &str = include_str!("add.lua");
pub(super) const FORGET: &str = include_str!("forget.lua");

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

/// Formats a sample without its boot, which the script adds.
fn packed(sample: &Sample) -> Vec<u8> {
    let mut record = Vec::with_capacity(RECORD);
    record.extend(sample.time.to_be_bytes());
    record.extend(sample.seq.to_be_bytes());
    record.extend(sample.value.to_be_bytes());
    record.push(u8::try_from(sample.clock.number()).unwrap_or_default());
    record
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

/// Formats a batch as arguments of the script.
fn script_arguments(batch: &SampleBatch, arguments: &mut Vec<Vec<u8>>) {
    arguments.extend([&batch.fleet, &batch.node, &batch.boot].map(|text| text.clone().into_bytes()));
    arguments.extend([batch.received.to_string().into_bytes(), batch.series.len().to_string().into_bytes()]);
    for (name, indices) in batch.series.iter().zip(by_series(batch)) {
        let unit = name.unit.clone().unwrap_or_default();
        let key = format!("{}\0{}", name.sensor, name.quantity);
        arguments.extend([key, unit, indices.len().to_string()].map(String::into_bytes));
        for sample in indices.iter().filter_map(|index| batch.samples.get(*index)) {
            let &Sample { seq, time, value, clock, .. } = sample;
            let minute = (time % HOUR / MINUTE).to_string();
            let texts =
                [padded(seq), time.to_string(), minute, format!("{value:?}"), clock.number().to_string()];
            arguments.extend(texts.map(String::into_bytes));
            arguments.push(packed(sample));
        }
    }
}

/// Result of a series: its number, the number of the boot, and a letter per sample.
type SeriesResult = (String, u32, String);

impl Writer {
    /// Returns the name of a key. Measurements of all fleets share one prefix.
    fn sample_key(&self, name: &str) -> String {
        self.key(&FleetName::default(), name)
    }

    /// Adds batches in their order, and returns the outcomes of each.
    pub(super) async fn add_samples(
        &mut self,
        batches: &[&SampleBatch],
    ) -> Result<Vec<Vec<SampleOutcome>>, Failure> {
        let mut arguments = vec![VERSION.to_owned().into_bytes()];
        arguments.extend(
            [MAX_SERIES, MAX_FLEETS, MAX_BOOTS, batches.len()].map(|number| number.to_string().into_bytes()),
        );
        batches.iter().for_each(|batch| script_arguments(batch, &mut arguments));
        let results: Vec<SeriesResult> =
            self.eval(|opened| &opened.add_samples, &FleetName::default(), &arguments).await?;
        let kept = self.kept(batches, &results).await?;
        let mut results = results.iter();
        let mut all = Vec::with_capacity(batches.len());
        for batch in batches {
            let mut outcomes = vec![SampleOutcome::TooManySeries; batch.samples.len()];
            for indices in by_series(batch) {
                let (series, boot, letters) = results.next().ok_or_else(Failure::foreign_data)?;
                for (index, letter) in indices.into_iter().zip(letters.bytes()) {
                    let (Some(outcome), Some(sample)) = (outcomes.get_mut(index), batch.samples.get(index))
                    else {
                        continue;
                    };
                    *outcome = match letter {
                        b'+' => SampleOutcome::Accepted,
                        b'-' => {
                            let key = (series.as_str(), *boot, sample.time, sample.seq);
                            SampleOutcome::of_repeat(sample, kept.get(&key).copied())
                        }
                        _ => SampleOutcome::TooManySeries,
                    };
                }
            }
            all.push(outcomes);
        }
        Ok(all)
    }

    /// Returns the stored values of the hours that have repeats, by series, boot, time and number.
    async fn kept<'r>(
        &mut self,
        batches: &[&SampleBatch],
        results: &'r [SeriesResult],
    ) -> Result<HashMap<(&'r str, u32, i64, i64), f64>, Failure> {
        let mut hours = BTreeSet::new();
        let all = batches.iter().flat_map(|batch| by_series(batch).into_iter().map(move |own| (batch, own)));
        for ((batch, indices), (series, _, letters)) in all.zip(results) {
            for (index, letter) in indices.into_iter().zip(letters.bytes()) {
                if letter == b'-'
                    && let Some(sample) = batch.samples.get(index)
                {
                    hours.insert((series.as_str(), sample.time / HOUR));
                }
            }
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
    pub(super) async fn forget_node(&mut self, fleet: String, node: String) -> Result<bool, Failure> {
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
        let bytes = [&9_u32.to_be_bytes()[..], &packed(&sample)].concat();
        assert_eq!(bytes.len(), RECORD);
        let found: Vec<_> = records(&[&bytes[..], &bytes[..5]].concat()).collect();
        let expected = Record { boot: 9, time: 7, seq: i64::MAX, value: -0.1, clock: ClockState::Corrected };
        assert_eq!(found, [expected]);
    }
}
