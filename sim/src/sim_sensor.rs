//! Specification of a simulated sensor: plain data, of which [`crate::Simulator`] creates it.

use std::collections::BTreeMap;

use atalaya_hal::{Quantity, SensorSpec};

use crate::faults::ScheduledFault;
use crate::waveform::Waveform;

/// Specification of a simulated sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct SimSensor {
    /// Specification of the real sensor.
    pub spec: SensorSpec,
    /// Values that the chip measures. A quantity without a waveform gets a default.
    pub waveforms: BTreeMap<Quantity, Waveform>,
    /// Faults, in order of precedence.
    pub faults: Vec<ScheduledFault>,
}

impl SimSensor {
    /// Creates the specification of a sensor with default values and without faults.
    pub fn new(spec: SensorSpec) -> SimSensor {
        SimSensor { spec, waveforms: BTreeMap::new(), faults: Vec::new() }
    }
}
