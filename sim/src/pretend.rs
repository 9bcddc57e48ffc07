//! A sensor made of numbers: `chip = "random"`, and every chip and kernel sensor that has no model of its registers. No
//! driver is involved. Built by [`crate::open`].

use atalaya_hal::{Place, ReadError, Reading, Readings, Sensor, SensorInfo};

use crate::clock::Clock;
use crate::models::Surroundings;
use crate::script::Script;

/// A sensor made of numbers.
pub struct Pretend {
    info: SensorInfo,
    place: Place,
    surroundings: Surroundings,
    script: Script,
    clock: Clock,
}

impl Pretend {
    /// Measures what `info` says in `surroundings`, and fails when `script` says so; `place` is what messages say.
    pub fn new(
        info: SensorInfo,
        place: Place,
        surroundings: Surroundings,
        script: Script,
        clock: Clock,
    ) -> Pretend {
        Pretend { info, place, surroundings, script, clock }
    }
}

impl Sensor for Pretend {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let now = self.clock.now();
        if let Some(cause) = self.script.cause(now) {
            return Err(ReadError::with_source(cause, self.place.clone(), "as its script says"));
        }
        let reading = |quantity| {
            Reading::new(quantity, self.surroundings.at(quantity, now)).map_err(|error| {
                ReadError::with_source(atalaya_hal::Cause::OutOfRange, self.place.clone(), error)
            })
        };
        self.info.quantities.iter().copied().map(reading).collect()
    }

    fn blocks(&self) -> bool {
        false
    }
}
