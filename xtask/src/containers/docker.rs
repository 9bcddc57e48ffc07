//! Docker daemon of the test, and its commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use atalaya_testbed::{Process, guarded};
use serde_json::Value;

use super::wait::until;

/// Timeout of a Docker command: longer than any of them takes, so that none waits indefinitely.
const PATIENCE: Duration = Duration::from_secs(300);

/// Docker daemon of this test, with all its files below one folder and /run. It ends when the value is dropped.
pub(super) struct Daemon {
    process: Process,
    pub(super) docker: Docker,
}

/// The commands `docker` and `docker-compose`, connected to that daemon.
#[derive(Clone, Debug)]
pub(super) struct Docker {
    host: String,
    config: PathBuf,
}

impl Daemon {
    /// Starts the daemon. `group` is the name of its control group.
    pub(super) fn start(folder: &Path, group: &str) -> anyhow::Result<Daemon> {
        let (config, data) = (folder.join("docker-config"), folder.join("data"));
        fs::create_dir_all(&config)?;
        let settings = folder.join("daemon.json");
        fs::write(&settings, "{}")?;
        let host = "unix:///run/atalaya-docker.sock".to_owned();
        let mut command = guarded("dockerd");
        command.args(["--host", &host, "--pidfile", "/run/atalaya-docker.pid", "--exec-root", "/run/docker"]);
        command.arg("--data-root").arg(&data).arg("--config-file").arg(&settings);
        // Do not use systemd, whose process ids differ from those in this namespace.
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &format!("/{group}")]);
        command.args(["--bridge", "none", "--log-level", "warn"]);
        let mut process = Process::spawn(command);
        let docker = Docker { host, config };
        let up = until("the Docker daemon answers", Duration::from_secs(60), || {
            ensure!(process.is_running(), "it has ended");
            Ok(Some(docker.said(&["version", "--format", "{{.Server.Version}}"])?))
        });
        match up {
            Ok(version) => println!("Docker {version}, a daemon of its own"),
            Err(error) => {
                let log: Vec<String> = process.log().into_iter().map(|line| line.text).collect();
                let log = log[log.len().saturating_sub(30)..].join("\n");
                return Err(error.context(format!("no Docker daemon runs here; it says:\n{log}")));
            }
        }
        Ok(Daemon { process, docker })
    }

    /// Shuts the daemon down in order.
    pub(super) fn stop(mut self) {
        self.process.term();
        self.process.wait_exit(Duration::from_secs(60));
    }
}

impl Docker {
    /// Returns the command `docker` with these arguments.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        self.on("docker", words)
    }

    /// Returns the command `docker-compose` with these arguments.
    pub(super) fn compose(&self, words: &[&str]) -> Command {
        self.on("docker-compose", words)
    }

    fn on(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &PATIENCE.as_secs().to_string(), program]).args(words);
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy().into_owned();
            if ["DOCKER_", "COMPOSE_", "BUILDKIT_"].iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        // Use the builder that needs no plug-in.
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config).env("DOCKER_BUILDKIT", "0");
        command
    }

    /// Runs `docker` with these arguments and returns its output, or an error if it fails.
    pub(super) fn said(&self, words: &[&str]) -> anyhow::Result<String> {
        said(&mut self.command(words))
    }

    /// Returns Docker's data about a container, a network or an image.
    pub(super) fn inspect(&self, what: &str) -> anyhow::Result<Value> {
        let text = self.said(&["inspect", what])?;
        let mut all: Vec<Value> = serde_json::from_str(&text).context("docker inspect tells no JSON")?;
        all.pop().with_context(|| format!("nothing is called {what}"))
    }
}

/// Runs a command and returns its output, or an error if it fails.
pub(super) fn said(command: &mut Command) -> anyhow::Result<String> {
    let shown: Vec<_> = command.get_args().skip(2).map(|word| word.to_string_lossy().into_owned()).collect();
    let output: Output = command.output().context("cannot run timeout")?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    let complaint: String = complaint.chars().take(4_000).collect();
    ensure!(
        output.status.success(),
        "`{}` failed ({}):\n{}",
        shown.join(" "),
        output.status,
        complaint.trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}
