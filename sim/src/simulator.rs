//! A board without hardware: builds the simulated buses, chips and sensors that a [`Board`] describes. Used by the node
//! for `backend = "sim"`, and by tests that access the simulated bus.

use std::collections::BTreeMap;
use std::path::Path;

use atalaya_hal::boards::Attached;
use atalaya_hal::filter::Filtered;
use atalaya_hal::sensor::Buses;
use atalaya_hal::{Board, Bus, OpenError, Place, Quantity, Sensor, SensorConfig, drivers};

use crate::bus::SimBus;
use crate::clock::Clock;
use crate::defaults;
use crate::models::{self, Environment};
use crate::pretend::Pretend;
use crate::script::Script;
use crate::scripted::Scripted;
use crate::spi::SimSpi;
use crate::waveform::Generator;

/// Creates the simulated sensors of `board`, by bus. Chips with a model are read by the same drivers as the real ones;
/// relative paths of `replay` start at `base_dir`.
///
/// # Errors
///
/// Returns an error if a `replay` file cannot be read or a sensor cannot be simulated; the message names the sensor.
pub fn open(board: &Board, base_dir: impl AsRef<Path>) -> Result<Vec<Bus>, OpenError> {
    Simulator::new(board, base_dir).map(|(_, buses)| buses)
}

/// Simulated buses of a board, for tests that inject faults.
#[derive(Debug)]
pub struct Simulator {
    buses: BTreeMap<String, SimBus>,
    selects: BTreeMap<String, SimSpi>,
    clock: Clock,
}

impl Simulator {
    /// Creates the sensors like [`open`], and returns their buses too.
    ///
    /// # Errors
    ///
    /// Fails like [`open`].
    pub fn new(board: &Board, base_dir: impl AsRef<Path>) -> Result<(Simulator, Vec<Bus>), OpenError> {
        Simulator::with_clock(board, base_dir, Clock::real())
    }

    /// Creates the sensors like [`Simulator::new`], with `clock` as the time of waveforms, conversions and faults.
    ///
    /// # Errors
    ///
    /// Fails like [`open`].
    pub fn with_clock(
        board: &Board,
        base_dir: impl AsRef<Path>,
        clock: Clock,
    ) -> Result<(Simulator, Vec<Bus>), OpenError> {
        let base_dir = base_dir.as_ref();
        let mut simulator = Simulator { buses: BTreeMap::new(), selects: BTreeMap::new(), clock };
        let mut sensors = Buses::new();
        for config in &board.sensors {
            let script = Script::new(&config.faults);
            let sensor = match &config.attached {
                Attached::I2c { bus, address } => {
                    let bus = simulator.attach(bus, *address, config, board, base_dir)?;
                    // The filters are applied last, so that a fault in the driver resets them.
                    let unfiltered = SensorConfig { filters: Vec::new(), ..config.clone() };
                    drivers::build(&unfiltered, bus.clone(), bus.clock().clone(), &bus.to_string())?
                }
                Attached::Spi { bus } => {
                    let spi = simulator.select(bus, config, base_dir)?;
                    let unfiltered = SensorConfig { filters: Vec::new(), ..config.clone() };
                    drivers::build_spi(&unfiltered, spi.clone(), spi.clock().clone(), &spi.to_string())?
                }
                _ => Box::new(simulator.pretend(config, base_dir)?) as Box<dyn Sensor>,
            };
            let sensor = Scripted::wrap(sensor, script, simulator.clock.clone());
            sensors.add(Filtered::wrap(sensor, &config.filters));
        }
        Ok((simulator, sensors.into_vec()))
    }

    /// Returns the bus with this `name` in boards.toml, if a chip with a model is attached to it.
    pub fn bus(&self, name: &str) -> Option<&SimBus> {
        self.buses.get(name)
    }

    /// Returns the chip select with this `name` in boards.toml, such as `spi-0.0`, if a chip with a model is attached
    /// to it.
    pub fn spi(&self, name: &str) -> Option<&SimSpi> {
        self.selects.get(name)
    }

    /// Attaches the simulated chip of `config` to its chip select.
    fn select(&mut self, name: &str, config: &SensorConfig, base_dir: &Path) -> Result<&SimSpi, OpenError> {
        let environment = environment([config], base_dir)?;
        let chip = models::on_spi(config.chip, &config.settings, environment).ok_or_else(|| no_model(config))?;
        let spi = SimSpi::new(name, self.clock.clone(), chip);
        spi.set_script(Script::new(&config.faults));
        Ok(self.selects.entry(name.to_owned()).or_insert(spi))
    }

    /// Attaches the simulated chip of `config` to its bus.
    fn attach(
        &mut self,
        name: &str,
        address: u8,
        config: &SensorConfig,
        board: &Board,
        base_dir: &Path,
    ) -> Result<&SimBus, OpenError> {
        let clock = self.clock.clone();
        let bus = self.buses.entry(name.to_owned()).or_insert_with(|| SimBus::with_clock(name, clock));
        bus.add_script(address, Script::new(&config.faults));
        // One chip for all sensors that share it; the last of them replaces it, with the same channels.
        let shared = board.sensors.iter().filter(|other| other.attached == config.attached);
        let environment = environment(shared, base_dir)?;
        let model = models::on_i2c(config.chip, &config.settings, environment).ok_or_else(|| no_model(config))?;
        bus.attach(address, model);
        Ok(bus)
    }

    /// Creates a sensor that generates values without a driver.
    fn pretend(&self, config: &SensorConfig, base_dir: &Path) -> Result<Pretend, OpenError> {
        let info = drivers::info(config);
        let bus = info.bus.as_ref().map(|bus| format!("simulated {bus}"));
        let place = Place { bus, address: info.address };
        let script = Script::new(&config.faults);
        Ok(Pretend::new(info, place, environment([config], base_dir)?, script, self.clock.clone()))
    }
}

fn no_model(config: &SensorConfig) -> OpenError {
    OpenError::new(&config.name, format!("there is no model of `{}` to put on a pretend bus", config.chip))
}

/// Creates the environment of the chip that `sensors` read, each on a channel of its own: their waveforms, and the faults
/// of their scripts that belong neither to the bus nor to the driver.
fn environment<'a>(
    sensors: impl IntoIterator<Item = &'a SensorConfig>,
    base_dir: &Path,
) -> Result<Environment, OpenError> {
    let mut channels = Vec::new();
    for config in sensors {
        let generator = |quantity| Ok((quantity, generator(config, quantity, base_dir)?));
        let generators: BTreeMap<Quantity, Generator> =
            config.quantities().into_iter().map(generator).collect::<Result<_, OpenError>>()?;
        channels.push((config.settings.channel(), generators, Script::new(&config.faults)));
    }
    Ok(Environment::with_channels(move |channel, quantity, now| {
        let Some((_, generators, script)) = channels.iter_mut().find(|(known, ..)| *known == channel) else {
            return 0.0;
        };
        let value = generators.get_mut(&quantity).map_or(0.0, |generator| generator.next(now));
        script.around(quantity, value, now)
    }))
}

fn generator(config: &SensorConfig, quantity: Quantity, base_dir: &Path) -> Result<Generator, OpenError> {
    let described = config.sim.get(&quantity).cloned();
    let waveform = described.unwrap_or_else(|| defaults::waveform(config, quantity));
    Generator::new(&waveform, base_dir)
        .map_err(|error| OpenError::new(&config.name, format!("{quantity} cannot be simulated: {error}")))
}
