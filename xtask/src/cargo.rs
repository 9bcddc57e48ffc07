//! Calls of the same cargo that runs this program.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

/// Returns a command for cargo, in the folder of the workspace.
pub fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace());
    command
}

/// Returns the folder of the workspace.
pub fn workspace() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map_or(here.clone(), PathBuf::from)
}

/// Runs a command, and fails if it fails.
pub fn succeeds(command: &mut Command) -> anyhow::Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", words(command)))?;
    ensure!(status.success(), "`{}` failed ({status}), see above", words(command));
    Ok(())
}

/// Runs a command and returns its output, and fails if it fails.
pub fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.output().with_context(|| format!("cannot run {}", words(command)))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "`{}` failed ({}):\n{}",
        words(command),
        output.status,
        stderr.trim_end()
    );
    Ok(output.stdout)
}

/// Returns the program and its arguments, for messages.
fn words(command: &Command) -> String {
    let words: Vec<&OsStr> = [command.get_program()].into_iter().chain(command.get_args()).collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

/// Profile of cargo for the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Profile {
    /// Without optimisation.
    Dev,
    /// Optimised, and quickly built.
    Release,
    /// As it is shipped: the whole program is optimised at once, which takes minutes.
    Distribution,
}

impl Profile {
    /// Returns the name of the profile, for `--profile`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Release => "release",
            Self::Distribution => "distribution",
        }
    }

    /// Returns the name of its folder below the target folder.
    pub fn folder(self) -> &'static str {
        if self == Self::Dev { "debug" } else { self.name() }
    }
}

/// Builds the node for this machine, with additional arguments, and returns its path.
pub fn build_node(profile: Profile, arguments: &[&str]) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--profile", profile.name(), "--package", "atalaya", "--bin", "atalaya"]);
    succeeds(command.args(arguments))?;
    let node = target_dir().join(profile.folder()).join(format!("atalaya{}", std::env::consts::EXE_SUFFIX));
    ensure!(node.exists(), "cargo did not build {}", node.display());
    Ok(node)
}

/// Returns the absolute path of an existing program.
pub fn existing(program: &Path) -> anyhow::Result<PathBuf> {
    program.canonicalize().with_context(|| format!("there is no {}", program.display()))
}

/// Converts the status of a command to an exit code. A command that was ended by a signal has none.
pub fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    code.map_or(ExitCode::FAILURE, ExitCode::from)
}
