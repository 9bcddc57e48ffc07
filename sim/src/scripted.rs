//! A sensor whose driver does what a script says: wait, hang, panic, or compute nonsense. Wrapped around every pretended
//! sensor that has `faults`; what goes wrong on the bus and around the chip is elsewhere.

use atalaya_hal::{Cause, NotFinite, Place, Quantity, ReadError, Readings, Sensor, SensorInfo};

use crate::clock::Clock;
use crate::script::{InTheDriver, Script};

/// A sensor and what its driver shall do wrong.
pub struct Scripted {
    inner: Box<dyn Sensor>,
    script: Script,
    clock: Clock,
}

impl Scripted {
    /// `inner` with the faults of `script`; without any, `inner` itself.
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
