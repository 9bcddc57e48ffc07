//! Installs the parts that the tests need and a fresh machine lacks: Java, Apache ZooKeeper, Curator, Python with venv,
//! and, in a separate virtual environment, Kazoo; Redis; Prometheus; InfluxDB; Mosquitto; for other machines C compilers,
//! and QEMU.
//!
//! `cargo xtask test`, `fleet`, `dist` and `pi` call this, and so does every test that needs a part. As root on a
//! Debian-like system the packages are installed with apt-get; on other systems the error lists what to install. The
//! commands write to standard error.

pub mod debian;
mod part;
mod python;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use crate::scratch;
use debian::Debian;
use part::runs;

pub use part::Part;
pub use python::Environment;

/// Installs the missing ones of `parts` for a test, like [`ensure`]. Panics if one cannot be installed.
#[track_caller]
pub(crate) fn require(parts: &[Part]) {
    if let Err(error) = ensure(parts) {
        panic!("a test needs more than is installed: {error:#}");
    }
}

/// Installs the missing ones of `parts`. Returns at once, without output, if nothing is missing. Several processes may
/// call it at the same time.
pub fn ensure(parts: &[Part]) -> anyhow::Result<()> {
    let missing = || parts.iter().copied().filter(|part| !part.is_installed()).collect::<Vec<_>>();
    let by_hand = |missing: &[Part]| -> String {
        missing.iter().map(|part| format!("\n  - {}", part.advice())).collect()
    };
    let first = missing();
    if first.is_empty() {
        return Ok(());
    }
    if !runs(Command::new("apt-get").arg("--version")) {
        bail!("this machine has no apt-get; please install:{}", by_hand(&first));
    }
    ensure!(is_root(), "only root can install with apt-get; please install:{}", by_hand(&first));
    let _one_at_a_time = locked(&std::env::temp_dir().join("atalaya-testbed-install.lock"))?;
    // Another process may have installed it while this one waited.
    let first = missing();
    let packages: Vec<_> = first.iter().flat_map(|part| part.packages()).copied().collect();
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("installing {} with apt-get", packages.join(" "));
    if first.contains(&Part::Qemu) && debian_release().as_deref() == Some("bookworm") {
        // QEMU of Debian 12 is too old; that of its backports is not.
        Debian::ready(&cache_dir().join("apt"), &[&architecture()], true)?.install(&packages)?;
    } else if let Err(error) = apt_install(&packages) {
        // A fresh container has no package lists. A machine in use has them, and need not download them again.
        eprintln!("{error:#}\nfetching the package lists, then once more");
        apt_get(&["update"])?;
        apt_install(&packages)?;
    }
    let still = missing();
    ensure!(still.is_empty(), "installed {}, and still missing:{}", packages.join(" "), by_hand(&still));
    Ok(())
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

fn apt_install(packages: &[&str]) -> anyhow::Result<()> {
    apt_get(&[&["install", "--yes", "--no-install-recommends"], packages].concat())
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    // Another apt may be running, as on a machine that has just started: wait for it.
    command.args(["-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]).args(arguments);
    run(command.env("DEBIAN_FRONTEND", "noninteractive"))
}

/// Runs a command, whose output goes to standard error.
fn run(command: &mut Command) -> anyhow::Result<()> {
    let status = command.stdin(Stdio::null()).stdout(std::io::stderr()).status();
    let status = status.with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "{command:?} failed ({status}), see above");
    Ok(())
}

/// Opens and locks a file; the lock ends when the value is dropped, or the process dies.
pub(crate) fn locked(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).truncate(false).write(true).open(path);
    file.and_then(|file| file.lock().map(|()| file))
        .with_context(|| format!("cannot lock {}", path.display()))
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}
