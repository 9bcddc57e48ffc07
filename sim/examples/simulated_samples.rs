//! Measures how many samples per second a simulated bus yields to a bare loop over a published driver, to a
//! [`Sensor`](atalaya_hal::Sensor), and to one with a filter: `cargo run --release -p atalaya-sim --example simulated_samples`.
//! They take turns of a few samples, so that other load on the machine affects all of them; each line shows the samples
//! per second of each. `cargo xtask bench pi` runs it.

use std::time::{Duration, Instant};

use atalaya_hal::{BusAddress, Chip, Filter, Quantity, Sensor, SensorSpec};
use atalaya_sim::{Shape, SimSensor, Simulator, Waveform};

const ROUNDS: u32 = 10;
const TIME: Duration = Duration::from_millis(300);
const TURN: u32 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let filters = vec![Filter::Offset(0.5)];
    let board = [lm75("ambient", 0x48, Vec::new()), lm75("filtered", 0x49, filters)];
    let (simulator, buses) = Simulator::new(&board, "")?;
    let bus = simulator.bus("i2c-1").ok_or("the board has no i2c-1")?;
    let mut chip = lm75::Lm75::new(bus.clone(), 0x48);
    let mut bare = || chip.read_temperature().map(f64::from).map_err(|error| format!("{error:?}"));
    let mut sensors = buses.into_iter().flat_map(|bus| bus.sensors);
    let mut next = || sensors.next().ok_or("the board has too few sensors");
    let (mut plain, mut filtered) = (next()?, next()?);
    for _ in 0..ROUNDS {
        let (mut turns, mut times) = (0, [Duration::ZERO; 3]);
        while times.iter().sum::<Duration>() < TIME {
            times[0] += turn(&mut bare)?;
            times[1] += turn(&mut || read(&mut *plain))?;
            times[2] += turn(&mut || read(&mut *filtered))?;
            turns += 1;
        }
        let [bare, plain, filtered] = times.map(|time| f64::from(turns * TURN) / time.as_secs_f64());
        println!("samples {bare:.1} {plain:.1} {filtered:.1}");
    }
    Ok(())
}

/// Returns an LM75 whose temperature is a random walk.
fn lm75(name: &str, address: u8, filters: Vec<Filter>) -> SimSensor {
    let bus_address = BusAddress::I2c { bus: "i2c-1".to_owned(), address };
    let walk = Shape::Walk { start: 21.0, step: 1.0, min: 15.0, max: 30.0 };
    let mut sensor = SimSensor::new(SensorSpec { filters, ..SensorSpec::new(name, Chip::Lm75, bus_address) });
    sensor.waveforms.insert(Quantity::Temperature, Waveform { shape: walk, step: None, seed: None });
    sensor
}

fn read(sensor: &mut dyn Sensor) -> Result<f64, String> {
    match sensor.read() {
        Ok(ref readings) => readings.first().map(|reading| reading.value()).ok_or_else(String::new),
        Err(ref error) => Err(error.to_string()),
    }
}

/// Returns the duration of one turn.
fn turn(read: &mut dyn FnMut() -> Result<f64, String>) -> Result<Duration, String> {
    let start = Instant::now();
    for _ in 0..TURN {
        std::hint::black_box(read()?);
    }
    Ok(start.elapsed())
}
