//! The command line: what can be asked for, and its help.

#[cfg(feature = "collector")]
mod collect;
#[cfg(feature = "collector")]
mod epochs;
mod health;
mod reap;
mod reports;
mod status;
mod tools;

use std::path::PathBuf;

use clap::builder::styling::{AnsiColor, Styles};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::logging::LogFormat;
use crate::model::node_id::NodeId;
use crate::settings::listen_addr::ListenAddr;
#[cfg(feature = "collector")]
pub use collect::CollectArgs;
#[cfg(feature = "collector")]
pub use epochs::*;
pub use health::HealthArgs;
pub use reap::*;
pub use reports::*;
pub use status::StatusArgs;
pub use tools::*;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A sensor firmware host for fleets that must not lose measurements.
///
/// Every node measures with what its board carries, publishes in ZooKeeper, and takes part in an election; the one that
/// leads averages what all of them measured and reports it to a REST API.
#[derive(Debug, Parser)]
#[command(name = "atalaya", version, styles = STYLES, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// How log lines are written, to stderr.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Logs")]
    pub log_format: LogFormat,

    /// What is logged: error, warn, info, debug, trace, or target=level pairs. Also ATALAYA_LOG.
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logs")]
    pub log: Option<String>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The examples of builds with and without the demo.
macro_rules! examples {
    ($demo:literal) => {
        concat!(
            "Examples:\n",
            $demo,
            "\
\x20 atalaya run 1                                    a node with one simulated sensor
  atalaya run 1 --board laptop --zookeeper zk1:2181,zk2:2181,zk3:2181/fleet
  atalaya run 1 --api-url http://127.0.0.1:8000/nuevo --sampling-period 1s
  atalaya collect --listen 127.0.0.1:8000          the API, which keeps the averages and shows them
  atalaya status --watch                           who is here, and what they measure
  atalaya config init 5s http://127.0.0.1:8000/nuevo    tells the whole fleet, at once
  atalaya check boards.toml                        is this file right?
  atalaya sensors read --board laptop              what does it measure?
  atalaya lock /locks/backup -- ./backup.sh        one at a time, wherever it is started
  atalaya inspect /election                        who leads, who waits
  atalaya reap 1                                   node 1 was killed: let the next one lead

Exit codes: 0 done, 64 wrong usage, 65 wrong data in ZooKeeper, 69 ZooKeeper unreachable,
70 a defect, 73 node id taken, 74 sensor unreadable, 75 not to be had in time, 78 wrong configuration."
        )
    };
}

#[cfg(feature = "demo")]
const EXAMPLES: &str = examples!(
    "  atalaya demo                                     a fleet on this machine, and keys that kill things\n"
);
#[cfg(not(feature = "demo"))]
const EXAMPLES: &str = examples!("");

/// What can be asked for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Be a node: measure, publish, and lead when it is your turn, until SIGINT or SIGTERM.
    Run(RunArgs),
    /// Show a whole fleet on this machine: nodes, a ZooKeeper and an API with a page in one process, and keys that kill
    /// things.
    #[cfg(feature = "demo")]
    Demo(DemoArgs),
    /// Show a fleet: who leads, what waits to be reported, which nodes measure what, and how they are.
    Status(StatusArgs),
    /// Check a boards.toml, and the settings that go with it, without doing anything.
    Check(CheckArgs),
    /// Look at the sensors of a board.
    #[command(subcommand)]
    Sensors(SensorsCommand),
    /// Run a ZooKeeper server in memory, for development. It keeps nothing.
    #[cfg(feature = "sim")]
    #[command(name = "zookeeper")]
    ZooKeeper(ZooKeeperArgs),
    /// Be the REST API that the leader reports to: keep each report once, and show them.
    #[cfg(feature = "collector")]
    Collect(CollectArgs),
    /// List the epochs in a collector's store, and drop one that outranks the fleet.
    #[cfg(feature = "collector")]
    #[command(subcommand)]
    Epochs(EpochsCommand),
    /// Look at reports that are not delivered, and decide what becomes of those that the API rejects.
    #[command(subcommand)]
    Reports(ReportsCommand),
    /// Hold a lock while a command runs, or until Ctrl-C.
    Lock(LockArgs),
    /// Run a command wherever it leads: on one machine at a time.
    Elect(ElectArgs),
    /// Read a counter, or add to it exactly once.
    #[command(subcommand)]
    Counter(CounterCommand),
    /// Wait at a barrier, open it, close it.
    #[command(subcommand)]
    Barrier(BarrierCommand),
    /// Put something into a queue, or take it out.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Read, write or follow a value that many share.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Show what stands at a znode: holder and contenders of a lock, members, counters, or everything as a tree.
    Inspect(InspectArgs),
    /// Clear up after a node that was killed, so that the next in line leads at once.
    Reap(ReapArgs),
    /// Ask an address how it is, as health checks of containers do.
    Health(HealthArgs),
    /// What lock and elect start their command with.
    #[command(hide = true)]
    Become(BecomeArgs),
    /// Parent of what lock, elect and command sensors run.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Keep(KeepArgs),
    /// Print a completion script for a shell.
    ///
    /// For bash: atalaya completions bash > /etc/bash_completion.d/atalaya
    Completions {
        /// Which shell.
        shell: Shell,
    },
    /// Print the manual page, or write those of all commands into a folder.
    ///
    /// To read it: atalaya man | man -l -
    Man(ManArgs),
}

/// `atalaya man`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya man | man -l -
  sudo atalaya man --folder /usr/local/share/man/man1     then: man atalaya-run")]
pub struct ManArgs {
    /// Write a page for each command into this folder.
    #[arg(long, value_name = "FOLDER")]
    pub folder: Option<PathBuf>,
}

/// Where boards.toml is, and which board is meant.
#[derive(Clone, Debug, Default, Args)]
pub struct BoardArgs {
    /// The file that describes boards and fleet. Default: boards.toml here, else one simulated sensor. Also
    /// ATALAYA_BOARDS.
    #[arg(long, value_name = "FILE", help_heading = "Board")]
    pub boards: Option<PathBuf>,

    /// Which board of the file this is. Not needed if there is one, or one called default. Also ATALAYA_BOARD.
    #[arg(long, value_name = "NAME", help_heading = "Board")]
    pub board: Option<String>,
}

/// What all nodes of a fleet share.
#[derive(Clone, Debug, Default, Args)]
pub struct FleetArgs {
    /// ZooKeeper's servers and chroot [default: 127.0.0.1:2181]. Also ATALAYA_ZOOKEEPER, ZOOKEEPER_HOSTS,
    /// ZOOKEEPER_HOST, ZK_HOST.
    #[arg(long, value_name = "HOST:PORT,…/CHROOT", help_heading = "Fleet")]
    pub zookeeper: Option<String>,

    /// How long ZooKeeper waits for a silent node before it takes it for dead [default: 10s]. Also
    /// ATALAYA_SESSION_TIMEOUT.
    #[arg(long, value_name = "DURATION", help_heading = "Fleet")]
    pub session_timeout: Option<String>,

    /// How often to measure, and to average when leading [default: 5s]. Also ATALAYA_SAMPLING_PERIOD,
    /// SAMPLING_PERIOD.
    #[arg(long, value_name = "DURATION", help_heading = "Fleet")]
    pub sampling_period: Option<String>,

    /// Where the leader reports; nowhere by default, averages are logged. An address that ends in / means nuevo below
    /// it. Also ATALAYA_API_URL, API_URL.
    #[arg(long, value_name = "URL", help_heading = "Fleet")]
    pub api_url: Option<String>,

    /// How the leader reports: get (…?dato=MEAN) or post (JSON) [default: get]. Also ATALAYA_API_METHOD.
    #[arg(long, value_name = "METHOD", help_heading = "Fleet")]
    pub api_method: Option<String>,

    /// The file with the token that the API wants to see (Authorization: Bearer); read again at SIGHUP, and when the API
    /// does not know the token. Also ATALAYA_API_TOKEN_FILE; ATALAYA_API_TOKEN is the token itself.
    #[arg(long, value_name = "FILE", help_heading = "Fleet")]
    pub api_token_file: Option<PathBuf>,

    /// The only origin to which the token is sent, such as `https://api.example:8443` [default: that of --api-url;
    /// without either the token is not sent]. Also ATALAYA_API_TOKEN_ORIGIN.
    #[arg(long, value_name = "ORIGIN", help_heading = "Fleet")]
    pub api_token_origin: Option<String>,

    /// The origins that /config/api_url in ZooKeeper may name, separated by commas; any by default. Also
    /// ATALAYA_API_ORIGINS.
    #[arg(long, value_name = "ORIGINS", help_heading = "Fleet")]
    pub api_origins: Option<String>,

    /// The znode below which measurements stand [default: /mediciones]. Also ATALAYA_MEASUREMENTS.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    pub measurements: Option<String>,

    /// What a node calls its measurement [default: {id}]. Also ATALAYA_NAME.
    #[arg(long, value_name = "TEMPLATE", help_heading = "Fleet")]
    pub name: Option<String>,

    /// The znode at which the election is held [default: /election]. Also ATALAYA_ELECTION.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    pub election: Option<String>,

    /// Who sets the pace: free (every node its own clock) or barrier (the leader, at /barrier) [default: free]. Also
    /// ATALAYA_SYNC.
    #[arg(long, value_name = "MODE", help_heading = "Fleet")]
    pub sync: Option<String>,

    /// With --sync barrier, when the leader lets all go on: period (once a period) or complete (as soon as all have
    /// published, the period at the latest) [default: period]. Also ATALAYA_RELEASE.
    #[arg(long, value_name = "WHEN", help_heading = "Fleet")]
    pub release: Option<String>,

    /// Who counts measurements at /counter: per-node, per-cycle (the leader, one write a cycle) or off [default: off,
    /// and per-node with --sync barrier]. Also ATALAYA_COUNTER.
    #[arg(long, value_name = "WHO", help_heading = "Fleet")]
    pub counter: Option<String>,

    /// Where this node tells how it is: /metrics for Prometheus, /healthz, /readyz; nowhere by default. Also
    /// ATALAYA_METRICS_LISTEN.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Watching")]
    pub metrics_listen: Option<String>,
}

/// `atalaya run`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya run 1
  atalaya run greenhouse-2 --board greenhouse --zookeeper zk1:2181,zk2:2181,zk3:2181
  ZK_HOST=zoo1 API_URL=http://api:80/ SAMPLING_PERIOD=5 atalaya run 1
  atalaya run 1 --metrics-listen 127.0.0.1:9100    then: curl http://127.0.0.1:9100/readyz
  atalaya run 1 --supervised                 killed, it is back at once, and another leads meanwhile

ZooKeeper need not be up yet: the node waits for it, says so, and goes on when it
comes. It exits with 73 if another live node has the same id. SIGHUP makes it read
boards.toml again: other sensors take their places, session and leadership stay.

What a killed node leaves in ZooKeeper goes when its session times out; or at once, if it
is started again, reaped (atalaya reap), or supervised. --supervised starts it as a process
of its own, which ends with this one, passes signals on, and starts it again unless it ends
with 0, 64, 73 or 78. Under systemd that is not needed.")]
pub struct RunArgs {
    /// This node's id, unique in the fleet: a short name without blanks or slashes.
    pub id: NodeId,

    /// Which board.
    #[command(flatten)]
    pub board: BoardArgs,

    /// The settings of the fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,

    /// Give up (exit 69) when ZooKeeper has not been reached for so long at the start [default: wait for ever].
    #[arg(long, value_name = "DURATION", help_heading = "Fleet")]
    pub connect_timeout: Option<String>,

    /// What is remembered of it.
    #[command(flatten)]
    pub state: StateArgs,

    /// Run it as a process of its own, clear up after it when it is killed, and start it again.
    #[arg(long)]
    pub supervised: bool,

    /// The process that supervises this one, which ends with it: it holds the other end of standard input.
    #[arg(long, hide = true, value_name = "PROCESS", conflicts_with = "supervised")]
    pub supervised_by: Option<u32>,
}

/// `atalaya demo`.
#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya demo                               three nodes; ? explains the keys
  atalaya demo --nodes 50 --board laptop     fifty, with the sensors of that board
  atalaya demo --listen 127.0.0.1:8000       its page is at http://127.0.0.1:8000/
  atalaya demo --plain --for 20s             lines instead of a screen, and an end
  atalaya demo --script show.txt             what goes wrong, and when, by a file

A script has one fault a line, when and what; # begins a comment:
  5s   kill leader          kill, hang, revive or expire: a node's number, leader, all
  10s  revive all
  12s  api away             api away, back, hang (never answers) or fail (503)
  20s  api back
  22s  zookeeper stop       zookeeper stop or start
  25s  zookeeper start
  30s  end

Nothing outside this machine is touched, and nothing is kept.")]
pub struct DemoArgs {
    /// How many nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub nodes: u32,

    /// How often they measure, and the leader averages.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub sampling_period: String,

    /// When ZooKeeper takes a silent node for dead [default: 5s, and 20s for 200 nodes and more].
    #[arg(long, value_name = "DURATION")]
    pub session_timeout: Option<String>,

    /// Where the REST API listens; its page is there, too [default: a free port, which the screen shows].
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:0", hide_default_value = true)]
    pub listen: ListenAddr,

    /// One line for each event, instead of a screen. Without a terminal it is always so.
    #[arg(long)]
    pub plain: bool,

    /// When to end [default: when you do].
    #[arg(long = "for", value_name = "DURATION")]
    pub length: Option<String>,

    /// What goes wrong, and when: see below.
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Which board.
    #[command(flatten)]
    pub board: BoardArgs,
}

/// `atalaya zookeeper`.
#[cfg(feature = "sim")]
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya zookeeper                               for atalaya run, without any settings
  atalaya zookeeper --listen 127.0.0.1:0          at a port that is free, which it logs
  atalaya zookeeper --tick 500                    sessions may be as short as 1 s

It speaks the protocol of Apache ZooKeeper 3.8: zkCli.sh, Kazoo and Curator can use it. It is one
server, has no security beyond ACLs, keeps nothing, and is for development.")]
pub struct ZooKeeperArgs {
    /// Address to listen at; `:2181` for all addresses.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2181")]
    pub listen: ListenAddr,

    /// The unit of time, in milliseconds or as a duration: session timeouts last from 2 to 20 ticks.
    #[arg(long, value_name = "TICK", default_value = "2000")]
    pub tick: String,
}

/// `atalaya check`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya check                      the boards.toml here
  atalaya check /etc/atalaya/boards.toml")]
pub struct CheckArgs {
    /// The file [default: boards.toml here].
    pub file: Option<PathBuf>,

    /// The settings of the fleet.
    #[command(flatten)]
    pub fleet: FleetArgs,
}

/// `atalaya sensors …`.
#[derive(Debug, Subcommand)]
pub enum SensorsCommand {
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
    Scan(SensorsScanArgs),
}

/// `atalaya sensors list`.
#[derive(Debug, Args)]
pub struct SensorsListArgs {
    /// The sensors of this node of the fleet, with their health, from ZooKeeper.
    #[arg(long, value_name = "ID")]
    pub node: Option<NodeId>,

    /// Which board.
    #[command(flatten)]
    pub board: BoardArgs,

    /// How to get to ZooKeeper, for --node.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// `atalaya sensors scan`.
#[derive(Debug, Args)]
pub struct SensorsScanArgs {
    /// Only these buses, such as i2c-1.
    #[arg(value_name = "BUS")]
    pub buses: Vec<String>,

    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// `atalaya sensors read`.
#[derive(Debug, Args)]
pub struct SensorsReadArgs {
    /// Only the sensor of this name.
    pub sensor: Option<String>,

    /// Which board.
    #[command(flatten)]
    pub board: BoardArgs,

    /// How many times to read; 0: until interrupted.
    #[arg(long, default_value_t = 1)]
    pub count: u64,

    /// How long to wait between two readings.
    #[arg(long, value_name = "DURATION", default_value = "1s")]
    pub interval: String,

    /// How to print; json is one object a line.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,
}

/// How results are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    #[default]
    Table,
    /// For scripts.
    Json,
}
