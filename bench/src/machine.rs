//! Test environment: the machine and the programs.

use std::fs;
use std::process::Command;

use anyhow::Context as _;
use atalaya_testbed::ZooKeeper;
use serde_json::Value;

use super::proc;
use xtask::cargo::workspace;

const ZOOKEEPER: &str = "Apache ZooKeeper";

/// Facts about the test environment: names and values, in the order of the table.
pub(crate) struct Machine {
    facts: Vec<(&'static str, String)>,
}

impl Machine {
    /// Collects the facts that are known before the measurements.
    pub(crate) fn inspect() -> anyhow::Result<Machine> {
        let cores = std::thread::available_parallelism().context("cannot read the number of processors")?;
        let cpuinfo = read("/proc/cpuinfo");
        let processor = proc::entry(&cpuinfo, "model name").unwrap_or(std::env::consts::ARCH);
        let memory = proc::mib(&read("/proc/meminfo"), "MemTotal")
            .map_or_else(|_| "unknown".into(), |mib| format!("{:.1} GiB", mib / 1024.0));
        let facts = vec![
            ("date", jiff::Timestamp::now().strftime("%Y-%m-%d %H:%M UTC").to_string()),
            ("Atalaya", format!("{} {}", env!("CARGO_PKG_VERSION"), revision())),
            (
                "processor",
                format!("{processor}, {cores} cores for all programs, including servers and listeners"),
            ),
            ("memory", memory),
            ("kernel", format!("Linux {}", read("/proc/sys/kernel/osrelease"))),
            ("Rust", first_line(Command::new("rustc").arg("--version"))),
            ("Java", first_line(Command::new("java").arg("-version"))),
            ("load before", load()),
        ];
        Ok(Machine { facts })
    }

    /// Adds the version of `server`, unless one was added before.
    pub(crate) fn zookeeper(&mut self, server: &ZooKeeper) {
        if self.facts.iter().any(|(name, _)| *name == ZOOKEEPER) {
            return;
        }
        let answer = server.four("srvr");
        let version = answer.lines().find_map(|line| line.strip_prefix("Zookeeper version: "));
        let version = version.and_then(|version| version.split(['-', ',']).next()).unwrap_or("unknown");
        let how = "one server, ticks of 2 s, JVM of the tests unless stated otherwise: 192 MiB, first-tier compiler";
        self.facts.push((ZOOKEEPER, format!("{version} ({how})")));
    }

    /// Adds the versions that a Kazoo program has printed.
    pub(crate) fn kazoo(&mut self, versions: &Value) {
        for (name, key) in [("Kazoo", "kazoo"), ("Python", "python")] {
            self.facts.push((name, versions[key].as_str().unwrap_or("unknown").to_owned()));
        }
    }

    /// Adds the load averages after the measurements.
    pub(crate) fn record_load_after(&mut self) {
        self.facts.push(("load after", load()));
    }

    /// Returns a note for sections that are measured separately: the facts that `page` does not contain.
    pub(crate) fn differences_from(&self, page: &str) -> String {
        let facts = self.facts.iter().filter(|(_, value)| !page.contains(value));
        let facts: Vec<String> = facts.map(|(name, value)| format!("{name} {value}")).collect();
        format!("Measured separately: {}.", facts.join("; "))
    }

    pub(crate) fn facts(&self) -> &[(&'static str, String)] {
        &self.facts
    }
}

/// Returns the load averages, which show whether the machine was busy.
fn load() -> String {
    read("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(", ") + " (1, 5, 15 minutes)"
}

/// Returns the measured commit, and whether the work tree has changes.
fn revision() -> String {
    let git = |words: &[&str]| {
        let output = Command::new("git").current_dir(workspace()).args(words).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else {
        return "(not from a repository)".into();
    };
    let changed = git(&["status", "--porcelain"]).is_some_and(|changes| !changes.is_empty());
    format!("({commit}{})", if changed { " with changes" } else { "" })
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Returns the first line that a command prints to stdout or, failing that, to stderr.
fn first_line(command: &mut Command) -> String {
    let Ok(output) = command.output() else { return "unknown".into() };
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}
