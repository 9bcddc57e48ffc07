//! A board without hardware: builds the simulated buses, chips and sensors of [`SimSensor`]s.

use std::collections::BTreeMap;
use std::path::Path;

use atalaya_hal::filter::Filtered;
use atalaya_hal::sensor::Buses;
use atalaya_hal::{Bus, OpenError, Place, Quantity, Sensor};
#[cfg(feature = "chips")]
use atalaya_hal::{BusAddress, SensorSpec, drivers};

use crate::bus::SimBus;
use crate::clock::Clock;
use crate::defaults;
use crate::faults::{FaultInjector, FaultSchedule};
use crate::generator::Generator;
#[cfg(feature = "chips")]
use crate::models;
use crate::models::Environment;
use crate::sim_sensor::SimSensor;
use crate::spi::SimSpi;
use crate::value_sensor::ValueSensor;

/// Creates the simulated sensors, by bus. Chips with a model are read by the same drivers as the real ones; relative
/// paths of `replay` start at `base_dir`.
///
/// # Errors
///
/// Returns an error if a `replay` file cannot be read or a sensor cannot be simulated; the message names the sensor.
pub fn open<'a>(
    sensors: impl IntoIterator<Item = &'a SimSensor>,
    base_dir: impl AsRef<Path>,
) -> Result<Vec<Bus>, OpenError> {
    Simulator::new(sensors, base_dir).map(|(_, buses)| buses)
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
    pub fn new<'a>(
        sensors: impl IntoIterator<Item = &'a SimSensor>,
        base_dir: impl AsRef<Path>,
    ) -> Result<(Simulator, Vec<Bus>), OpenError> {
        Simulator::with_clock(sensors, base_dir, Clock::real())
    }

    /// Creates the sensors like [`Simulator::new`], with `clock` as the time of waveforms, conversions and faults.
    ///
    /// # Errors
    ///
    /// Fails like [`open`].
    pub fn with_clock<'a>(
        sensors: impl IntoIterator<Item = &'a SimSensor>,
        base_dir: impl AsRef<Path>,
        clock: Clock,
    ) -> Result<(Simulator, Vec<Bus>), OpenError> {
        let (sensors, base_dir) = (sensors.into_iter().collect::<Vec<_>>(), base_dir.as_ref());
        let mut simulator = Simulator { buses: BTreeMap::new(), selects: BTreeMap::new(), clock };
        let mut buses = Buses::new();
        for sensor in &sensors {
            let spec = &sensor.spec;
            let driver = match simulator.chip(sensor, &sensors, base_dir)? {
                Some(driver) => driver,
                None => Box::new(simulator.value_sensor(sensor, base_dir)?),
            };
            let schedule = FaultSchedule::new(&sensor.faults);
            let driver = FaultInjector::wrap(driver, schedule, simulator.clock.clone());
            buses.add(Filtered::wrap(driver, &spec.filters));
        }
        Ok((simulator, buses.into_vec()))
    }

    /// Returns the bus with this `name`, if a chip with a model is attached to it.
    pub fn bus(&self, name: &str) -> Option<&SimBus> {
        self.buses.get(name)
    }

    /// Returns the chip select with this `name`, such as `spi-0.0`, if a chip with a model is attached to it.
    pub fn spi(&self, name: &str) -> Option<&SimSpi> {
        self.selects.get(name)
    }

    /// Creates a sensor that generates values without a driver.
    fn value_sensor(&self, sensor: &SimSensor, base_dir: &Path) -> Result<ValueSensor, OpenError> {
        let info = sensor.spec.info();
        let bus = info.bus.as_ref().map(|bus| format!("simulated {bus}"));
        let place = Place { bus, address: info.address };
        let schedule = FaultSchedule::new(&sensor.faults);
        Ok(ValueSensor::new(info, place, environment([sensor], base_dir)?, schedule, self.clock.clone()))
    }

    /// Without drivers, no sensor is a chip on a bus.
    #[cfg(not(feature = "chips"))]
    fn chip(
        &mut self,
        _: &SimSensor,
        _: &[&SimSensor],
        _: &Path,
    ) -> Result<Option<Box<dyn Sensor>>, OpenError> {
        Ok(None)
    }
}

#[cfg(feature = "chips")]
impl Simulator {
    /// Attaches the simulated chip of `sensor` to its bus, and creates its driver, without the filters: they are
    /// applied last, so that a fault in the driver resets them. None if the sensor is not on a bus. `all` are the
    /// sensors of the board.
    fn chip(
        &mut self,
        sensor: &SimSensor,
        all: &[&SimSensor],
        base_dir: &Path,
    ) -> Result<Option<Box<dyn Sensor>>, OpenError> {
        let unfiltered = SensorSpec { filters: Vec::new(), ..sensor.spec.clone() };
        match &sensor.spec.bus_address {
            BusAddress::I2c { bus, address } => {
                let bus = self.attach(bus, *address, sensor, all, base_dir)?;
                drivers::build(&unfiltered, bus.clone(), bus.clock().clone(), &bus.to_string()).map(Some)
            }
            BusAddress::Spi { bus } => {
                let spi = self.select(bus, sensor, base_dir)?;
                drivers::build_spi(&unfiltered, spi.clone(), spi.clock().clone(), &spi.to_string()).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// Attaches the simulated chip of `sensor` to its chip select.
    fn select(&mut self, name: &str, sensor: &SimSensor, base_dir: &Path) -> Result<&SimSpi, OpenError> {
        let (spec, environment) = (&sensor.spec, environment([sensor], base_dir)?);
        let chip = models::on_spi(spec.chip, &spec.settings, environment).ok_or_else(|| no_model(spec))?;
        let spi = SimSpi::new(name, self.clock.clone(), chip);
        spi.set_schedule(FaultSchedule::new(&sensor.faults));
        Ok(self.selects.entry(name.to_owned()).or_insert(spi))
    }

    /// Attaches the simulated chip of `sensor` to its bus. `all` are the sensors of the board.
    fn attach(
        &mut self,
        name: &str,
        address: u8,
        sensor: &SimSensor,
        all: &[&SimSensor],
        base_dir: &Path,
    ) -> Result<&SimBus, OpenError> {
        let clock = self.clock.clone();
        let bus = self.buses.entry(name.to_owned()).or_insert_with(|| SimBus::with_clock(name, clock));
        bus.add_schedule(address, FaultSchedule::new(&sensor.faults));
        // One chip for all sensors that share it; the last of them replaces it, with the same channels.
        let shared = all.iter().copied().filter(|other| other.spec.bus_address == sensor.spec.bus_address);
        let (spec, environment) = (&sensor.spec, environment(shared, base_dir)?);
        let model = models::on_i2c(spec.chip, &spec.settings, environment).ok_or_else(|| no_model(spec))?;
        bus.attach(address, model);
        Ok(bus)
    }
}

#[cfg(feature = "chips")]
fn no_model(spec: &SensorSpec) -> OpenError {
    OpenError::new(&spec.name, format!("`{}` has no model for a simulated bus", spec.chip))
}

/// Creates the environment of the chip that `sensors` read, each on a channel of its own: their waveforms, and those of
/// their faults that belong neither to the bus nor to the driver.
fn environment<'a>(
    sensors: impl IntoIterator<Item = &'a SimSensor>,
    base_dir: &Path,
) -> Result<Environment, OpenError> {
    let mut channels = Vec::new();
    for sensor in sensors {
        let generator = |quantity: &Quantity| Ok((*quantity, generator(sensor, *quantity, base_dir)?));
        let mut generators: Vec<(Quantity, Generator)> =
            sensor.spec.quantities.iter().map(generator).collect::<Result<_, OpenError>>()?;
        generators.shrink_to_fit();
        channels.push((sensor.spec.settings.channel(), generators, FaultSchedule::new(&sensor.faults)));
    }
    Ok(Environment::with_channels(move |channel, quantity, now| {
        let Some((_, generators, schedule)) = channels.iter_mut().find(|(known, ..)| *known == channel)
        else {
            return 0.0;
        };
        let generator = generators.iter_mut().find(|(known, _)| *known == quantity);
        let value = generator.map_or(0.0, |(_, generator)| generator.next(now));
        schedule.distort(quantity, value, now)
    }))
}

fn generator(sensor: &SimSensor, quantity: Quantity, base_dir: &Path) -> Result<Generator, OpenError> {
    let specified = sensor.waveforms.get(&quantity).cloned();
    let waveform = specified.unwrap_or_else(|| defaults::waveform(&sensor.spec, quantity));
    Generator::new(&waveform, base_dir).map_err(|error| {
        OpenError::new(&sensor.spec.name, format!("{quantity} cannot be simulated: {error}"))
    })
}
