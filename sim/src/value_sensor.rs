//! A sensor that generates values without a driver: `chip = "random"`, and every chip and kernel sensor that has no
//! register model. Created by [`crate::open`].

use atalaya_hal::{Place, ReadError, Reading, Readings, Sensor, SensorInfo};

use crate::clock::Clock;
use crate::faults::FaultSchedule;
use crate::models::Environment;

/// A sensor that generates values.
pub struct ValueSensor {
    info: SensorInfo,
    place: Place,
    environment: Environment,
    schedule: FaultSchedule,
    clock: Clock,
}

impl ValueSensor {
    /// Creates a sensor that measures the quantities of `info` in `environment`, and fails as scheduled by `schedule`;
    /// `place` is used in messages.
    pub fn new(
        info: SensorInfo,
        place: Place,
        environment: Environment,
        schedule: FaultSchedule,
        clock: Clock,
    ) -> ValueSensor {
        ValueSensor { info, place, environment, schedule, clock }
    }
}

impl Sensor for ValueSensor {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let now = self.clock.now();
        if let Some(cause) = self.schedule.cause(now) {
            return Err(ReadError::with_source(cause, self.place.clone(), "as scheduled"));
        }
        let reading = |quantity| {
            Reading::new(quantity, self.environment.at(quantity, now)).map_err(|error| {
                ReadError::with_source(atalaya_hal::Cause::OutOfRange, self.place.clone(), error)
            })
        };
        self.info.quantities.iter().copied().map(reading).collect()
    }

    fn blocks(&self) -> bool {
        false
    }
}
