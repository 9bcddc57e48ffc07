//! Compilation for other machines: Rust's library for the target from rustup, or from Debian's packages if rustup is
//! not available; and a C compiler for linking. `cargo xtask pi` and `dist` use it.

mod debian;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use atalaya_testbed::install::{self, Part};

use crate::cargo::{cargo, succeeds};

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
        self.row()[0]
    }

    /// Returns the target that matches this machine, if any.
    pub fn here() -> Option<Target> {
        [Self::Aarch64, Self::Armv7, Self::X86_64].into_iter().find(|target| target.is_here())
    }

    /// Returns the name on the command line.
    pub fn name(self) -> &'static str {
        self.row()[1]
    }

    /// Returns Debian's name of the architecture.
    pub fn debian(self) -> &'static str {
        self.row()[2]
    }

    /// Returns the names for Rust, on the command line, and for Debian; the prefix of the names of the C tools; and the name
    /// of QEMU's emulator.
    fn row(self) -> [&'static str; 5] {
        match self {
            Self::Aarch64 => {
                ["aarch64-unknown-linux-gnu", "aarch64", "arm64", "aarch64-linux-gnu", "qemu-aarch64"]
            }
            Self::Armv7 => {
                ["armv7-unknown-linux-gnueabihf", "armv7", "armhf", "arm-linux-gnueabihf", "qemu-arm"]
            }
            Self::X86_64 => {
                ["x86_64-unknown-linux-gnu", "x86_64", "amd64", "x86_64-linux-gnu", "qemu-x86_64"]
            }
        }
    }

    /// Returns the emulators that run single programs of this target on another machine, by Debian's names.
    pub fn emulators(self) -> [String; 2] {
        let name = self.row()[4];
        [name.to_owned(), format!("{name}-static")]
    }

    /// Returns the folder with the C library of the cross compiler.
    pub fn libraries(self) -> Option<PathBuf> {
        self.tools().map(|tools| Path::new("/usr").join(tools))
    }

    /// Returns the prefix of the names of the C tools. `None` means the tools of this machine.
    fn tools(self) -> Option<&'static str> {
        (!self.is_here()).then(|| self.row()[3])
    }

    /// Returns true if this machine matches the target.
    pub fn is_here(self) -> bool {
        let name = if self == Self::Armv7 { "arm" } else { self.name() };
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
    pub fn ready(target: Target) -> anyhow::Result<Toolchain> {
        match target {
            _ if target.is_here() => {}
            Target::Aarch64 => install::ensure(&[Part::Aarch64Gcc])?,
            Target::Armv7 => install::ensure(&[Part::ArmhfGcc])?,
            Target::X86_64 => ensure!(
                Command::new("x86_64-linux-gnu-gcc").arg("--version").output().is_ok(),
                "x86_64-linux-gnu-gcc is missing: please install a C compiler for x86_64"
            ),
        }
        if has_library(None, target) {
            return Ok(Toolchain { target, rustc: None });
        }
        let Err(error) = add_by_rustup(target) else { return Ok(Toolchain { target, rustc: None }) };
        eprintln!("{error:#}; using Debian's Rust instead");
        let rustc = debian::rustc(target).with_context(|| {
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
    pub fn strip(&self, program: &Path, stripped: &Path) -> anyhow::Result<()> {
        let tool = self.target.tools().map_or("strip".to_owned(), |tools| format!("{tools}-strip"));
        succeeds(Command::new(tool).arg("-o").arg(stripped).arg(program))
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
    succeeds(Command::new("rustup").args(["target", "add", target.triple()]))?;
    ensure!(has_library(None, target), "rustup has added {} to another compiler", target.triple());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cross_compiler_is_passed_to_cargo() {
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
}
