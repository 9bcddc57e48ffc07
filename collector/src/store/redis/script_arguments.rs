//! Arguments of `record.lua`: reports, and what the script reads and writes for all of them, by key of Redis. So the script
//! calls Redis a few times for a batch, and once for each report.

use std::collections::{BTreeMap, HashMap};

use super::keys::{self, MINUTE, VERSION, padded, text_of, time};
use super::pack::Packed;
use crate::fleet_name::FleetName;
use crate::report::Report;
use crate::store::interface::HOUR;
use crate::store::rollup::Rollup;

/// Purpose of a call of the script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Find the reports that must be refused.
    Check,
    /// Record the reports if none of them must be refused.
    Record,
}

/// Cycles per bucket of keys.
const BUCKET: i64 = 100;

/// Reports of one epoch.
struct Epoch<'r> {
    number: i64,
    first: i64,
    /// Earliest time of the first cycle, in microseconds.
    began: i64,
    last: i64,
    reports: usize,
    /// Report that arrived last.
    newest: &'r Report,
}

/// Reports of one epoch and unit.
struct Line<'r> {
    /// Index of the epoch.
    epoch: usize,
    unit: &'r str,
    lowest: i64,
    highest: i64,
    buckets: BTreeMap<i64, Bucket>,
}

/// Reports of consecutive cycles.
#[derive(Default)]
struct Bucket {
    /// Last digits of the cycles.
    fields: Packed,
    /// The same, with the means.
    means: Packed,
    places: Packed,
}

/// Reports of one quantity and unit.
#[derive(Default)]
struct Kind {
    /// Highest epoch and cycle, and the place of this report.
    highest: Option<(i64, i64, usize)>,
    /// True if a report has neither epoch nor cycle.
    has_bare: bool,
    places: Packed,
}

/// Sums of one hour, by the index of the kind.
#[derive(Default)]
struct Hour {
    sums: BTreeMap<usize, Rollup>,
    minutes: BTreeMap<(i64, usize), Rollup>,
}

/// Reports, by key of Redis. Indices and places begin with 1.
#[derive(Default)]
struct Groups<'r> {
    epochs: Vec<Epoch<'r>>,
    epoch_indices: HashMap<i64, usize>,
    lines: Vec<Line<'r>>,
    line_indices: HashMap<(i64, &'r str), usize>,
    kinds: Vec<(String, Kind)>,
    kind_indices: HashMap<(&'r str, &'r str), usize>,
    hours: BTreeMap<i64, Hour>,
}

/// Returns the index of an element, which is added if it is missing.
fn index_of<K: std::hash::Hash + Eq, T>(
    indices: &mut HashMap<K, usize>,
    all: &mut Vec<T>,
    key: K,
    new: impl FnOnce() -> T,
) -> usize {
    *indices.entry(key).or_insert_with(|| {
        all.push(new());
        all.len()
    })
}

impl<'r> Groups<'r> {
    /// Adds the report at a place, and returns the index of its kind.
    fn add(&mut self, place: usize, report: &'r Report) -> usize {
        let (quantity, unit) =
            (report.quantity.as_deref().unwrap_or(""), report.unit.as_deref().unwrap_or(""));
        let (kinds, indices) = (&mut self.kinds, &mut self.kind_indices);
        let kind = index_of(indices, kinds, (quantity, unit), || (keys::kind(report), Kind::default()));
        let key = report.epoch.zip(report.cycle);
        if let Some((_, own)) = self.kinds.get_mut(kind - 1) {
            own.places.number(place);
            own.has_bare |= key.is_none();
            own.highest = own.highest.max(key.map(|(epoch, cycle)| (epoch, cycle, place)));
        }
        if let Some((epoch, cycle)) = key {
            self.add_key(place, report, (epoch, cycle, unit));
        }
        let (micros, sums) = (report.time.as_microsecond(), Rollup::of(report));
        let hour = self.hours.entry(micros / HOUR).or_default();
        hour.sums.entry(kind).and_modify(|all| all.add(sums)).or_insert(sums);
        let minute = (micros % HOUR / MINUTE, kind);
        hour.minutes.entry(minute).and_modify(|all| all.add(sums)).or_insert(sums);
        kind
    }

    fn add_key(&mut self, place: usize, report: &'r Report, (number, cycle, unit): (i64, i64, &'r str)) {
        let began = report.time.as_microsecond();
        let new = || Epoch { number, first: cycle, began, last: cycle, reports: 0, newest: report };
        let epoch = index_of(&mut self.epoch_indices, &mut self.epochs, number, new);
        if let Some(own) = self.epochs.get_mut(epoch - 1) {
            (own.first, own.began) = (own.first, own.began).min((cycle, began));
            own.last = own.last.max(cycle);
            own.reports += 1;
            own.newest = report;
        }
        let new = || Line { epoch, unit, lowest: cycle, highest: cycle, buckets: BTreeMap::new() };
        let line = index_of(&mut self.line_indices, &mut self.lines, (number, unit), new);
        if let Some(own) = self.lines.get_mut(line - 1) {
            own.lowest = own.lowest.min(cycle);
            own.highest = own.highest.max(cycle);
            let bucket = own.buckets.entry(cycle / BUCKET).or_default();
            let field = format!("{:02}", cycle % BUCKET);
            bucket.fields.text(&field);
            bucket.means.text(field);
            bucket.means.text(text_of(report.mean));
            bucket.places.number(place);
        }
    }

    fn pack_epochs(&self) -> Packed {
        let mut all = Packed::default();
        all.list(self.epochs.len());
        for Epoch { number, first, began, last, reports, newest } in &self.epochs {
            all.list(7);
            all.text(padded(*number));
            all.text(padded(*first));
            all.text(time(*began));
            all.text(padded(*last));
            all.number(*reports);
            all.text(newest.received.as_microsecond().to_string());
            all.text(newest.reporter.as_deref().unwrap_or_default());
        }
        all
    }

    fn pack_lines(&self) -> Packed {
        let mut all = Packed::default();
        all.list(self.lines.len());
        for Line { epoch, unit, lowest, highest, buckets } in &self.lines {
            let number = self.epochs.get(epoch - 1).map_or(0, |epoch| epoch.number);
            all.list(5);
            all.text(format!("{}:{unit}", padded(number)));
            all.number(*epoch);
            all.text(padded(*lowest));
            all.text(padded(*highest));
            all.list(buckets.len());
            for (bucket, Bucket { fields, means, places }) in buckets {
                all.list(4);
                all.text(format!("{bucket:017}"));
                [fields, means, places].iter().for_each(|packed| all.text(&packed.0));
            }
        }
        all
    }

    fn pack_kinds(&self) -> Packed {
        let mut all = Packed::default();
        all.list(self.kinds.len());
        for (name, Kind { highest, has_bare, places }) in &self.kinds {
            let highest = highest.filter(|_| !has_bare);
            let key = highest.map(|(epoch, cycle, _)| padded(epoch) + &padded(cycle));
            all.list(4);
            all.text(name);
            all.text(key.unwrap_or_default());
            all.number(highest.map_or(0, |(.., place)| place));
            all.text(&places.0);
        }
        all
    }

    fn pack_hours(&self) -> Packed {
        let mut all = Packed::default();
        all.list(self.hours.len());
        for (hour, Hour { sums, minutes }) in &self.hours {
            all.list(3);
            all.text(hour.to_string());
            all.list(sums.len());
            for (kind, sums) in sums {
                pack_sums(&mut all, "", *kind, *sums);
            }
            all.list(minutes.len());
            for ((minute, kind), sums) in minutes {
                pack_sums(&mut all, &format!("{minute:02}:"), *kind, *sums);
            }
        }
        all
    }
}

fn pack_sums(all: &mut Packed, field: &str, kind: usize, sums: Rollup) {
    let Rollup { reports, sum, min, max, moments } = sums;
    all.list(9);
    all.text(field);
    all.number(kind);
    all.text(reports.to_string());
    [sum, min, max].into_iter().for_each(|number| all.text(text_of(number)));
    all.text(moments.map(|moments| moments.readings.to_string()).unwrap_or_default());
    let squares = moments.and_then(|moments| moments.squares);
    for number in [moments.map(|moments| moments.mean), squares] {
        all.text(number.map(text_of).unwrap_or_default());
    }
}

/// Formats reports as arguments of `record.lua`.
pub(super) fn script_arguments(fleet: &FleetName, mode: Mode, reports: &[&Report]) -> Vec<Vec<u8>> {
    let mut groups = Groups::default();
    let mut packed = Vec::with_capacity(reports.len());
    for (place, report) in (1..).zip(reports) {
        let mut entry = Packed::default();
        entry.text(time(report.time.as_microsecond()));
        entry.number(groups.add(place, report));
        keys::fields(report, |name, value| {
            entry.text(name);
            entry.text(value);
        });
        packed.push(entry.0);
    }
    let name = if fleet.is_default() { "" } else { fleet.as_str() };
    let mode = if mode == Mode::Check { "check" } else { "record" };
    let mut arguments = vec![VERSION.into(), mode.into(), name.into()];
    let lists = [groups.pack_epochs(), groups.pack_lines(), groups.pack_kinds(), groups.pack_hours()];
    arguments.extend(lists.map(|list| list.0));
    arguments.append(&mut packed);
    arguments
}
