//! Measurements of single sensors in memory.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;

use crate::measurements::{
    ClockState, FleetSummary, HOUR, LatestSample, MAX_BOOTS, MAX_FLEETS, MAX_SERIES, MINUTE, Position,
    Resolution, Retention, Row, Sample, SampleBatch, SampleOutcome, Selection, SeriesName, SeriesQuery,
    SeriesRows,
};
use crate::store::sums::{Steps, Sums};

/// Fleet, node, sensor and quantity.
type Name = (String, String, String, String);

/// All series.
#[derive(Debug, Default)]
pub(super) struct Samples {
    series: BTreeMap<Name, Series>,
    /// Number of series of each fleet.
    fleets: HashMap<String, usize>,
    /// Boots of each fleet and node.
    boots: HashMap<(String, String), Vec<Boot>>,
    last_boot: i64,
}

#[derive(Clone, Debug)]
struct Boot {
    id: i64,
    name: String,
    received: i64,
}

#[derive(Debug)]
struct Series {
    unit: Option<String>,
    latest: (Position, f64),
    received: i64,
    /// Highest accepted number of each boot.
    marks: HashMap<i64, i64>,
    /// Value and clock, by time, boot and number.
    samples: BTreeMap<(i64, i64, i64), (f64, ClockState)>,
    minutes: BTreeMap<i64, Sums>,
    hours: BTreeMap<i64, Sums>,
}

impl Samples {
    pub(super) fn add(&mut self, batch: &SampleBatch) -> Vec<SampleOutcome> {
        let mut boot = None;
        let mut outcomes = Vec::with_capacity(batch.samples.len());
        for sample in &batch.samples {
            let Some(name) = batch.series.get(sample.series).filter(|name| self.may_exist(batch, name))
            else {
                outcomes.push(SampleOutcome::TooManySeries);
                continue;
            };
            let boot = *boot.get_or_insert_with(|| self.boot(batch));
            outcomes.push(self.add_one(batch, name, boot, sample));
        }
        if outcomes.contains(&SampleOutcome::Accepted)
            && let Some(own) = self.boots.get_mut(&(batch.fleet.clone(), batch.node.clone()))
            && let Some(own) = own.iter_mut().find(|own| Some(own.id) == boot)
        {
            own.received = own.received.max(batch.received);
        }
        outcomes
    }

    fn may_exist(&self, batch: &SampleBatch, SeriesName { sensor, quantity, .. }: &SeriesName) -> bool {
        let name = (batch.fleet.clone(), batch.node.clone(), sensor.clone(), quantity.clone());
        match self.fleets.get(&batch.fleet) {
            _ if self.series.contains_key(&name) => true,
            Some(count) => *count < MAX_SERIES,
            None => self.fleets.len() < MAX_FLEETS,
        }
    }

    /// Returns the number of the batch's boot.
    fn boot(&mut self, batch: &SampleBatch) -> i64 {
        let boots = self.boots.entry((batch.fleet.clone(), batch.node.clone())).or_default();
        if let Some(boot) = boots.iter().find(|boot| boot.name == batch.boot) {
            return boot.id;
        }
        self.last_boot += 1;
        boots.sort_by_key(|boot| (boot.received, boot.id));
        let dropped: Vec<i64> =
            boots.drain(..(boots.len() + 1).saturating_sub(MAX_BOOTS)).map(|boot| boot.id).collect();
        boots.push(Boot { id: self.last_boot, name: batch.boot.clone(), received: batch.received });
        if !dropped.is_empty() {
            self.series.values_mut().for_each(|series| series.marks.retain(|id, _| !dropped.contains(id)));
        }
        self.last_boot
    }

    fn add_one(
        &mut self,
        batch: &SampleBatch,
        SeriesName { sensor, quantity, unit }: &SeriesName,
        boot: i64,
        sample: &Sample,
    ) -> SampleOutcome {
        let &Sample { seq, time, value, clock, .. } = sample;
        let position = Position { boot, time, clock };
        let name = (batch.fleet.clone(), batch.node.clone(), sensor.clone(), quantity.clone());
        let fleets = &mut self.fleets;
        let series = self.series.entry(name).or_insert_with(|| {
            *fleets.entry(batch.fleet.clone()).or_default() += 1;
            Series {
                unit: unit.clone(),
                latest: (position, value),
                received: batch.received,
                marks: HashMap::new(),
                samples: BTreeMap::new(),
                minutes: BTreeMap::new(),
                hours: BTreeMap::new(),
            }
        });
        if series.marks.get(&boot).is_some_and(|mark| seq <= *mark) {
            let kept = series.samples.get(&(time, boot, seq)).map(|(value, _)| *value);
            return SampleOutcome::of_repeat(sample, kept);
        }
        series.marks.insert(boot, seq);
        series.samples.insert((time, boot, seq), (value, clock));
        let sums = Sums::of(sample);
        for (all, step) in [(&mut series.minutes, MINUTE), (&mut series.hours, HOUR)] {
            all.entry(time - time % step).and_modify(|all| all.add(sums)).or_insert(sums);
        }
        if position.supersedes(&series.latest.0) {
            series.latest = (position, value);
            series.received = batch.received;
            series.unit.clone_from(unit);
        }
        SampleOutcome::Accepted
    }

    pub(super) fn fleets(&self) -> Vec<FleetSummary> {
        let mut fleets: BTreeMap<&str, (HashSet<&str>, i64, i64)> = BTreeMap::new();
        for ((fleet, node, ..), series) in &self.series {
            let (nodes, count, received) = fleets.entry(fleet).or_default();
            nodes.insert(node);
            *count += 1;
            *received = series.received.max(*received);
        }
        let summary = |(fleet, (nodes, series, received)): (&str, (HashSet<&str>, i64, i64))| FleetSummary {
            fleet: fleet.to_owned(),
            nodes: i64::try_from(nodes.len()).unwrap_or(i64::MAX),
            series,
            received: timestamp(received),
        };
        fleets.into_iter().map(summary).collect()
    }

    fn selected(&self, selection: &Selection) -> impl Iterator<Item = (&Name, &Series)> {
        self.series
            .iter()
            .filter(|((fleet, node, sensor, quantity), _)| selection.contains(fleet, node, sensor, quantity))
    }

    pub(super) fn latest(&self, selection: &Selection, limit: usize) -> Vec<LatestSample> {
        let latest = |((fleet, node, sensor, quantity), series): (&Name, &Series)| LatestSample {
            fleet: fleet.clone(),
            node: node.clone(),
            sensor: sensor.clone(),
            quantity: quantity.clone(),
            unit: series.unit.clone(),
            value: series.latest.1,
            time: timestamp(series.latest.0.time),
            clock: series.latest.0.clock,
            received: timestamp(series.received),
        };
        self.selected(selection).map(latest).take(limit).collect()
    }

    pub(super) fn series(&self, query: &SeriesQuery) -> Vec<SeriesRows> {
        let (mut all, mut total) = (Vec::new(), 0);
        let selected = query.selections.iter().flat_map(|selection| self.selected(selection));
        for ((fleet, node, sensor, quantity), series) in selected {
            if total >= query.max_rows {
                break;
            }
            let boots = self.boots.get(&(fleet.clone(), node.clone())).map_or(&[][..], Vec::as_slice);
            let rows = if query.from < query.to { series.rows(query, boots) } else { Vec::new() };
            total += rows.len();
            let [fleet, node, sensor, quantity] = [fleet, node, sensor, quantity].map(Clone::clone);
            all.push(SeriesRows { fleet, node, sensor, quantity, unit: series.unit.clone(), rows });
        }
        all
    }

    pub(super) fn prune(&mut self, retention: Retention) -> usize {
        let mut deleted = 0;
        for series in self.series.values_mut() {
            let Position { time, clock, .. } = series.latest.0;
            let own = retention.of_series(time, clock, series.received);
            let before = series.samples.len() + series.minutes.len() + series.hours.len();
            series.samples.retain(|(time, ..), _| own.samples.is_none_or(|edge| *time >= edge));
            series.minutes.retain(|time, _| own.minutes.is_none_or(|edge| *time >= edge));
            series.hours.retain(|time, _| own.hours.is_none_or(|edge| *time >= edge));
            deleted += before - series.samples.len() - series.minutes.len() - series.hours.len();
        }
        if let Some(edge) = retention.samples {
            let kept: HashSet<i64> = self.series.values().map(|series| series.latest.0.boot).collect();
            for boots in self.boots.values_mut() {
                boots.retain(|boot| boot.received >= edge || kept.contains(&boot.id));
            }
            let kept: HashSet<i64> = self.boots.values().flatten().map(|boot| boot.id).collect();
            self.series.values_mut().for_each(|series| series.marks.retain(|id, _| kept.contains(id)));
        }
        deleted
    }

    pub(super) fn forget_node(&mut self, fleet: &str, node: &str) -> bool {
        self.boots.remove(&(fleet.to_owned(), node.to_owned()));
        let before = self.series.len();
        self.series
            .retain(|(own_fleet, own_node, ..), _| (own_fleet.as_str(), own_node.as_str()) != (fleet, node));
        let deleted = before - self.series.len();
        if let Some(count) = self.fleets.get_mut(fleet) {
            *count -= deleted;
            if *count == 0 {
                self.fleets.remove(fleet);
            }
        }
        deleted > 0
    }
}

impl Series {
    fn rows(&self, query: &SeriesQuery, boots: &[Boot]) -> Vec<Row> {
        match query.resolution {
            Resolution::Samples => {
                let row = |(&(time, boot, seq), &(value, clock)): (&(i64, i64, i64), &(f64, ClockState))| {
                    let boot = boots.iter().find(|own| own.id == boot).map(|boot| boot.name.clone());
                    Row::of_sample(time, value, clock, boot, seq)
                };
                let from = (query.from, i64::MIN, i64::MIN);
                let range = self.samples.range(from..(query.to, i64::MIN, i64::MIN));
                range.map(row).take(query.limit).collect()
            }
            Resolution::Step { length, .. } => {
                let (edge, mut steps) = (query.edge(), Steps::new(length));
                self.hours.range(query.from..edge).for_each(|(time, sums)| steps.add(*time, *sums));
                self.minutes.range(edge..query.to).for_each(|(time, sums)| steps.add(*time, *sums));
                steps.rows(query.limit)
            }
        }
    }
}

fn timestamp(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}
