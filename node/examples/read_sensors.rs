//! Reads the sensors of the built-in board five times and prints the data of the measurement's znode:
//! `cargo run --example read_sensors`.

use std::path::Path;
use std::time::Duration;

use atalaya::model::measurement::Format;
use atalaya::sampling::{self, Sensors};
use atalaya_config::Boards;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let boards = Boards::builtin();
    let (name, board) = boards.board(None)?;
    let mut sensors = Sensors::start(sampling::open(board, Path::new(""))?)?;
    let format = Format::for_sensors(sensors.infos());
    for _ in 0..5 {
        let samples = sensors.sample(Duration::from_secs(1)).await;
        let readings: Vec<_> = samples
            .iter()
            .flat_map(|sample| sample.readings().map(|reading| (sample.sensor.as_str(), *reading)))
            .collect();
        let data = format.encode(name, &readings).unwrap_or_default();
        println!("{}", String::from_utf8_lossy(&data));
    }
    Ok(())
}
