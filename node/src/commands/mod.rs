//! The command line: one file per command, with its arguments and its execution. Exit codes are used only here and in
//! `main`.

mod acl;
mod args;
mod check;
mod classic;
#[cfg(feature = "collector")]
mod collect;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "collector")]
mod epochs;
mod exit;
mod health;
#[cfg(target_os = "linux")]
mod init;
mod man;
mod reap;
mod reports;
mod respawn;
mod run;
mod sensors;
mod signals;
mod state_file;
mod status;
mod stdout;
mod task;
mod tools;
mod work;
#[cfg(feature = "sim")]
mod zookeeper;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::anyhow;
use atalaya_config::Boards;
use clap::builder::styling::{AnsiColor, Styles};
use clap::{CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use tokio::runtime::{Builder, Runtime};

use crate::logging::{self, LogFormat};
use crate::model::text;
#[cfg(target_os = "linux")]
use crate::process::child_processes;
use crate::process::panics;
use crate::settings::{Env, FleetArgs, Settings, SettingsError, environment, load_boards};
use exit::Failure;
use stdout::print;

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// A sensor firmware host for fleets that must not lose measurements.
///
/// Each node measures with the sensors of its board, publishes the measurements in ZooKeeper and takes part in a leader
/// election. The leader averages the measurements of the fleet and reports them to a REST API.
#[derive(Debug, Parser)]
#[command(name = "atalaya", version, styles = STYLES, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// Format of the log, which goes to stderr.
    #[arg(long, global = true, value_enum, default_value_t, help_heading = "Logs")]
    log_format: LogFormat,

    /// Log filter: a level (error, warn, info, debug, trace) or target=level pairs separated by commas [default:
    /// info, or warn or error for commands that print a result] [env: ATALAYA_LOG].
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Logs")]
    log: Option<String>,

    #[command(subcommand)]
    command: Command,
}

/// Returns the examples as a literal, with those of the demo if it is built in.
macro_rules! examples {
    ($demo:literal) => {
        concat!(
            "Examples:\n",
            $demo,
            "\
\x20 atalaya run 1                                    run a node with one simulated sensor
  atalaya run 1 --board laptop --zookeeper zk1:2181,zk2:2181,zk3:2181/fleet
  atalaya run 1 --api-url http://127.0.0.1:8000/nuevo --sampling-period 1s
  atalaya collect --listen 127.0.0.1:8000          run the API, which stores the averages
  atalaya status --watch                           show leader, nodes and measurements every second
  atalaya config init 5s http://127.0.0.1:8000/nuevo    set period and API of the whole fleet
  atalaya check boards.toml                        check a configuration file
  atalaya sensors read --board laptop              read the sensors of a board once
  atalaya lock /locks/backup -- ./backup.sh        run a command on one machine at a time
  atalaya inspect /election                        show the leader and the contenders
  atalaya task submit sensors.selftest --to all    run an action on all nodes
  atalaya reap 1                                   delete the znodes of node 1 after it was killed

Exit codes: 0 success, 1 a task failed, 64 wrong usage, 65 invalid data in ZooKeeper or refused task,
69 ZooKeeper unreachable, 70 internal error, 73 node id in use, 74 sensor or file not readable, 75 timeout or other temporary
failure, 78 wrong configuration."
        )
    };
}

#[cfg(feature = "demo")]
const EXAMPLES: &str =
    examples!("  atalaya demo                                     run a fleet on this machine\n");
#[cfg(not(feature = "demo"))]
const EXAMPLES: &str = examples!("");

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a node: measure, publish, and take part in the leader election, until SIGINT or SIGTERM.
    Run(run::RunArgs),
    /// Run a worker without sensors: execute the tasks that the leader of the fleet assigns to it.
    Work(work::WorkArgs),
    /// Run a fleet on this machine, with ZooKeeper and API in the same process, and keys that inject faults.
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Show the state of a fleet: leader, undelivered reports, nodes, their measurements and health.
    Status(status::StatusArgs),
    /// Check a boards.toml and the settings, without opening sensors; with --connect, also the ACLs in ZooKeeper.
    Check(check::CheckArgs),
    /// List, read or scan for sensors.
    #[command(subcommand)]
    Sensors(sensors::SensorsCommand),
    /// Run an in-memory ZooKeeper server, for development. Its data is lost when it stops.
    #[cfg(feature = "sim")]
    #[command(name = "zookeeper")]
    ZooKeeper(zookeeper::ZooKeeperArgs),
    /// Run the REST API that the leader reports to. It stores each report once and shows the reports on a page.
    #[cfg(feature = "collector")]
    Collect(collect::CollectArgs),
    /// List the epochs in a collector's store, or delete one that is higher than the epoch of the fleet.
    #[cfg(feature = "collector")]
    #[command(subcommand)]
    Epochs(epochs::EpochsCommand),
    /// Show or set the ACLs of the fleet's znodes, which decide about the clients that can read and write them.
    #[command(subcommand)]
    Acl(acl::AclCommand),
    /// List undelivered reports; retry or delete those that the API rejected.
    #[command(subcommand)]
    Reports(reports::ReportsCommand),
    /// Submit tasks to the nodes of a fleet, and show, watch, cancel and repeat them.
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Hold a lock while a command runs, or until Ctrl-C.
    Lock(tools::lock_elect::LockArgs),
    /// Run a command while this process is the leader, so that it runs on one machine at a time.
    Elect(tools::lock_elect::ElectArgs),
    /// Read a counter, or add to it exactly once.
    #[command(subcommand)]
    Counter(tools::counter::CounterCommand),
    /// Wait at a barrier, open it, or close it.
    #[command(subcommand)]
    Barrier(tools::barrier::BarrierCommand),
    /// Put a value into a queue, or take one out.
    #[command(subcommand)]
    Queue(tools::queue::QueueCommand),
    /// Take part in the master/worker exercise of /master, /workers, /tasks and /data, together with Python programs.
    #[command(subcommand)]
    Classic(classic::ClassicCommand),
    /// Read, write or watch a shared value; set the sampling period and the API of a fleet.
    #[command(subcommand)]
    Config(tools::config::ConfigCommand),
    /// Show a znode: holder and contenders of a lock, members, a counter, or everything below it as a tree.
    Inspect(tools::inspect::InspectArgs),
    /// Delete the znodes of a killed node, so that the next contender leads at once.
    Reap(reap::ReapArgs),
    /// Request a URL and check its status code, for health checks of containers.
    Health(health::HealthArgs),
    /// Replace this process with a command.
    #[command(hide = true)]
    Exec(tools::exec::ExecArgs),
    /// Run a command and end all its processes with it.
    #[cfg(target_os = "linux")]
    #[command(hide = true)]
    Keep(tools::keep::KeepArgs),
    /// Run the command of a task, and end all its processes before the lease ends.
    #[cfg(unix)]
    #[command(hide = true)]
    Guard(tools::guard::GuardArgs),
    /// Print a completion script for a shell.
    ///
    /// For bash: atalaya completions bash > /etc/bash_completion.d/atalaya
    ///
    /// For zsh: atalaya completions zsh > "${fpath[1]}/_atalaya"
    ///
    /// For fish: atalaya completions fish > ~/.config/fish/completions/atalaya.fish
    Completions {
        /// Shell to complete for.
        shell: Shell,
    },
    /// Print the manual page, or write the pages of all commands to a folder.
    ///
    /// To read it: atalaya man | man -l -
    Man(man::ManArgs),
}

/// Runs the program and returns its exit code.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(with_run(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own code for wrong usage is 2; sysexits(3) has 64.
            return if error.use_stderr() { Failure::usage(error).code() } else { ExitCode::SUCCESS };
        }
    };
    match execute(cli) {
        Ok(code) => {
            logging::finish("");
            code
        }
        Err(failure) => {
            logging::finish(&format!("atalaya: {}\n", text::sanitize_lines(&failure.to_string())));
            failure.code()
        }
    }
}

/// Inserts `run` before a number in the place of the command: existing compose files pass only the number of the node
/// to the image. No command is a number.
fn with_run(mut arguments: Vec<OsString>) -> Vec<OsString> {
    let is_number = |argument: &OsString| {
        let text = argument.to_str().unwrap_or_default();
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if arguments.get(1).is_some_and(is_number) {
        arguments.insert(1, "run".into());
    }
    arguments
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Exec(args) => return tools::exec::main(args),
        #[cfg(target_os = "linux")]
        Command::Keep(args) => return tools::keep::main(args),
        #[cfg(unix)]
        Command::Guard(args) => return tools::guard::main(args),
        #[cfg(target_os = "linux")]
        command if init::is_needed(command) => return init::main(),
        _ => {}
    }
    #[cfg(target_os = "linux")]
    child_processes::run_sensor_commands_below_keep();
    let filter = cli.log.or_else(|| environment("ATALAYA_LOG"));
    let logs = match &cli.command {
        // The demo shows log lines among its events.
        #[cfg(feature = "demo")]
        Command::Demo(_) => None,
        command => {
            panics::exit_on_panic(exit::INTERNAL);
            let filter = filter.as_deref().or(default_filter(command));
            let logs = logging::start(cli.log_format, filter);
            Some(logs.map_err(|problem| Failure::usage(anyhow!(problem)))?)
        }
    };
    let done = match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::main(args, filter.as_deref()),
        #[cfg(feature = "sim")]
        Command::ZooKeeper(args) => zookeeper::main(&args),
        Command::Run(args) if args.supervised => {
            return respawn::main(&args.id, args.state.state_dir.as_ref(), &|| args.access());
        }
        Command::Run(args) => run::main(args, logs),
        Command::Work(args) => work::main(&args),
        #[cfg(feature = "collector")]
        Command::Collect(args) => collect::main(&args),
        #[cfg(feature = "collector")]
        Command::Epochs(command) => epochs::main(&command),
        Command::Reap(args) => reap::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Acl(command) => acl::main(&command),
        Command::Health(args) => health::main(&args),
        Command::Sensors(command) => sensors::main(command),
        Command::Status(args) => status::main(&args),
        Command::Reports(command) => reports::main(&command),
        Command::Task(command) => task::main(&command),
        Command::Lock(args) => return tools::lock_elect::lock(&args),
        Command::Elect(args) => return tools::lock_elect::elect(&args),
        Command::Counter(command) => tools::counter::main(&command),
        Command::Barrier(command) => tools::barrier::main(&command),
        Command::Queue(command) => tools::queue::main(&command),
        Command::Config(command) => tools::config::main(&command),
        Command::Classic(command) => return classic::main(&command),
        Command::Inspect(args) => tools::inspect::main(&args),
        // Returned above.
        Command::Exec(_) => Ok(()),
        #[cfg(target_os = "linux")]
        Command::Keep(_) => Ok(()),
        #[cfg(unix)]
        Command::Guard(_) => Ok(()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "atalaya", &mut script);
            // The generator writes only UTF-8.
            let script = String::from_utf8_lossy(&script).into_owned();
            print(task::with_actions(shell, script).as_bytes())
        }
        Command::Man(args) => man::main(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// Returns the filter if neither flag nor environment give one. Commands for scripts do not log their session.
fn default_filter(command: &Command) -> Option<&'static str> {
    match command {
        Command::Run(args) if !args.supervised => None,
        Command::Lock(_) | Command::Elect(_) | Command::Run(_) | Command::Acl(_) | Command::Check(_) => {
            Some("info,atalaya_recipes=warn,zookeeper_client=error")
        }
        Command::Classic(command) if command.is_long_running() => {
            Some("info,atalaya_recipes=warn,zookeeper_client=error")
        }
        // A completion must not disturb the terminal.
        Command::Task(task::TaskCommand::Complete(_)) => Some("off"),
        Command::Counter(_)
        | Command::Classic(_)
        | Command::Barrier(_)
        | Command::Queue(_)
        | Command::Config(_)
        | Command::Reap(_)
        | Command::Health(_)
        | Command::Reports(_)
        | Command::Task(_)
        | Command::Inspect(_) => Some("warn"),
        #[cfg(feature = "collector")]
        Command::Epochs(_) => Some("warn"),
        // It reports a missing connection itself.
        Command::Status(_) => Some("error"),
        _ => None,
    }
}

fn current_thread_runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::internal)
}

/// Loads boards.toml and assembles the settings.
fn load_settings(file: Option<&PathBuf>, args: &FleetArgs) -> Result<(Boards, Settings), SettingsError> {
    let boards = load_boards(file, process_environment())?;
    let settings = Settings::assemble(args, &boards, process_environment())?;
    Ok((boards, settings))
}

fn process_environment() -> Env<'static> {
    Env { variable: &environment }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_as_first_argument_means_run() {
        let table = [
            ("atalaya 1", "atalaya run 1"),
            ("atalaya 17 --log debug", "atalaya run 17 --log debug"),
            ("atalaya run 1", "atalaya run 1"),
            ("atalaya status", "atalaya status"),
            ("atalaya 1a", "atalaya 1a"),
            ("atalaya --log 1", "atalaya --log 1"),
            ("atalaya", "atalaya"),
            ("", ""),
        ];
        for (given, wanted) in table {
            let words = |text: &str| text.split_whitespace().map(OsString::from).collect::<Vec<_>>();
            assert_eq!(with_run(words(given)), words(wanted), "{given}");
        }
    }
}
