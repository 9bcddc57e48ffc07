//! Tools from crates.io, each built once into the target folder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use atalaya_testbed::target_dir;

use xtask::cargo::{cargo, succeeds};

/// A program that `cargo install` builds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// Further options of `cargo install`.
    options: &'static [&'static str],
}

/// Pinned. The contents of a package are checked, but changes should still appear only when this line changes.
pub(crate) const CARGO_DEB: Tool = Tool { name: "cargo-deb", version: "3.8.0", options: &[] };

/// Pinned, because docs/book.css relies on the page structure of this version. The features `serve` and `watch` would
/// add a web server.
pub(crate) const MDBOOK: Tool =
    Tool { name: "mdbook", version: "0.5.4", options: &["--no-default-features", "--features", "search"] };

/// Checks licences, sources and advisories of dependencies.
pub(crate) const CARGO_DENY: Tool = Tool { name: "cargo-deny", version: "0.20.2", options: &[] };

/// Builds and runs fuzz targets.
pub(crate) const CARGO_FUZZ: Tool = Tool { name: "cargo-fuzz", version: "0.13.2", options: &[] };

/// Writes the licences of dependencies.
pub(crate) const CARGO_ABOUT: Tool =
    Tool { name: "cargo-about", version: "0.9.3", options: &["--features", "cli"] };

impl Tool {
    /// Installs the program if necessary, and returns a `PATH` on which cargo finds it as its command.
    pub(crate) fn on_path(self) -> anyhow::Result<OsString> {
        let program = self.installed()?;
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = program.parent().map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
        std::env::join_paths(folders).context("a folder in PATH has an invalid name")
    }

    /// Returns the path of the program. Installs it if it is missing or has another version.
    pub(crate) fn installed(self) -> anyhow::Result<PathBuf> {
        let Self { name, version, options } = self;
        let root = target_dir().join("tools");
        let program = root.join("bin").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let known = Command::new(&program).arg("--version").output();
        if known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(version)) {
            return Ok(program);
        }
        eprintln!("building {name} {version}, once");
        let mut command = cargo();
        command.args(["install", name, "--locked", "--force", "--version", &format!("={version}")]);
        command.args(options).arg("--root").arg(&root).env("CARGO_TARGET_DIR", root.join("build"));
        succeeds(&mut command)?;
        Ok(program)
    }
}
