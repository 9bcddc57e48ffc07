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
mod wait;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::Part;
use atalaya_testbed::{Process, Scratch, parent_death_command};

use crate::shutdown::Shutdown;
use xtask::cargo::require;

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
    /// Build the program in release mode, as it is shipped.
    #[arg(long)]
    release: bool,
    /// Put this program into the image instead of building one. If it is not linked statically, the image is based on a
    /// Debian system instead of nothing.
    #[arg(long, value_name = "FILE", conflicts_with = "release")]
    program: Option<PathBuf>,
    /// Run the part inside the namespaces: folder, file of the parts, control group, program, image below it.
    #[arg(long, hide = true, num_args = 5, value_names = ["FOLDER", "PARTS", "GROUP", "PROGRAM", "BASE"])]
    inside: Option<Vec<String>>,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if let Some([folder, tarball, group, program, base]) = arguments.inside.as_deref() {
        let (folder, tarball) = (Path::new(folder), Path::new(tarball));
        let inside = inside::Inside { folder, tarball, group, program, base };
        inside.run(&arguments.filters)?;
        return Ok(ExitCode::SUCCESS);
    }
    ensure!(cfg!(target_os = "linux"), "containers need Linux");
    require(&[Part::Docker, Part::Debootstrap]).context("this needs Docker")?;
    let [program, base] = parts::program(arguments)?;
    let tarball = parts::tarball()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = Instant::now();
    let succeeded = runtime.block_on(async {
        let shutdown = Shutdown::listen()?;
        isolated(arguments, &tarball, [program, base], shutdown).await
    })?;
    println!("\n{:.0} s", start.elapsed().as_secs_f64());
    Ok(if succeeded { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests in the namespaces. Returns true if all succeed.
async fn isolated(
    arguments: &Arguments,
    tarball: &Path,
    program_and_base: [&str; 2],
    mut shutdown: Shutdown,
) -> anyhow::Result<bool> {
    let scratch = Scratch::new("containers");
    let group = format!("atalaya-containers-{}", std::process::id());
    let mut command = parent_death_command("unshare");
    command.args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    command.arg(std::env::current_exe().context("where is this program?")?).arg("containers");
    command
        .args(&arguments.filters)
        .arg("--inside")
        .arg(scratch.path())
        .arg(tarball)
        .arg(&group)
        .args(program_and_base);
    let mut process = Process::spawn_watched(command, |line| println!("{}", line.text));
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let status = loop {
        tokio::select! {
            () = shutdown.requested() => break None,
            _ = tick.tick() => if let Some(status) = process.try_exit() { break Some(status) },
        }
    };
    if status.is_none() {
        eprintln!("stopping");
    }
    // The child of unshare ends with it, and all processes in the namespaces end with that child.
    process.kill9();
    drop(process);
    clear(&group, scratch);
    Ok(status.is_some_and(|status| status.success()))
}

/// Removes control groups and files, which outlast the namespaces. The last processes may keep them busy for a moment.
fn clear(group: &str, scratch: Scratch) {
    let root = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path());
    let groups: Vec<PathBuf> =
        controllers.chain([root.to_owned()]).map(|folder| folder.join(group)).collect();
    soon(|| {
        groups.iter().for_each(|folder| remove_groups(folder));
        !groups.iter().any(|folder| folder.exists())
    });
    soon(|| {
        let _ = fs::remove_dir_all(scratch.path());
        !scratch.path().exists()
    });
}

/// Repeats `done` until it returns true, for some seconds.
fn soon(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() && start.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Removes empty control groups, from the innermost one outwards. A group that still has processes is left for the next
/// attempt.
fn remove_groups(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let _ = fs::remove_dir(folder);
}
