//! Calling cargo as we were called by it.

use std::path::PathBuf;
use std::process::Command;

use atalaya_testbed::install::{self, Part};

/// Cargo, in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// The folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Installs what is missing and shows what is done.
pub(crate) fn require(parts: &[Part]) -> Result<(), install::InstallError> {
    install::ensure(parts, |line| eprintln!("{line}"))
}
