//! This process in the state file of its node or worker: its sessions and znodes, until it has closed its session.

use atalaya_recipes::node_names::{ContenderId, Naming, Role};
use atalaya_recipes::{Session, SessionOptions};

use super::{ProcessRecord, StateFile};
use crate::process::executions;

/// Record of this process in the state file.
#[derive(Clone, Debug)]
pub(crate) struct OwnProcess {
    state_file: StateFile,
    /// Prefix of this process's election znode, which identifies the record.
    contender: String,
}

impl OwnProcess {
    /// Adds this process to the state file. `znodes`: paths of the ephemeral znodes that it creates. `contender` is
    /// recorded also if the process never contends, because it identifies the record.
    pub(crate) fn add(
        state_file: StateFile,
        znodes: Vec<String>,
        election: &str,
        contender: &ContenderId,
    ) -> OwnProcess {
        let contender = Role::from(Naming::Kazoo).prefix(contender);
        let record = ProcessRecord {
            process: std::process::id(),
            sessions: Vec::new(),
            znodes,
            election: election.to_owned(),
            contender: contender.clone(),
            mark: Some(executions::process_mark().to_owned()),
        };
        state_file.update(|known| known.add_process(record));
        OwnProcess { state_file, contender }
    }

    /// Returns the earlier processes of this node or worker that may have left znodes.
    pub(crate) fn earlier_processes(&self) -> Vec<ProcessRecord> {
        self.state_file.earlier_processes(&self.contender)
    }

    /// Removes an earlier process, which has no znodes left in ZooKeeper.
    pub(crate) fn remove_earlier(&self, process: &ProcessRecord) {
        self.state_file.update(|record| record.remove_process(&process.contender));
    }

    /// Removes this process, after its session is closed.
    pub(crate) fn remove(&self) {
        self.state_file.update(|record| record.remove_process(&self.contender));
    }
}

/// Starts a session. Each session id is recorded for `process` before a znode is created in that session.
pub(crate) fn start_session(options: SessionOptions, process: Option<OwnProcess>) -> Session {
    Session::start_with_callback(options, move |session| {
        if let Some(process) = &process {
            process.state_file.update(|record| record.add_session(session));
        }
    })
}
