//! cargo-deb, built once into the target folder.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

use xtask::cargo::cargo;

/// Pinned. The contents of a package are checked, but changes should still appear only when this line changes.
const VERSION: &str = "3.8.0";

/// Returns the path of cargo-deb. Installs it if it is missing or has another version.
pub(super) fn cargo_deb() -> anyhow::Result<PathBuf> {
    let root = target_dir().join("tools");
    let program = root.join("bin").join(format!("cargo-deb{}", std::env::consts::EXE_SUFFIX));
    let known = Command::new(&program).arg("--version").output();
    if known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION)) {
        return Ok(program);
    }
    eprintln!("building cargo-deb {VERSION}, once");
    let mut command = cargo();
    command.args([
        "install",
        "cargo-deb",
        "--locked",
        "--force",
        "--version",
        &format!("={VERSION}"),
        "--root",
    ]);
    command.arg(&root).env("CARGO_TARGET_DIR", root.join("build"));
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "cargo-deb could not be installed, see above");
    Ok(program)
}
