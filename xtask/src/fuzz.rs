//! `cargo xtask fuzz`: fuzzes the in-memory ZooKeeper server with cargo-fuzz, with inputs that no client would send,
//! selected by the code that they reach. Without a sanitizer, so a stable compiler and a C++ compiler are enough.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::Context as _;
use atalaya_testbed::target_dir;

use crate::fleet::duration;
use crate::tools::CARGO_FUZZ;
use xtask::cargo::{succeeds, workspace};

/// Targets, in `zookeeper/fuzz`.
const TARGETS: [&str; 2] = ["codec", "frames"];
/// Limits of libFuzzer: length of an input in bytes, resident memory in MiB, time for one input in seconds.
const LIMITS: [&str; 3] = ["-max_len=2048", "-rss_limit_mb=512", "-timeout=10"];
/// Maximum address space of a target, resident or not, in KiB.
const ADDRESS_SPACE: u32 = 1 << 20;

/// Fuzz the in-memory ZooKeeper server: inputs that reach new code are kept and mutated, until one of them breaks it.
///
/// Starts with the inputs in zookeeper/fuzz/seeds. New inputs are kept in zookeeper/fuzz/corpus, and the next run
/// continues with them; an input that breaks a target is kept in zookeeper/fuzz/artifacts. cargo-fuzz is built once, into
/// the target folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask fuzz                            every target, a minute each
  cargo xtask fuzz frames --for 10m
  cargo xtask fuzz frames --input FILE        one input, as after a finding")]
pub(crate) struct Arguments {
    /// Targets to fuzz [default: all].
    #[arg(value_name = "TARGET", value_parser = TARGETS)]
    targets: Vec<String>,
    /// Run time of each target, such as `20s` or `5m`.
    #[arg(long = "for", default_value = "1m", value_parser = duration, value_name = "DURATION")]
    time: Duration,
    /// Run only this input.
    #[arg(long, value_name = "FILE", requires = "targets")]
    input: Option<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let all = TARGETS.map(str::to_owned);
    let chosen = if arguments.targets.is_empty() { &all[..] } else { &arguments.targets };
    let input =
        arguments.input.as_ref().map(fs::canonicalize).transpose().context("there is no such input")?;
    succeeds(&mut cargo_fuzz("unlimited", "build")?)
        .context("the targets do not build; they need a C++ compiler, as Debian's package g++")?;
    let mut failed = false;
    for target in chosen {
        let corpus = format!("fuzz/corpus/{target}");
        fs::create_dir_all(workspace().join("zookeeper").join(&corpus)).context("cannot make the corpus")?;
        let mut command = cargo_fuzz(&ADDRESS_SPACE.to_string(), "run")?;
        command.arg(target);
        match &input {
            Some(input) => command.arg(input).arg("--"),
            None => command.args([&corpus, &format!("fuzz/seeds/{target}"), "--"]),
        };
        command.args(LIMITS).arg(format!("-max_total_time={}", arguments.time.as_secs().max(1)));
        failed |= !command.status().context("cannot run cargo fuzz")?.success();
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Returns `cargo fuzz ACTION` with a limited address space, or without a limit if the system does not support it.
fn cargo_fuzz(address_space: &str, action: &str) -> anyhow::Result<Command> {
    let mut command = Command::new("sh");
    command.args(["-c", r#"ulimit -v "$0" 2>/dev/null; exec "$@""#, address_space]);
    command.arg(CARGO_FUZZ.installed()?).args(["fuzz", action, "--sanitizer", "none", "--target-dir"]);
    command.arg(target_dir().join("fuzz")).current_dir(workspace().join("zookeeper"));
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_seeds() {
        let package = workspace().join("zookeeper/fuzz");
        assert_eq!(fs::read_dir(package.join("fuzz_targets")).unwrap().count(), TARGETS.len());
        for target in TARGETS {
            assert!(fs::read_dir(package.join("seeds").join(target)).unwrap().count() > 0, "{target}");
        }
    }
}
