//! Debian package, built with cargo-deb. node/Cargo.toml defines its contents.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::build::How;
use super::tools;
use xtask::cargo::workspace;
use xtask::toolchain::Target;

/// Builds the package of the program that was built before, in `folder`.
pub(super) fn make(folder: &Path, target: Target, how: How) -> anyhow::Result<PathBuf> {
    let cargo_deb = tools::cargo_deb()?;
    let suffix = how.suffix().replace('-', "_");
    let version = env!("CARGO_PKG_VERSION");
    let package = folder.join(format!("atalaya_{version}_{}{suffix}.deb", target.debian()));
    let mut command = std::process::Command::new(&cargo_deb);
    // cargo-deb looks for the description relative to this folder.
    command.current_dir(workspace().join("node")).args(["--package", "atalaya", "--target", target.triple()]);
    // The profile has stripped the program already.
    command.args(["--no-build", "--no-strip", "--locked", "--output"]).arg(&package);
    command.env("CARGO_TARGET_DIR", atalaya_testbed::target_dir());
    if how.is_static {
        command.args(["--variant", "static"]);
    }
    let _ = fs::remove_file(&package);
    let status = command.status().with_context(|| format!("cannot run {}", cargo_deb.display()))?;
    ensure!(status.success(), "cargo-deb failed, see above");
    Ok(package)
}
