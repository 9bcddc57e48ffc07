//! Checks of `settings = { ... }`: the settings of each chip, their valid values and their defaults.

use std::ops::Range;

use atalaya_hal::Chip;
use atalaya_hal::settings::{Analogue, Input, Rtd, Settings, Shunt};
use toml::Spanned;

use super::raw::{RawSensor, RawSettings};
use crate::diagnostic::{BoardsError, Source, list, printable};
use crate::value::{Finite, Positive, Table};

pub(super) fn settings(raw: &RawSensor, chip: Chip, source: &Source<'_>) -> Result<Settings, BoardsError> {
    const NONE: RawSettings = RawSettings {
        shunt: None,
        max_current: None,
        gain: None,
        wires: None,
        reference: None,
        nominal: None,
        mains: None,
        altitude: None,
    };
    let keys = raw.settings.as_ref().map_or(&NONE, |settings| {
        let Table(keys) = settings.get_ref();
        keys
    });
    refuse_stray_keys(keys, chip, source)?;
    match chip {
        Chip::Ina219 => shunt(keys, chip, Shunt::INA219_FULL_SCALE, source).map(Settings::Shunt),
        Chip::Ina226 => shunt(keys, chip, Shunt::INA226_FULL_SCALE, source).map(Settings::Shunt),
        Chip::Ads1115 => analogue(keys, raw, source).map(Settings::Analogue),
        Chip::Max31865 => rtd(keys, source).map(Settings::Rtd),
        Chip::Scd4x => altitude(keys, source).map(Settings::Altitude),
        _ => Ok(Settings::None),
    }
}

fn refuse_stray_keys(keys: &RawSettings, chip: Chip, source: &Source<'_>) -> Result<(), BoardsError> {
    fn span<T>(value: &Option<Spanned<T>>) -> Option<Range<usize>> {
        value.as_ref().map(Spanned::span)
    }
    let known = chip.entry().settings;
    let given = [
        ("shunt", span(&keys.shunt)),
        ("max_current", span(&keys.max_current)),
        ("gain", span(&keys.gain)),
        ("wires", span(&keys.wires)),
        ("reference", span(&keys.reference)),
        ("nominal", span(&keys.nominal)),
        ("mains", span(&keys.mains)),
        ("altitude", span(&keys.altitude)),
    ];
    for (key, span) in given {
        if let (Some(span), false) = (span, known.contains(&key)) {
            let problem = format!("`{chip}` has no setting `{key}`");
            let remedy = match known {
                [] => format!("remove it: `{chip}` has no settings"),
                _ => format!("its settings are {}", list(known)),
            };
            return Err(source.error(span, problem, remedy));
        }
    }
    Ok(())
}

fn shunt(keys: &RawSettings, chip: Chip, full_scale: f64, source: &Source<'_>) -> Result<Shunt, BoardsError> {
    let ohms = match &keys.shunt {
        Some(shunt) => ranged(shunt, 1e-5..=100.0, "ohm, such as 0.1", source)?,
        None => 0.1,
    };
    let most = full_scale / ohms;
    let Some(max) = &keys.max_current else { return Ok(Shunt { ohms, max_amperes: most }) };
    let max_amperes = max.get_ref().0;
    // A value slightly above the measurable maximum is a rounded number, not a mistake.
    if max_amperes > most * 1.01 {
        let problem = format!("a `{chip}` with a shunt of {ohms} ohm measures {} A at most", rounded(most));
        let remedy = "write less, or the right `shunt`: its label R100 means 0.1 ohm, R010 means 0.01";
        return Err(source.error(max.span(), problem, remedy));
    }
    // The step of the current is this value divided by 32768, and the calibration of the chip must fit into 16 bits.
    if max_amperes < most / 1_000.0 {
        let problem = format!("{max_amperes} A are too few steps of the chip with a shunt of {ohms} ohm");
        return Err(source.error(max.span(), problem, format!("write {} or more", rounded(most / 1_000.0))));
    }
    Ok(Shunt { ohms, max_amperes: max_amperes.min(most) })
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn analogue(keys: &RawSettings, raw: &RawSensor, source: &Source<'_>) -> Result<Analogue, BoardsError> {
    let inputs = Input::ALL.map(Input::name);
    let Some(channel) = &raw.channel else {
        let problem = "the key `channel` is missing: which input of the ADS1115?";
        let remedy = format!("add `channel = \"a0\"`, or another of {}", list(&inputs));
        return Err(source.error(raw.chip.span(), problem, remedy));
    };
    let input = channel.get_ref().parse().map_err(|_| {
        let problem = format!("`{}` is not an input of an ADS1115", printable(channel.get_ref()));
        source.error(channel.span(), problem, format!("write one of {}", list(&inputs)))
    })?;
    let full_scale = match &keys.gain {
        None => 2.048,
        Some(gain) if Analogue::FULL_SCALES.contains(&gain.get_ref().0) => gain.get_ref().0,
        Some(gain) => {
            let problem = format!("an ADS1115 has no full scale of {} V", gain.get_ref().0);
            let choices = Analogue::FULL_SCALES.map(|gain| gain.to_string()).join(", ");
            return Err(source.error(gain.span(), problem, format!("write one of {choices}")));
        }
    };
    Ok(Analogue { input, full_scale })
}

fn rtd(keys: &RawSettings, source: &Source<'_>) -> Result<Rtd, BoardsError> {
    let wires = choice(&keys.wires, &[2, 3, 4], 2, "wires to the thermometer", source)?;
    let mains = choice(&keys.mains, &[50, 60], 50, "hertz of mains", source)?;
    let nominal = match &keys.nominal {
        Some(nominal) => ranged(nominal, 10.0..=10_000.0, "ohm: 100 for a PT100, 1000 for a PT1000", source)?,
        None => 100.0,
    };
    let reference = match &keys.reference {
        Some(reference) => ranged(reference, 10.0..=100_000.0, "ohm, about 4.3 times `nominal`", source)?,
        None => 4.3 * nominal,
    };
    if let Some(key) = &keys.reference
        && reference <= nominal
    {
        let problem = format!("a reference of {reference} ohm is below the thermometer's {nominal}");
        return Err(source.error(key.span(), problem, "boards carry 430 for a PT100 and 4300 for a PT1000"));
    }
    Ok(Rtd { wires, reference, nominal, mains })
}

fn altitude(keys: &RawSettings, source: &Source<'_>) -> Result<Option<u16>, BoardsError> {
    let Some(altitude) = &keys.altitude else { return Ok(None) };
    let Finite(metres) = *altitude.get_ref();
    if (0.0..=3_000.0).contains(&metres) {
        // The value is in range, so the cast only drops decimals.
        return Ok(Some(metres.round() as u16));
    }
    let problem = format!("an altitude of {metres} m is beyond the chip's");
    Err(source.error(altitude.span(), problem, "write metres above the sea, from 0 to 3000"))
}

fn choice(
    value: &Option<Spanned<i64>>,
    choices: &[u8],
    default: u8,
    what: &str,
    source: &Source<'_>,
) -> Result<u8, BoardsError> {
    let Some(value) = value else { return Ok(default) };
    let chosen = choices.iter().find(|choice| i64::from(**choice) == *value.get_ref());
    chosen.copied().ok_or_else(|| {
        let shown: Vec<String> = choices.iter().map(u8::to_string).collect();
        let problem = format!("{} {what}", value.get_ref());
        source.error(value.span(), problem, format!("write one of {}", shown.join(", ")))
    })
}

fn ranged(
    value: &Spanned<Positive>,
    range: std::ops::RangeInclusive<f64>,
    what: &str,
    source: &Source<'_>,
) -> Result<f64, BoardsError> {
    let Positive(number) = *value.get_ref();
    if range.contains(&number) {
        return Ok(number);
    }
    let problem = format!("{number} is not from {} to {}", range.start(), range.end());
    Err(source.error(value.span(), problem, format!("write {what}")))
}
