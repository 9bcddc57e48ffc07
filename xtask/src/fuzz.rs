//! `cargo xtask fuzz`: fuzzes the in-memory ZooKeeper server with inputs that no client would send, selected by the
//! code that they reach.
//!
//! The targets are those of `zookeeper/fuzz`, in the layout of cargo-fuzz. They are built here with the flags that cargo-fuzz
//! uses without a sanitizer, so a stable compiler is enough, and only a C++ compiler must be installed.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

use crate::fleet::duration;
use xtask::cargo::{cargo, workspace};

/// Maximum length of an input, in bytes.
const LONGEST: u32 = 2048;
/// Maximum resident memory of a target, in MiB.
const RESIDENT: u32 = 512;
/// Maximum address space of a target, resident or not, in KiB.
const ADDRESS_SPACE: u32 = 1 << 20;
/// Maximum time for one input, in seconds.
const SLOWEST: u32 = 10;
/// Maximum number of lines of a target's output that are printed if it fails.
const SHOWN: usize = 60;

/// Compiler flags with which a target counts the edges that an input covers. cargo-fuzz sets the same ones.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Fuzz the in-memory ZooKeeper server: inputs that reach new code are kept and mutated, until one of them breaks it.
///
/// Starts with the inputs in zookeeper/fuzz/seeds. New inputs are kept below the target folder, and the next run continues
/// with them. If cargo-fuzz is installed, `cargo fuzz run -s none TARGET` in zookeeper/ does the same.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                            every target, a minute each
  cargo xtask fuzz frames --for 10m
  cargo xtask fuzz frames --input FILE        one input, as after a finding")]
pub(crate) struct Arguments {
    /// Targets to fuzz: `codec`, `frames` [default: all].
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// Run time of each target, such as `20s` or `5m`.
    #[arg(long = "for", default_value = "1m", value_parser = duration, value_name = "DURATION")]
    time: Duration,
    /// Run only this input, and show all output of the target.
    #[arg(long, value_name = "FILE", requires = "targets")]
    input: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let package = workspace().join("zookeeper/fuzz");
    let known = targets(&package)?;
    for target in &arguments.targets {
        ensure!(known.contains(target), "there is no target {target}; there are {}", known.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { &known } else { &arguments.targets };
    let built = build(&package)?;
    let mut failed = false;
    for target in chosen {
        let program = built.join(target);
        match &arguments.input {
            Some(input) => {
                let status = limited(&program).arg(input).status().context("cannot run the target")?;
                failed |= !status.success();
            }
            None => failed |= !fuzz(target, &program, &package, arguments.time)?,
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns the names of all targets, sorted.
fn targets(package: &Path) -> anyhow::Result<Vec<String>> {
    let folder = package.join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// Builds the targets and returns the folder with the programs.
fn build(package: &Path) -> anyhow::Result<PathBuf> {
    let triple = host()?;
    let folder = target_dir().join("fuzz");
    let mut flags = COVERAGE.to_owned();
    if triple.contains("-linux-") {
        flags += " -Cllvm-args=-sanitizer-coverage-stack-depth";
    }
    if let Ok(others) = std::env::var("RUSTFLAGS") {
        flags = format!("{flags} {others}");
    }
    eprintln!("building the targets of zookeeper/fuzz");
    let status = cargo()
        .args(["build", "--release", "--quiet", "--bins"])
        // Without a target triple, the flags would apply to build scripts as well.
        .args(["--target", &triple])
        .arg("--manifest-path")
        .arg(package.join("Cargo.toml"))
        .arg("--target-dir")
        .arg(&folder)
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "the targets do not build; they need a C++ compiler, as Debian's package g++");
    Ok(folder.join(triple).join("release"))
}

/// Returns the triple for which the compiler builds by default.
fn host() -> anyhow::Result<String> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output();
    let text = String::from_utf8(output.context("cannot run rustc")?.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// Returns a command that runs a target with limited address space, or without a limit if the system does not support
/// it.
fn limited(program: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {ADDRESS_SPACE} 2>/dev/null; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(program);
    command
}

/// Runs one target. Returns true if it found nothing.
fn fuzz(target: &str, program: &Path, package: &Path, time: Duration) -> anyhow::Result<bool> {
    let folder = target_dir().join("fuzz");
    let corpus = folder.join("corpus").join(target);
    let findings = folder.join("artifacts").join(target);
    for folder in [&corpus, &findings] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    eprintln!("fuzzing {target} for {} s", time.as_secs().max(1));
    let mut child = limited(program)
        .arg(&corpus)
        .arg(package.join("seeds").join(target))
        .arg(format!("-artifact_prefix={}/", findings.display()))
        .arg(format!("-max_total_time={}", time.as_secs().max(1)))
        .arg(format!("-max_len={LONGEST}"))
        .arg(format!("-rss_limit_mb={RESIDENT}"))
        .arg(format!("-timeout={SLOWEST}"))
        .arg("-print_final_stats=1")
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run the target")?;
    let mut report = Report::default();
    if let Some(stderr) = child.stderr.take() {
        for line in BufReader::new(stderr).split(b'\n') {
            let line =
                String::from_utf8_lossy(&line.context("cannot read what the target says")?).into_owned();
            if report.read(&line) {
                eprintln!("  {line}");
            }
        }
    }
    let status = child.wait().context("cannot wait for the target")?;
    Ok(report.conclude(target, status))
}

/// Relevant part of libFuzzer's output.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// Number of covered edges.
    coverage: u64,
    /// Number of inputs that were run.
    runs: u64,
    per_second: u64,
    /// Path of the input that broke the target.
    finding: Option<String>,
    last: VecDeque<String>,
}

impl Report {
    /// Reads a line. Returns true if it reports progress.
    fn read(&mut self, line: &str) -> bool {
        let after = |word: &str| {
            let rest = line.split_once(word)?.1.trim_start();
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
        };
        self.coverage = after(" cov: ").unwrap_or(self.coverage);
        self.runs = after("stat::number_of_executed_units:").unwrap_or(self.runs);
        self.per_second = after("stat::average_exec_per_sec:").unwrap_or(self.per_second);
        if let Some((_, path)) = line.split_once("Test unit written to ") {
            self.finding = Some(path.trim().to_owned());
        }
        if self.last.len() == SHOWN {
            self.last.pop_front();
        }
        self.last.push_back(line.to_owned());
        let is_status = line.starts_with('#');
        is_status && ["INITED", "pulse", "DONE"].iter().any(|word| line.contains(word))
    }

    /// Prints the result. Returns true if nothing was found.
    fn conclude(&self, target: &str, status: ExitStatus) -> bool {
        if status.success() {
            let Self { runs, per_second, coverage, .. } = self;
            eprintln!("{target}: {runs} runs, {per_second} a second, {coverage} edges, nothing found");
            return true;
        }
        self.last.iter().for_each(|line| eprintln!("  {line}"));
        eprintln!("{target} failed: {status}");
        if let Some(input) = &self.finding {
            eprintln!("the input is {input}\nto see it again: cargo xtask fuzz {target} --input {input}");
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_libfuzzer_says_is_understood() {
        let mut report = Report::default();
        let progress: Vec<bool> = [
            "INFO: Seed: 42",
            "#12\tINITED cov: 345 ft: 678 corp: 9/321b exec/s: 0 rss: 40Mb",
            "#99\tNEW    cov: 350 ft: 690 corp: 10/333b lim: 4 exec/s: 0 rss: 40Mb L: 3/9 MS: 1 ChangeBit-",
            "#131072\tpulse  cov: 351 ft: 700 corp: 11/340b lim: 17 exec/s: 65536 rss: 41Mb",
            "stat::number_of_executed_units: 131073",
            "stat::average_exec_per_sec:     65000",
            "artifact_prefix='a/'; Test unit written to a/crash-1",
        ]
        .map(|line| report.read(line))
        .to_vec();
        assert_eq!(progress, [false, true, false, true, false, false, false]);
        assert_eq!((report.coverage, report.runs, report.per_second), (351, 131_073, 65_000));
        assert_eq!(report.finding.as_deref(), Some("a/crash-1"));
    }

    #[test]
    fn every_target_has_seeds() {
        let package = workspace().join("zookeeper/fuzz");
        let targets = targets(&package).unwrap();
        assert_eq!(targets, ["codec", "frames"]);
        for target in targets {
            assert!(fs::read_dir(package.join("seeds").join(&target)).unwrap().count() > 0, "{target}");
        }
    }
}
