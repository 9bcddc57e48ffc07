//! Default waveforms of quantities without one: ordinary values in the middle of the chip's measuring range. The table is in this crate's README.

use atalaya_hal::{Quantity, SensorSpec};

use crate::waveform::{Shape, Waveform};

/// Returns the default waveform of a quantity.
pub(crate) fn waveform(spec: &SensorSpec, quantity: Quantity) -> Waveform {
    let uniform =
        |low, high, step| Waveform { shape: Shape::Uniform { low, high }, step: Some(step), seed: None };
    let settings = &spec.settings;
    let up_to = |high| Waveform { shape: Shape::Uniform { low: 0.0, high }, step: None, seed: None };
    match quantity {
        Quantity::Temperature => {
            let default = Waveform::default();
            let limits = spec.chip.measured(settings).into_iter().find(|limits| limits.quantity == quantity);
            match (limits, &default.shape) {
                // The range of an SCD4x ends at 60 °C.
                (Some(limits), Shape::Uniform { high, .. }) if limits.max < *high => uniform(20.0, 25.0, 0.1),
                _ => default,
            }
        }
        Quantity::Humidity => uniform(40.0, 60.0, 1.0),
        Quantity::Pressure => uniform(98_000.0, 103_000.0, 10.0),
        Quantity::Voltage => match (settings.get("gain"), settings.get("shunt")) {
            (Some(full_scale), _) => up_to(f64::min(3.3, 0.9 * full_scale)),
            (_, Some(_)) => uniform(4.8, 5.2, 0.01),
            _ => uniform(0.0, 3.3, 0.01),
        },
        Quantity::Current => match settings.get("max_current") {
            Some(max_current) => up_to(0.9 * max_current),
            None => uniform(0.0, 2.0, 0.01),
        },
        Quantity::Power => uniform(0.0, 10.0, 0.1),
        Quantity::Illuminance => uniform(0.0, 1_000.0, 1.0),
        Quantity::Concentration => uniform(400.0, 1_200.0, 1.0),
        Quantity::Count => uniform(0.0, 100.0, 1.0),
        // Ratios, and quantities added later.
        _ => uniform(0.0, 1.0, 0.01),
    }
}
