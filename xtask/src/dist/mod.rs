//! `cargo xtask dist`: builds the program and a Debian package of it, for this machine or another one, and checks them.

mod build;
mod elf;
mod inspect;
mod package;
mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

use build::How;
use xtask::toolchain::{Target, Toolchain};

/// Build the program and a Debian package of it, in target/dist.
///
/// The package contains the systemd service, the user it runs as, /etc/atalaya/boards.toml, manual pages and
/// completions. Program and package are checked: sizes, the package's contents, the unit with systemd-analyze, the
/// manual with man; the program is run if this machine or QEMU can run it. A missing cross compiler is installed, as
/// root on Debian; cargo-deb is built once, into the target folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dist                                     for this machine
  cargo xtask dist --target aarch64                    for a Raspberry Pi with a 64-bit system
  cargo xtask dist --target aarch64 --target armv7 --static
                                                       for any Raspberry Pi, whatever its C library
  cargo xtask dist --target aarch64 --slim             without simulator, demo and collector

An optimised build takes minutes. To try something out: CARGO_PROFILE_RELEASE_LTO=off \\
CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 cargo xtask dist --no-limits")]
pub(crate) struct Arguments {
    /// Target machine; may be given several times [default: this one].
    #[arg(long = "target", value_name = "MACHINE")]
    targets: Vec<Target>,
    /// Link statically: the program then needs no C library at run time, and also runs on older systems.
    #[arg(long = "static")]
    is_static: bool,
    /// Leave out the simulator, the demo and the collector.
    #[arg(long)]
    slim: bool,
    /// Allow program and package to exceed their maximum sizes: 12 MB and 5 MB with --slim, 18.5 MB and 7.5 MB without.
    #[arg(long)]
    no_limits: bool,
}

/// Maximum sizes in bytes of a program that only measures, and of its package.
const LARGEST_SLIM: (u64, u64) = (12_000_000, 5_000_000);
/// Maximum sizes with the collector (SQLite, Redis and its page), the simulator and the demo.
const LARGEST: (u64, u64) = (18_500_000, 7_500_000);

/// Results for one machine.
struct Made {
    program: PathBuf,
    package: PathBuf,
    seconds: f64,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let how = How { is_static: arguments.is_static, slim: arguments.slim };
    let targets = match arguments.targets.as_slice() {
        [] => {
            vec![Target::here().context("this machine is none that Atalaya is packaged for; say --target")?]
        }
        some => some.to_vec(),
    };
    let folder = target_dir().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    tools::cargo_deb()?;
    let mut everything = Vec::new();
    for target in targets {
        let made = one(target, how, &folder)?;
        everything.push(made);
    }
    println!();
    let mut too_large = false;
    let (largest_program, largest_package) = if how.slim { LARGEST_SLIM } else { LARGEST };
    for made in &everything {
        println!("built in {:.0} s", made.seconds);
        for (path, limit) in [(&made.program, largest_program), (&made.package, largest_package)] {
            let size = fs::metadata(path).with_context(|| format!("there is no {}", path.display()))?.len();
            let verdict = if size > limit { "MORE than" } else { "at most" };
            too_large |= size > limit;
            println!("{:6.2} MB, {verdict} {} MB  {}", megabytes(size), megabytes(limit), path.display());
        }
    }
    ensure!(!too_large || arguments.no_limits, "too large, see above; --slim is smaller");
    Ok(ExitCode::SUCCESS)
}

fn one(target: Target, how: How, folder: &Path) -> anyhow::Result<Made> {
    let start = Instant::now();
    let say = |what: &str| eprintln!("[{:4.0} s] {}: {what}", start.elapsed().as_secs_f64(), target.name());
    say("compiling");
    let toolchain = Toolchain::ready(target)?;
    let built = build::program(&toolchain, target, how)?;
    let seconds = start.elapsed().as_secs_f64();
    let program = folder.join(format!("atalaya-{}{}", target.name(), how.suffix()));
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    inspect::program(&program, target, how)?;

    say("asking the program for its manual and completions");
    let parts = built.with_file_name("package");
    build::parts(&program, &parts, target, how)?;
    say("making the package");
    let package = package::make(folder, target, how)?;
    say("looking at the package");
    inspect::package(&package, &program, target, how)?;
    Ok(Made { program, package, seconds })
}

#[allow(clippy::cast_precision_loss, reason = "a file has less than 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
