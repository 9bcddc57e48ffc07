//! The sensor without a chip: `chip = "random"` gives the numbers of its waveforms, no bus involved. Built by
//! [`crate::open`].

use std::time::Instant;

use atalaya_hal::{Cause, Place, Quantity, ReadError, Reading, Readings, Sensor, SensorInfo};

use crate::waveform::Generator;

/// A sensor made of numbers.
pub struct Random {
    info: SensorInfo,
    generators: Vec<(Quantity, Generator)>,
    started: Instant,
}

impl Random {
    /// Measures each quantity with its generator; waveforms over time start at `started`.
    pub fn new(info: SensorInfo, generators: Vec<(Quantity, Generator)>, started: Instant) -> Random {
        Random { info, generators, started }
    }
}

impl Sensor for Random {
    fn info(&self) -> &SensorInfo {
        &self.info
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        let elapsed = self.started.elapsed();
        let reading = |(quantity, generator): &mut (Quantity, Generator)| {
            Reading::new(*quantity, generator.next(elapsed))
                .map_err(|error| ReadError::with_source(Cause::OutOfRange, Place::default(), error))
        };
        self.generators.iter_mut().map(reading).collect()
    }

    fn blocks(&self) -> bool {
        false
    }
}
