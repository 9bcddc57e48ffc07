//! Processes of the three roles, and the checks that several tests make.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Change, Process, Stream, ZkProbe, eventually, parent_death_command};

pub(super) use crate::common::lines;
use crate::common::server::Server;
use crate::common::{DEADLINE, Fleet, TestEnv};

pub(super) const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// Returns `atalaya classic WORDS…`, and after the settings `-- COMMAND…`. The session timeout is [`SESSION_TIMEOUT`], or
/// that of the fleet if it is longer.
pub(super) fn classic(fleet: &TestEnv, words: &[&str], command: &[&str]) -> Command {
    let mut atalaya = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    let timeout = format!("{}s", fleet.pace.session.max(SESSION_TIMEOUT).as_secs());
    atalaya.arg("classic").args(words).args(["--zookeeper", &fleet.hosts, "--session-timeout", &timeout]);
    if !command.is_empty() {
        atalaya.arg("--").args(command);
    }
    atalaya.current_dir(std::env::temp_dir());
    atalaya
}

pub(super) fn start(fleet: &TestEnv, words: &[&str]) -> Process {
    Process::spawn(classic(fleet, words, &[]))
}

/// Starts a master and waits until it leads.
pub(super) fn leader(fleet: &TestEnv, id: &str) -> Process {
    let master = start(fleet, &["master", id]);
    master.wait_for_line("leading", DEADLINE);
    master
}

/// Starts a master and waits until it is in the election behind another one.
pub(super) fn backup(fleet: &TestEnv, id: &str) -> Process {
    let master = start(fleet, &["master", id]);
    master.wait_for_line("waiting to lead", DEADLINE);
    master
}

pub(super) fn worker(fleet: &TestEnv, id: &str) -> Process {
    let worker = start(fleet, &["worker", id]);
    worker.wait_for_line("registered", DEADLINE);
    worker
}

/// Starts a worker whose tasks append their input to `file`, at their start and at their end, and `overlap` if another
/// execution of the same task still runs.
pub(super) fn recording_worker(fleet: &TestEnv, id: &str, file: &Path, work: &str) -> Process {
    let file = file.display();
    // All processes of an execution hold the lock.
    let lock = format!("exec 9>{file}.$ATALAYA_TASK; flock --nonblock 9 || echo overlap >> {file}");
    let script =
        format!("{lock}; echo begin $1 >> {file}; {work}; echo end $1 >> {file}; echo $1,$ATALAYA_TASK");
    Process::start(classic(fleet, &["worker", id], &["sh", "-c", &script, "sh"]), "registered", DEADLINE)
}

pub(super) fn client(fleet: &TestEnv, id: &str, input: &str) -> Process {
    start(fleet, &["submit", input, "--id", id])
}

/// Returns what a client printed.
pub(super) fn output(client: &mut Process) -> Vec<String> {
    let exit = client.wait_exit(DEADLINE * 2);
    assert!(exit.success(), "{exit:?}: {:?}", client.log());
    let printed = client.log().into_iter().filter(|line| line.stream == Stream::Stdout);
    printed.map(|line| line.text).collect()
}

pub(super) fn stop(processes: impl IntoIterator<Item = Process>) {
    for mut process in processes {
        process.term();
        assert!(process.wait_exit(DEADLINE).success(), "{:?}", process.log());
    }
}

/// Waits until no znode of any role is left below `root`.
pub(super) fn nothing_is_left(probe: &ZkProbe, root: &str) {
    eventually("no znode left", DEADLINE, || {
        let children = |name: &str| probe.ls(&format!("{root}/{name}"));
        let parents = ["workers", "tasks", "data", "master/master_current"];
        let rest = children("master").into_iter().filter(|name| name != "master_current").count();
        (rest == 0 && parents.iter().all(|parent| children(parent).is_empty())).then_some(())
    });
}

pub(super) fn wait_for_text(probe: &ZkProbe, path: &str, wanted: &str) {
    eventually(&format!("{path} contains {wanted:?}"), DEADLINE, || {
        probe.text(path).filter(|text| text == wanted)
    });
}

/// Returns the owner of the election znode of the leader.
pub(super) fn leading_session(probe: &ZkProbe) -> i64 {
    let mut masters = probe.ls("/master");
    masters.retain(|name| name != "master_current");
    probe.exists(&format!("/master/{}", masters[0])).unwrap().ephemeral_owner
}

/// Asserts that the result of a task was written once. Only Apache ZooKeeper keeps a log.
pub(super) fn one_result(fleet: &Fleet, task: &str) {
    let Server::Apache(server) = &fleet.server else { return };
    let begin = format!("{task}=");
    let is_result = |change: &&Change| matches!(change, Change::Set { path, data } if *path == format!("/tasks/{task}") && data.starts_with(begin.as_bytes()));
    let journal = server.journal(0);
    let results = journal.iter().flat_map(|transaction| &transaction.changes).filter(is_result).count();
    assert_eq!(results, 1);
}
