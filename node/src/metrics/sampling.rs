//! Metrics of sampling: readings and failures of each sensor, the newest measurement, and its publication.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_hal::{Quantity, Readings, SensorInfo};
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::persistent_node::NodeState;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{lock, seconds};

/// Upper bounds of the histogram of waiting times at the barrier, in seconds. They cover the range of sampling periods.
const BARRIER_WAITS: [f64; 12] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0];

/// Recorder of the sampler.
#[derive(Clone, Debug, Default)]
pub struct SamplingMetrics(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    stats: Mutex<SamplingStats>,
    /// Has the histogram.
    registry: Registry,
    barrier_waits: Histogram,
}

impl SamplingMetrics {
    pub(crate) fn enabled() -> SamplingMetrics {
        let mut registry = Registry::with_prefix("atalaya");
        let help = "Time from a sample to the start of the next one, in lock-step mode";
        let barrier_waits = seconds(&mut registry, "barrier_wait", help, BARRIER_WAITS);
        SamplingMetrics(Some(Arc::new(Inner { stats: Mutex::default(), registry, barrier_waits })))
    }

    pub(crate) fn update(&self, update: impl FnOnce(&mut SamplingStats)) {
        if let Some(inner) = &self.0 {
            update(&mut lock(&inner.stats));
        }
    }

    /// Records the time from the end of a sample to the start of the next one, in lock-step mode.
    pub(crate) fn record_barrier_wait(&self, wait: Duration) {
        if let Some(inner) = &self.0 {
            inner.barrier_waits.observe(wait.as_secs_f64());
        }
    }

    pub(crate) fn stats(&self) -> SamplingStats {
        self.0.as_ref().map(|inner| lock(&inner.stats).clone()).unwrap_or_default()
    }

    pub(crate) fn registry(&self) -> Option<&Registry> {
        self.0.as_deref().map(|inner| &inner.registry)
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct SamplingStats {
    pub(crate) sensors: Vec<SensorStats>,
    pub(crate) samples: u64,
    /// Time of the newest sample in which any sensor was read.
    pub(crate) measured_at: Option<BootInstant>,
    /// Values of that sample.
    measured: Vec<MeasuredValue>,
    /// Values in the measurement's znode.
    pub(crate) published: Vec<MeasuredValue>,
    /// Time when they were stored.
    pub(crate) published_at: Option<BootInstant>,
    pub(crate) publications: u64,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct MeasuredValue {
    pub(crate) sensor: String,
    pub(crate) quantity: Quantity,
    pub(crate) value: f64,
}

#[derive(Clone, Debug)]
pub(crate) struct SensorStats {
    pub(crate) info: SensorInfo,
    /// Number of samples in which the sensor was read.
    pub(crate) readings: u64,
    /// Number of samples in which reading failed. Samples that skipped the sensor do not count.
    pub(crate) failures: u64,
    pub(crate) read_at: Option<BootInstant>,
    /// Values of the last sample; empty if it failed.
    pub(crate) values: Vec<(Quantity, f64)>,
    /// Error of the last sample; `None` also before the first one.
    pub(crate) error: Option<String>,
}

impl SamplingStats {
    /// Replaces the sensors. A sensor whose name is known keeps its counts.
    pub(crate) fn set_sensors<'a>(&mut self, sensors: impl IntoIterator<Item = &'a SensorInfo>) {
        let mut previous = std::mem::take(&mut self.sensors);
        for info in sensors {
            let known = previous.iter().position(|stats| stats.info.name == info.name);
            self.sensors.push(match known.map(|index| previous.swap_remove(index)) {
                Some(stats) if stats.info == *info => stats,
                Some(stats) => SensorStats { info: info.clone(), values: Vec::new(), ..stats },
                None => SensorStats {
                    info: info.clone(),
                    readings: 0,
                    failures: 0,
                    read_at: None,
                    values: Vec::new(),
                    error: None,
                },
            });
        }
    }

    /// Records a sample: for each sensor its name, its readings or the text of the error, and whether it was not read
    /// because of its backoff or a task that uses its bus. Then a sensor that did not fail before does not fail now.
    pub(crate) fn record_sample<'a>(
        &mut self,
        results: impl IntoIterator<Item = (&'a str, Result<&'a Readings, &'a str>, bool)>,
        now: BootInstant,
    ) {
        self.samples += 1;
        let mut measured = Vec::new();
        for (sensor, result, is_skipped) in results {
            let Some(stats) = self.sensors.iter_mut().find(|stats| stats.info.name == sensor) else {
                continue;
            };
            let readings = result.into_iter().flatten();
            stats.values = readings.map(|reading| (reading.quantity(), reading.value())).collect();
            measured.extend(stats.values.iter().map(|(quantity, value)| MeasuredValue {
                sensor: sensor.to_owned(),
                quantity: *quantity,
                value: *value,
            }));
            match result {
                Ok(_) => {
                    stats.readings += 1;
                    stats.read_at = Some(now);
                    stats.error = None;
                }
                // A task uses the bus of a working sensor.
                Err(_) if is_skipped && stats.error.is_none() => {}
                Err(error) => {
                    stats.failures += u64::from(!is_skipped);
                    stats.error = Some(error.to_owned());
                }
            }
        }
        // If no sensor could be read, the last measurement stays published.
        if !measured.is_empty() {
            self.measured = measured;
            self.measured_at = Some(now);
        }
    }

    pub(crate) fn record_publication(&mut self, state: NodeState, now: BootInstant) {
        if state.stored > self.publications {
            self.publications = state.stored;
            self.published.clone_from(&self.measured);
            self.published_at = Some(now);
        }
    }

    /// Returns the names of the sensors whose last reading failed, with the errors.
    pub(crate) fn sensor_errors(&self) -> Vec<(String, String)> {
        let error = |stats: &SensorStats| Some((stats.info.name.clone(), stats.error.clone()?));
        self.sensors.iter().filter_map(error).collect()
    }
}

#[cfg(test)]
mod tests {
    use atalaya_hal::Reading;

    use super::*;
    use crate::model::node_info::tests::sensor_info;

    fn info(name: &str) -> SensorInfo {
        sensor_info(name, "c", &[Quantity::Temperature])
    }

    /// A result of a sensor: a value, or an error and whether the sensor was skipped.
    type TestResult = (&'static str, Result<f64, &'static str>, bool);

    fn record_sample(stats: &mut SamplingStats, results: &[TestResult], now: BootInstant) {
        let readings = |value| Readings::from_iter([Reading::new(Quantity::Temperature, value).unwrap()]);
        let results: Vec<_> = results
            .iter()
            .map(|(sensor, result, is_skipped)| (*sensor, result.map(readings), *is_skipped))
            .collect();
        let results = results.iter();
        let results =
            results.map(|(name, result, skipped)| (*name, result.as_ref().map_err(|e| *e), *skipped));
        stats.record_sample(results, now);
    }

    fn at(second: u64) -> BootInstant {
        BootInstant::at(Duration::from_secs(second))
    }

    #[test]
    fn sensor_metrics_count_readings_and_failures_and_a_failed_sensor_has_no_value() {
        let mut stats = SamplingStats::default();
        stats.set_sensors([&info("a"), &info("b")]);
        record_sample(&mut stats, &[("a", Ok(7.0), false), ("b", Err("cut"), false)], at(1));
        record_sample(&mut stats, &[("a", Err("cut"), false), ("b", Err("cut"), true)], at(2));
        let [a, b] = &stats.sensors[..] else { panic!() };
        assert_eq!((a.readings, a.failures, a.read_at, a.values.len()), (1, 1, Some(at(1)), 0));
        assert_eq!((b.readings, b.failures, b.read_at), (0, 1, None), "skipped once");
        assert_eq!(stats.measured_at, Some(at(1)));
        assert_eq!(stats.sensor_errors().len(), 2);
    }

    #[test]
    fn published_values_are_those_measured_before_the_publication() {
        let mut stats = SamplingStats::default();
        stats.set_sensors([&info("a")]);
        record_sample(&mut stats, &[("a", Ok(7.0), false)], at(1));
        let stored = |stored| NodeState { held: true, stored, zxid: 1 };
        stats.record_publication(stored(1), at(2));
        record_sample(&mut stats, &[("a", Ok(8.0), false)], at(3));
        stats.record_publication(stored(1), at(4));
        assert_eq!((stats.published[0].value, stats.published_at), (7.0, Some(at(2))));
        record_sample(&mut stats, &[("a", Err("cut"), false)], at(5));
        stats.record_publication(stored(2), at(6));
        assert_eq!((stats.published[0].value, stats.published_at), (8.0, Some(at(6))));
    }

    #[test]
    fn sensor_metrics_continue_for_sensors_that_stay_after_a_reload() {
        let mut stats = SamplingStats::default();
        stats.set_sensors([&info("a"), &info("b")]);
        record_sample(&mut stats, &[("a", Ok(7.0), false), ("b", Ok(8.0), false)], at(1));
        stats.set_sensors([&info("b"), &info("c")]);
        let readings: Vec<_> =
            stats.sensors.iter().map(|stats| (&*stats.info.name, stats.readings)).collect();
        assert_eq!(readings, [("b", 1), ("c", 0)]);
    }
}
