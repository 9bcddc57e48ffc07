//! The tools: recipes on the command line, for shell scripts and for people who look.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};

use super::Output;

/// How a tool gets to ZooKeeper.
#[derive(Clone, Debug, Default, Args)]
pub struct ConnectionArgs {
    /// ZooKeeper's servers and chroot [default: boards.toml, else 127.0.0.1:2181]. Also ATALAYA_ZOOKEEPER,
    /// ZOOKEEPER_HOSTS, ZOOKEEPER_HOST, ZK_HOST.
    #[arg(long, value_name = "HOST:PORT,…/CHROOT", help_heading = "ZooKeeper")]
    pub zookeeper: Option<String>,

    /// How long ZooKeeper waits for a silent process before it takes it for dead [default: 10s]. Also
    /// ATALAYA_SESSION_TIMEOUT.
    #[arg(long, value_name = "DURATION", help_heading = "ZooKeeper")]
    pub session_timeout: Option<String>,

    /// Give up (exit 69) when ZooKeeper is not reached within this time.
    #[arg(long, value_name = "DURATION", default_value = "10s", help_heading = "ZooKeeper")]
    pub connect_timeout: String,
}

/// Whose znodes stand in the same line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum NamingArg {
    /// Kazoo's Lock and Election.
    #[default]
    Kazoo,
    /// Curator's LeaderLatch.
    CuratorLatch,
    /// Curator's LeaderSelector and InterProcessMutex.
    CuratorLock,
}

/// `atalaya lock`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya lock /locks/backup -- ./backup.sh           runs when nobody else has the lock
  atalaya lock /locks/backup --wait 30s -- ./backup.sh
  atalaya lock /locks/backup                          holds it until Ctrl-C

The command finds the fencing token in ATALAYA_FENCE: a number that is higher for every later
holder. If the lock is lost, the command is ended, by SIGTERM, then by SIGKILL; if that is because
ZooKeeper cannot be reached, before anybody else can have the lock.

Exit codes: the command's own; 75 if the lock was not to be had in time, or was lost.")]
pub struct LockArgs {
    /// The znode below which contenders stand in line.
    pub path: String,

    /// How long to wait for the lock; 0s: only try [default: for ever].
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<String>,

    /// What this contender calls itself, for those who look [default: this host and process].
    #[arg(long)]
    pub id: Option<String>,

    /// Whose programs stand in the same line.
    #[arg(long, value_enum, default_value_t)]
    pub naming: NamingArg,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// What to run while the lock is held.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `atalaya elect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya elect /service/leader -- ./serve            runs wherever it leads, on one machine at a time
  atalaya elect /service/leader --id blue             says when it leads, until Ctrl-C

As atalaya lock, but it goes on: if leading is lost, the command is ended, and run again when it
leads again. It ends when the command ends by itself, with the command's exit code.")]
pub struct ElectArgs {
    /// The znode at which the election is held.
    pub path: String,

    /// What this contender calls itself [default: this host and process].
    #[arg(long)]
    pub id: Option<String>,

    /// Whose programs stand in the same line.
    #[arg(long, value_enum, default_value_t)]
    pub naming: NamingArg,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,

    /// What to run while it leads.
    #[arg(last = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// `atalaya counter …`.
#[derive(Debug, Subcommand)]
pub enum CounterCommand {
    /// Print what the counter shows.
    Get(CounterGetArgs),
    /// Add to it, exactly once, and print what it shows then.
    #[command(allow_negative_numbers = true)]
    Add(CounterAddArgs),
}

/// `atalaya counter get`.
#[derive(Debug, Args)]
pub struct CounterGetArgs {
    /// The counter's znode.
    pub path: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya counter add`.
#[derive(Debug, Args)]
pub struct CounterAddArgs {
    /// The counter's znode.
    pub path: String,
    /// How much; may be negative.
    #[arg(default_value_t = 1)]
    pub amount: i64,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya barrier …`.
#[derive(Debug, Subcommand)]
pub enum BarrierCommand {
    /// Wait until the barrier is open.
    Wait(BarrierWaitArgs),
    /// Open it: everybody who waits goes on.
    Open(BarrierArgs),
    /// Close it: whoever comes has to wait.
    Close(BarrierArgs),
}

/// `atalaya barrier open` and `close`.
#[derive(Debug, Args)]
pub struct BarrierArgs {
    /// The barrier's znode: while it exists, the barrier is closed.
    pub path: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya barrier wait`.
#[derive(Debug, Args)]
pub struct BarrierWaitArgs {
    /// Which.
    #[command(flatten)]
    pub barrier: BarrierArgs,
    /// Give up (exit 75) after this time [default: never].
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<String>,
}

/// `atalaya queue …`.
#[derive(Debug, Subcommand)]
pub enum QueueCommand {
    /// Put a value into it.
    Put(QueuePutArgs),
    /// Take the first value out of it, and print it.
    Take(QueueTakeArgs),
}

/// `atalaya queue put`.
#[derive(Debug, Args)]
pub struct QueuePutArgs {
    /// The queue's znode.
    pub path: String,
    /// What; - reads standard input.
    pub value: String,
    /// Lower comes first, from 0 to 999.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(0..=999))]
    pub priority: u16,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya queue take`.
#[derive(Debug, Args)]
pub struct QueueTakeArgs {
    /// The queue's znode.
    pub path: String,
    /// How long to wait for something; exit 75 if nothing comes [default: not at all].
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<String>,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya config …`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the value.
    Get(ConfigGetArgs),
    /// Write it. What fleets follow (the keys below /config and /config/nodes/ID) is checked before.
    #[command(after_help = "\
Examples:
  atalaya config set /config/sampling_period 2s         the whole fleet, at once
  atalaya config set /config/nodes/3/log debug          node 3 only; its own keys come first
  atalaya config set /config/nodes/3/log ''             not any more: as it was started

Fleets follow sampling_period, api_url, sync and log. Empty means not set.")]
    Set(ConfigSetArgs),
    /// Print the value, and each new one as it is written, until Ctrl-C.
    Watch(ConfigGetArgs),
    /// Tell a fleet how often to measure and where to report, both at once.
    #[command(after_help = "\
Examples:
  atalaya config init 5s http://127.0.0.1:8000/nuevo
  atalaya config init 2.5 http://api:80/ --zookeeper zk1:2181,zk2:2181/fleet

Nodes that run follow at once, those that come later from their start on. The period is written in
seconds, as Kazoo's programs read it.")]
    Init(ConfigInitArgs),
}

/// `atalaya config init`.
#[derive(Debug, Args)]
pub struct ConfigInitArgs {
    /// How often to measure, for /config/sampling_period.
    #[arg(value_name = "PERIOD")]
    pub sampling_period: String,
    /// Where the leader reports, for /config/api_url.
    #[arg(value_name = "URL")]
    pub api_url: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya config get` and `watch`.
#[derive(Debug, Args)]
pub struct ConfigGetArgs {
    /// The znode.
    pub path: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya config set`.
#[derive(Debug, Args)]
pub struct ConfigSetArgs {
    /// The znode; made if it does not exist.
    pub path: String,
    /// The value; - reads standard input.
    pub value: String,
    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya inspect /election                  who leads, who waits, since when
  atalaya inspect / --recursive              everything, as a tree
  atalaya inspect /mediciones --output json | jq .entries[].data")]
pub struct InspectArgs {
    /// Which znode.
    #[arg(default_value = "/")]
    pub path: String,

    /// Everything below it, as a tree.
    #[arg(long, short)]
    pub recursive: bool,

    /// How to print.
    #[arg(long, value_enum, default_value_t)]
    pub output: Output,

    /// How to get to ZooKeeper.
    #[command(flatten)]
    pub connection: ConnectionArgs,
}

/// `atalaya become`, for this program itself.
#[derive(Debug, Args)]
pub struct BecomeArgs {
    /// Who started it.
    #[arg(long)]
    pub parent: u32,

    /// Report why the command cannot be run as the reader of a sensor expects it.
    #[arg(long)]
    pub sensor: bool,

    /// What to become.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}

/// `atalaya keep`, for this program itself.
#[derive(Debug, Args)]
pub struct KeepArgs {
    /// Process that started this one.
    #[arg(long)]
    pub parent: u32,

    /// Time from SIGTERM to SIGKILL for the processes that the command leaves, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pub grace_ms: u64,

    /// Run the command of a sensor: in a process group of its own.
    #[arg(long)]
    pub sensor: bool,

    /// Command to run.
    #[arg(last = true, required = true)]
    pub command: Vec<OsString>,
}
