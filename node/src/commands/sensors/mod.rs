//! `atalaya sensors list` and `read`: what a board carries, and what it measures, without any fleet; and how the sensors
//! of a node are that is in one.

mod scan;

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use atalaya_hal::drivers::info;
use atalaya_hal::{Backend, Board, Boards, duration};
use clap::{Args, Subcommand};
use serde_json::json;

use super::args::{BoardArgs, ConnectionArgs, Output};
use super::process_environment;
use super::stdout::print;
use super::tools::with_session_of;
use crate::commands::exit::Failure;
use crate::model::health_status::{HealthStatus, SensorState};
use crate::model::node_id::NodeId;
use crate::model::node_info::{self, NodeInfo, SensorStatus};
use crate::model::text::truncate;
use crate::sampling::{self, Sample, Sensors};
use crate::settings::load_boards;

#[derive(Debug, Subcommand)]
pub(super) enum SensorsCommand {
    /// List the sensors of a board, without touching them, or those of a running node, and how they are.
    #[command(after_help = "\
Examples:
  atalaya sensors list --board greenhouse        what boards.toml says
  atalaya sensors list --node 3                  how the sensors of node 3 are, as it says itself
  atalaya sensors list --node 3 --output json | jq 'select(.health != \"ok\")'

Health is ok, failing, absent (nobody at the address, no such file) or unread (not asked yet).")]
    List(SensorsListArgs),
    /// Read the sensors of a board, and print what they say.
    #[command(after_help = "\
Examples:
  atalaya sensors read                           all sensors, once
  atalaya sensors read ambient --count 10 --interval 500ms
  atalaya sensors read --output json | jq .value")]
    Read(SensorsReadArgs),
    /// Find what answers on the I²C buses of this machine, without writing to them.
    #[command(after_help = "\
Examples:
  sudo atalaya sensors scan                      all buses
  atalaya sensors scan i2c-1 --output json | jq .candidates

Each address is read from once. A chip does not say what it is: those listed may have that address.")]
    Scan(scan::SensorsScanArgs),
}

#[derive(Debug, Args)]
pub(super) struct SensorsListArgs {
    /// The sensors of this node of the fleet, with their health, from ZooKeeper.
    #[arg(long, value_name = "ID")]
    node: Option<NodeId>,

    /// Which board.
    #[command(flatten)]
    board: BoardArgs,

    /// How to get to ZooKeeper, for --node.
    #[command(flatten)]
    connection: ConnectionArgs,

    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Args)]
pub(super) struct SensorsReadArgs {
    /// Only the sensor of this name.
    sensor: Option<String>,

    /// Which board.
    #[command(flatten)]
    board: BoardArgs,

    /// How many times to read; 0: until interrupted.
    #[arg(long, default_value_t = 1)]
    count: u64,

    /// How long to wait between two readings.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    interval: String,

    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

/// Maximum time for one reading: more than any `timeout` in boards.toml, so that the sensor itself says what is wrong.
const PATIENCE: Duration = Duration::from_secs(12);
/// Pause between two reads of a sensor that has not measured yet.
const START_INTERVAL: Duration = Duration::from_millis(500);
/// Time that a chip with a slow clock, and a busy bus, may need longer for its first measurement.
const START_MARGIN: Duration = Duration::from_secs(3);
/// Most characters of one cell of a table.
const LONGEST_CELL: usize = 300;

pub(super) fn main(command: SensorsCommand) -> Result<(), Failure> {
    match command {
        SensorsCommand::List(args) => match &args.node {
            Some(id) => list_of_node(id, &args),
            None => list(&args),
        },
        SensorsCommand::Scan(args) => scan::main(&args),
        SensorsCommand::Read(args) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(Failure::internal)?.block_on(read(&args))
        }
    }
}

fn load(args: &BoardArgs) -> Result<(Boards, String), Failure> {
    let boards = load_boards(args.boards.as_ref(), process_environment())?;
    let name = boards.board(args.board_name().as_deref()).map_err(Failure::config)?.0.to_owned();
    Ok((boards, name))
}

/// What the board of this machine carries; nothing is asked.
fn list(args: &SensorsListArgs) -> Result<(), Failure> {
    let (boards, name) = load(&args.board)?;
    let board = &boards.boards[&name];
    let backend = match board.backend {
        Backend::Sim => "sim",
        Backend::Linux => "linux",
    };
    let sensors =
        board.sensors.iter().map(|config| SensorStatus::new(&info(config), &HealthStatus::default()));
    let mut table =
        vec![["sensor", "chip", "place", "measures", "unit", "backend"].map(str::to_owned).to_vec()];
    let mut text = String::new();
    for sensor in sensors {
        let _ = writeln!(
            text,
            "{}",
            json!({"board": name, "sensor": sensor.name, "chip": sensor.chip, "bus": sensor.bus,
                "address": sensor.address, "quantities": sensor.quantities, "units": sensor.units(),
                "backend": backend})
        );
        let mut row = described(&sensor);
        row.push(backend.to_owned());
        table.push(row);
    }
    if args.output == Output::Table {
        text = aligned(&table);
    }
    print(text.as_bytes())
}

/// What the node called `id` says of its sensors in ZooKeeper.
fn list_of_node(id: &NodeId, args: &SensorsListArgs) -> Result<(), Failure> {
    let path = format!("{}/{id}", node_info::PARENT_PATH);
    let data = with_session_of(args.board.boards.as_ref(), &args.connection, |session| async move {
        let connection = session.connection().await;
        // What it has written just now is to be seen.
        connection.sync().await.map_err(Failure::temp_fail)?;
        match connection.get(&path).await {
            Ok((data, _)) => Ok(data),
            Err(error) if error.is_no_node() => {
                Err(Failure::io(anyhow!("node {id} is not there: there is no znode {path}")))
            }
            Err(error) => Err(Failure::temp_fail(error)),
        }
    })?;
    let said: NodeInfo = serde_json::from_slice(&data).map_err(|error| {
        Failure::data(anyhow!("what node {id} says of itself is not understood: {error}"))
    })?;
    let text = match args.output {
        Output::Table => table_of_node(&said),
        Output::Json => lines_of_node(id, &said),
    };
    print(text.as_bytes())
}

fn table_of_node(said: &NodeInfo) -> String {
    let header = ["sensor", "chip", "place", "measures", "unit", "health", "since", "count", "error"];
    let mut table = vec![header.map(str::to_owned).to_vec()];
    for sensor in &said.sensors {
        let health = &sensor.health;
        let mut row = described(sensor);
        row.push(health.state.name().to_owned());
        row.push(health.since.map_or_else(|| "-".to_owned(), |since| format!("{since:.0}")));
        row.push(health.count.to_string());
        row.push(health.error.as_deref().map_or_else(|| "-".to_owned(), plain));
        table.push(row);
    }
    aligned(&table)
}

fn lines_of_node(id: &NodeId, said: &NodeInfo) -> String {
    let line = |sensor: &SensorStatus| {
        let health = &sensor.health;
        let line = json!({"node": id.as_str(), "board": said.board, "sensor": sensor.name, "chip": sensor.chip,
            "bus": sensor.bus, "address": sensor.address, "quantities": sensor.quantities, "units": sensor.units(),
            "health": health.state.name(), "since": health.since, "count": health.count, "error": health.error});
        format!("{line}\n")
    };
    said.sensors.iter().map(line).collect()
}

/// The columns that both lists have.
fn described(sensor: &SensorStatus) -> Vec<String> {
    let list = |words: &[&str]| if words.is_empty() { "-".to_owned() } else { plain(&words.join(", ")) };
    let quantities: Vec<&str> = sensor.quantities.iter().map(String::as_str).collect();
    vec![
        plain(&sensor.name),
        plain(&sensor.chip),
        plain(&sensor.location()),
        list(&quantities),
        list(&sensor.units()),
    ]
}

/// Returns a cell, safe for a terminal.
fn plain(text: &str) -> String {
    truncate(text, LONGEST_CELL)
}

/// Rows with columns as wide as they need to be.
fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
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
    let buses = sampling::open(board, &boards.base_dir).map_err(Failure::config)?;
    let mut sensors = Sensors::start(buses).map_err(Failure::internal)?.without_backoff();
    let mut first = Some(first_samples(&mut sensors, board, args.sensor.as_deref()).await);
    let mut ticks = tokio::time::interval(interval);
    let mut failed = Vec::new();
    for _ in 0..if args.count == 0 { u64::MAX } else { args.count } {
        ticks.tick().await;
        failed.clear();
        let samples = match first.take() {
            Some(samples) => samples,
            None => sensors.sample(PATIENCE).await,
        };
        for sample in samples {
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

/// Reads every sensor once, and those that were started by this read (an SCD4x) again until they have measured, or their time
/// is over. A chip that does not answer is not waited for.
async fn first_samples(sensors: &mut Sensors, board: &Board, wanted: Option<&str>) -> Vec<Sample> {
    let mut samples = sensors.sample(PATIENCE).await;
    let begun = Instant::now();
    let mut told: Vec<String> = Vec::new();
    loop {
        let absent: Vec<String> = sensors
            .health()
            .filter(|(_, health)| health.status().state == SensorState::Absent)
            .map(|(info, _)| info.name.clone())
            .collect();
        let mut late: Vec<&mut Sample> = samples
            .iter_mut()
            .filter(|sample| sample.result.is_err() && !absent.contains(&sample.sensor))
            .filter(|sample| wanted.is_none_or(|wanted| wanted == sample.sensor))
            .filter(|sample| begun.elapsed() < longest_start(board, &sample.sensor))
            .collect();
        if late.is_empty() {
            return samples;
        }
        for sample in &late {
            if !told.contains(&sample.sensor) {
                let limit = longest_start(board, &sample.sensor).as_secs();
                let line = format!("{}: waiting up to {limit} s for the first measurement\n", sample.sensor);
                // Only progress: without a stderr the readings still matter.
                let _ = std::io::stderr().write_all(line.as_bytes());
                told.push(sample.sensor.clone());
            }
        }
        tokio::time::sleep(START_INTERVAL).await;
        // The others are not replaced: their filters have seen the value that is shown.
        for sample in sensors.sample(PATIENCE).await {
            if let Some(known) = late.iter_mut().find(|known| known.sensor == sample.sensor) {
                **known = sample;
            }
        }
    }
}

/// Longest time that a sensor may take from its first read to its first measurement; zero if it measures at once.
fn longest_start(board: &Board, sensor: &str) -> Duration {
    let config = board.sensors.iter().find(|config| config.name == sensor);
    let takes = config.map_or(Duration::ZERO, |config| config.chip.entry().first_reading);
    if takes.is_zero() { takes } else { takes + START_MARGIN }
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
