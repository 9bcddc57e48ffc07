//! `cargo xtask fleet`: runs a fleet on a real ZooKeeper, on this machine, until Ctrl-C.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Part};
use atalaya_testbed::{Api, Ensemble, Process, Recorded, Scratch, ZooKeeper, node_command_in};

use crate::console::Console;
use xtask::cargo::{Profile, build_node, workspace};

/// Timeout for the end of a node. It closes its session and ends within 2 s, except on a busy machine.
const NODE_ENDS: Duration = Duration::from_secs(5);
/// Tick time in milliseconds, as in the example of Apache ZooKeeper, so that sessions last as long as in production.
const TICK: u32 = 2_000;
/// Path of ZooKeeper's client in Debian's package.
const ZKCLI: &str = "/usr/share/zookeeper/bin/zkCli.sh";

/// Run a fleet on a real Apache ZooKeeper, all of it on this machine, and show the output of all programs.
///
/// Installs ZooKeeper if it is missing (as root with apt-get; otherwise the command prints what to install), builds the
/// node, and starts the servers, an HTTP listener that shows each average, and the nodes. Ctrl-C stops everything.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fleet                               three nodes, one ZooKeeper server
  cargo xtask fleet --nodes 5 --servers 3         five nodes on an ensemble: kill -9 any of them and see
  cargo xtask fleet --sampling-period 1s --for 30s
  cargo xtask fleet --board laptop -- --session-timeout 4s")]
pub(crate) struct Arguments {
    /// Number of nodes; their ids are 1, 2, …
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=500))]
    nodes: u16,
    /// ZooKeeper servers: 1, or 3 that elect a leader among themselves. Two would survive no more failures than one.
    #[arg(long, default_value = "1", value_parser = ["1", "3"])]
    servers: String,
    /// Sampling period of the nodes and reporting period of the leader.
    #[arg(long, default_value = "5s", value_name = "DURATION")]
    sampling_period: String,
    /// Board of all nodes, from boards.toml; without it, each node measures one random quantity.
    #[arg(long)]
    board: Option<String>,
    /// File that describes the board.
    #[arg(long, default_value = "boards.toml", value_name = "FILE", requires = "board")]
    boards: PathBuf,
    /// Shutdown after this time, such as `30s` or `5m`.
    #[arg(long = "for", value_parser = duration, value_name = "DURATION")]
    time: Option<Duration>,
    /// Build without optimisation, for a quicker start.
    #[arg(long)]
    debug: bool,
    /// Options for each node.
    #[arg(last = true, value_name = "NODE OPTIONS")]
    node_options: Vec<String>,
}

struct Node {
    id: String,
    number: usize,
    process: Process,
    /// True if its end was reported.
    ended: bool,
}

/// Runs until Ctrl-C, which ends this process, and with it all programs that it has started.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // A missing file would cause one error per node.
    let boards = workspace().join(&arguments.boards);
    if let Some(board) = &arguments.board {
        ensure!(boards.exists(), "--board {board}: there is no {}", boards.display());
    }
    install::ensure(&[Part::Java, Part::ZooKeeper]).context("a fleet needs Apache ZooKeeper")?;
    let binary = build_node(if arguments.debug { Profile::Dev } else { Profile::Release }, &[])?;
    let console = Console::new("fleet".len().max(arguments.nodes.to_string().len() + 1));
    let say = |text: &str| console.line(0, "fleet", text);
    say(&format!("starting {} ZooKeeper server(s)", arguments.servers));
    let mut servers = Ensemble::with_servers(arguments.servers.parse()?, TICK);
    let api = Api::start_watched(move |request| console.line(0, "api", &tell(request)));
    introduce(&say, &servers, &api);
    let state = Scratch::new("fleet");
    let mut nodes = start_nodes(arguments, (&binary, &boards, &state), (&servers, &api), console);

    let mut ended_servers = vec![false; servers.len()];
    let mut shown: Vec<_> = all(&servers).map(|server| server.process().log().len()).collect();
    let end = arguments.time.map(|time| Instant::now() + time);
    while end.is_none_or(|end| Instant::now() < end) {
        std::thread::sleep(Duration::from_millis(100));
        show_servers(console, &servers, &mut shown);
        for ((server, told), number) in servers.servers_mut().iter_mut().zip(&mut ended_servers).zip(1..) {
            if let Some(status) = server.try_exit().filter(|_| !*told) {
                *told = true;
                console.line(0, &format!("zk{number}"), &format!("(ended: {status})"));
            }
        }
        for node in nodes.iter_mut().filter(|node| !node.ended) {
            if let Some(status) = node.process.try_exit() {
                node.ended = true;
                console.line(node.number, &format!("#{}", node.id), &format!("(ended: {status})"));
            }
        }
        ensure!(!nodes.iter().all(|node| node.ended), "every node has ended; their last lines above say why");
    }
    say("the time is over");
    for node in &nodes {
        node.process.term();
        // A process that was paused with SIGSTOP could not react to the signal.
        node.process.cont();
    }
    let end = Instant::now() + NODE_ENDS;
    while Instant::now() < end && nodes.iter_mut().any(|node| node.process.is_running()) {
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(ExitCode::SUCCESS)
}

fn all(servers: &Ensemble) -> impl Iterator<Item = &ZooKeeper> {
    (0..servers.len()).map(|number| servers.server(number))
}

/// Starts the nodes, with their state below `state`. Their output goes to the console.
fn start_nodes(
    arguments: &Arguments,
    (binary, boards, state): (&Path, &Path, &Scratch),
    (servers, api): (&Ensemble, &Api),
    console: Console,
) -> Vec<Node> {
    let start = |number: usize| {
        let id = number.to_string();
        let hosts = servers.connect_string();
        let mut command = node_command_in(state.path(), &binary.to_string_lossy(), &id, &hosts);
        command.args(["--api-url", &api.url(), "--sampling-period", &arguments.sampling_period]);
        if let Some(board) = &arguments.board {
            command.args(["--board", board, "--boards"]).arg(boards);
        }
        command.args(&arguments.node_options);
        if !console.coloured {
            command.env("NO_COLOR", "1");
        }
        let name = format!("#{id}");
        let process = Process::spawn_watched(command, move |line| console.line(number, &name, &line.text));
        console.line(0, "fleet", &format!("node {id}  process {}", process.pid()));
        Node { id, number, process, ended: false }
    };
    (1..=usize::from(arguments.nodes)).map(start).collect()
}

/// Prints the servers, the API and some commands to try, before log lines appear.
fn introduce(say: &impl Fn(&str), servers: &Ensemble, api: &Api) {
    for server in all(servers) {
        let mode = server.mode().unwrap_or_default();
        say(&format!("ZooKeeper {}  process {}  {mode}", server.connect_string(), server.pid()));
    }
    say(&format!("averages arrive at {}", api.url()));
    let (zkcli, hosts) =
        (if Path::new(ZKCLI).exists() { ZKCLI } else { "zkCli.sh" }, servers.connect_string());
    say(&format!("look inside:   {zkcli} -server {hosts} ls /mediciones"));
    say(&format!("               {zkcli} -server {hosts} get /mediciones/1"));
    say("do some harm:  kill -9 PID, kill -STOP PID, kill -CONT PID, of a node or a server");
    say("end it:        Ctrl-C");
}

fn tell(request: &Recorded) -> String {
    match request.dato() {
        Some(dato) => format!("{} {} average {dato}", request.method, request.path),
        None => request.to_string(),
    }
}

/// Prints the warnings and errors that the servers logged since the last call.
fn show_servers(console: Console, servers: &Ensemble, shown: &mut [usize]) {
    for ((server, shown), number) in all(servers).zip(shown).zip(1..) {
        let log = server.process().log();
        for line in &log[*shown..] {
            if line.text.contains(" WARN ") || line.text.contains(" ERROR ") {
                console.line(0, &format!("zk{number}"), &line.text);
            }
        }
        *shown = log.len();
    }
}

/// Parses a time such as `500ms`, `2.5s`, `5m` or `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok();
    parsed.and_then(|time| time.try_into().ok()).ok_or_else(|| "a time as 30s, 500ms, 5m or 1h".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_times() {
        for (text, ms) in
            [("30s", 30_000), ("500ms", 500), ("2.5 s", 2_500), ("5m", 300_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "s", "-1s", "soon", "1e400s", "nan"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
