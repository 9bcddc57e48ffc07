//! A board without hardware: builds the pretend buses, chips and sensors that a [`Board`] describes. Used by the node for
//! `backend = "sim"`, and by tests that need a hand on the pretend bus.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use atalaya_hal::boards::Waveform;
use atalaya_hal::filter::Filtered;
use atalaya_hal::sensor::Buses;
use atalaya_hal::{Board, Bus, Chip, OpenError, Quantity, SensorConfig, drivers};

use crate::bus::SimBus;
use crate::lm75::Lm75;
use crate::random::Random;
use crate::waveform::Generator;

/// The sensors of `board`, pretended, by bus. Chips on a bus are read by the very drivers that read the real ones;
/// `base_dir` is where relative paths of `replay` start.
///
/// # Errors
/// A `replay` that cannot be read, or a sensor that cannot be simulated; the message names the sensor.
pub fn open(board: &Board, base_dir: impl AsRef<Path>) -> Result<Vec<Bus>, OpenError> {
    Simulator::new(board, base_dir).map(|(_, buses)| buses)
}

/// The pretend buses of a board, for a test that wants to break them.
#[derive(Debug)]
pub struct Simulator {
    buses: BTreeMap<String, SimBus>,
}

impl Simulator {
    /// As [`open`], with the buses to go with the sensors.
    ///
    /// # Errors
    /// As [`open`].
    pub fn new(board: &Board, base_dir: impl AsRef<Path>) -> Result<(Simulator, Vec<Bus>), OpenError> {
        let base_dir = base_dir.as_ref();
        let started = Instant::now();
        let mut simulator = Simulator { buses: BTreeMap::new() };
        let mut sensors = Buses::new();
        for config in &board.sensors {
            let sensor = match (&config.bus, config.address) {
                (Some(name), Some(address)) => {
                    let bus = simulator.buses.entry(name.clone()).or_insert_with(|| SimBus::new(name));
                    attach(bus, address, config, base_dir, started)?;
                    drivers::build(config, bus.clone(), &bus.to_string())?
                }
                _ => {
                    let quantities = config.quantities().into_iter();
                    let generators: Result<Vec<_>, _> = quantities
                        .map(|quantity| Ok((quantity, generator(config, quantity, base_dir)?)))
                        .collect();
                    let random = Random::new(drivers::info(config), generators?, started);
                    Filtered::wrap(Box::new(random), &config.filters)
                }
            };
            sensors.add(sensor);
        }
        Ok((simulator, sensors.into_vec()))
    }

    /// The bus called `name` in boards.toml.
    pub fn bus(&self, name: &str) -> Option<&SimBus> {
        self.buses.get(name)
    }
}

/// Puts the pretend chip of `config` on its bus.
fn attach(
    bus: &SimBus,
    address: u8,
    config: &SensorConfig,
    base_dir: &Path,
    started: Instant,
) -> Result<(), OpenError> {
    match config.chip {
        Chip::Lm75 | Chip::Lm75a | Chip::Tmp105 => {
            let mut temperature = generator(config, Quantity::Temperature, base_dir)?;
            bus.attach(address, Lm75::new(move || temperature.next(started.elapsed())));
            Ok(())
        }
        other => Err(OpenError::new(
            &config.name,
            format!("there is no model of `{other}` to put on a pretend bus"),
        )),
    }
}

fn generator(config: &SensorConfig, quantity: Quantity, base_dir: &Path) -> Result<Generator, OpenError> {
    let waveform = config.sim.get(&quantity).cloned().unwrap_or_else(Waveform::default);
    Generator::new(&waveform, base_dir)
        .map_err(|error| OpenError::new(&config.name, format!("{quantity} cannot be simulated: {error}")))
}
