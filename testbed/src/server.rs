//! A server program on loopback, over all of its processes. The types of single servers add their configuration and
//! their requests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::http::{self, Answer};
use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;
use crate::wait::eventually;

/// Timeout for the start or the shutdown of a server, on a machine that is busy with other tests.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// Number of log lines that are printed when a test panics.
const SHOWN: usize = 40;

/// A server program with a reserved port and a folder of its own.
pub struct Server {
    name: &'static str,
    // Drop order: the server must end before its folder is removed.
    process: Option<Process>,
    /// Frozen by [`stop_process`](Self::stop_process).
    frozen: AtomicBool,
    /// True if it was ended, killed or frozen.
    pub(crate) was_disturbed: bool,
    port: Port,
    command: Vec<String>,
    answers: fn(&Server) -> bool,
    folder: PathBuf,
    /// Folder of the data and of files beside it.
    pub(crate) scratch: Scratch,
}

impl Server {
    /// Installs the server if it is missing, reserves a port, and creates an empty folder for the data. `answers` returns
    /// true if a process accepts requests.
    #[track_caller]
    pub(crate) fn prepare(name: &'static str, parts: &[Part], answers: fn(&Server) -> bool) -> Server {
        install::require(parts);
        let scratch = Scratch::new(&name.to_lowercase());
        let folder = scratch.path().join("data");
        fs::create_dir(&folder).expect("make the folder of a server");
        Server {
            name,
            process: None,
            frozen: AtomicBool::new(false),
            was_disturbed: false,
            port: Port::reserve(),
            command: Vec::new(),
            answers,
            folder,
            scratch,
        }
    }

    /// Returns the name in messages.
    pub(crate) fn title(&self) -> String {
        format!("{} at {}", self.name, self.address())
    }

    /// Keeps the data in a folder of the caller, which is not removed.
    pub(crate) fn with_folder(mut self, folder: &Path) -> Server {
        folder.clone_into(&mut self.folder);
        self
    }

    /// Returns the path of a file beside the data, such as the configuration.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Writes a file beside the data. Returns its path.
    #[track_caller]
    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        self.scratch.write(name, text).display().to_string()
    }

    /// Starts the program `command`, with its arguments, and waits until it answers.
    #[track_caller]
    pub(crate) fn start(mut self, command: &[&str]) -> Server {
        self.command = command.iter().map(|word| (*word).to_owned()).collect();
        self.restart();
        self
    }

    /// Starts it again, on the same port, with the data in its folder, and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        let mut command = parent_death_command(&self.command[0]);
        command.args(&self.command[1..]);
        self.run(command);
        let title = self.title();
        eventually(&format!("{title} starts"), TIMEOUT, || {
            assert!(self.is_running(), "{title} ended while it started");
            (self.answers)(self).then_some(())
        });
    }

    /// Starts a process, without waiting until it answers.
    #[track_caller]
    pub(crate) fn run(&mut self, command: Command) {
        let title = self.title();
        assert!(!self.is_running(), "{title} runs already");
        self.process = Some(Process::spawn(command).called(title, SHOWN));
        self.frozen.store(false, Ordering::Relaxed);
    }

    /// Returns true if the process ended by itself. If so, prints its log to stderr.
    pub(crate) fn has_ended(&mut self) -> bool {
        let title = self.title();
        let Some(process) = self.process.take_if(|process| !process.is_running()) else { return false };
        eprintln!("{title} ended:\n{}", process.tail(SHOWN));
        true
    }

    /// Returns its exit status, if it ended without a call of this type.
    pub fn try_exit(&mut self) -> Option<ExitStatus> {
        self.process.as_mut()?.try_exit()
    }

    /// Returns true if it was started and not killed since.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    pub(crate) fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Relaxed)
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Returns the folder with its data.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sends a GET request to a server that has an HTTP API.
    pub(crate) fn get(&self, target: &str) -> Result<Answer, String> {
        http::get(&self.address(), target, &[])
    }

    /// Returns the process, to read its log.
    #[track_caller]
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("{} was killed", self.title()))
    }

    #[track_caller]
    pub(crate) fn process_mut(&mut self) -> &mut Process {
        self.process.as_mut().expect("the server was not killed")
    }

    /// Returns true if it runs: it may end by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends SIGTERM, and waits until it has written its data and is gone.
    #[track_caller]
    pub fn end(&mut self) {
        self.was_disturbed = true;
        if let Some(mut process) = self.process.take() {
            process.term();
            process.wait_exit(TIMEOUT);
        }
    }

    /// Sends SIGKILL, and waits until it is gone. Does nothing if it does not run.
    pub fn kill(&mut self) {
        self.was_disturbed = true;
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Removes all data in its folder, as if its disk had been replaced. It must not run.
    #[track_caller]
    pub fn lose_all(&mut self) {
        assert!(!self.is_running(), "{} runs", self.title());
        fs::remove_dir_all(&self.folder).expect("remove the folder of a server");
        fs::create_dir(&self.folder).expect("make the folder of a server");
    }

    /// Sends SIGSTOP: the server is frozen, its connections stay open, and the kernel accepts new ones.
    #[track_caller]
    pub fn stop_process(&mut self) {
        self.process_mut().stop();
        self.was_disturbed = true;
        self.frozen.store(true, Ordering::Relaxed);
    }

    /// Sends SIGCONT: the server continues.
    #[track_caller]
    pub fn continue_process(&self) {
        self.process().cont();
        self.frozen.store(false, Ordering::Relaxed);
    }
}
