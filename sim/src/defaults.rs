//! Default waveforms of quantities without one: ordinary values in the middle of the
//! chip's measuring range. The table is in this crate's README.

use atalaya_hal::{Chip, Quantity, SensorSpec, Settings};

use crate::waveform::{Shape, Waveform};

/// Returns the default waveform of a quantity.
pub(crate) fn waveform(spec: &SensorSpec, quantity: Quantity) -> Waveform {
    let uniform =
        |low, high, step| Waveform { shape: Shape::Uniform { low, high }, step: Some(step), seed: None };
    match (quantity, spec.settings) {
        // The range of an SCD4x ends at 60 °C.
        (Quantity::Temperature, _) if spec.chip == Chip::Scd4x => uniform(20.0, 25.0, 0.1),
        (Quantity::Temperature, _) => Waveform::default(),
        (Quantity::Humidity, _) => uniform(40.0, 60.0, 1.0),
        (Quantity::Pressure, _) => uniform(98_000.0, 103_000.0, 10.0),
        (Quantity::Voltage, Settings::Analogue(analogue)) => {
            let high = f64::min(3.3, 0.9 * analogue.full_scale);
            Waveform { shape: Shape::Uniform { low: 0.0, high }, step: None, seed: None }
        }
        (Quantity::Voltage, Settings::Shunt(_)) => uniform(4.8, 5.2, 0.01),
        (Quantity::Voltage, _) => uniform(0.0, 3.3, 0.01),
        (Quantity::Current, Settings::Shunt(shunt)) => {
            let high = 0.9 * shunt.max_amperes;
            Waveform { shape: Shape::Uniform { low: 0.0, high }, step: None, seed: None }
        }
        (Quantity::Current, _) => uniform(0.0, 2.0, 0.01),
        (Quantity::Power, _) => uniform(0.0, 10.0, 0.1),
        (Quantity::Illuminance, _) => uniform(0.0, 1_000.0, 1.0),
        (Quantity::Concentration, _) => uniform(400.0, 1_200.0, 1.0),
        (Quantity::Count, _) => uniform(0.0, 100.0, 1.0),
        // Ratios, and quantities added later.
        _ => uniform(0.0, 1.0, 0.01),
    }
}
