//! Reads a simulated LM75 through the driver of the real chip, unplugs the chip, and plugs it in again:
//! `cargo run -p atalaya-sim --example unplug`

use atalaya_hal::Boards;
use atalaya_sim::{Fault, Simulator};

const BOARD: &str = r#"
[boards.bench]
backend = "sim"

[[boards.bench.sensors]]
name = "ambient"
chip = "lm75"
bus = "i2c-1"
address = 0x48
sim = { temperature = { walk = { start = 21, step = 1, min = 15, max = 30 } } }
"#;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let boards = Boards::parse(BOARD, "the example")?;
    let (_, board) = boards.board(None)?;
    let (simulator, mut buses) = Simulator::new(board, &boards.base_dir)?;
    let bus = simulator.bus("i2c-1").ok_or("the board has no i2c-1")?;

    for (fault, what) in
        [(None, "plugged in"), (Some(Fault::NoAcknowledge), "pulled out"), (None, "back again")]
    {
        println!("{what}:");
        bus.set_fault(0x48, fault);
        for sensor in buses.iter_mut().flat_map(|bus| &mut bus.sensors) {
            for _ in 0..3 {
                match sensor.read() {
                    Ok(readings) => readings.iter().for_each(|reading| println!("  {reading}")),
                    Err(error) => println!("  {error}"),
                }
            }
        }
    }
    Ok(())
}
