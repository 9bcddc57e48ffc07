//! `atalaya sensors list`: the sensors in boards.toml, or those that a node has published in ZooKeeper.

use anyhow::anyhow;
use atalaya_config::Backend;
use clap::Args;
use serde_json::json;

use super::load_board;
use crate::commands::args::{BoardArgs, ConnectionArgs, Output};
use crate::commands::exit::Failure;
use crate::commands::stdout::{json_lines, print};
use crate::commands::task::table::align_columns;
use crate::commands::tools::connection::with_session;
use crate::model::health_status::HealthStatus;
use crate::model::node_id::NodeId;
use crate::model::node_info::{self, NodeInfo, SensorStatus};
use crate::model::text::truncate;

/// Maximum length of a table cell, in characters.
const MAX_CELL_LENGTH: usize = 300;

#[derive(Debug, Args)]
pub(in crate::commands) struct SensorsListArgs {
    /// Node whose sensors are listed, with their health [default: the board of this machine].
    #[arg(long, value_name = "ID")]
    node: Option<NodeId>,

    #[command(flatten)]
    board: BoardArgs,

    #[command(flatten)]
    connection: ConnectionArgs,

    /// Output format; json prints one object per line.
    #[arg(long, value_enum, default_value_t)]
    output: Output,
}

pub(super) fn main(args: &SensorsListArgs) -> Result<(), Failure> {
    let text = match &args.node {
        Some(id) => list_node(id, args)?,
        None => list_board(args)?,
    };
    print(text.as_bytes())
}

/// Lists the sensors of the board, without accessing them.
fn list_board(args: &SensorsListArgs) -> Result<String, Failure> {
    let (boards, name) = load_board(&args.board)?;
    let board = &boards.boards[&name];
    let backend = match board.backend {
        Backend::Sim => "sim",
        Backend::Linux => "linux",
    };
    let sensors = board.specs().map(|spec| SensorStatus::new(&spec.info(), &HealthStatus::default()));
    if args.output == Output::Json {
        return Ok(json_lines(sensors.map(|sensor| {
            json!({"board": name, "sensor": sensor.name, "chip": sensor.chip, "bus": sensor.bus,
                "address": sensor.address, "quantities": sensor.quantities, "units": sensor.units(),
                "backend": backend})
        })));
    }
    let header = ["sensor", "chip", "address", "measures", "unit", "backend"];
    Ok(align(&header, sensors.map(|sensor| cells(&sensor, [backend.to_owned()]))))
}

/// Lists the sensors that node `id` has published in ZooKeeper.
fn list_node(id: &NodeId, args: &SensorsListArgs) -> Result<String, Failure> {
    let path = format!("{}/{id}", node_info::PARENT_PATH);
    let connection = ConnectionArgs { boards: args.board.boards.clone(), ..args.connection.clone() };
    let data = with_session(&connection, async |session| {
        let connection = session.connection().await;
        // Without it, a follower of the ensemble could return older data.
        connection.sync().await?;
        match connection.get_opt(&path).await? {
            Some((data, _)) => Ok(data),
            None => Err(Failure::io(anyhow!("node {id} is not running: znode {path} does not exist"))),
        }
    })?;
    let node: NodeInfo = serde_json::from_slice(&data)
        .map_err(|error| Failure::data(anyhow!("the node info of node {id} is malformed: {error}")))?;
    if args.output == Output::Json {
        return Ok(json_lines(node.sensors.iter().map(|sensor| {
            let health = &sensor.health;
            json!({"node": id.as_str(), "board": node.board, "sensor": sensor.name,
                "chip": sensor.chip, "bus": sensor.bus, "address": sensor.address,
                "quantities": sensor.quantities, "units": sensor.units(), "health": health.state.name(),
                "since": health.since, "count": health.count, "error": health.error})
        })));
    }
    let header = ["sensor", "chip", "address", "measures", "unit", "health", "since", "count", "error"];
    let rows = node.sensors.iter().map(|sensor| {
        let health = &sensor.health;
        let since = health.since.map_or_else(|| "-".to_owned(), |since| format!("{since:.0}"));
        let error = health.error.as_deref().map_or_else(|| "-".to_owned(), cell);
        cells(sensor, [health.state.name().to_owned(), since, health.count.to_string(), error])
    });
    Ok(align(&header, rows))
}

/// Returns the five columns that both tables have, and `more`.
fn cells<const N: usize>(sensor: &SensorStatus, more: [String; N]) -> Vec<String> {
    let list = |words: &[&str]| if words.is_empty() { "-".to_owned() } else { cell(&words.join(", ")) };
    let quantities: Vec<&str> = sensor.quantities.iter().map(String::as_str).collect();
    let (location, units) = (sensor.location(), sensor.units());
    let common = [cell(&sensor.name), cell(&sensor.chip), cell(&location), list(&quantities), list(&units)];
    common.into_iter().chain(more).collect()
}

/// Returns `text` without control characters, cut to [`MAX_CELL_LENGTH`].
fn cell(text: &str) -> String {
    truncate(text, MAX_CELL_LENGTH)
}

/// Formats a table with aligned columns.
fn align(header: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let header = header.iter().map(|&title| title.to_owned()).collect();
    align_columns(&std::iter::once(header).chain(rows).collect::<Vec<_>>())
}
