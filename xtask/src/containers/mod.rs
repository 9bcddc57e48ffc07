//! `cargo xtask containers`: starts the image and the compose files with Docker, kills their services, and stops them.
//!
//! Everything runs in separate namespaces for network, mounts and processes. So a Docker of this machine is neither
//! visible nor affected, published ports are free, and all processes end with the first process in the namespaces,
//! however that one ends.

mod compose;
mod fleets;
mod inside;
mod parts;
mod reports;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Part};
use atalaya_testbed::{Scratch, parent_death_command};

const GROUP: &str = "atalaya-containers";

/// Build the image, start the fleets of deploy/compose*.yml, kill their services, and check that no report is lost.
///
/// Needs root and Linux, and no running services: it installs Docker, Compose and debootstrap with apt if they are
/// missing, and starts a Docker daemon of its own, isolated from any other. No registry is used: ZooKeeper, Redis and
/// Prometheus come from Debian's packages.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  cargo xtask containers                      with a program that is quickly built
  cargo xtask containers --release            with one as it is shipped
  cargo xtask containers --program target/debug/atalaya single
                                              what .ci/run does, with the program that the tests use
  cargo xtask containers single               only what has that in its name: ensemble, single, existing")]
pub(crate) struct Arguments {
    /// Test only the fleets whose names contain one of these.
    #[arg(value_name = "FILTER")]
    filters: Vec<String>,
    /// Install Docker and download the third-party services, which a later run uses, and exit.
    #[arg(long)]
    prepare: bool,
    /// Build the program in release mode, as it is shipped.
    #[arg(long)]
    release: bool,
    /// Put this program into the image instead of building one. If it is not linked statically, the image is based on a
    /// Debian system instead of nothing.
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    program: Option<PathBuf>,
    /// Run the part inside the namespaces: folder, file of the parts, program, image below it.
    #[arg(long, hide = true, num_args = 4, value_names = ["FOLDER", "PARTS", "PROGRAM", "BASE"])]
    inside: Option<Vec<String>>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some([folder, tarball, program, base]) = arguments.inside.as_deref() {
        let (folder, tarball) = (Path::new(folder), Path::new(tarball));
        inside::run(folder, tarball, [program, base], &arguments.filters)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(cfg!(target_os = "linux"), "containers need Linux");
    install::ensure(&[Part::Docker, Part::Debootstrap]).context("this needs Docker")?;
    let tarball = parts::tarball()?;
    if arguments.prepare {
        return Ok(ExitCode::SUCCESS);
    }
    let [program, base] = parts::program(arguments)?;
    let start = Instant::now();
    let succeeded = isolated(arguments, &tarball, [program, base])?;
    println!("\n{:.0} s", start.elapsed().as_secs_f64());
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests in the namespaces. Returns true if all succeed. If this process ends, for any reason, so does unshare,
/// with its child, and all processes in the namespaces with that child.
fn isolated(arguments: &Arguments, tarball: &Path, program_and_base: [&str; 2]) -> anyhow::Result<bool> {
    let scratch = Scratch::new("containers");
    // Left over from a run that was killed.
    remove_groups();
    let mut command = parent_death_command("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(std::env::current_exe().context("where is this program?")?).arg("containers");
    command.args(&arguments.filters).arg("--inside").arg(scratch.path()).arg(tarball);
    let status = command.args(program_and_base).status().context("cannot run unshare")?;
    remove_groups();
    Ok(status.success())
}

/// Removes the control groups, which outlast the namespaces. The last processes may keep them busy for a moment.
fn remove_groups() {
    let path = format!("*/{GROUP}*");
    for _ in 0..100 {
        let mut find = Command::new("find");
        find.args(["/sys/fs/cgroup", "-depth", "-type", "d", "-path", &path, "-delete"]);
        if find.stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}
