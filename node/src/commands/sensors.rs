//! `atalaya sensors list` and `read`: what a board carries, and what it measures, without any fleet.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_hal::{Backend, Boards, SensorConfig, duration};
use serde_json::json;

use super::{board_name, print, surroundings};
use crate::cli::{BoardArgs, Output, SensorsCommand, SensorsListArgs, SensorsReadArgs};
use crate::exit::Failure;
use crate::sensing::{self, Sample, Sensors};
use crate::settings::load_boards;

/// Longest wait for one reading.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn main(command: SensorsCommand) -> Result<(), Failure> {
    match command {
        SensorsCommand::List(args) => list(&args),
        SensorsCommand::Read(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(Failure::software)?.block_on(read(&args))
        }
    }
}

fn load(args: &BoardArgs) -> Result<(Boards, String), Failure> {
    let boards = load_boards(args.boards.as_ref(), surroundings())?;
    let name = boards.board(board_name(args).as_deref()).map_err(Failure::config)?.0.to_owned();
    Ok((boards, name))
}

fn list(args: &SensorsListArgs) -> Result<(), Failure> {
    let (boards, name) = load(&args.board)?;
    let board = &boards.boards[&name];
    let backend = match board.backend {
        Backend::Sim => "sim",
        Backend::Linux => "linux",
    };
    let mut text = String::new();
    if args.output == Output::Table {
        let _ = writeln!(
            text,
            "{:16} {:10} {:10} {:8} {:30} backend",
            "sensor", "chip", "bus", "address", "measures"
        );
    }
    for sensor in &board.sensors {
        let quantities: Vec<&str> = sensor.quantities().iter().map(|quantity| quantity.name()).collect();
        let _ = match args.output {
            Output::Json => writeln!(
                text,
                "{}",
                json!({"board": name, "sensor": sensor.name, "chip": sensor.chip.to_string(), "bus": sensor.bus,
                    "address": sensor.address, "quantities": quantities, "backend": backend})
            ),
            Output::Table => writeln!(
                text,
                "{:16} {:10} {:10} {:8} {:30} {backend}",
                sensor.name,
                sensor.chip.to_string(),
                sensor.bus.as_deref().unwrap_or("-"),
                address(sensor),
                quantities.join(", "),
            ),
        };
    }
    print(text.as_bytes())
}

fn address(sensor: &SensorConfig) -> String {
    sensor.address.map_or_else(|| "-".to_owned(), |address| format!("{address:#04x}"))
}

async fn read(args: &SensorsReadArgs) -> Result<(), Failure> {
    let interval =
        duration::parse(&args.interval).map_err(|error| Failure::usage(anyhow!("--interval: {error}")))?;
    let (boards, name) = load(&args.board)?;
    let board = &boards.boards[&name];
    if let Some(wanted) = &args.sensor
        && !board.sensors.iter().any(|sensor| sensor.name == *wanted)
    {
        let names: Vec<&str> = board.sensors.iter().map(|sensor| sensor.name.as_str()).collect();
        let known = names.join(", ");
        return Err(Failure::usage(anyhow!("board {name} has no sensor \"{wanted}\"; it has {known}")));
    }
    let buses = sensing::open(board, &boards.base_dir).map_err(Failure::config)?;
    let mut sensors = Sensors::start(buses).map_err(Failure::software)?;
    let mut ticks = tokio::time::interval(interval);
    let mut failed = Vec::new();
    for _ in 0..if args.count == 0 { u64::MAX } else { args.count } {
        ticks.tick().await;
        failed.clear();
        for sample in sensors.sample(PATIENCE).await {
            if args.sensor.as_ref().is_some_and(|wanted| *wanted != sample.sensor) {
                continue;
            }
            print(show(&sample, args.output).as_bytes())?;
            if let Err(fault) = sample.result {
                failed.push(format!("{}: {fault}", sample.sensor));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::io(anyhow!("{}", failed.join("; ")))) }
}

fn show(sample: &Sample, output: Output) -> String {
    let mut text = String::new();
    for reading in sample.readings() {
        let (quantity, unit) = (reading.quantity(), reading.quantity().unit());
        let _ = match output {
            Output::Json => writeln!(
                text,
                "{}",
                json!({"sensor": sample.sensor, "quantity": quantity.name(), "value": reading.value(), "unit": unit})
            ),
            Output::Table => {
                writeln!(text, "{:16} {:14} {} {unit}", sample.sensor, quantity.name(), reading.value())
            }
        };
    }
    if let (Err(fault), Output::Json) = (&sample.result, output) {
        let _ = writeln!(text, "{}", json!({"sensor": sample.sensor, "error": fault}));
    }
    text
}
