//! Installs the parts that the tests need and a fresh machine lacks: Java, Apache ZooKeeper, Curator, Python with venv,
//! and, in a separate virtual environment, Kazoo; Redis; Prometheus; for other machines C compilers, and QEMU.
//!
//! `cargo xtask test`, `fleet`, `dist` and `pi` call this, and so does every test that needs a part. As root on a
//! Debian-like system the packages are installed with apt-get; on other systems the error lists what to install.

mod command;
pub mod debian;
mod part;
mod python;

use std::path::PathBuf;
use std::process::Command;

use crate::scratch;
use debian::Debian;
use part::runs;

pub use command::InstallError;
pub(crate) use command::locked;
use command::run;
pub use part::Part;
pub use python::{Environment, ensure_environment, ensure_kazoo};

/// Installs the missing ones of `parts` for a test, like [`ensure`]. Panics if one cannot be installed.
#[track_caller]
pub(crate) fn require(parts: &[Part]) {
    if let Err(error) = ensure(parts, |line| eprintln!("{line}")) {
        panic!("a test needs more than is installed: {error}");
    }
}

/// Installs the missing ones of `parts`, and reports each step to `progress`, line by line. Returns at once, without
/// output, if nothing is missing. Several processes may call it at the same time.
pub fn ensure(parts: &[Part], mut progress: impl FnMut(&str)) -> Result<(), InstallError> {
    let missing_parts = missing(parts);
    if missing_parts.is_empty() {
        return Ok(());
    }
    if !runs(Command::new("apt-get").arg("--version")) {
        return Err(InstallError::ByHand { why: "this machine has no apt-get", missing: missing_parts });
    }
    if !is_root() {
        return Err(InstallError::ByHand {
            why: "only root can install with apt-get",
            missing: missing_parts,
        });
    }
    let _one_at_a_time = locked(&std::env::temp_dir().join("atalaya-testbed-install.lock"))?;
    // Another process may have installed it while this one waited.
    let missing_parts = missing(parts);
    if missing_parts.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing_parts.iter().flat_map(|part| part.packages()).copied().collect();
    progress(&format!("installing {} with apt-get", packages.join(" ")));
    if missing_parts.contains(&Part::Qemu) && debian_release().as_deref() == Some("bookworm") {
        // QEMU of Debian 12 is too old; that of its backports is not.
        let debian = Debian::ready(&cache_dir().join("apt"), &[&architecture()], true, &mut progress)?;
        debian.install(&packages, &mut progress)?;
    } else if let Err(first) = apt_install(&packages, &mut progress) {
        // A fresh container has no package lists. A machine in use has them, and need not download them again.
        progress(&format!("{first}\nfetching the package lists, then once more"));
        apt_get(&["update"], &mut progress)?;
        apt_install(&packages, &mut progress)?;
    }
    match missing(parts) {
        still if still.is_empty() => Ok(()),
        still => Err(InstallError::StillMissing { packages: packages.join(" "), missing: still }),
    }
}

/// Returns those of `parts` that are not installed.
pub fn missing(parts: &[Part]) -> Vec<Part> {
    parts.iter().copied().filter(|part| !part.is_installed()).collect()
}

/// Returns the folder for downloads that all builds on this machine share: `ATALAYA_CACHE`, or `atalaya` in the user's
/// cache folder.
pub fn cache_dir() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let user = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("ATALAYA_CACHE")
        .or_else(|| Some(user()?.join("atalaya")))
        .unwrap_or_else(|| scratch::testbed_dir().join("cache"))
}

/// Returns Debian's name for the architecture of this machine, such as `amd64`.
pub fn architecture() -> String {
    let output = Command::new("dpkg").arg("--print-architecture").output();
    let name = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    name.ok().filter(|name| !name.is_empty()).unwrap_or_else(|| "amd64".into())
}

/// Returns the codename of the machine's Debian, such as `bookworm`.
fn debian_release() -> Option<String> {
    let text = std::fs::read_to_string("/etc/os-release").ok()?;
    text.lines().find_map(|line| Some(line.strip_prefix("VERSION_CODENAME=")?.trim_matches('"').to_owned()))
}

fn apt_install(packages: &[&str], progress: &mut impl FnMut(&str)) -> Result<(), InstallError> {
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(packages);
    apt_get(&arguments, progress)
}

fn apt_get(arguments: &[&str], progress: &mut impl FnMut(&str)) -> Result<(), InstallError> {
    let mut command = Command::new("apt-get");
    // Another apt may be running, as on a machine that has just started: wait for it.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]).args(arguments);
    run(command.env("DEBIAN_FRONTEND", "noninteractive"), progress)
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
