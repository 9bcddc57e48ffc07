//! Parts that are not installed with Rust.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::java;

/// Minimum major version of QEMU: the first one that has the I²C controller of a Raspberry Pi.
const QEMU: u32 = 9;

/// A part that is not installed with Rust; its row in `Part::row` describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "see `Part::row`")]
pub enum Part {
    Java,
    ZooKeeper,
    Netty,
    Curator,
    Python,
    Aarch64Gcc,
    ArmhfGcc,
    Qemu,
    OpenSsl,
    Docker,
    Debootstrap,
    Lintian,
    Wrk,
    Redis,
    Prometheus,
    Influxdb,
    Mosquitto,
    Chromium,
}

/// Description of a part, the commands that must succeed if it is installed, and the Debian packages that contain it.
type Row = (&'static str, &'static [&'static str], &'static [&'static str]);

impl Part {
    /// All parts that the tests need.
    pub const ALL: [Self; 11] = [
        Self::Java,
        Self::ZooKeeper,
        Self::Netty,
        Self::OpenSsl,
        Self::Curator,
        Self::Python,
        Self::Redis,
        Self::Prometheus,
        Self::Influxdb,
        Self::Mosquitto,
        Self::Chromium,
    ];

    fn row(self) -> Row {
        match self {
            Self::Java => {
                ("a Java runtime, version 11 or later", &["java -version"], &["default-jre-headless"])
            }
            Self::ZooKeeper => (
                "Apache ZooKeeper, or the archive from zookeeper.apache.org with ZOOKEEPER_HOME set to its folder (macOS: \
                 `brew install zookeeper`)",
                &[],
                &["zookeeper"],
            ),
            Self::Netty => (
                "Netty, with which Apache ZooKeeper uses TLS; its archive contains it",
                &[],
                &["libnetty-java"],
            ),
            Self::Curator => (
                "Apache Curator's recipes and a JDK; elsewhere CURATOR_HOME set to a folder with the jars",
                &["javac -version"],
                &["libcurator-recipes-java", "default-jdk-headless"],
            ),
            Self::Python => ("Python 3.9 or later with venv", &[], &["python3", "python3-venv"]),
            Self::Aarch64Gcc => (
                "a C compiler for 64-bit ARM, `aarch64-linux-gnu-gcc`",
                &["aarch64-linux-gnu-gcc --version"],
                &["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"],
            ),
            Self::ArmhfGcc => (
                "a C compiler for 32-bit ARM, `arm-linux-gnueabihf-gcc`",
                &["arm-linux-gnueabihf-gcc --version"],
                &["gcc-arm-linux-gnueabihf", "libc6-dev-armhf-cross"],
            ),
            Self::Qemu => (
                "QEMU 9 or later, `qemu-system-aarch64`, in Debian 12 from its backports",
                &[],
                &["qemu-system-arm"],
            ),
            Self::OpenSsl => ("the command `openssl`", &["openssl version"], &["openssl"]),
            Self::Docker => (
                "Docker and Compose",
                &["dockerd --version", "docker --version", "docker-compose version", "ip -V"],
                &["docker.io", "docker-compose", "iptables", "iproute2"],
            ),
            Self::Debootstrap => ("the command `debootstrap`", &[], &["debootstrap"]),
            Self::Lintian => ("the command `lintian`", &["lintian --version"], &["lintian"]),
            Self::Wrk => ("the command `wrk`", &[], &["wrk"]),
            Self::Redis => {
                ("Redis 7, the command `redis-server`", &["redis-server --version"], &["redis-server"])
            }
            Self::Prometheus => {
                ("Prometheus 2.40 or later", &["prometheus --version", "promtool --version"], &["prometheus"])
            }
            Self::Influxdb => ("InfluxDB 1.6 or later", &["influxd version"], &["influxdb"]),
            // The command has no option that succeeds.
            Self::Mosquitto => ("Mosquitto 2", &[], &["mosquitto"]),
            Self::Chromium => (
                "Chromium and its driver",
                &["chromium --version", "chromedriver --version"],
                &["chromium", "chromium-driver"],
            ),
        }
    }

    pub fn is_installed(self) -> bool {
        let commands_succeed = self.row().1.iter().all(|command| {
            let mut words = command.split(' ');
            runs(Command::new(words.next().unwrap_or_default()).args(words))
        });
        commands_succeed
            && match self {
                Self::ZooKeeper => java::classpath().is_some(),
                Self::Netty => java::has_netty(),
                Self::Curator => java::curator_classpath().is_some(),
                Self::Python => python().is_some(),
                // The command has no option without an effect.
                Self::Debootstrap => Path::new("/usr/share/debootstrap/functions").exists(),
                // The command has no option that succeeds.
                Self::Wrk => Command::new("wrk").arg("--version").output().is_ok(),
                Self::Mosquitto => Path::new("/usr/sbin/mosquitto").exists(),
                Self::Qemu => qemu_version().is_some_and(|version| version >= QEMU),
                _ => true,
            }
    }

    pub(super) fn packages(self) -> &'static [&'static str] {
        self.row().2
    }

    /// Returns a description of the part for manual installation.
    pub(super) fn advice(self) -> String {
        let (description, _, packages) = self.row();
        let word = if packages.len() == 1 { "package" } else { "packages" };
        format!("{description} (Debian and Ubuntu: the {word} `{}`)", packages.join("`, `"))
    }
}

fn qemu_version() -> Option<u32> {
    let output = Command::new("qemu-system-aarch64").arg("--version").output().ok()?;
    major_version(&String::from_utf8_lossy(&output.stdout))
}

/// Returns the first number after `version`.
fn major_version(text: &str) -> Option<u32> {
    let (_, behind) = text.split_once("version ")?;
    behind.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Returns a Python that can create virtual environments: the first one on the path, or the system's.
pub(super) fn python() -> Option<&'static str> {
    let able = |python: &&str| runs(Command::new(python).args(["-c", "import venv, ensurepip"]));
    ["python3", "/usr/bin/python3"].into_iter().find(able)
}

/// Returns a Python of this version, such as `3.13`, that can create virtual environments: on the path, or of pyenv.
pub(super) fn python_of_version(version: &str) -> Option<String> {
    let name = format!("python{version}");
    let of_pyenv = std::env::var_os("PYENV_ROOT").map(std::path::PathBuf::from);
    let of_pyenv = of_pyenv.or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    let versions = of_pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok());
    let of_pyenv = versions.into_iter().flatten().flatten().map(|entry| entry.path().join("bin").join(&name));
    let able = |python: &String| runs(Command::new(python).args(["-c", "import venv, ensurepip"]));
    let of_pyenv = of_pyenv.map(|path| path.display().to_string());
    std::iter::once(name.clone()).chain(of_pyenv).find(able)
}

/// Returns true if the command runs and succeeds. Its output is ignored.
pub(super) fn runs(command: &mut Command) -> bool {
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_qemu_is_parsed() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2+deb13u1~bpo12+1)\nCopyright";
        assert_eq!(major_version(text), Some(10));
        assert_eq!(major_version("command not found"), None);
    }
}
