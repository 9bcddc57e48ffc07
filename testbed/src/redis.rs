//! A Redis server.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;
use crate::wait::eventually;

/// Timeout for the start or the shutdown of a server.
const PATIENCE: Duration = Duration::from_secs(30);
/// Timeout of an answer in seconds; a frozen server never answers.
const ANSWER: &str = "5";
/// Number of log lines that are printed when a test panics.
const SHOWN: usize = 20;

/// A Redis server on loopback, with Debian's default configuration unless lines are added: it does not write to the
/// disk immediately.
pub struct Redis {
    // Drop order: the server must end before its folder is removed.
    process: Option<Process>,
    port: Port,
    folder: PathBuf,
    scratch: Scratch,
}

impl Redis {
    /// Starts a server without data, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a server like [`start`](Self::start), with additional configuration lines, such as `appendonly yes`.
    #[track_caller]
    pub fn with(configuration: &str) -> Self {
        let scratch = Scratch::new("redis");
        let folder = scratch.path().join("data");
        fs::create_dir(&folder).expect("make Redis's folder");
        Self::launch(scratch, folder, configuration)
    }

    /// Starts a server like [`with`](Self::with), with its data in a folder of the caller, which is not removed.
    #[track_caller]
    pub fn in_folder(folder: &Path, configuration: &str) -> Self {
        Self::launch(Scratch::new("redis"), folder.to_owned(), configuration)
    }

    #[track_caller]
    fn launch(scratch: Scratch, folder: PathBuf, configuration: &str) -> Self {
        install::require(&[Part::Redis]);
        let port = Port::reserve();
        let lines = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nsave \"\"\nenable-debug-command yes\n{configuration}\n",
            port.number(),
            folder.display()
        );
        let file = scratch.path().join("redis.conf");
        fs::write(&file, lines).expect("write Redis's configuration");
        let mut server = Self { process: None, port, folder, scratch };
        server.restart();
        server
    }

    /// Returns its URL, for clients: `redis://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Starts it again, on the same port, with the data in its folder, and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "Redis at {} runs already", self.port());
        let mut command = parent_death_command("redis-server");
        command.arg(self.scratch.path().join("redis.conf"));
        self.process = Some(Process::spawn(command).called(format!("Redis at {}", self.port()), SHOWN));
        eventually("Redis starts", PATIENCE, || {
            assert!(self.is_running(), "Redis at {} ended while it started", self.port());
            // A server that requires a password answers as well.
            self.try_ask(&["PING"]).filter(|answer| answer.contains("PONG") || answer.contains("NOAUTH"))
        });
    }

    /// Adds a line to its configuration, for its next start.
    #[track_caller]
    pub fn configure(&self, line: &str) {
        let file = fs::OpenOptions::new().append(true).open(self.scratch.path().join("redis.conf"));
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.expect("write Redis's configuration");
    }

    /// Sends a command with `redis-cli`. Returns the answer, one line per element, an error as `-ERR …`; `None` if no
    /// answer arrives within a few seconds.
    pub fn try_ask(&self, command: &[&str]) -> Option<String> {
        let mut client = Command::new("timeout");
        client.args([ANSWER, "redis-cli", "-e", "-p", &self.port().to_string()]).args(command);
        let output = client.output().ok()?;
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned();
        match output.status.code() {
            Some(0) => Some(text),
            Some(1) if !text.starts_with("Could not connect") => Some(format!("-{text}")),
            _ => None,
        }
    }

    /// Sends a command like [`try_ask`](Self::try_ask) to a server that must answer without an error.
    #[track_caller]
    pub fn ask(&self, command: &[&str]) -> String {
        let answer = self.try_ask(command).unwrap_or_else(|| panic!("Redis does not answer {command:?}"));
        assert!(!answer.starts_with('-'), "{command:?}: {answer}");
        answer
    }

    /// Returns true if it runs: it may end by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends SIGKILL, and waits until it is gone. Does nothing if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Removes all data in its folder, as if its disk had been replaced. It must not run.
    #[track_caller]
    pub fn lose_all(&mut self) {
        assert!(!self.is_running(), "Redis at {} runs", self.port());
        fs::remove_dir_all(&self.folder).expect("remove Redis's folder");
        fs::create_dir(&self.folder).expect("make Redis's folder");
    }

    /// Sends SIGSTOP: the server is frozen, its connections stay open, and the kernel accepts new ones.
    #[track_caller]
    pub fn stop_process(&mut self) {
        self.process.as_mut().expect("a killed Redis cannot be stopped").stop();
    }

    /// Sends SIGCONT: the server continues.
    #[track_caller]
    pub fn continue_process(&self) {
        self.process.as_ref().expect("a killed Redis cannot go on").cont();
    }
}
