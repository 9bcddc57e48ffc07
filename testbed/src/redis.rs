//! A Redis server.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use derive_more::{Deref, DerefMut};

use crate::install::Part;
use crate::server::Server;

/// Timeout of an answer in seconds; a frozen server never answers.
const ANSWER: &str = "5";
const CONFIGURATION: &str = "redis.conf";

/// A Redis server on loopback, with Debian's default configuration unless lines are added: it does not write to the
/// disk immediately.
#[derive(Deref, DerefMut)]
pub struct Redis(Server);

impl Redis {
    /// Starts a server without data, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::with("")
    }

    /// Starts a server like [`start`](Self::start), with additional configuration lines, such as `appendonly yes`.
    #[track_caller]
    pub fn with(configuration: &str) -> Self {
        Self::launch(Self::prepare(), configuration)
    }

    /// Starts a server like [`with`](Self::with), with its data in a folder of the caller, which is not removed.
    #[track_caller]
    pub fn in_folder(folder: &Path, configuration: &str) -> Self {
        Self::launch(Self::prepare().with_folder(folder), configuration)
    }

    #[track_caller]
    fn prepare() -> Server {
        Server::prepare("Redis", &[Part::Redis], |server| {
            let answer = ask(server.port(), &["PING"]).unwrap_or_default();
            // A server that requires a password answers as well.
            answer.contains("PONG") || answer.contains("NOAUTH")
        })
    }

    #[track_caller]
    fn launch(server: Server, configuration: &str) -> Self {
        let lines = format!(
            "port {}\nbind 127.0.0.1\ndir {}\nsave \"\"\nenable-debug-command yes\n{configuration}\n",
            server.port(),
            server.folder().display()
        );
        let file = server.write(CONFIGURATION, &lines);
        Self(server.start(&["redis-server", &file]))
    }

    /// Returns its URL, for clients: `redis://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Adds a line to its configuration, for its next start.
    #[track_caller]
    pub fn configure(&self, line: &str) {
        let file = fs::OpenOptions::new().append(true).open(self.file(CONFIGURATION));
        let written = file.and_then(|mut file| writeln!(file, "{line}"));
        written.expect("write Redis's configuration");
    }

    /// Sends a command with `redis-cli`. Returns the answer, one line per element, an error as `-ERR …`; `None` if no
    /// answer arrives within a few seconds.
    pub fn try_ask(&self, command: &[&str]) -> Option<String> {
        ask(self.port(), command)
    }

    /// Sends a command like [`try_ask`](Self::try_ask) to a server that must answer without an error.
    #[track_caller]
    pub fn ask(&self, command: &[&str]) -> String {
        let answer = self.try_ask(command).unwrap_or_else(|| panic!("Redis does not answer {command:?}"));
        assert!(!answer.starts_with('-'), "{command:?}: {answer}");
        answer
    }
}

fn ask(port: u16, command: &[&str]) -> Option<String> {
    let mut client = Command::new("timeout");
    client.args([ANSWER, "redis-cli", "-e", "-p", &port.to_string()]).args(command);
    let output = client.output().ok()?;
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim_end().to_owned();
    match output.status.code() {
        Some(0) => Some(text),
        Some(1) if !text.starts_with("Could not connect") => Some(format!("-{text}")),
        _ => None,
    }
}
