//! A browser for tests of web pages: headless Chromium, driven through chromedriver.

use std::path::PathBuf;
use std::time::Duration;

use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::{Scratch, target_dir};
use crate::spawn::parent_death_command;

const START: Duration = Duration::from_secs(60);

/// Command line of Chromium. Through the pipe it notices that chromedriver has ended, for any reason, and ends too.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--remote-debugging-pipe",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
];

/// A chromedriver process on a reserved port. Dropping it ends it, and the browsers that it has started.
pub struct Browser {
    url: String,
    folder: Scratch,
    _process: Process,
    _port: Port,
}

impl Browser {
    #[track_caller]
    pub fn start() -> Self {
        install::require(&[Part::Chromium]);
        let folder = Scratch::new("browser");
        let mut command = parent_death_command("chromedriver");
        // With --port=0 it selects a port of IPv6, which another program may use in IPv4.
        let port = Port::reserve();
        command.args([&format!("--port={}", port.number()), "--log-level=WARNING"]);
        let process = Process::spawn(command).called("chromedriver", 20);
        process.wait_for_line("started successfully on port", START);
        Self { url: format!("http://127.0.0.1:{}", port.number()), folder, _process: process, _port: port }
    }

    /// Returns the URL for a WebDriver client.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the `goog:chromeOptions` of a client: headless, with its own profile and the arguments in `more`.
    pub fn options(&self, name: &str, more: &[&str]) -> serde_json::Value {
        let profile = format!("--user-data-dir={}", self.folder.path().join(name).display());
        let arguments: Vec<&str> = ARGUMENTS.iter().chain(more).copied().chain([&*profile]).collect();
        serde_json::json!({"args": arguments})
    }

    /// Returns the folder for screenshots that people look at after the tests. Creates it if missing.
    pub fn screenshots() -> PathBuf {
        let folder = target_dir().join("screenshots");
        std::fs::create_dir_all(&folder).expect("make the folder of pictures");
        folder
    }
}
