//! Trait of all sensors. Drivers and backends implement [`Sensor`]; the node owns [`Bus`]es, one worker thread each.

use std::fmt;

use serde::Serialize;

use crate::error::ReadError;
use crate::reading::{Quantity, Readings};

/// Static information about a sensor, available without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SensorInfo {
    /// Name, unique on its board.
    pub name: String,
    /// Name of the chip: `lm75`.
    pub chip: String,
    /// Name of the bus: `i2c-1`. None for a sensor that needs no bus.
    pub bus: Option<String>,
    /// Seven-bit address on that bus.
    pub address: Option<u8>,
    /// Measured quantities, in the order of the readings.
    pub quantities: Vec<Quantity>,
}

/// Source of measurements. Blocking, because I²C on Linux is.
///
/// For callers: call from a thread that may block, never from an async task. A driver neither retries nor loops, so the
/// reaction to an error is the caller's decision; an instance stays usable after any error, and a later read finds the
/// chip again if it came back.
///
/// For driver authors: a read sleeps at most for the conversion time of the chip, never panics, and returns at most one
/// reading per quantity.
pub trait Sensor: Send {
    /// Returns name, chip and place of this sensor.
    fn info(&self) -> &SensorInfo;

    /// Measures once.
    ///
    /// # Errors
    /// The cause of the failure, with bus and address; see [`crate::Cause`].
    fn read(&mut self) -> Result<Readings, ReadError>;

    /// Returns true if a read may block: on a bus, a file or another program. A sensor that only computes returns
    /// false, and is then read without a thread of its own.
    fn blocks(&self) -> bool {
        true
    }

    /// Returns true if a read may return no readings because a filter dropped them. For all other sensors, a read
    /// without readings is a fault.
    fn may_drop(&self) -> bool {
        false
    }
}

/// Sensors that share a wire, and therefore a worker thread. A sensor without a bus has its own `Bus`, named after the
/// sensor.
pub struct Bus {
    /// `i2c-1`, or the name of the only sensor.
    pub name: String,
    /// Sensors in the order in which they were added.
    pub sensors: Vec<Box<dyn Sensor>>,
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sensors: Vec<_> = self.sensors.iter().map(|sensor| sensor.info()).collect();
        f.debug_struct("Bus").field("name", &self.name).field("sensors", &sensors).finish()
    }
}

/// Groups sensors by bus; used by the two backends. The buses keep the order in which they were first named.
#[derive(Debug, Default)]
pub struct Buses(Vec<Bus>);

impl Buses {
    /// Creates an empty list of buses.
    pub fn new() -> Self {
        Buses::default()
    }

    /// Adds `sensor` to the others of its bus, or alone if it has no bus.
    pub fn add(&mut self, sensor: Box<dyn Sensor>) {
        let info = sensor.info();
        let (bus, alone) = match &info.bus {
            Some(bus) => (bus.clone(), false),
            None => (info.name.clone(), true),
        };
        let shared =
            |known: &&mut Bus| known.name == bus && known.sensors.iter().all(|s| s.info().bus.is_some());
        match self.0.iter_mut().find(shared) {
            Some(known) if !alone => known.sensors.push(sensor),
            _ => self.0.push(Bus { name: bus, sensors: vec![sensor] }),
        }
    }

    /// Returns the buses with their sensors.
    pub fn into_vec(self) -> Vec<Bus> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(SensorInfo);

    impl Sensor for Fixed {
        fn info(&self) -> &SensorInfo {
            &self.0
        }

        fn read(&mut self) -> Result<Readings, ReadError> {
            Ok(Readings::new())
        }
    }

    fn fixed(name: &str, bus: Option<&str>) -> Box<dyn Sensor> {
        let (name, bus) = (name.to_owned(), bus.map(str::to_owned));
        Box::new(Fixed(SensorInfo { name, chip: "fixed".into(), bus, address: None, quantities: Vec::new() }))
    }

    #[test]
    fn sensors_of_one_bus_share_a_worker_and_the_others_are_alone() {
        let mut buses = Buses::new();
        for (name, bus) in
            [("a", Some("i2c-1")), ("i2c-1", None), ("b", Some("i2c-0")), ("c", Some("i2c-1")), ("d", None)]
        {
            buses.add(fixed(name, bus));
        }
        let names =
            |bus: &Bus| bus.sensors.iter().map(|s| s.info().name.clone()).collect::<Vec<_>>().join(" ");
        let got: Vec<_> = buses.into_vec().iter().map(|bus| (bus.name.clone(), names(bus))).collect();
        let want = [("i2c-1", "a c"), ("i2c-1", "i2c-1"), ("i2c-0", "b"), ("d", "d")];
        assert_eq!(got, want.map(|(bus, sensors)| (bus.to_owned(), sensors.to_owned())));
    }
}
