//! `cargo xtask dist`: builds the program and a Debian package of it with cargo-deb, for this machine or another one,
//! and checks them with lintian.

mod checks;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;
use xtask::cargo::{Profile, build_node, cargo, output, succeeds, workspace};
use xtask::toolchain::{Target, Toolchain};

use crate::tools::{CARGO_ABOUT, CARGO_DEB};

/// Shells whose completions a package contains: clap's names, which are also the suffixes of the files.
const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Build the program and a Debian package of it, in target/dist.
///
/// The package contains the systemd service, the user it runs as, /etc/atalaya/boards.toml, manual pages and
/// completions. Program and package are checked: sizes, the package with lintian, the units with systemd-analyze; the
/// program is run if this machine or QEMU can run it. A missing cross compiler and lintian are installed, as root on
/// Debian; cargo-deb is built once, into the target folder.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask dist                                     for this machine
  cargo xtask dist --target aarch64                    for a Raspberry Pi with a 64-bit system
  cargo xtask dist --target aarch64 --target armv7 --static
                                                       for any Raspberry Pi, whatever its C library
  cargo xtask dist --target aarch64 --slim             without simulator, demo and collector

An optimised build takes minutes. It fails if the program or the package exceeds its maximum size: 17.5 MB and 5.8 MB with
--slim, 20.5 MB and 8.5 MB without.")]
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
}

/// Maximum sizes in bytes of a program that only measures, and of its package.
const MAX_SLIM: (u64, u64) = (17_500_000, 5_800_000);
/// Maximum sizes with the collector (SQLite, Redis and its page), the simulator and the demo.
const MAX: (u64, u64) = (20_500_000, 8_500_000);

impl Arguments {
    /// Returns the suffix of this variant's file names.
    fn suffix(&self) -> String {
        let parts = [self.is_static.then_some("-static"), self.slim.then_some("-slim")];
        parts.into_iter().flatten().collect()
    }

    fn features(&self) -> &'static [&'static str] {
        if self.slim { &["--no-default-features", "--features", "chips"] } else { &[] }
    }
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let here = || Target::here().context("Atalaya is not packaged for this machine; use --target");
    let targets = if arguments.targets.is_empty() { vec![here()?] } else { arguments.targets.clone() };
    let folder = target_dir().join("dist");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let cargo_deb = CARGO_DEB.installed()?;
    let (max_program, max_package) = if arguments.slim { MAX_SLIM } else { MAX };
    let mut is_too_large = false;
    for target in targets {
        let (program, package) = build(target, arguments, &folder, &cargo_deb)?;
        for (path, limit) in [(program, max_program), (package, max_package)] {
            let size = fs::metadata(&path).with_context(|| format!("there is no {}", path.display()))?.len();
            let comparison = if size > limit { "MORE than" } else { "at most" };
            is_too_large |= size > limit;
            println!("{:6.2} MB, {comparison} {} MB  {}", megabytes(size), megabytes(limit), path.display());
        }
    }
    ensure!(!is_too_large, "too large, see above; --slim is smaller");
    Ok(ExitCode::SUCCESS)
}

/// Builds and checks the program and its package for one machine. Returns the paths of both.
fn build(
    target: Target,
    arguments: &Arguments,
    folder: &Path,
    cargo_deb: &Path,
) -> anyhow::Result<(PathBuf, PathBuf)> {
    let start = Instant::now();
    let say = |what: &str| eprintln!("[{:4.0} s] {}: {what}", start.elapsed().as_secs_f64(), target.name());
    say("compiling");
    let toolchain = Toolchain::ready(target)?;
    let mut command = toolchain.build(arguments.is_static);
    command.args(["--profile", Profile::Distribution.name(), "--package", "atalaya", "--bin", "atalaya"]);
    command.args(arguments.features());
    succeeds(&mut command)?;
    let built = target_dir().join(target.triple()).join(Profile::Distribution.folder()).join("atalaya");
    let program = folder.join(format!("atalaya-{}{}", target.name(), arguments.suffix()));
    fs::copy(&built, &program).with_context(|| format!("cannot copy {}", built.display()))?;
    println!("built in {:.0} s", start.elapsed().as_secs_f64());

    say("writing the manual, the completions and the notices");
    // A program for another machine cannot run here, but one for this machine with the same features prints the same.
    let here =
        if target.is_here() { program.clone() } else { build_node(Profile::Dev, arguments.features())? };
    let parts = built.with_file_name("package");
    write_parts(&here, &parts)?;
    let notices = parts.join("notices");
    write_notices(&notices, arguments)?;
    // For the image, see Dockerfile.
    fs::copy(&notices, program.with_extension("notices")).context("cannot copy the notices")?;
    say("making the package");
    let package = package(folder, target, arguments, cargo_deb)?;
    say("checking the package");
    checks::package(&package, target, arguments.is_static)?;
    Ok((program, package))
}

/// Fills `folder` with manual pages and completions, which the program prints itself.
fn write_parts(program: &Path, folder: &Path) -> anyhow::Result<()> {
    // Delete files of an earlier version, which would be packaged, too.
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("cannot empty {}", folder.display()))?;
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).with_context(|| format!("cannot make {}", completions.display()))?;
    for shell in SHELLS {
        let script = output(Command::new(program).args(["completions", shell]))?;
        fs::write(completions.join(format!("atalaya.{shell}")), script)?;
    }
    let manual = folder.join("man");
    output(Command::new(program).args(["man", "--folder"]).arg(&manual))?;
    // cargo-deb compresses manual pages, but not those from the target folder.
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name"]);
    for page in fs::read_dir(&manual)? {
        gzip.arg(page?.path());
    }
    output(&mut gzip).map(drop)
}

/// Writes the licences of all crates that are linked into the program.
fn write_notices(file: &Path, arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = cargo();
    command.arg("about").env("PATH", CARGO_ABOUT.on_path()?).args(["generate", "--fail", "--offline"]);
    command.args(["--manifest-path", "node/Cargo.toml"]).args(arguments.features());
    command.args(["deploy/notices.hbs", "--output-file"]).arg(file);
    output(&mut command).map(drop)
}

/// Makes the package of the program that was built before. node/Cargo.toml defines its contents.
fn package(
    folder: &Path,
    target: Target,
    arguments: &Arguments,
    cargo_deb: &Path,
) -> anyhow::Result<PathBuf> {
    let suffix = arguments.suffix().replace('-', "_");
    let version = env!("CARGO_PKG_VERSION");
    let package = folder.join(format!("atalaya_{version}_{}{suffix}.deb", target.debian()));
    let mut command = Command::new(cargo_deb);
    // cargo-deb looks for the description relative to this folder.
    command.current_dir(workspace().join("node")).args(["--package", "atalaya", "--target", target.triple()]);
    // The profile has stripped the program already.
    command.args([
        "--profile",
        Profile::Distribution.name(),
        "--no-build",
        "--no-strip",
        "--locked",
        "--output",
    ]);
    command.arg(&package);
    command.env("CARGO_TARGET_DIR", target_dir());
    if arguments.is_static {
        command.args(["--variant", "static"]);
    }
    let _ = fs::remove_file(&package);
    succeeds(&mut command)?;
    Ok(package)
}

#[allow(clippy::cast_precision_loss, reason = "a file has less than 2^53 bytes")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
