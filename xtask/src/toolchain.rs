//! Compilation for other machines: Rust's library for the target from rustup, or from Debian's packages if rustup is
//! not available; and a C compiler for linking. `cargo xtask pi` and `dist` use it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use atalaya_testbed::debian::{self, Debian};
use atalaya_testbed::install::{self, Part};

use crate::cargo::{cargo, require};

/// Machine that Atalaya runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// A Raspberry Pi 3, 4, 5 or Zero 2 with a 64-bit system.
    Aarch64,
    /// A Raspberry Pi 2 or later with a 32-bit system.
    Armv7,
    /// A PC.
    #[value(name = "x86_64")]
    X86_64,
}

impl Target {
    /// Returns Rust's name of the target.
    pub fn triple(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
            Self::X86_64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// Returns the target that matches this machine, if any.
    pub fn here() -> Option<Target> {
        [Self::Aarch64, Self::Armv7, Self::X86_64].into_iter().find(|target| target.is_here())
    }

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "armv7",
            Self::X86_64 => "x86_64",
        }
    }

    /// Returns Debian's name of the architecture.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Aarch64 => "arm64",
            Self::Armv7 => "armhf",
            Self::X86_64 => "amd64",
        }
    }

    /// Returns the emulators that run single programs of this target on another machine, by Debian's names.
    pub fn emulators(self) -> [&'static str; 2] {
        match self {
            Self::Aarch64 => ["qemu-aarch64", "qemu-aarch64-static"],
            Self::Armv7 => ["qemu-arm", "qemu-arm-static"],
            Self::X86_64 => ["qemu-x86_64", "qemu-x86_64-static"],
        }
    }

    /// Returns the folder with the C library of the cross compiler.
    pub fn libraries(self) -> Option<PathBuf> {
        self.tools().map(|tools| Path::new("/usr").join(tools))
    }

    /// Returns the prefix of the names of the C tools. `None` means the tools of this machine.
    fn tools(self) -> Option<&'static str> {
        match self {
            _ if self.is_here() => None,
            Self::Aarch64 => Some("aarch64-linux-gnu"),
            Self::Armv7 => Some("arm-linux-gnueabihf"),
            Self::X86_64 => Some("x86_64-linux-gnu"),
        }
    }

    /// Returns true if this machine matches the target.
    pub fn is_here(self) -> bool {
        let name = match self {
            Self::Aarch64 => "aarch64",
            Self::Armv7 => "arm",
            Self::X86_64 => "x86_64",
        };
        cfg!(all(target_os = "linux", target_env = "gnu")) && std::env::consts::ARCH == name
    }
}

/// Settings with which cargo builds for a target.
#[derive(Clone, Debug)]
pub struct Toolchain {
    target: Target,
    /// Compiler to use instead of cargo's default.
    rustc: Option<PathBuf>,
}

impl Toolchain {
    /// Finds the compilers, and installs missing parts: the library from rustup or, failing that, from Debian; the C
    /// compiler with apt-get.
    ///
    /// # Errors
    ///
    /// A part is missing and cannot be installed on this machine. The message says what to do.
    pub fn ready(target: Target) -> anyhow::Result<Toolchain> {
        match target {
            _ if target.is_here() => {}
            Target::Aarch64 => require(&[Part::Aarch64Gcc])?,
            Target::Armv7 => require(&[Part::ArmhfGcc])?,
            Target::X86_64 => ensure!(
                Command::new("x86_64-linux-gnu-gcc").arg("--version").output().is_ok(),
                "there is no x86_64-linux-gnu-gcc: please install a C compiler for x86_64"
            ),
        }
        if has_library(None, target) {
            return Ok(Toolchain { target, rustc: None });
        }
        let Err(why) = add_by_rustup(target) else { return Ok(Toolchain { target, rustc: None }) };
        eprintln!("{why:#}; taking Debian's Rust instead");
        let rustc = from_debian(target).with_context(|| {
            format!("cannot compile for {0}; with rustup: rustup target add {0}", target.triple())
        })?;
        Ok(Toolchain { target, rustc: Some(rustc) })
    }

    /// Returns `cargo build --target …` for the target, in the workspace's folder. With `is_static`, the program needs
    /// no C library at run time. The caller adds the package and the destination.
    pub fn build(&self, is_static: bool) -> Command {
        let mut command = cargo();
        command.args(["build", "--target", self.target.triple()]);
        for (name, value) in self.variables(is_static) {
            command.env(name, value);
        }
        command
    }

    /// Returns the environment variables for cargo.
    fn variables(&self, is_static: bool) -> Vec<(String, String)> {
        let triple = self.target.triple();
        let upper = triple.to_uppercase().replace('-', "_");
        let lower = triple.replace('-', "_");
        let mut variables = Vec::new();
        if let Some(tools) = self.target.tools() {
            // A variable that is already set selects another compiler, and is kept.
            let wanted = [
                (format!("CARGO_TARGET_{upper}_LINKER"), format!("{tools}-gcc")),
                (format!("CC_{lower}"), format!("{tools}-gcc")),
                (format!("AR_{lower}"), format!("{tools}-ar")),
            ];
            variables.extend(wanted.into_iter().filter(|(name, _)| std::env::var_os(name).is_none()));
        }
        if is_static {
            variables
                .push((format!("CARGO_TARGET_{upper}_RUSTFLAGS"), "-C target-feature=+crt-static".into()));
        }
        if let Some(rustc) = &self.rustc {
            variables.push(("RUSTC".into(), rustc.display().to_string()));
        }
        variables
    }

    /// Removes the data that only debuggers read from a program.
    ///
    /// # Errors
    ///
    /// The tool or the program does not exist.
    pub fn strip(&self, program: &Path, stripped: &Path) -> anyhow::Result<()> {
        let tool = self.target.tools().map_or("strip".to_owned(), |tools| format!("{tools}-strip"));
        let status = Command::new(&tool).arg("-o").arg(stripped).arg(program).status();
        ensure!(status.with_context(|| format!("cannot run {tool}"))?.success(), "{tool} failed, see above");
        Ok(())
    }
}

/// Returns true if this compiler, or cargo's own one, has Rust's library for the target.
fn has_library(rustc: Option<&Path>, target: Target) -> bool {
    let own = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc.map_or(own, |rustc| rustc.as_os_str().to_owned()));
    let Ok(output) = command.args(["--print", "target-libdir", "--target", target.triple()]).output() else {
        return false;
    };
    let folder = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("libstd-"))
}

fn add_by_rustup(target: Target) -> anyhow::Result<()> {
    ensure!(std::env::var_os("RUSTC").is_none(), "RUSTC names a compiler without {}", target.triple());
    eprintln!("rustup target add {}", target.triple());
    let status = Command::new("rustup").args(["target", "add", target.triple()]).status();
    ensure!(status.context("there is no rustup")?.success(), "rustup cannot add {}", target.triple());
    ensure!(has_library(None, target), "rustup has added {} to another compiler", target.triple());
    Ok(())
}

/// Debian's packages of a Rust release that is newer than its default one. Debian builds its browsers with it, and it
/// includes the library for 64-bit ARM.
const DEBIAN_RUST: &str = "libstd-rust-web-dev";
/// Minimum version of Rust for the workspace.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

/// Returns a compiler from Debian's packages, unpacked into the cache folder.
fn from_debian(target: Target) -> anyhow::Result<PathBuf> {
    ensure!(target == Target::Aarch64, "Debian's Rust has no library for {}", target.triple());
    let folder = install::cache_dir().join("rust");
    let rustc = folder.join("rustc");
    if has_library(Some(&rustc), target) {
        return Ok(rustc);
    }
    let mut say = |line: &str| eprintln!("{line}");
    let here = install::architecture();
    let debian = Debian::ready(&folder.join("apt"), &[&here, "arm64"], false, &mut say)?;
    let version = debian.field(&format!("{DEBIAN_RUST}:{here}"), "Version").unwrap_or_default();
    ensure!(is_at_least(&version, MINIMUM), "Debian's Rust is {version}, and {MINIMUM} is needed");
    let library = debian.dependency(&format!("{DEBIAN_RUST}:{here}"), "libstd-rust-web-")?;
    let llvm = debian
        .dependency(&format!("{library}:{here}"), "libLLVM")
        .or_else(|_| debian.dependency(&format!("{library}:{here}"), "libllvm"))?;
    let packages: Vec<String> = ["rustc-web", &library, DEBIAN_RUST, &llvm]
        .iter()
        .map(|name| format!("{name}:{here}"))
        .chain([format!("{DEBIAN_RUST}:arm64")])
        .collect();
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let root = folder.join("root");
    for deb in debian.download(&names, &mut say)? {
        debian::unpack(&deb, &root, &mut say)?;
    }
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={0}/usr/lib/{1}-linux-gnu exec {0}/usr/bin/rustc \"$@\"\n",
        root.display(),
        std::env::consts::ARCH
    );
    fs::write(&rustc, script).with_context(|| format!("cannot write {}", rustc.display()))?;
    executable(&rustc)?;
    if !has_library(Some(&rustc), target) {
        bail!("Debian's Rust was unpacked into {} and does not work", root.display());
    }
    Ok(rustc)
}

#[cfg(unix)]
fn executable(path: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
        .with_context(|| format!("cannot make {} executable", path.display()))
}

#[cfg(not(unix))]
fn executable(_path: &Path) -> anyhow::Result<()> {
    bail!("Debian's packages run on Linux only")
}

/// Returns true if a version, such as `1.96.0+dfsg1`, is not below another one, such as `1.90`.
fn is_at_least(version: &str, minimum: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split(|c: char| !c.is_ascii_digit());
        parts.take(2).map(|part| part.parse().unwrap_or(0)).collect()
    };
    numbers(version) >= numbers(minimum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargo_is_told_the_cross_compiler() {
        let variables = Toolchain { target: Target::Armv7, rustc: None }.variables(true);
        let value =
            |name: &str| variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str());
        assert_eq!(
            value("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_LINKER"),
            Some("arm-linux-gnueabihf-gcc")
        );
        assert_eq!(value("CC_armv7_unknown_linux_gnueabihf"), Some("arm-linux-gnueabihf-gcc"));
        let flags = value("CARGO_TARGET_ARMV7_UNKNOWN_LINUX_GNUEABIHF_RUSTFLAGS");
        assert_eq!(flags, Some("-C target-feature=+crt-static"));
        assert_eq!(value("RUSTC"), None);
    }

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_at_least("1.96.0+dfsg1-1~deb12u2", "1.90"));
        assert!(is_at_least("1.100.0", "1.90") && is_at_least("1.90.0", "1.90"));
        assert!(!is_at_least("1.85.0", "1.90") && !is_at_least("", "1.90"));
    }
}
