//! Calls of the same cargo that runs this program.

use std::path::PathBuf;
use std::process::Command;

use atalaya_testbed::install::{self, Part};

/// Returns a command for cargo, in the folder of the workspace.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Returns the folder of the workspace.
pub(crate) fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Installs missing programs and prints the progress.
pub(crate) fn require(parts: &[Part]) -> Result<(), install::InstallError> {
    install::ensure(parts, |line| eprintln!("{line}"))
}
