//! `atalaya sensors read`: reads the sensors of a board, without a fleet.

use std::io::Write as _;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use atalaya_config::{Board, duration};
use clap::Args;
use serde_json::json;

use super::load_board;
use crate::commands::args::{BoardArgs, Output};
use crate::commands::current_thread_runtime;
use crate::commands::exit::Failure;
use crate::commands::stdout::print;
use crate::model::health_status::SensorState;
use crate::sampling::{self, Sample, Sensors};

/// Maximum time for one reading. It is longer than any `timeout` in boards.toml, so that the driver reports the error.
const READ_TIMEOUT: Duration = Duration::from_secs(12);
/// Interval between reads of a sensor that has no measurement yet.
const START_INTERVAL: Duration = Duration::from_millis(500);
/// Additional time for the first measurement of a chip with a slow clock or on a busy bus.
const START_MARGIN: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(in crate::commands) struct SensorsReadArgs {
    /// Name of the sensor to read [default: all sensors].
    sensor: Option<String>,

    #[command(flatten)]
    board: BoardArgs,

    /// Number of readings; 0 reads until Ctrl-C.
    #[arg(long, default_value_t = 1)]
    count: u64,

    /// Interval between readings.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    interval: Duration,

    /// Output format; json prints one object per line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn main(args: &SensorsReadArgs) -> Result<(), Failure> {
    current_thread_runtime()?.block_on(read(args))
}

async fn read(args: &SensorsReadArgs) -> Result<(), Failure> {
    let (boards, name) = load_board(&args.board)?;
    let board = &boards.boards[&name];
    if let Some(sensor) = &args.sensor
        && !board.specs().any(|spec| spec.name == *sensor)
    {
        let names: Vec<&str> = board.specs().map(|spec| spec.name.as_str()).collect();
        let problem =
            format!("board {name} has no sensor \"{sensor}\"; its sensors are {}", names.join(", "));
        return Err(Failure::usage(anyhow!(problem)));
    }
    let buses = sampling::open(board, &boards.base_dir).map_err(Failure::config)?;
    let mut sensors = Sensors::start(buses).map_err(Failure::internal)?;
    sensors.backoff = false;
    let mut first = Some(first_samples(&mut sensors, board, args.sensor.as_deref()).await);
    let mut ticks = tokio::time::interval(args.interval);
    let mut failed = Vec::new();
    for _ in 0..if args.count == 0 { u64::MAX } else { args.count } {
        ticks.tick().await;
        failed.clear();
        let samples = match first.take() {
            Some(samples) => samples,
            None => sensors.sample(READ_TIMEOUT).await,
        };
        for sample in samples {
            if args.sensor.as_ref().is_some_and(|sensor| *sensor != sample.sensor) {
                continue;
            }
            print(format_sample(&sample, args.output).as_bytes())?;
            if let Err(fault) = sample.result {
                failed.push(format!("{}: {fault}", sample.sensor));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::io(anyhow!("{}", failed.join("; ")))) }
}

/// Reads all sensors once. Sensors that the first read starts (such as an SCD4x) are read again until they have
/// measured or their maximum start time is over. Does not wait for absent chips.
async fn first_samples(sensors: &mut Sensors, board: &Board, selected: Option<&str>) -> Vec<Sample> {
    let mut samples = sensors.sample(READ_TIMEOUT).await;
    let started = Instant::now();
    let mut announced: Vec<String> = Vec::new();
    loop {
        let absent = sensors.health().filter(|(_, health)| health.status.state == SensorState::Absent);
        let absent: Vec<String> = absent.map(|(info, _)| info.name.clone()).collect();
        let mut pending: Vec<&mut Sample> = samples
            .iter_mut()
            .filter(|sample| sample.result.is_err() && !absent.contains(&sample.sensor))
            .filter(|sample| selected.is_none_or(|selected| selected == sample.sensor))
            .filter(|sample| started.elapsed() < max_start_time(board, &sample.sensor))
            .collect();
        if pending.is_empty() {
            return samples;
        }
        for sample in &pending {
            if !announced.contains(&sample.sensor) {
                let limit = max_start_time(board, &sample.sensor).as_secs();
                let line = format!("{}: waiting up to {limit} s for the first measurement\n", sample.sensor);
                // Only progress, so a closed stderr is not an error.
                let _ = std::io::stderr().write_all(line.as_bytes());
                announced.push(sample.sensor.clone());
            }
        }
        tokio::time::sleep(START_INTERVAL).await;
        // Only the pending samples are replaced. The filters of the other sensors have already passed the first
        // value, and may drop the second one.
        for sample in sensors.sample(READ_TIMEOUT).await {
            if let Some(known) = pending.iter_mut().find(|known| known.sensor == sample.sensor) {
                **known = sample;
            }
        }
    }
}

/// Returns the maximum time from the first read of a sensor to its first measurement; zero if it measures at once.
fn max_start_time(board: &Board, sensor: &str) -> Duration {
    let spec = board.specs().find(|spec| spec.name == sensor);
    let first_reading = spec.map_or(Duration::ZERO, |spec| spec.chip.spec().first_reading);
    if first_reading.is_zero() { Duration::ZERO } else { first_reading + START_MARGIN }
}

fn format_sample(sample: &Sample, output: Output) -> String {
    let sensor = &sample.sensor;
    let readings = sample.readings().map(|reading| {
        let (quantity, unit, value) = (reading.quantity().name(), reading.quantity().unit(), reading.value());
        match output {
            Output::Json => {
                format!("{}\n", json!({"sensor": sensor, "quantity": quantity, "value": value, "unit": unit}))
            }
            Output::Table => format!("{sensor:16} {quantity:14} {value} {unit}\n"),
        }
    });
    let fault = sample.result.as_ref().err().filter(|_| output == Output::Json);
    readings.chain(fault.map(|fault| format!("{}\n", json!({"sensor": sensor, "error": fault})))).collect()
}
