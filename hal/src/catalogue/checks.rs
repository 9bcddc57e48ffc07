//! Settings and limits of chips that depend on other settings, for the rows of the table.

use super::Measured;
use crate::reading::Quantity;
use crate::settings::{InvalidSetting, Settings};

/// Full scales of the shunt voltage, in volt: of an INA219 (the widest range of the chip) and of an INA226.
const INA219_FULL_SCALE: f64 = 0.32;
const INA226_FULL_SCALE: f64 = 0.081_92;

/// Default of `max_current` of an INA219: the highest current that the chip can measure.
pub(crate) fn ina219_max_current(settings: &Settings) -> f64 {
    INA219_FULL_SCALE / settings.number("shunt")
}

/// Default of `max_current` of an INA226: the highest current that the chip can measure.
pub(crate) fn ina226_max_current(settings: &Settings) -> f64 {
    INA226_FULL_SCALE / settings.number("shunt")
}

/// Checks `max_current` of an INA219 against its shunt.
pub(crate) fn check_ina219(settings: &mut Settings) -> Result<(), InvalidSetting> {
    check_max_current(settings, "ina219", ina219_max_current(settings))
}

/// Checks `max_current` of an INA226 against its shunt.
pub(crate) fn check_ina226(settings: &mut Settings) -> Result<(), InvalidSetting> {
    check_max_current(settings, "ina226", ina226_max_current(settings))
}

fn check_max_current(settings: &mut Settings, chip: &str, most: f64) -> Result<(), InvalidSetting> {
    let (ohms, max_amperes) = (settings.number("shunt"), settings.number("max_current"));
    let rounded = |value: f64| (value * 1e6).round() / 1e6;
    // A value slightly above the measurable maximum is a rounded number, not a mistake.
    if max_amperes > most * 1.01 {
        let problem = format!("a `{chip}` with a shunt of {ohms} ohm measures {} A at most", rounded(most));
        let remedy =
            "write less, or the right `shunt`: its label R100 means 0.1 ohm, R010 means 0.01".to_owned();
        return Err(InvalidSetting { key: "max_current", problem, remedy });
    }
    // The step of the current is this value divided by 32768, and the calibration of the chip must fit into 16 bits.
    if max_amperes < most / 1_000.0 {
        let problem = format!("{max_amperes} A are too few steps of the chip with a shunt of {ohms} ohm");
        let remedy = format!("write {} or more", rounded(most / 1_000.0));
        return Err(InvalidSetting { key: "max_current", problem, remedy });
    }
    settings.limit("max_current", most);
    Ok(())
}

/// Default of `reference` of a MAX31865: the resistor that boards carry.
pub(crate) fn rtd_reference(settings: &Settings) -> f64 {
    4.3 * settings.number("nominal")
}

/// Checks the reference resistor of a MAX31865 against its thermometer.
pub(crate) fn check_rtd(settings: &mut Settings) -> Result<(), InvalidSetting> {
    let (reference, nominal) = (settings.number("reference"), settings.number("nominal"));
    if reference > nominal {
        return Ok(());
    }
    let problem = format!("a reference of {reference} ohm is below the thermometer's {nominal}");
    let remedy = "boards carry 430 for a PT100 and 4300 for a PT1000".to_owned();
    Err(InvalidSetting { key: "reference", problem, remedy })
}

/// Limits of an INA219 with its shunt: the current is a voltage of at most 319.99 mV in steps of 10 µV.
pub(crate) fn ina219_limits(settings: &Settings, measured: Measured) -> Measured {
    shunt_limits(settings, measured, 0.319_99, 0.000_01)
}

/// Limits of an INA226 with its shunt: the current is a voltage of at most 81.915 mV in steps of 2.5 µV.
pub(crate) fn ina226_limits(settings: &Settings, measured: Measured) -> Measured {
    shunt_limits(settings, measured, 0.081_915, 0.000_002_5)
}

fn shunt_limits(settings: &Settings, measured: Measured, most: f64, step: f64) -> Measured {
    if measured.quantity != Quantity::Current {
        return measured;
    }
    let ohms = settings.number("shunt");
    let most = (most / ohms).min(settings.number("max_current"));
    Measured::new(Quantity::Current, -most, most, step / ohms)
}

/// Limits of an ADS1115 at its full scale. Its first and last code are refused, because they mean "this much or more".
pub(crate) fn ads1115_limits(settings: &Settings, _: Measured) -> Measured {
    let step = settings.number("gain") / 32_768.0;
    Measured::new(Quantity::Voltage, -32_767.0 * step, 32_766.0 * step, step)
}
