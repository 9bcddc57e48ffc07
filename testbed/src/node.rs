//! Commands that start a node in tests.

use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::scratch::Scratch;
use crate::spawn::parent_death_command;

/// Variables of the tests' environment that a node keeps. In particular not: `ATALAYA_*`, `ZOOKEEPER_*`, `API_URL`,
/// proxies.
const KEPT: [&str; 6] = ["PATH", "LANG", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE", "SYSTEMROOT"];

/// Returns the command `atalaya run ID --zookeeper HOSTS`, to which a test appends further arguments: `binary` is
/// usually `env!("CARGO_BIN_EXE_atalaya")`.
///
/// The environment is clean, and the node has its own state folder, which is also its current one, so that no
/// boards.toml is found by chance. It is the same for each start of this id on these servers, and differs in each test
/// process.
pub fn node_command(binary: &str, id: &str, zookeeper: &str) -> Command {
    // Never dropped: the next process that creates a scratch folder removes it.
    static STATE: OnceLock<Scratch> = OnceLock::new();
    node_command_in(STATE.get_or_init(|| Scratch::new("nodes")).path(), binary, id, zookeeper)
}

/// Returns a command like [`node_command`], with the state folders below `folder`.
pub fn node_command_in(folder: &Path, binary: &str, id: &str, zookeeper: &str) -> Command {
    let mut identity = DefaultHasher::new();
    // An id can be any text in tests of invalid ids, so it cannot be the name of a folder.
    (id, zookeeper).hash(&mut identity);
    let state = folder.join(format!("{:016x}", identity.finish()));
    fs::create_dir_all(&state).expect("make a node's state folder");
    let mut command = clean_command(&state, binary);
    command.env("ATALAYA_STATE_DIR", &state).args(["run", id, "--zookeeper", zookeeper]);
    command
}

/// Returns the command `binary`, without arguments, in `folder`, which is also its home, with a clean environment.
pub fn clean_command(folder: &Path, binary: &str) -> Command {
    let path = Path::new(binary);
    let absolute = if binary.contains('/') { path.canonicalize().ok() } else { None };
    let mut command = parent_death_command(absolute.as_deref().unwrap_or(path));
    command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.env("HOME", folder).current_dir(folder);
    command
}
