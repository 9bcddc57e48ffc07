//! Starts children that cannot outlive the process that started them.
//!
//! Linux sends a child its parent-death signal when the *thread* that started it ends, and test threads end long before
//! their process does. So one thread, which never ends, starts every child.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::OnceLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

/// Part of util-linux, so on every Debian.
const SETPRIV: &str = "/usr/bin/setpriv";

struct Job {
    command: Command,
    reply: Sender<io::Result<Child>>,
}

/// Returns a command that runs `program` and is killed when this process dies, if the system supports that (Linux with
/// setpriv; elsewhere it is a plain command). The process id is that of the program itself. Arguments and environment
/// can be set as usual.
pub fn parent_death_command(program: impl AsRef<OsStr>) -> Command {
    if !has_setpriv() {
        return Command::new(program);
    }
    let mut command = Command::new(SETPRIV);
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Returns the same command as a [`parent_death_command`]; one that already is is returned unchanged. Arguments, folder, and variables set or
/// removed are copied. A cleared environment cannot be detected, so use [`parent_death_command`] for that.
pub(crate) fn with_parent_death(command: Command) -> Command {
    if !has_setpriv() || command.get_program() == SETPRIV {
        return command;
    }
    let mut wrapped = parent_death_command(command.get_program());
    wrapped.args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        wrapped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

/// Starts the command on the thread that never ends, in a separate process group if it is wrapped: Ctrl-C on the
/// terminal then reaches only the process that owns the children, and that process ends them in order.
pub(crate) fn spawn(mut command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Sender<Job>> = OnceLock::new();
    #[cfg(unix)]
    if has_setpriv() {
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
    }
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = channel::<Job>();
        thread::Builder::new()
            .name("spawner".into())
            .spawn(move || {
                for mut job in inbox {
                    // The caller may be gone after a panic; its child then ends with this process.
                    let _ = job.reply.send(job.command.spawn());
                }
            })
            .expect("start the spawner thread");
        jobs
    });
    let (reply, answer) = channel();
    spawner.send(Job { command, reply }).expect("the spawner thread never ends");
    answer.recv().expect("the spawner thread answers every job")
}

pub(crate) fn has_setpriv() -> bool {
    cfg!(target_os = "linux") && Path::new(SETPRIV).exists()
}
