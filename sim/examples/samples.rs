//! How many samples a second a simulated bus gives, to a bare loop over a published driver and to a
//! [`Sensor`](atalaya_hal::Sensor) with a filter: `cargo run --release -p atalaya-sim --example samples`. They take turns
//! of a few samples, so that whatever else the machine does hits both; each line has samples a second of both.
//! `cargo xtask bench pi` runs it.

use std::time::{Duration, Instant};

use atalaya_hal::Boards;
use atalaya_sim::Simulator;

const BOARD: &str = r#"
[boards.one]
backend = "sim"

[[boards.one.sensors]]
name = "ambient"
chip = "lm75"
bus = "i2c-1"
address = 0x48
filters = [{ offset = 0.5 }]
sim = { temperature = { walk = { start = 21, step = 1, min = 15, max = 30 } } }
"#;

const ROUNDS: u32 = 10;
const TIME: Duration = Duration::from_millis(300);
const TURN: u32 = 1000;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let boards = Boards::parse(BOARD, "this program")?;
    let (simulator, mut buses) = Simulator::new(boards.board(None)?.1, &boards.base_dir)?;
    let bus = simulator.bus("i2c-1").ok_or("the board has no i2c-1")?;
    let mut chip = lm75::Lm75::new(bus.clone(), 0x48);
    let mut bare = || chip.read_temperature().map(f64::from).map_err(|error| format!("{error:?}"));
    let sensor = buses.iter_mut().flat_map(|bus| &mut bus.sensors).next().ok_or("the board has no sensor")?;
    let mut ours = || match sensor.read() {
        Ok(readings) => readings.first().map(|reading| reading.value()).ok_or_else(String::new),
        Err(error) => Err(error.to_string()),
    };
    for _ in 0..ROUNDS {
        let (mut turns, mut times) = (0, [Duration::ZERO; 2]);
        while times[0] + times[1] < TIME {
            times[0] += turn(&mut bare)?;
            times[1] += turn(&mut ours)?;
            turns += 1;
        }
        let [bare, ours] = times.map(|time| f64::from(turns * TURN) / time.as_secs_f64());
        println!("samples {bare:.1} {ours:.1}");
    }
    Ok(())
}

/// How long one turn takes.
fn turn(read: &mut dyn FnMut() -> Result<f64, String>) -> Result<Duration, String> {
    let start = Instant::now();
    for _ in 0..TURN {
        std::hint::black_box(read()?);
    }
    Ok(start.elapsed())
}
