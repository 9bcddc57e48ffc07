//! `cargo xtask nightly`: the checks that take too long for `.ci/run`.

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use xtask::cargo::cargo;

use crate::tools::CARGO_DENY;

/// Run the checks that take too long for `.ci/run`, one after the other, and print a table with their results.
///
/// A failed check does not stop the others. Tests that have a long form run it, because ATALAYA_NIGHTLY is set. Tools are
/// built once, into the target folder. All together take some hours on two processors; name some to run only these.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask nightly                     everything
  cargo xtask nightly licences book       these two
  cargo xtask nightly --list              what there is")]
pub(crate) struct Arguments {
    /// Run only these checks.
    #[arg(value_name = "CHECK", value_parser = CHECKS.map(|(name, _)| name))]
    checks: Vec<String>,
    /// Print the checks with their commands, and run nothing.
    #[arg(long)]
    list: bool,
}

/// Name and arguments of cargo, separated by blanks.
type Check = (&'static str, &'static str);

/// Stands for each of [`SLIM_FEATURES`], one after the other.
const EACH: &str = "FEATURE";
/// Features that must compile without the others: those of `cargo demo`, and parts that a slim build may have.
const SLIM_FEATURES: [&str; 8] = [
    "",
    "chips",
    "demo,history",
    "chips,mqtt",
    "chips,output-influxdb",
    "chips,output-mqtt",
    "chips,output-prometheus",
    "chips,output-webhook",
];

const CHECKS: [Check; 20] = [
    ("licences", "deny --all-features check licenses bans sources"),
    // Needs the database of advisories from the network.
    ("advisories", "deny --all-features check advisories"),
    ("book", "xtask docs"),
    // With the default features; `.ci/run` has the fail points for tests as well.
    ("clippy", "clippy --workspace --all-targets -- -D warnings"),
    ("docs", "doc --workspace --no-deps"),
    (
        "slim-clippy",
        "clippy --package atalaya --no-default-features --features FEATURE --all-targets -- -D warnings",
    ),
    ("slim-tests", "test --package atalaya --no-default-features --features chips --lib --bins --test slim"),
    ("publish", "package -p atalaya-zookeeper -p atalaya-hal -p atalaya-sim -p atalaya-recipes"),
    ("statistics", "xtask statistics"),
    ("home-assistant", "xtask home-assistant"),
    ("fuzz", "xtask fuzz --for 5m"),
    ("package", "xtask dist"),
    ("slim-package", "xtask dist --slim --static"),
    ("pi", "xtask pi"),
    ("pi-power-cut", "xtask pi --power-cut"),
    ("containers", "xtask containers --release"),
    // The long form of these tests: an outage of 13 h with 50 kills, in compressed time, and power cuts.
    ("history", "test --package atalaya --features fault-points --test program -- history_"),
    ("chaos-recipes", "xtask chaos recipes"),
    ("chaos-fleet", "xtask chaos fleet"),
    ("chaos-tasks", "xtask chaos tasks"),
];

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let is_chosen =
        |check: &&Check| arguments.checks.is_empty() || arguments.checks.iter().any(|name| name == check.0);
    let mut rows = Vec::new();
    let mut is_success = true;
    for (name, words) in CHECKS.iter().filter(is_chosen) {
        if arguments.list {
            println!("{name:14} cargo {words}");
            continue;
        }
        let start = Instant::now();
        eprintln!("== {name}: cargo {words}");
        let result = check(words);
        let seconds = start.elapsed().as_secs();
        is_success &= matches!(result, Ok(true));
        let result = match result {
            Ok(true) => "passed".to_owned(),
            Ok(false) => "FAILED".to_owned(),
            Err(error) => format!("FAILED: {error:#}"),
        };
        rows.push(format!("| {name} | {result} | {seconds} s |"));
    }
    if !rows.is_empty() {
        println!("\n| check | result | time |\n|---|---|---|\n{}", rows.join("\n"));
    }
    Ok(if is_success { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs cargo with these arguments, once for each feature if they name [`EACH`]. Returns true if it succeeds.
fn check(words: &str) -> anyhow::Result<bool> {
    let features = if words.contains(EACH) { &SLIM_FEATURES[..] } else { &[""] };
    let mut is_success = true;
    for feature in features {
        let mut command = cargo();
        command.env("ATALAYA_NIGHTLY", "1").env("RUSTDOCFLAGS", "-D warnings");
        if words.starts_with("deny ") {
            command.env("PATH", CARGO_DENY.on_path()?);
        }
        command.args(words.split(' ').map(|word| if word == EACH { feature } else { word }));
        is_success &= command.status().context("cannot run cargo")?.success();
    }
    Ok(is_success)
}
