//! Opens the state file of a node or of a worker, for its commands.

use anyhow::anyhow;
use tracing::warn;

use super::args::StateArgs;
use super::process_environment;
use crate::commands::exit::Failure;
use crate::process::state_dir::{Holder, OpenError, Purpose, StateDir, StateFile, file_stem};
use crate::settings::Settings;

/// Opens the state file of the process that creates the znode `path`. Returns `None` if that is not possible, because
/// the process works without it. `kind` is "node" or "worker".
///
/// # Errors
/// Another process on this machine has the id.
pub(super) fn open(
    args: &StateArgs,
    kind: &str,
    id: &str,
    settings: &Settings,
    path: &str,
) -> Result<Option<StateFile>, Failure> {
    let folder = match StateDir::find(args.state_dir.as_ref(), process_environment()) {
        StateDir::At(folder) => folder,
        StateDir::Off => return Ok(None),
        StateDir::Unknown => {
            warn!(
                "no folder for the state file: neither --state-dir nor HOME is set; if this {kind} is killed, its znodes \
                 remain until its session times out"
            );
            return Ok(None);
        }
    };
    let stem = file_stem(id, &settings.zookeeper, path);
    match StateFile::open(&folder, &stem, id, &settings.zookeeper.to_string()) {
        Ok(state_file) => Ok(Some(state_file)),
        Err(OpenError::Held(Holder { process, purpose })) => {
            let process =
                process.map_or("another process".to_owned(), |process| format!("process {process}"));
            Err(match purpose {
                Purpose::Run => Failure::id_in_use(anyhow!(
                    "the {kind} id {id} is in use by {process} on this machine; stop it, or give this {kind} another id"
                )),
                Purpose::CleanUp => Failure::temp_fail(anyhow!(
                    "cleanup of {kind} {id} by {process} is still running; try again later"
                )),
            })
        }
        Err(OpenError::Io(error)) => {
            warn!(
                "cannot write a state file in {}: {error}; if this {kind} is killed, its znodes remain until its session \
                 times out",
                folder.display()
            );
            Ok(None)
        }
    }
}
