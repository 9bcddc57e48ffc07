//! The parts that all drivers of chips have: bus, delay, context and state. The file of a chip has its read.

use super::DeviceContext;
use crate::error::ReadError;
use crate::reading::Readings;
use crate::sensor::{Sensor, SensorInfo};

/// Bus, delay and context of a chip, and the state `S` that its driver keeps between two reads.
pub(super) struct Driver<S, B, D> {
    pub(super) bus: B,
    pub(super) delay: D,
    pub(super) context: DeviceContext,
    pub(super) state: S,
}

impl<S: Default, B, D> Driver<S, B, D> {
    pub(super) fn new(bus: B, delay: D, context: DeviceContext) -> Self {
        Driver { bus, delay, context, state: S::default() }
    }
}

/// Code of a chip.
pub(super) trait ReadChip {
    /// Measures once, as [`Sensor::read`].
    fn read_chip(&mut self) -> Result<Readings, ReadError>;
}

impl<S: Send, B: Send, D: Send> Sensor for Driver<S, B, D>
where
    Self: ReadChip,
{
    fn info(&self) -> &SensorInfo {
        self.context.info()
    }

    fn read(&mut self) -> Result<Readings, ReadError> {
        self.read_chip()
    }
}
