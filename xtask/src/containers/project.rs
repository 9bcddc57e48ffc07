//! A running compose file: its containers, their health and their shutdown.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use super::docker::{Docker, said};
use super::wait::until;

/// Timeout until services are healthy: three JVMs on two cores.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// Containers of a compose file.
pub(super) struct Project {
    pub(super) docker: Docker,
    name: &'static str,
    files: Vec<PathBuf>,
    variables: Vec<(&'static str, String)>,
}

impl Project {
    pub(super) fn new(docker: &Docker, name: &'static str, files: &[PathBuf]) -> Self {
        Self { docker: docker.clone(), name, files: files.to_vec(), variables: Vec::new() }
    }

    /// Sets a variable for the compose files.
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.variables.push((name, value.into()));
        self
    }

    fn compose(&self, words: &[&str]) -> Command {
        let files: Vec<String> = self.files.iter().map(|file| file.display().to_string()).collect();
        let mut all = vec!["--project-name", self.name];
        all.extend(files.iter().flat_map(|file| ["--file", file.as_str()]));
        all.extend(words);
        let mut command = self.docker.compose(&all);
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `docker-compose` and returns its output.
    pub(super) fn said(&self, words: &[&str]) -> anyhow::Result<String> {
        said(&mut self.compose(words))
    }

    /// Runs `check`, then removes the containers and their volumes. If the check fails, prints the last lines of all
    /// services.
    pub(super) fn run(self, check: impl FnOnce(&Project) -> anyhow::Result<()>) -> anyhow::Result<()> {
        println!("\n{}", self.name);
        let outcome = check(&self);
        if outcome.is_err() {
            self.show();
        }
        let down = self.said(&["down", "--volumes", "--timeout", "10"]);
        outcome.and(down.map(drop))
    }

    /// Prints the state and the last log lines of the services after a failure, with limited length.
    fn show(&self) {
        for words in [&["ps"][..], &["logs", "--no-color", "--timestamps", "--tail", "40"]] {
            let text = self.said(words).unwrap_or_else(|error| format!("{error:#}"));
            let lines: Vec<String> =
                text.lines().map(|line| line.chars().take(300).collect::<String>()).take(1_000).collect();
            eprintln!("--- docker-compose {}\n{}", words[0], lines.join("\n"));
        }
    }

    /// Returns the container of a service.
    pub(super) fn container(&self, service: &str) -> anyhow::Result<String> {
        let project = format!("label=com.docker.compose.project={}", self.name);
        let label = format!("label=com.docker.compose.service={service}");
        let text = self.docker.said(&["ps", "--all", "--quiet", "--filter", &project, "--filter", &label])?;
        let id = text.lines().next().with_context(|| format!("{service} has no container"))?;
        Ok(id.to_owned())
    }

    /// Returns Docker's data about a service's container.
    pub(super) fn inspect(&self, service: &str) -> anyhow::Result<Value> {
        self.docker.inspect(&self.container(service)?)
    }

    /// Waits until these services are healthy, each by its own health check.
    pub(super) fn healthy(&self, services: &[&str]) -> anyhow::Result<()> {
        for service in services {
            until(&format!("{service} is healthy"), PATIENCE, || {
                let state = &self.inspect(service)?["State"];
                let health = state["Health"]["Status"].as_str().unwrap_or("without a health check");
                ensure!(health == "healthy", "it is {health}: {}", last_check(state));
                Ok(Some(()))
            })?;
        }
        Ok(())
    }

    /// Kills a service with `docker kill`. It stays dead until it is started explicitly.
    pub(super) fn kill(&self, service: &str) -> anyhow::Result<()> {
        self.docker.said(&["kill", "--signal", "KILL", &self.container(service)?])?;
        until(&format!("{service} is dead"), PATIENCE, || {
            Ok((self.inspect(service)?["State"]["Running"] == false).then_some(()))
        })
    }

    /// Starts a service with `docker start`.
    pub(super) fn start(&self, service: &str) -> anyhow::Result<()> {
        self.docker.said(&["start", &self.container(service)?]).map(drop)
    }

    /// Kills the process of a service without Docker, as a defect or a lack of memory would. The restart policy
    /// restarts it.
    pub(super) fn crash(&self, service: &str) -> anyhow::Result<()> {
        let before = self.inspect(service)?;
        let pid = before["State"]["Pid"].as_i64().filter(|pid| *pid > 1);
        let pid = pid.with_context(|| format!("{service} does not run"))?.to_string();
        let killed = Command::new("kill").args(["-KILL", &pid]).status().context("cannot run kill")?;
        ensure!(killed.success(), "process {pid} of {service} cannot be killed");
        until(&format!("{service} is started again"), PATIENCE, || {
            let now = self.inspect(service)?;
            let again = now["RestartCount"].as_i64() > before["RestartCount"].as_i64();
            Ok((again && now["State"]["Running"] == true).then_some(()))
        })
    }

    /// Runs a command in a service's container and returns its output.
    pub(super) fn exec(&self, service: &str, words: &[&str]) -> anyhow::Result<String> {
        let container = self.container(service)?;
        let mut all = vec!["exec", &container];
        all.extend(words);
        self.docker.said(&all)
    }

    /// Shuts these services down in order, all at the same time, and checks the exit code of each.
    pub(super) fn stop(&self, services: &[&str], code: i64) -> anyhow::Result<()> {
        let mut words = vec!["stop"];
        words.extend(services);
        self.said(&words)?;
        for service in services {
            let state = &self.inspect(service)?["State"];
            ensure!(
                state["Running"] == false && state["ExitCode"] == code,
                "{service} ended with {}, not with {code}",
                state["ExitCode"]
            );
        }
        Ok(())
    }
}

/// Returns the output of the last health check.
fn last_check(state: &Value) -> String {
    let last = state["Health"]["Log"].as_array().and_then(|log| log.last());
    let said = last.and_then(|check| check["Output"].as_str()).unwrap_or("not asked yet");
    said.trim().chars().take(300).collect()
}

/// Prints a check that succeeded.
pub(super) fn holds(what: &str) {
    println!("  holds           {what}");
}
