//! Docker daemon of the test, and its commands `docker` and `docker-compose`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use atalaya_testbed::{Pauses, Process, parent_death_command};
use serde_json::Value;

use super::GROUP;

/// Timeout of a Docker command in seconds: longer than any of them takes.
const COMMAND_TIMEOUT: &str = "300";
/// Timeout until services are healthy: three JVMs on two cores.
pub(super) const TIMEOUT: Duration = Duration::from_secs(120);

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
    pub(super) fn start(folder: &Path) -> anyhow::Result<Daemon> {
        let (config, data) = (folder.join("docker-config"), folder.join("data"));
        fs::create_dir_all(&config)?;
        let settings = folder.join("daemon.json");
        fs::write(&settings, "{}")?;
        let host = "unix:///run/atalaya-docker.sock".to_owned();
        let mut command = parent_death_command("dockerd");
        command.args(["--host", &host, "--pidfile", "/run/atalaya-docker.pid", "--exec-root", "/run/docker"]);
        command.arg("--data-root").arg(&data).arg("--config-file").arg(&settings);
        // Do not use systemd, whose process ids differ from those in this namespace.
        command.args(["--exec-opt", "native.cgroupdriver=cgroupfs", "--cgroup-parent", &format!("/{GROUP}")]);
        command.args(["--bridge", "none", "--log-level", "warn"]);
        let mut process = Process::spawn(command);
        let docker = Docker { host, config };
        let version = until("the Docker daemon answers", Duration::from_secs(60), || {
            ensure!(process.is_running(), "it has ended");
            Ok(Some(docker.run(&["version", "--format", "{{.Server.Version}}"])?))
        });
        let version = version.with_context(|| {
            let log: Vec<String> = process.log().into_iter().map(|line| line.text).collect();
            format!(
                "no Docker daemon runs; last log lines:\n{}",
                log[log.len().saturating_sub(30)..].join("\n")
            )
        })?;
        println!("Docker {version}, a separate daemon");
        Ok(Daemon { process, docker })
    }

    pub(super) fn stop(mut self) {
        self.process.term();
        self.process.wait_exit(Duration::from_secs(60));
    }
}

impl Docker {
    fn command(&self, program: &str, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", COMMAND_TIMEOUT, program]).args(words);
        // Other variables could change what they do.
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", &self.config);
        // Use the builder that needs no plug-in.
        command.env("DOCKER_HOST", &self.host).env("DOCKER_CONFIG", &self.config).env("DOCKER_BUILDKIT", "0");
        command
    }

    /// Runs `docker` with these arguments and returns its output, or an error if it fails.
    pub(super) fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        output(&mut self.command("docker", words))
    }

    /// Returns Docker's data about a container, a network or an image.
    pub(super) fn inspect(&self, name: &str) -> anyhow::Result<Value> {
        let mut all: Vec<Value> = serde_json::from_str(&self.run(&["inspect", name])?)?;
        all.pop().with_context(|| format!("nothing is called {name}"))
    }
}

fn output(command: &mut Command) -> anyhow::Result<String> {
    Ok(String::from_utf8_lossy(&xtask::cargo::output(command)?).trim_end().to_owned())
}

pub(super) struct Project {
    docker: Docker,
    name: &'static str,
    files: Vec<PathBuf>,
    variables: Vec<(&'static str, String)>,
}

impl Project {
    pub(super) fn new(docker: &Docker, name: &'static str, files: &[PathBuf]) -> Self {
        Self { docker: docker.clone(), name, files: files.to_vec(), variables: Vec::new() }
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    pub(super) fn compose(&self, words: &[&str]) -> anyhow::Result<String> {
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let mut all = vec!["--project-name", self.name];
        all.extend(files.iter().flat_map(|file| ["--file", file.as_str()]));
        all.extend(words);
        let mut command = self.docker.command("docker-compose", &all);
        output(command.envs(self.variables.iter().map(|(name, value)| (name, value))))
    }

    /// Runs `check`, then removes the containers and their volumes. If the check fails, prints the state and the last
    /// lines of all services, with limited length.
    pub(super) fn run(self, check: impl FnOnce(&Project) -> anyhow::Result<()>) -> anyhow::Result<()> {
        println!("\n{}", self.name);
        let result = check(&self);
        if result.is_err() {
            for words in [&["ps"][..], &["logs", "--no-color", "--timestamps", "--tail", "40"]] {
                let text = self.compose(words).unwrap_or_else(|error| format!("{error:#}"));
                eprintln!("--- docker-compose {}", words[0]);
                let cut = |line: &str| line.chars().take(300).collect::<String>();
                text.lines().take(1_000).for_each(|line| eprintln!("{}", cut(line)));
            }
        }
        let down = self.compose(&["down", "--volumes", "--timeout", "10"]);
        result.and(down.map(drop))
    }

    fn container(&self, service: &str) -> anyhow::Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let label = format!("label=com.docker.compose.service={service}");
        let text = self.docker.run(&["ps", "--all", "--quiet", "--filter", &project, "--filter", &label])?;
        let id = text.lines().next().with_context(|| format!("{service} has no container"))?;
        Ok(id.to_owned())
    }

    pub(super) fn inspect(&self, service: &str) -> anyhow::Result<Value> {
        self.docker.inspect(&self.container(service)?)
    }

    /// Waits until these services are healthy, each by its own health check.
    pub(super) fn healthy(&self, services: &[&str]) -> anyhow::Result<()> {
        for service in services {
            until(&format!("{service} is healthy"), TIMEOUT, || {
                let health = &self.inspect(service)?["State"]["Health"];
                ensure!(health["Status"] == "healthy", "its health: {health}");
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    /// Kills a service with `docker kill`. It stays dead until it is started explicitly.
    pub(super) fn kill(&self, service: &str) -> anyhow::Result<()> {
        self.docker.run(&["kill", "--signal", "KILL", &self.container(service)?])?;
        until(&format!("{service} is dead"), TIMEOUT, || {
            Ok((self.inspect(service)?["State"]["Running"] == false).then_some(()))
        })
    }

    /// Starts a service with `docker start`, and waits until it is healthy.
    pub(super) fn start(&self, service: &str) -> anyhow::Result<()> {
        self.docker.run(&["start", &self.container(service)?])?;
        self.healthy(&[service])
    }

    /// Kills the process of a service without Docker, as a defect or a lack of memory would. The restart policy
    /// restarts it.
    pub(super) fn crash(&self, service: &str) -> anyhow::Result<()> {
        let before = self.inspect(service)?;
        let pid = before["State"]["Pid"].as_i64().filter(|pid| *pid > 1);
        let pid = pid.with_context(|| format!("{service} does not run"))?.to_string();
        let killed = Command::new("kill").args(["-KILL", &pid]).status().context("cannot run kill")?;
        ensure!(killed.success(), "process {pid} of {service} cannot be killed");
        until(&format!("{service} is started again"), TIMEOUT, || {
            let now = self.inspect(service)?;
            let again = now["RestartCount"].as_i64() > before["RestartCount"].as_i64();
            Ok((again && now["State"]["Running"] == true).then_some(()))
        })
    }

    /// Runs a command in a service's container and returns its output.
    pub(super) fn exec(&self, service: &str, words: &[&str]) -> anyhow::Result<String> {
        let container = self.container(service)?;
        self.docker.run(&[&["exec", &container][..], words].concat())
    }

    /// Shuts these services down, all at the same time, and checks the exit code of each.
    pub(super) fn stop(&self, services: &[&str], code: i64) -> anyhow::Result<()> {
        self.compose(&[&["stop"][..], services].concat())?;
        for service in services {
            let state = &self.inspect(service)?["State"];
            let is_right = state["Running"] == false && state["ExitCode"] == code;
            ensure!(is_right, "{service} ended with {}, not with {code}", state["ExitCode"]);
        }
        Ok(())
    }
}

/// Calls `probe` until it returns a value. Errors count as no value. The last error is returned at the deadline.
pub(super) fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let mut pauses = Pauses::until(deadline);
    loop {
        let problem = match probe() {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => anyhow!("it does not hold"),
            Err(error) => error,
        };
        if pauses.next().is_none() {
            return Err(problem).with_context(|| format!("{what}: not within {deadline:?}"));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Prints a check that succeeded.
pub(super) fn passed(check: &str) {
    println!("  holds           {check}");
}
