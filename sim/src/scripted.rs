//! A sensor whose driver has scripted faults: it waits, hangs, panics, or returns invalid values. Wrapped around every
//! simulated sensor that has `faults`; faults on the bus and in the chip's environment are injected elsewhere.

use atalaya_hal::{Cause, NotFinite, Place, Quantity, ReadError, Readings, Sensor, SensorInfo};

use crate::clock::Clock;
use crate::script::{InTheDriver, Script};

/// A sensor with scripted driver faults.
pub struct Scripted {
    inner: Box<dyn Sensor>,
    script: Script,
    clock: Clock,
}

impl Scripted {
    /// Wraps `inner` with the faults of `script`; returns `inner` itself if there are none.
    pub fn wrap(inner: Box<dyn Sensor>, script: Script, clock: Clock) -> Box<dyn Sensor> {
        if script.is_empty() { inner } else { Box::new(Scripted { inner, script, clock }) }
    }
}

impl Sensor for Scripted {
    fn info(&self) -> &SensorInfo {
        self.inner.info()
    }

    /// # Panics
    /// When the script says so.
    fn read(&mut self) -> Result<Readings, ReadError> {
        for fault in self.script.in_the_driver(self.clock.now()) {
            match fault {
                InTheDriver::Waits(delay) => self.clock.sleep(delay),
                InTheDriver::Panics => {
                    panic!("boards.toml asked the driver of `{}` to panic", self.info().name)
                }
                InTheDriver::NotANumber => {
                    let info = self.info();
                    let quantity = info.quantities.first().copied().unwrap_or(Quantity::Dimensionless);
                    let place = Place { bus: info.bus.clone(), address: info.address };
                    let error = NotFinite { quantity, value: f64::NAN };
                    return Err(ReadError::with_source(Cause::OutOfRange, place, error));
                }
            }
        }
        self.inner.read()
    }

    fn blocks(&self) -> bool {
        self.inner.blocks() || self.script.blocks()
    }

    fn may_drop(&self) -> bool {
        self.inner.may_drop()
    }
}
