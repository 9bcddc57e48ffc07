//! The commands, one file each, and how one of them is chosen and ended.

mod check;
#[cfg(feature = "collector")]
mod collect;
#[cfg(feature = "demo")]
mod demo;
#[cfg(feature = "collector")]
mod epochs;
mod health;
#[cfg(target_os = "linux")]
mod init;
mod man;
mod printer;
mod reap;
mod reports;
mod run;
mod scan;
mod sensors;
mod status;
mod supervised;
mod tools;
#[cfg(feature = "sim")]
mod zookeeper;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::anyhow;
use clap::{CommandFactory, Parser};

use crate::cli::{BoardArgs, Cli, Command};
use crate::exit::Failure;
use crate::logging;
use crate::model::text;
use crate::process::panics;
use crate::settings::{Env, environment};

/// The whole program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse_from(spelled_out(std::env::args_os().collect())) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            // clap's own code for wrong usage is 2; sysexits(3) has 64.
            return if error.use_stderr() { Failure::usage(error).code() } else { ExitCode::SUCCESS };
        }
    };
    match execute(cli) {
        Ok(code) => {
            logging::conclude("");
            code
        }
        Err(failure) => {
            logging::conclude(&format!("atalaya: {}\n", text::sanitize_lines(&failure.to_string())));
            failure.code()
        }
    }
}

/// `atalaya 1` is `atalaya run 1`: existing compose files give an image its node's number and nothing else, and no command
/// is a number.
fn spelled_out(mut words: Vec<OsString>) -> Vec<OsString> {
    let is_number = |word: &OsString| {
        let text = word.to_str().unwrap_or_default();
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
    };
    if words.get(1).is_some_and(is_number) {
        words.insert(1, "run".into());
    }
    words
}

fn execute(cli: Cli) -> Result<ExitCode, Failure> {
    match &cli.command {
        Command::Become(args) => return tools::become_command(args),
        #[cfg(target_os = "linux")]
        Command::Keep(args) => return tools::keep(args),
        #[cfg(target_os = "linux")]
        command if init::is_needed(command) => return init::main(),
        _ => {}
    }
    keep_commands_of_sensors();
    let filter = cli.log.or_else(|| environment("ATALAYA_LOG"));
    let logs = if logs_itself(&cli.command) {
        None
    } else {
        panics::end_the_process();
        let filter = filter.as_deref().or(usually(&cli.command));
        let logs = logging::start(cli.log_format, filter);
        Some(logs.map_err(|problem| Failure::usage(anyhow!(problem)))?)
    };
    let done = match cli.command {
        #[cfg(feature = "demo")]
        Command::Demo(args) => demo::main(args, filter.as_deref()),
        #[cfg(feature = "sim")]
        Command::ZooKeeper(args) => zookeeper::main(&args),
        Command::Run(args) if args.supervised => return supervised::main(&args),
        Command::Run(args) => run::main(args, logs),
        #[cfg(feature = "collector")]
        Command::Collect(args) => collect::main(&args),
        #[cfg(feature = "collector")]
        Command::Epochs(command) => return epochs::main(&command),
        Command::Reap(args) => reap::main(&args),
        Command::Check(args) => check::main(&args),
        Command::Health(args) => health::main(&args),
        Command::Sensors(command) => sensors::main(command),
        Command::Status(args) => return status::main(&args),
        Command::Reports(command) => return reports::main(&command),
        Command::Lock(args) => return tools::lock(&args),
        Command::Elect(args) => return tools::elect(&args),
        Command::Counter(command) => return tools::counter(&command),
        Command::Barrier(command) => return tools::barrier(&command),
        Command::Queue(command) => return tools::queue(&command),
        Command::Config(command) => return tools::config(&command),
        Command::Inspect(args) => return tools::inspect(&args),
        // Returned above.
        Command::Become(_) => Ok(()),
        #[cfg(target_os = "linux")]
        Command::Keep(_) => Ok(()),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "atalaya", &mut script);
            print(&script)
        }
        Command::Man(args) => man::main(&args),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// The demo shows what is logged among its events.
fn logs_itself(command: &Command) -> bool {
    match command {
        #[cfg(feature = "demo")]
        Command::Demo(_) => true,
        _ => false,
    }
}

/// What is logged unless something else is asked for: a script that reads a counter does not want to read of sessions.
fn usually(command: &Command) -> Option<&'static str> {
    match command {
        Command::Run(args) if !args.supervised => None,
        Command::Lock(_) | Command::Elect(_) | Command::Run(_) => {
            Some("info,atalaya_recipes=warn,zookeeper_client=error")
        }
        Command::Counter(_)
        | Command::Barrier(_)
        | Command::Queue(_)
        | Command::Config(_)
        | Command::Reap(_)
        | Command::Health(_)
        | Command::Reports(_)
        | Command::Inspect(_) => Some("warn"),
        #[cfg(feature = "collector")]
        Command::Epochs(_) => Some("warn"),
        // It says itself when nothing comes.
        Command::Status(_) => Some("error"),
        _ => None,
    }
}

/// Writes to stdout. A reader that has gone away (`| head`) is not a failure.
fn print(text: &[u8]) -> Result<(), Failure> {
    print_some(text).map(|_| ())
}

/// Writes to stdout a part of what there is to print. Returns false if its reader has gone away.
fn print_some(text: &[u8]) -> Result<bool, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
        done => done.map(|()| true).map_err(Failure::io),
    }
}

/// Returns a command that runs this program: the one that runs now, even if an upgrade has replaced the file.
fn own_program() -> std::process::Command {
    #[cfg(target_os = "linux")]
    {
        use std::os::unix::process::CommandExt as _;
        let mut command = std::process::Command::new(OWN);
        command.arg0("atalaya");
        command
    }
    #[cfg(not(target_os = "linux"))]
    std::process::Command::new(std::env::current_exe().unwrap_or_else(|_| "atalaya".into()))
}

/// Where Linux has the program of a process.
#[cfg(target_os = "linux")]
const OWN: &str = "/proc/self/exe";

/// Lets the programs of `command` sensors run below `atalaya keep`, so that none of their processes is left behind.
#[cfg(target_os = "linux")]
fn keep_commands_of_sensors() {
    let parent = std::process::id().to_string();
    let words = [OWN, "keep", "--sensor", "--parent", &parent, "--"];
    atalaya_hal::command::run_below(words.map(OsString::from).to_vec());
}

#[cfg(not(target_os = "linux"))]
fn keep_commands_of_sensors() {}

/// The board that the arguments or the environment name.
fn board_name(args: &BoardArgs) -> Option<String> {
    args.board.clone().or_else(|| environment("ATALAYA_BOARD").filter(|name| !name.is_empty()))
}

/// The real environment.
fn surroundings() -> Env<'static> {
    Env { variable: &environment }
}

/// Completes at the first SIGINT or SIGTERM. Its handlers stand from now on.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// Completes at the first Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        // Without a handler there is nothing to wait for; the system's own way of ending a program remains.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}

/// A message for each SIGHUP; those that come too fast count as one. Its handler stands from now on.
#[cfg(unix)]
fn reload_signals() -> std::io::Result<tokio::sync::mpsc::Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangup = signal(SignalKind::hangup())?;
    let (sender, asked) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            tracing::info!(signal = "SIGHUP", "reading the configuration again");
            crate::fail_points::point("reload-task");
            // If it is full, the next reading is yet to begin.
            let _ = sender.try_send(());
        }
    });
    Ok(asked)
}

/// There is no such signal here.
#[cfg(not(unix))]
fn reload_signals() -> std::io::Result<tokio::sync::mpsc::Receiver<()>> {
    Ok(tokio::sync::mpsc::channel(1).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_alone_is_a_node() {
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
            assert_eq!(spelled_out(words(given)), words(wanted), "{given}");
        }
    }
}
