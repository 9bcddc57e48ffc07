//! A sensor whose driver has scheduled faults: it waits, hangs, panics, or returns invalid values. Wrapped around every
//! simulated sensor that has faults; faults on the bus and in the chip's environment are injected elsewhere.

use atalaya_hal::{Cause, NotFinite, Place, Quantity, ReadError, Readings, Sensor, SensorInfo};

use super::{DriverFault, FaultSchedule};
use crate::clock::Clock;

/// A sensor with scheduled driver faults.
pub struct FaultInjector {
    inner: Box<dyn Sensor>,
    schedule: FaultSchedule,
    clock: Clock,
}

impl FaultInjector {
    /// Wraps `inner` with the faults of `schedule`; returns `inner` itself if there are none.
    pub fn wrap(inner: Box<dyn Sensor>, schedule: FaultSchedule, clock: Clock) -> Box<dyn Sensor> {
        if schedule.is_empty() { inner } else { Box::new(FaultInjector { inner, schedule, clock }) }
    }
}

impl Sensor for FaultInjector {
    fn info(&self) -> &SensorInfo {
        self.inner.info()
    }

    /// # Panics
    /// A [`DriverFault::Panics`] is due.
    fn read(&mut self) -> Result<Readings, ReadError> {
        for fault in self.schedule.driver_faults(self.clock.now()) {
            match fault {
                DriverFault::Waits(delay) => self.clock.sleep(delay),
                DriverFault::Panics => {
                    panic!("a scheduled fault asked the driver of `{}` to panic", self.info().name)
                }
                DriverFault::NotANumber => {
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
        self.inner.blocks() || self.schedule.blocks()
    }

    fn may_drop(&self) -> bool {
        self.inner.may_drop()
    }
}
