//! How many samples a second a simulated bus gives, to a bare loop over a published driver and to a
//! [`Sensor`](atalaya_hal::Sensor) with a filter: `cargo run --release -p atalaya-sim --example samples`. The loops take
//! turns; each line has samples a second of both. `cargo xtask bench pi` runs it.

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
const TIME: Duration = Duration::from_millis(200);

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
        println!("samples {:.1} {:.1}", rate(&mut bare)?, rate(&mut ours)?);
    }
    Ok(())
}

/// Samples a second.
fn rate(read: &mut dyn FnMut() -> Result<f64, String>) -> Result<f64, String> {
    let start = Instant::now();
    let mut samples = 0_u32;
    while start.elapsed() < TIME {
        std::hint::black_box(read()?);
        samples += 1;
    }
    Ok(f64::from(samples) / start.elapsed().as_secs_f64())
}
