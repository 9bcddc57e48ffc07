//! `[[boards.NAME.sensors]]`: the sensors of a board, and their checks: the keys that a chip requires, the keys that it
//! does not have, and combinations of their values.

mod bus_address;
mod chip_settings;
mod faults;
mod keys;
mod mqtt;
mod quantities;
mod raw;
mod seen;
mod waveform;

pub(crate) use raw::RawSensor;
pub(crate) use seen::Seen;

use atalaya_hal::{Chip, Filter, Quantity, SensorSpec};
use atalaya_sim::SimSensor;
use toml::Spanned;

use crate::backend::Backend;
use crate::diagnostic::{BoardsError, Location, Source, list};
use crate::names::check_name;
use bus_address::bus_address;
use chip_settings::settings;
use faults::{faults, refuse_computed};
use keys::{chips_on_a_bus, refuse_stray_keys};
use quantities::quantities;
use waveform::RawWaveform;

/// `[[boards.NAME.sensors]]`: one sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorConfig {
    /// Sensor, with the values and faults of its simulation, which a Linux board ignores.
    pub sim: SimSensor,
    /// Location in the file.
    pub at: Location,
}

impl SensorConfig {
    /// Returns the specification of the sensor, without its simulation.
    pub fn spec(&self) -> &SensorSpec {
        &self.sim.spec
    }
}

/// Checks a sensor of a board with this backend.
pub(crate) fn sensor(
    raw: RawSensor,
    backend: Backend,
    seen: &mut Seen,
    source: &Source<'_>,
) -> Result<SensorConfig, BoardsError> {
    check_name("sensor", &raw.name, source)?;
    let name = raw.name.get_ref().clone();
    let at = source.location(raw.name.span());
    if let Some(line) = seen.names.insert(name.clone(), at.line) {
        let problem = format!("a second sensor called `{name}`; the first is in line {line}");
        return Err(BoardsError::at(&at, problem, "give every sensor of a board a name of its own"));
    }
    let chip = *raw.chip.get_ref();
    refuse_stray_keys(&raw, chip, source)?;
    let bus_address = bus_address(&raw, chip, source)?;
    let settings = settings(&raw, chip, source)?;
    let quantities = quantities(&raw, chip, source)?;
    seen.place(&raw, &bus_address, chip, at.line, source)?;
    if chip == Chip::Random && backend == Backend::Linux {
        let problem = "`random` is not a chip: a Linux board has nothing to read it from";
        let remedy = format!("write `backend = \"sim\"` for this board, or a chip: {}", chips_on_a_bus());
        return Err(source.error(raw.chip.span(), problem, remedy));
    }
    if chip != Chip::Random
        && let Some(other) =
            raw.sim.waveforms.keys().find(|quantity| !quantities.contains(quantity.get_ref()))
    {
        let names: Vec<&str> = quantities.iter().map(|quantity| quantity.name()).collect();
        let problem = format!("`{chip}` does not measure {}", other.get_ref());
        return Err(source.error(other.span(), problem, format!("it measures {}", list(&names))));
    }
    let filters = raw.filters.into_iter().map(Filter::from).collect();
    refuse_computed(&raw.sim, chip, source)?;
    let faults = faults(raw.sim.faults, chip, &quantities, source)?;
    let waveform = |(quantity, RawWaveform(waveform)): (Spanned<Quantity>, RawWaveform)| {
        (quantity.into_inner(), waveform)
    };
    let waveforms = raw.sim.waveforms.into_iter().map(waveform).collect();
    let spec = SensorSpec { name, chip, bus_address, settings, quantities, filters };
    Ok(SensorConfig { sim: SimSensor { spec, waveforms, faults }, at })
}
