//! `cargo xtask fuzz`: bytes that nobody would send, chosen by what code they reach, against the simulated ZooKeeper.
//!
//! The targets are those of `sim/fuzz`, which is laid out as cargo-fuzz has it. They are built here with the flags that
//! cargo-fuzz gives without a sanitizer, so that a stable compiler is enough and nothing has to be installed but a C++
//! compiler.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

use crate::cargo::{cargo, workspace};
use crate::fleet::duration;

/// The longest input, in bytes.
const LONGEST: u32 = 2048;
/// What a target may have resident, in MiB.
const RESIDENT: u32 = 512;
/// What a target may ask for, resident or not, in KiB.
const ADDRESS_SPACE: u32 = 1 << 20;
/// How long one input may take, in seconds.
const SLOWEST: u32 = 10;
/// Lines of a target's output that are shown when it fails.
const SHOWN: usize = 60;

/// What makes a target count the edges that an input takes. cargo-fuzz sets the same.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cllvm-args=-simplifycfg-branch-fold-threshold=0 \
    --cfg fuzzing -Cdebug-assertions -Ccodegen-units=1";

/// Fuzz the simulated ZooKeeper: inputs that reach new code are kept and changed further, until one of them breaks it.
///
/// Inputs begin with sim/fuzz/seeds; what is found is kept below the target folder and gone on with the next time. With
/// cargo-fuzz installed, `cargo fuzz run -s none TARGET` in sim/ does the same.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                            every target, a minute each
  cargo xtask fuzz frames --for 10m
  cargo xtask fuzz frames --input FILE        one input, as after a finding")]
pub(crate) struct Arguments {
    /// What to fuzz: `codec`, `frames`; everything unless said.
    #[arg(value_name = "TARGET")]
    targets: Vec<String>,
    /// How long each target runs, as `20s` or `5m`.
    #[arg(long = "for", default_value = "1m", value_parser = duration, value_name = "DURATION")]
    time: Duration,
    /// Only run this input, with everything that the target has to say.
    #[arg(long, value_name = "FILE", requires = "targets")]
    input: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let package = workspace().join("sim/fuzz");
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

/// The names of all targets, sorted.
fn targets(package: &Path) -> anyhow::Result<Vec<String>> {
    let folder = package.join("fuzz_targets");
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let name = |entry: fs::DirEntry| Some(entry.path().file_stem()?.to_str()?.to_owned());
    let mut names: Vec<String> = entries.flatten().filter_map(name).collect();
    names.sort();
    Ok(names)
}

/// Builds the targets; the folder that they are in.
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
    eprintln!("building the targets of sim/fuzz");
    let status = cargo()
        .args(["build", "--release", "--quiet", "--bins"])
        // Without a target the flags would be those of build scripts as well.
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

/// What the compiler builds for unless told otherwise.
fn host() -> anyhow::Result<String> {
    let output =
        Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output();
    let text = String::from_utf8(output.context("cannot run rustc")?.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say its host")?.to_owned())
}

/// A target that cannot ask for more memory than there should be; where the system has no such limit, without.
fn limited(program: &Path) -> Command {
    let mut command = Command::new("sh");
    let script = format!("ulimit -v {ADDRESS_SPACE} 2>/dev/null; exec \"$0\" \"$@\"");
    command.arg("-c").arg(script).arg(program);
    command
}

/// Runs one target. Whether nothing was found.
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

/// What libFuzzer says, as far as it is of interest.
#[derive(Debug, Default, PartialEq, Eq)]
struct Report {
    /// Edges.
    coverage: u64,
    /// Inputs that were run.
    runs: u64,
    per_second: u64,
    /// Where an input is that broke it.
    finding: Option<String>,
    last: VecDeque<String>,
}

impl Report {
    /// Whether a line tells of progress.
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

    /// Says how it went. Whether nothing was found.
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
        let package = workspace().join("sim/fuzz");
        let targets = targets(&package).unwrap();
        assert_eq!(targets, ["codec", "frames"]);
        for target in targets {
            assert!(fs::read_dir(package.join("seeds").join(&target)).unwrap().count() > 0, "{target}");
        }
    }
}
