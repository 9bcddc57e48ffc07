//! Faults of simulated sensors in boards.toml, with their schedules. Ignored on Linux, as all of `sim` is.
//!
//! ```toml
//! sim = { temperature = { constant = 20 }, faults = [
//!     { fault = "no-acknowledge", after = "30s", for = "10s" },   # unplugged, and back with its power-up values
//!     { fault = "bus", every = "1m", for = "2s" },                # for two seconds of every minute
//!     { fault = "drift", after = "2m", rate = 0.1 },              # 0.1 °C more every minute from then on
//! ] }
//! ```

use std::collections::BTreeMap;
use std::fmt;

use atalaya_hal::{Chip, Quantity};
use atalaya_sim::{FaultKind, ScheduledFault};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use toml::Spanned;

use super::waveform::RawWaveform;
use crate::diagnostic::{BoardsError, Source, list};
use crate::value::{Finite, Period, Table};

/// `sim = { temperature = { ... }, faults = [ ... ] }`.
#[derive(Default)]
pub(super) struct RawSim {
    pub waveforms: BTreeMap<Spanned<Quantity>, RawWaveform>,
    pub faults: Vec<Table<RawFault>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFault {
    fault: Spanned<RawKind>,
    after: Option<Period>,
    #[serde(rename = "for")]
    lasts: Option<Spanned<Period>>,
    every: Option<Spanned<Period>>,
    delay: Option<Spanned<Period>>,
    rate: Option<Spanned<Finite>>,
    quantity: Option<Spanned<Quantity>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum RawKind {
    NoAcknowledge,
    Bus,
    Crc,
    Stuck,
    Busy,
    OutOfRange,
    Nan,
    Panic,
    Hang,
    Slow,
    Drift,
}

impl<'de> Deserialize<'de> for RawSim {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;

        impl<'de> Visitor<'de> for Keys {
            type Value = RawSim;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawSim, A::Error> {
                let mut sim = RawSim::default();
                while let Some(key) = map.next_key::<Spanned<Key>>()? {
                    let span = key.span();
                    match key.into_inner() {
                        Key::Faults => sim.faults = map.next_value()?,
                        Key::Quantity(quantity) => {
                            sim.waveforms.insert(Spanned::new(span, quantity), map.next_value()?);
                        }
                    }
                }
                Ok(sim)
            }
        }

        deserializer.deserialize_map(Keys)
    }
}

/// All keys of `sim`.
const KEYS: [&str; Quantity::ALL.len() + 1] = {
    let mut keys = ["faults"; Quantity::ALL.len() + 1];
    let mut index = 0;
    while index < Quantity::ALL.len() {
        keys[index] = Quantity::ALL[index].name();
        index += 1;
    }
    keys
};

/// Key of `sim`.
enum Key {
    Quantity(Quantity),
    Faults,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity such as `temperature`, or `faults`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Key, E> {
                match name {
                    "faults" => Ok(Key::Faults),
                    other => match other.parse() {
                        Ok(quantity) => Ok(Key::Quantity(quantity)),
                        Err(_) => Err(E::unknown_variant(other, &KEYS)),
                    },
                }
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// Refuses a waveform for a quantity that the chip computes and does not measure.
pub(super) fn refuse_computed(sim: &RawSim, chip: Chip, source: &Source<'_>) -> Result<(), BoardsError> {
    let power = sim.waveforms.keys().find(|key| *key.get_ref() == Quantity::Power);
    let Some(key) = power.filter(|_| chip.computes(Quantity::Power)) else { return Ok(()) };
    let problem = format!("`{chip}` computes the power out of voltage and current");
    Err(source.error(key.span(), problem, "write waveforms for `voltage` and `current`"))
}

/// Checks the faults of a sensor that measures `quantities`.
pub(super) fn faults(
    raw: Vec<Table<RawFault>>,
    chip: Chip,
    quantities: &[Quantity],
    source: &Source<'_>,
) -> Result<Vec<ScheduledFault>, BoardsError> {
    raw.into_iter().map(|Table(raw)| fault(&raw, chip, quantities, source)).collect()
}

fn fault(
    raw: &RawFault,
    chip: Chip,
    quantities: &[Quantity],
    source: &Source<'_>,
) -> Result<ScheduledFault, BoardsError> {
    let lasts = raw.lasts.as_ref().map(|lasts| lasts.get_ref().0);
    let every = raw.every.as_ref().map(|every| every.get_ref().0);
    if let Some(key) = &raw.every {
        let refuse = |problem: &str, remedy: &str| Err(source.error(key.span(), problem, remedy));
        match lasts {
            None => {
                let remedy = "add how long it lasts, such as `for = \"2s\"`";
                return refuse("a fault that comes again has to go in between", remedy);
            }
            Some(lasts) if lasts >= key.get_ref().0 => {
                let remedy = "write an `every` that is longer than its `for`";
                return refuse("the fault begins again before it is over", remedy);
            }
            Some(_) => {}
        }
    }
    let after = raw.after.map(|after| after.0).or(every).unwrap_or_default();
    let fault = kind(raw, chip, quantities, source)?;
    Ok(ScheduledFault { fault, after, lasts, every })
}

fn kind(
    raw: &RawFault,
    chip: Chip,
    quantities: &[Quantity],
    source: &Source<'_>,
) -> Result<FaultKind, BoardsError> {
    let kind = *raw.fault.get_ref();
    let stray = [
        ("delay", "slow", RawKind::Slow, raw.delay.as_ref().map(Spanned::span)),
        ("rate", "drift", RawKind::Drift, raw.rate.as_ref().map(Spanned::span)),
        ("quantity", "drift", RawKind::Drift, raw.quantity.as_ref().map(Spanned::span)),
    ];
    for (key, of, meant, span) in stray {
        if let (Some(span), true) = (span, kind != meant) {
            let problem = format!("only the fault \"{of}\" has a `{key}`");
            return Err(source.error(span, problem, format!("remove `{key}`")));
        }
    }
    let refuse = |problem: &str, remedy: &str| Err(source.error(raw.fault.span(), problem, remedy));
    Ok(match kind {
        RawKind::NoAcknowledge => FaultKind::NoAcknowledge,
        RawKind::Bus => FaultKind::Bus,
        RawKind::Stuck => FaultKind::Stuck,
        RawKind::Busy => FaultKind::Busy,
        RawKind::OutOfRange => FaultKind::OutOfRange,
        RawKind::Nan => FaultKind::NotANumber,
        RawKind::Panic => FaultKind::Panic,
        RawKind::Crc if chip.spec().has_checksum() => FaultKind::Checksum,
        RawKind::Crc => {
            let problem = format!("`{chip}` sends no checksum, so nobody would notice");
            return refuse(&problem, "take \"bus\" or \"out-of-range\"");
        }
        RawKind::Hang if raw.lasts.is_some() => FaultKind::Hang,
        RawKind::Hang => {
            let remedy = "add how long it hangs, such as `for = \"30s\"`";
            return refuse("a read that never returns would keep its thread for ever", remedy);
        }
        RawKind::Slow => match &raw.delay {
            Some(delay) => FaultKind::Slow(delay.get_ref().0),
            None => return refuse("the key `delay` is missing: how slow?", "add `delay = \"500ms\"`"),
        },
        RawKind::Drift => drift(raw, chip, quantities, source)?,
    })
}

fn drift(
    raw: &RawFault,
    chip: Chip,
    quantities: &[Quantity],
    source: &Source<'_>,
) -> Result<FaultKind, BoardsError> {
    let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
    let Some(rate) = &raw.rate else {
        let problem = "the key `rate` is missing: how fast?";
        let remedy = "add `rate = 0.1`, in the unit of the quantity per minute";
        return Err(source.error(raw.fault.span(), problem, remedy));
    };
    let quantity = match (&raw.quantity, quantities) {
        (Some(quantity), _) if *quantity.get_ref() == Quantity::Power && chip.computes(Quantity::Power) => {
            let problem = format!("`{chip}` computes the power out of voltage and current");
            return Err(source.error(quantity.span(), problem, "let one of these drift"));
        }
        (Some(quantity), _) if quantities.contains(quantity.get_ref()) => *quantity.get_ref(),
        (Some(quantity), _) => {
            let problem = format!("`{chip}` has no {} that could drift", quantity.get_ref());
            return Err(source.error(quantity.span(), problem, format!("take one of {}", list(&names))));
        }
        (None, [only]) => *only,
        (None, _) => {
            let problem = format!("`{chip}` measures several quantities: which of them drifts?");
            let remedy = format!("add `quantity = \"...\"`, one of {}", list(&names));
            return Err(source.error(raw.fault.span(), problem, remedy));
        }
    };
    Ok(FaultKind::Drift { quantity, rate: rate.get_ref().0 })
}
