//! What is counted of sensors and measurements. Pure: what was read and when come from outside.

use std::time::Duration;

use atalaya_hal::{Quantity, SensorInfo};
use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::persistent_node::NodeState;

use crate::sampling::Sample;

/// A reading of a sensor.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Value {
    pub(crate) sensor: String,
    pub(crate) quantity: Quantity,
    pub(crate) value: f64,
}

/// One sensor.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    pub(crate) info: SensorInfo,
    /// Samples in which it was read.
    pub(crate) readings: u64,
    /// Samples in which it failed; those in which it was left alone do not count.
    pub(crate) failures: u64,
    /// When it was read last.
    pub(crate) read_at: Option<BootInstant>,
    /// What it read in the last sample; nothing, if it failed.
    pub(crate) values: Vec<(Quantity, f64)>,
    /// What was wrong in the last sample; `None` also before the first.
    pub(crate) fault: Option<String>,
}

/// All sensors of a node, what they measured, and what of it was published.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sensing {
    pub(crate) sensors: Vec<Counted>,
    /// Samples that were taken.
    pub(crate) samples: u64,
    /// When something was measured last.
    pub(crate) measured_at: Option<BootInstant>,
    /// What was measured then.
    measured: Vec<Value>,
    /// What stands in the znode, as far as is known.
    pub(crate) published: Vec<Value>,
    /// When it was stored.
    pub(crate) published_at: Option<BootInstant>,
    /// How many times anything was.
    pub(crate) stored: u64,
}

impl Sensing {
    /// It carries these sensors from now on. Those of a known name go on being counted.
    pub(crate) fn carry<'a>(&mut self, sensors: impl IntoIterator<Item = &'a SensorInfo>) {
        let mut before = std::mem::take(&mut self.sensors);
        for info in sensors {
            let known = before.iter().position(|counted| counted.info.name == info.name);
            self.sensors.push(match known.map(|at| before.swap_remove(at)) {
                Some(counted) if counted.info == *info => counted,
                Some(counted) => Counted { info: info.clone(), values: Vec::new(), ..counted },
                None => Counted {
                    info: info.clone(),
                    readings: 0,
                    failures: 0,
                    read_at: None,
                    values: Vec::new(),
                    fault: None,
                },
            });
        }
    }

    /// A sample was taken.
    pub(crate) fn sampled(&mut self, samples: &[Sample], now: BootInstant) {
        self.samples += 1;
        let mut measured = Vec::new();
        for sample in samples {
            let known = self.sensors.iter_mut().find(|counted| counted.info.name == sample.sensor);
            let Some(counted) = known else { continue };
            counted.values = sample.readings().map(|reading| (reading.quantity(), reading.value())).collect();
            measured.extend(counted.values.iter().map(|(quantity, value)| Value {
                sensor: sample.sensor.clone(),
                quantity: *quantity,
                value: *value,
            }));
            match &sample.result {
                Ok(_) => {
                    counted.readings += 1;
                    counted.read_at = Some(now);
                    counted.fault = None;
                }
                Err(fault) => {
                    counted.failures += u64::from(!sample.skipped);
                    counted.fault = Some(fault.clone());
                }
            }
        }
        // Where nothing could be measured, the last measurement stands.
        if !measured.is_empty() {
            self.measured = measured;
            self.measured_at = Some(now);
        }
    }

    /// The znode stands so.
    pub(crate) fn published(&mut self, state: NodeState, now: BootInstant) {
        if state.stored > self.stored {
            self.stored = state.stored;
            self.published.clone_from(&self.measured);
            self.published_at = Some(now);
        }
    }

    /// What is wrong with which sensor.
    pub(crate) fn faults(&self) -> Vec<(String, String)> {
        let fault = |counted: &Counted| Some((counted.info.name.clone(), counted.fault.clone()?));
        self.sensors.iter().filter_map(fault).collect()
    }
}

/// How long ago that was.
pub(crate) fn age(then: Option<BootInstant>, now: BootInstant) -> Option<Duration> {
    then.map(|then| now.since(then))
}

#[cfg(test)]
mod tests {
    use atalaya_hal::{Reading, Readings};

    use super::*;

    fn info(name: &str) -> SensorInfo {
        SensorInfo {
            name: name.into(),
            chip: "c".into(),
            bus: None,
            address: None,
            quantities: vec![Quantity::Temperature],
        }
    }

    fn sample(sensor: &str, result: Result<f64, &str>, skipped: bool) -> Sample {
        let readings = |value| Readings::from_iter([Reading::new(Quantity::Temperature, value).unwrap()]);
        let result = result.map(readings).map_err(str::to_owned);
        Sample { sensor: sensor.into(), result, change: None, skipped }
    }

    fn at(second: u64) -> BootInstant {
        BootInstant::at(Duration::from_secs(second))
    }

    #[test]
    fn readings_and_failures_are_counted_and_what_failed_has_no_value() {
        let mut sensing = Sensing::default();
        sensing.carry([&info("a"), &info("b")]);
        sensing.sampled(&[sample("a", Ok(7.0), false), sample("b", Err("cut"), false)], at(1));
        sensing.sampled(&[sample("a", Err("cut"), false), sample("b", Err("cut"), true)], at(2));
        let [a, b] = &sensing.sensors[..] else { panic!() };
        assert_eq!((a.readings, a.failures, a.read_at, a.values.len()), (1, 1, Some(at(1)), 0));
        assert_eq!((b.readings, b.failures, b.read_at), (0, 1, None), "it was left alone once");
        assert_eq!(sensing.measured_at, Some(at(1)));
        assert_eq!(sensing.faults().len(), 2);
    }

    #[test]
    fn what_was_stored_is_what_was_measured_before() {
        let mut sensing = Sensing::default();
        sensing.carry([&info("a")]);
        sensing.sampled(&[sample("a", Ok(7.0), false)], at(1));
        let stored = |stored| NodeState { held: true, stored, zxid: 1 };
        sensing.published(stored(1), at(2));
        sensing.sampled(&[sample("a", Ok(8.0), false)], at(3));
        sensing.published(stored(1), at(4));
        assert_eq!((sensing.published[0].value, sensing.published_at), (7.0, Some(at(2))));
        sensing.sampled(&[sample("a", Err("cut"), false)], at(5));
        sensing.published(stored(2), at(6));
        assert_eq!((sensing.published[0].value, sensing.published_at), (8.0, Some(at(6))));
    }

    #[test]
    fn other_sensors_take_their_places_and_those_that_stay_go_on() {
        let mut sensing = Sensing::default();
        sensing.carry([&info("a"), &info("b")]);
        sensing.sampled(&[sample("a", Ok(7.0), false), sample("b", Ok(8.0), false)], at(1));
        sensing.carry([&info("b"), &info("c")]);
        let counted: Vec<_> =
            sensing.sensors.iter().map(|counted| (&*counted.info.name, counted.readings)).collect();
        assert_eq!(counted, [("b", 1), ("c", 0)]);
    }
}
