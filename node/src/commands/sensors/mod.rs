//! `atalaya sensors list|read|scan`: the sensors of a board or of a running node.

mod list;
mod read;
mod scan;

use atalaya_config::Boards;
use clap::Subcommand;

use super::args::BoardArgs;
use super::process_environment;
use crate::commands::exit::Failure;
use crate::settings::load_boards;

#[derive(Debug, Subcommand)]
pub(super) enum SensorsCommand {
    /// List the sensors of a board without accessing them, or those of a running node with their health.
    #[command(after_help = "\
Examples:
  atalaya sensors list --board greenhouse        sensors in boards.toml
  atalaya sensors list --node 3                  sensors of node 3 with their health, from ZooKeeper
  atalaya sensors list --node 3 --output json | jq 'select(.health != \"ok\")'

Health is ok, failing, absent (no chip at the address, or no such file) or unread (not read yet).

Exit codes: 0 done; 69 ZooKeeper unreachable; 74 the node is not running; 78 wrong configuration.")]
    List(list::SensorsListArgs),
    /// Read the sensors of a board and print the readings.
    #[command(after_help = "\
Examples:
  atalaya sensors read                           read all sensors once
  atalaya sensors read ambient --count 10 --interval 500ms
  atalaya sensors read --output json | jq .value

Exit codes: 0 the last reading of each sensor succeeded; 64 unknown sensor; 74 a sensor failed; 78 wrong \
configuration.")]
    Read(read::SensorsReadArgs),
    /// Find chips on the I²C buses of this machine, without writing to them.
    #[command(after_help = "\
Examples:
  sudo atalaya sensors scan                      scan all buses
  atalaya sensors scan i2c-1 --output json | jq .candidates

Each address is read once. Chips do not identify themselves, so the output lists the supported chips \
that can have the address.

Exit codes: 0 done; 74 no such bus, or a bus cannot be read.")]
    Scan(scan::SensorsScanArgs),
}

pub(super) fn main(command: SensorsCommand) -> Result<(), Failure> {
    match command {
        SensorsCommand::List(args) => list::main(&args),
        SensorsCommand::Read(args) => read::main(&args),
        SensorsCommand::Scan(args) => scan::main(&args),
    }
}

/// Loads the configuration. Returns it with the name of the board of this machine.
fn load_board(args: &BoardArgs) -> Result<(Boards, String), Failure> {
    let boards = load_boards(args.boards.as_ref(), process_environment())?;
    let name = boards.board(args.board_name().as_deref()).map_err(Failure::config)?.0.to_owned();
    Ok((boards, name))
}
