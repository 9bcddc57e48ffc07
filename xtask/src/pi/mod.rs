//! `cargo xtask pi`: runs the node on an emulated Raspberry Pi, in a fleet with nodes on this machine.

pub mod build;
mod checks;
mod keep;
mod power_cut;
pub mod site;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Part};
use atalaya_testbed::pi::Parts;

use crate::cargo::{Profile, build_node, existing};
use build::BuildOptions;
use site::Site;

/// Run the node on an emulated Raspberry Pi, beside two simulated nodes on this machine, and check its behaviour.
///
/// Builds for 64-bit ARM, boots a Raspberry Pi 3B under QEMU with Debian's kernel, a real /dev/i2c-1 and two
/// thermometers on it (0x48 and 0x49), and checks from outside: in ZooKeeper, at the API, on the Pi's console. Missing
/// parts (QEMU, a cross compiler, the kernel) are installed or downloaded, as root on Debian 12 or later; downloads are
/// kept in the user's cache folder, or in ATALAYA_CACHE.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask pi                    build as it is shipped, boot, check everything
  cargo xtask pi --debug            the same, quicker to build
  cargo xtask pi --debug --slim --node target/debug/atalaya
                                    what .ci/run does, with the program that the tests use
  cargo xtask pi --shell            a console on the Pi, with a fleet for it to join
  cargo xtask pi --power-cut        cut the power while the node stores samples
  cargo xtask pi --keep             check, then leave everything running until Ctrl-C
  cargo xtask pi --temperature 36.5 set the thermometer of a Pi that runs with --keep or --shell")]
pub struct Arguments {
    /// Build without optimisation, for a quicker start, and let the outage of the network last 10 s instead of 30 s.
    #[arg(long)]
    debug: bool,
    /// Link statically: the program then needs no C library on the Pi.
    #[arg(long = "static")]
    is_static: bool,
    /// Build without simulator, demo and collector, which the Pi does not use.
    #[arg(long)]
    slim: bool,
    /// Run this program beside the Pi instead of building one.
    #[arg(long, value_name = "FILE")]
    node: Option<PathBuf>,
    /// Run this program on the Pi instead of building one.
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Download the parts and build the program for the Pi, which a later run uses, and exit.
    #[arg(long)]
    prepare: bool,
    /// Cut the power while the node stores samples on an SD card, and check which samples are lost, instead of the other
    /// checks.
    #[arg(long, conflicts_with_all = ["node", "keep", "shell"])]
    power_cut: bool,
    /// Keep everything running after the checks, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Open a console on the Pi, without checks.
    #[arg(long, conflicts_with = "keep")]
    shell: bool,
    /// Set the first thermometer of the Pi that runs with --keep or --shell to this temperature in °C (-40 to 125), and
    /// exit.
    #[arg(long, value_name = "CELSIUS", allow_negative_numbers = true, exclusive = true)]
    temperature: Option<f64>,
}

/// Runs the task.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some(celsius) = arguments.temperature {
        return keep::set_temperature(celsius);
    }
    ensure!(cfg!(target_os = "linux"), "the emulated Pi is made of Debian's packages: it needs Linux");
    let start = Instant::now();
    if !arguments.power_cut {
        install::ensure(&[Part::Java, Part::ZooKeeper, Part::Python, Part::OpenSsl])
            .context("a fleet with a Pi needs more than Rust")?;
    }
    let parts = Parts::ready().context("no parts for a Pi")?;
    let profile = if arguments.debug { Profile::Dev } else { Profile::Distribution };
    let options = BuildOptions { profile, is_static: arguments.is_static, is_slim: arguments.slim };
    let features: &[&str] = if arguments.power_cut { &["--features", "history"] } else { &[] };
    let program = match &arguments.binary {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?,
        None => build::for_the_pi(options, features)?,
    };
    if arguments.prepare {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.power_cut {
        return power_cut::run(parts, &program);
    }
    let node = match &arguments.node {
        Some(node) => existing(node)?,
        None => build_node(profile, &[])?,
    };
    eprintln!("built after {:.0} s; starting ZooKeeper, the API and the Pi", start.elapsed().as_secs_f64());
    let mut site = Site::prepare(parts, &program, &node)?;
    if arguments.debug {
        site.outage = Duration::from_secs(10);
    }
    if arguments.shell {
        return keep::shell(&mut site);
    }
    // In their order, because the checks build on each other.
    for (number, (promise, run)) in checks::ALL.iter().enumerate() {
        eprintln!("{} of {}: {promise}", number + 1, checks::ALL.len());
        let begin = Instant::now();
        // A panic, because it prints the last output of all programs.
        let seen = run(&mut site).unwrap_or_else(|error| panic!("this does not hold: {promise}: {error:#}"));
        println!("  holds   {:6.1} s   {promise}: {seen}", begin.elapsed().as_secs_f64());
    }
    println!("all hold after {:.0} s", start.elapsed().as_secs_f64());
    if arguments.keep {
        return keep::until_stopped(&mut site);
    }
    Ok(ExitCode::SUCCESS)
}
