//! Installs the parts that the tests need and a fresh machine lacks: Java, Apache ZooKeeper, Curator, Python with venv,
//! and, in a separate virtual environment, Kazoo; Redis; Prometheus; for other machines C compilers, and QEMU.
//!
//! `cargo xtask test`, `fleet`, `dist` and `pi` call this, and so does every test that needs a part. As root on a
//! Debian-like system the packages are installed with apt-get; on other systems the error lists what to install.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::debian::Debian;
use crate::{java, scratch};

/// Python packages of the virtual environment.
pub(crate) const REQUIREMENTS: &str = include_str!("../kazoo/requirements.txt");

/// A part that is not installed with Rust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// A Java runtime, the `java` command.
    Java,
    /// The jars of Apache ZooKeeper: Debian's package, or the Apache archive that `ZOOKEEPER_HOME` points to.
    ZooKeeper,
    /// The jars of Netty, with which Apache ZooKeeper uses TLS. Its archive contains them.
    Netty,
    /// The jars of Apache Curator's recipes, and the Java compiler with which `java` runs a source file.
    Curator,
    /// `python3` with the modules venv and ensurepip.
    Python,
    /// A C compiler and linker for 64-bit ARM, `aarch64-linux-gnu-gcc`, with its C library.
    Aarch64Gcc,
    /// A C compiler and linker for 32-bit ARM, `arm-linux-gnueabihf-gcc`, with its C library.
    ArmhfGcc,
    /// `qemu-system-aarch64` 9 or later: the first version that has the I²C controller of a Raspberry Pi.
    Qemu,
    /// The command `openssl`, which creates certificates.
    OpenSsl,
    /// `dockerd`, `docker` and `docker-compose`, with `ip`, which configures a network for them.
    Docker,
    /// `debootstrap`, which creates a folder with a Debian system.
    Debootstrap,
    /// The command `wrk`, which sends HTTP requests as fast as they are answered.
    Wrk,
    /// The command `redis-server`.
    Redis,
    /// `prometheus` and `promtool`.
    Prometheus,
    /// The browser Chromium, and `chromedriver`, which controls it.
    Chromium,
}

/// Minimum major version of QEMU.
const QEMU: u32 = 9;

impl Part {
    /// All parts that the tests need.
    pub const ALL: [Self; 9] = [
        Self::Java,
        Self::ZooKeeper,
        Self::Netty,
        Self::OpenSsl,
        Self::Curator,
        Self::Python,
        Self::Redis,
        Self::Prometheus,
        Self::Chromium,
    ];

    /// Returns true if the part is installed.
    pub fn is_installed(self) -> bool {
        match self {
            Self::Java => runs(Command::new("java").arg("-version")),
            Self::ZooKeeper => java::classpath().is_some(),
            Self::Netty => java::has_netty(),
            Self::Curator => {
                java::curator_classpath().is_some() && runs(Command::new("javac").arg("-version"))
            }
            Self::Python => python().is_some(),
            Self::Aarch64Gcc => runs(Command::new("aarch64-linux-gnu-gcc").arg("--version")),
            Self::ArmhfGcc => runs(Command::new("arm-linux-gnueabihf-gcc").arg("--version")),
            Self::OpenSsl => runs(Command::new("openssl").arg("version")),
            Self::Docker => {
                let version = |program: &str, word: &str| runs(Command::new(program).arg(word));
                version("dockerd", "--version")
                    && version("docker", "--version")
                    && version("docker-compose", "version")
                    && version("ip", "-V")
            }
            // The command has no option without an effect.
            Self::Debootstrap => Path::new("/usr/share/debootstrap/functions").exists(),
            // The command has no option that succeeds.
            Self::Wrk => Command::new("wrk").arg("--version").output().is_ok(),
            Self::Redis => runs(Command::new("redis-server").arg("--version")),
            Self::Prometheus => {
                ["prometheus", "promtool"].iter().all(|name| runs(Command::new(name).arg("--version")))
            }
            Self::Chromium => {
                runs(Command::new("chromium").arg("--version"))
                    && runs(Command::new("chromedriver").arg("--version"))
            }
            Self::Qemu => qemu_version().is_some_and(|version| version >= QEMU),
        }
    }

    /// Returns the Debian packages that contain the part.
    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::Java => &["default-jre-headless"],
            Self::ZooKeeper => &["zookeeper"],
            Self::Netty => &["libnetty-java"],
            Self::Curator => &["libcurator-recipes-java", "default-jdk-headless"],
            Self::Python => &["python3", "python3-venv"],
            Self::Aarch64Gcc => &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            Self::ArmhfGcc => &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
            Self::Qemu => &["qemu-system-arm"],
            Self::OpenSsl => &["openssl"],
            Self::Docker => &["docker.io", "docker-compose", "iptables", "iproute2"],
            Self::Debootstrap => &["debootstrap"],
            Self::Wrk => &["wrk"],
            Self::Redis => &["redis-server"],
            Self::Prometheus => &["prometheus"],
            Self::Chromium => &["chromium", "chromium-driver"],
        }
    }

    /// Returns a description of the part for manual installation.
    fn advice(self) -> &'static str {
        match self {
            Self::Java => "a Java runtime, version 11 or later (the command `java`)",
            Self::ZooKeeper => {
                "Apache ZooKeeper (Debian and Ubuntu: the package `zookeeper`; macOS: `brew install zookeeper`; \
                 elsewhere the archive from zookeeper.apache.org), with ZOOKEEPER_HOME set to its folder unless it \
                 is the Debian package"
            }
            Self::Netty => "Netty (Debian and Ubuntu: the package `libnetty-java`)",
            Self::Curator => {
                "Apache Curator's recipes and a Java compiler (Debian and Ubuntu: the packages `libcurator-recipes-java` \
                 and `default-jdk-headless`; elsewhere a JDK, and CURATOR_HOME set to a folder with the jars)"
            }
            Self::Python => "Python 3.9 or later with venv (Debian and Ubuntu: the package `python3-venv`)",
            Self::Aarch64Gcc => {
                "a C compiler for 64-bit ARM, `aarch64-linux-gnu-gcc` (Debian and Ubuntu: `gcc-aarch64-linux-gnu`)"
            }
            Self::ArmhfGcc => {
                "a C compiler for 32-bit ARM, `arm-linux-gnueabihf-gcc` (Debian and Ubuntu: `gcc-arm-linux-gnueabihf`)"
            }
            Self::Qemu => {
                "QEMU 9 or later, `qemu-system-aarch64` (Debian: the package `qemu-system-arm`, in Debian 12 from its \
                 backports)"
            }
            Self::OpenSsl => "the command `openssl`",
            Self::Docker => {
                "Docker and Compose (Debian and Ubuntu: the packages `docker.io`, `docker-compose` and `iproute2`)"
            }
            Self::Debootstrap => "the command `debootstrap`",
            Self::Wrk => "the command `wrk` (Debian and Ubuntu: the package `wrk`)",
            Self::Redis => "Redis 7, the command `redis-server` (Debian and Ubuntu: `redis-server`)",
            Self::Prometheus => {
                "Prometheus 2.40 or later, the commands `prometheus` and `promtool` (Debian and Ubuntu: `prometheus`)"
            }
            Self::Chromium => {
                "Chromium and its driver, the commands `chromium` and `chromedriver` (Debian: the packages `chromium` and \
                 `chromium-driver`)"
            }
        }
    }
}

/// Reason why a part is still missing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InstallError {
    /// This machine does not allow an installation.
    #[error("{why}; please install:{}", list(.missing))]
    ByHand {
        /// Reason.
        why: &'static str,
        /// Missing parts.
        missing: Vec<Part>,
    },
    /// Packages of Debian cannot be downloaded on this machine.
    #[error(
        "this needs packages of Debian 12, and this machine has no apt-get that knows a mirror of Debian; run it on \
         Debian 12 or later, or in a container of it"
    )]
    NoDebian,
    /// A command of the installation failed.
    #[error("`{command}` failed:\n{output}")]
    Failed {
        /// The command as one could type it.
        command: String,
        /// Last lines of its output.
        output: String,
    },
    /// The installation reported success, but a part is still missing.
    #[error("installed {packages}, and still missing:{}", list(.missing))]
    StillMissing {
        /// Installed packages.
        packages: String,
        /// Missing parts.
        missing: Vec<Part>,
    },
    /// A file could not be written or locked.
    #[error("{what}: {source}")]
    Io {
        /// Description of the operation and the file.
        what: String,
        /// Error of the operating system.
        source: std::io::Error,
    },
}

impl InstallError {
    pub(crate) fn io(what: String, source: std::io::Error) -> Self {
        Self::Io { what, source }
    }
}

fn list(missing: &[Part]) -> String {
    missing.iter().map(|part| format!("\n  - {}", part.advice())).collect()
}

/// Installs the missing ones of `parts`, and reports each step to `progress`, line by line. Returns at once, without
/// output, if nothing is missing. Several processes may call it at the same time.
///
/// # Errors
///
/// If a part is missing and could not be installed; the message says what to do.
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

/// Returns the major version of QEMU, if it is installed.
fn qemu_version() -> Option<u32> {
    let output = Command::new("qemu-system-aarch64").arg("--version").output().ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

/// Returns the first number after `version`.
fn major_version(text: &str) -> Option<u32> {
    let (_, behind) = text.split_once("version ")?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// A Python virtual environment below the target folder.
#[derive(Clone, Copy, Debug)]
pub struct Environment {
    name: &'static str,
    requirements: &'static str,
    imports: &'static str,
}

impl Environment {
    /// Kazoo, and the packages that its programs use.
    pub const KAZOO: Self =
        Self { name: "kazoo", requirements: REQUIREMENTS, imports: "kazoo.client, puresasl, requests" };
    /// Tools that check an API from outside: Schemathesis, and the validator of OpenAPI documents.
    pub const API: Self = Self {
        name: "api",
        requirements: include_str!("../api/requirements.txt"),
        imports: "schemathesis, openapi_spec_validator",
    };
    /// Common packages for an API like the collector's, and for the execution of tasks.
    pub const PEER: Self = Self {
        name: "peer",
        requirements: include_str!("../peer/requirements.txt"),
        imports: "celery.bin.celery, flask, gunicorn, redis",
    };
}

/// Creates the virtual environment with Kazoo; see [`ensure_environment`].
///
/// # Errors
///
/// If Python is missing, or the packages cannot be installed.
pub fn ensure_kazoo(progress: impl FnMut(&str)) -> Result<PathBuf, InstallError> {
    ensure_environment(Environment::KAZOO, progress)
}

/// Creates a virtual environment if it is missing or its requirements have changed, and returns the path of its Python.
/// [`Part::Python`] must be installed.
///
/// # Errors
///
/// If Python is missing, or the packages cannot be installed.
pub fn ensure_environment(
    environment: Environment,
    mut progress: impl FnMut(&str),
) -> Result<PathBuf, InstallError> {
    let Environment { name, requirements, imports } = environment;
    let folder = scratch::testbed_dir().join(name);
    let io = |what: String| move |source| InstallError::Io { what, source };
    let parent = scratch::testbed_dir();
    std::fs::create_dir_all(&parent).map_err(io(format!("make the folder {}", parent.display())))?;
    let _one_at_a_time = locked(&parent.join(format!("{name}.lock")))?;

    let interpreter = folder.join("bin/python");
    let done = folder.join("requirements.installed");
    let is_current = std::fs::read_to_string(&done).is_ok_and(|installed| installed == requirements);
    if is_current && runs(Command::new(&interpreter).args(["-c", &format!("import {imports}")])) {
        return Ok(interpreter);
    }
    let Some(python) = python() else {
        return Err(InstallError::ByHand {
            why: "Python or its venv is missing",
            missing: vec![Part::Python],
        });
    };
    progress(&format!("making a Python environment with {imports} in {}", folder.display()));
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(io(format!("remove the old {}", folder.display())))?;
    }
    run(Command::new(python).args(["-m", "venv"]).arg(&folder), &mut progress)?;
    let wanted = folder.join("requirements.txt");
    std::fs::write(&wanted, requirements).map_err(io(format!("write {}", wanted.display())))?;
    let pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--requirement"];
    run(Command::new(&interpreter).args(pip).arg(&wanted), &mut progress)?;
    std::fs::write(&done, requirements).map_err(io(format!("write {}", done.display())))?;
    Ok(interpreter)
}

/// Returns a Python that can create virtual environments: the first one on the path, or the system's.
fn python() -> Option<&'static str> {
    let able = |python: &&str| runs(Command::new(python).args(["-c", "import venv, ensurepip"]));
    ["python3", "/usr/bin/python3"].into_iter().find(able)
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

/// Runs a command and passes its output to `progress`. Keeps the end of the output for the error.
pub(crate) fn run(command: &mut Command, progress: &mut impl FnMut(&str)) -> Result<(), InstallError> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).collect();
    let shown = words.iter().map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ");
    let io = |source| InstallError::Io { what: format!("run `{shown}`"), source };
    let (output, stdout) = std::io::pipe().map_err(io)?;
    let stderr = stdout.try_clone().map_err(io)?;
    let child = command.stdin(Stdio::null()).stdout(stdout).stderr(stderr).spawn();
    // The command holds the write ends: unless they are closed here, reading does not end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = child.map_err(io)?;
    let mut last = Vec::new();
    for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        progress(&line);
        if last.len() == 20 {
            last.remove(0);
        }
        last.push(line);
    }
    let status = child.wait().map_err(io)?;
    if status.success() {
        return Ok(());
    }
    last.push(format!("({status})"));
    Err(InstallError::Failed { command: shown, output: last.join("\n") })
}

/// Returns true if the command runs and succeeds. Its output is ignored.
fn runs(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// Opens and locks a file; the lock ends when the value is dropped, or the process dies.
pub(crate) fn locked(path: &Path) -> Result<File, InstallError> {
    let open = || {
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        file.lock()?;
        Ok(file)
    };
    open().map_err(|source| InstallError::Io { what: format!("lock {}", path.display()), source })
}

#[cfg(unix)]
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[cfg(not(unix))]
fn is_root() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_command_is_told_with_what_it_said() {
        let mut heard = Vec::new();
        let script = "echo on stdout; echo on stderr >&2; exit 3";
        let error = run(Command::new("sh").args(["-c", script]), &mut |line| heard.push(line.to_owned()));
        assert_eq!(heard, ["on stdout", "on stderr"]);
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains("exit 3`") && text.contains("on stderr") && text.contains("status: 3"),
            "{text}"
        );
    }

    #[test]
    fn the_version_of_qemu_is_understood() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright";
        assert_eq!(major_version(text), Some(10));
        assert_eq!(major_version("command not found"), None);
    }

    #[test]
    fn what_must_be_done_by_hand_is_listed() {
        let error = InstallError::ByHand { why: "this machine has no apt-get", missing: Part::ALL.to_vec() };
        let text = error.to_string();
        assert!(
            text.starts_with("this machine has no apt-get; please install:\n  - a Java runtime"),
            "{text}"
        );
        assert!(text.contains("package `zookeeper`") && text.contains("python3-venv"), "{text}");
    }
}
