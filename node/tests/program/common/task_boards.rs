//! A boards.toml with actions that write lines into a file, and nodes and workers that offer them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Process, Scratch, eventually, parent_death_command};

use super::{DEADLINE, Fleet};

/// Actions of these tests. They write lines into files of the test.
pub struct Actions {
    pub scratch: Scratch,
}

impl Actions {
    pub fn new() -> Actions {
        let actions = Actions { scratch: Scratch::new("tasks") };
        std::fs::write(actions.file(), actions.boards("")).unwrap();
        actions
    }

    pub fn file(&self) -> PathBuf {
        self.scratch.path().join("boards.toml")
    }

    /// Returns a boards.toml with the boards `tasks`, with actions, and `none`.
    pub fn boards(&self, extra: &str) -> String {
        let log = self.scratch.path().join("log");
        let log = log.display();
        format!(
            r#"
[boards.tasks]
backend = "sim"
sensors = [{{ name = "s", chip = "random" }}]
{extra}
[boards.tasks.tasks]
allow_unauthenticated = true
install_boards = true
slots = 2
labels = {{ room = "lab" }}
[boards.tasks.tasks.echo]
run = ["/bin/sh", "-c", "echo \"$0\" on $ATALAYA_NODE, attempt $ATALAYA_ATTEMPT; echo $ATALAYA_FENCE >> {log}", "{{x}}"]
args = {{ x = "text" }}
[boards.tasks.tasks.hold]
run = ["/bin/sh", "-c", "echo start $ATALAYA_NODE $$ >> {log}; echo atalaya: progress holding; sleep 1000 & wait"]
[boards.tasks.tasks.fail]
run = ["/bin/false"]
[boards.none]
backend = "sim"
sensors = [{{ name = "s", chip = "random" }}]
"#
        )
    }

    pub fn lines(&self) -> Vec<String> {
        super::lines(&self.scratch.path().join("log"))
    }

    pub fn node(&self, fleet: &Fleet, id: &str, board: &str) -> Process {
        let file = self.file();
        fleet.node(id, &["--boards", file.to_str().unwrap(), "--board", board])
    }

    /// Starts the leader, which executes no tasks.
    pub fn leader(&self, fleet: &Fleet) -> Process {
        let file = self.file();
        fleet.leader("leader", &["--boards", file.to_str().unwrap(), "--board", "none"])
    }

    /// Starts a worker, and waits until it is present.
    pub fn worker(&self, fleet: &Fleet, id: &str) -> Process {
        self.start(fleet, id, work(fleet, id, &self.file()))
    }

    /// Starts a worker whose executions are not interrupted on a busy machine, and waits until it is present.
    pub fn calm_worker(&self, fleet: &Fleet, id: &str) -> Process {
        self.start(fleet, id, work_with_session(fleet, id, &self.file(), Duration::from_secs(20)))
    }

    fn start(&self, fleet: &Fleet, id: &str, command: Command) -> Process {
        let worker = Process::start(command, "ready for tasks", DEADLINE);
        let probe = fleet.probe();
        eventually("a present worker", DEADLINE, || probe.exists(&format!("/atalaya/tasks/alive/{id}")));
        worker
    }
}

/// Returns the command of a worker. Its state file is beside `boards`.
pub fn work(fleet: &Fleet, id: &str, boards: &Path) -> Command {
    work_with_session(fleet, id, boards, fleet.pace.session)
}

pub fn work_with_session(fleet: &Fleet, id: &str, boards: &Path, session: Duration) -> Command {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    let timeout = format!("{}ms", session.as_millis());
    command.args([
        "work",
        id,
        "--zookeeper",
        &fleet.hosts,
        "--session-timeout",
        &timeout,
        "--board",
        "tasks",
    ]);
    command.arg("--boards").arg(boards).env("ATALAYA_STATE_DIR", boards.with_file_name("state"));
    command.current_dir(std::env::temp_dir()).envs(fleet.identity("fleet"));
    command
}

/// Waits until no znode of a live task is left.
pub fn wait_until_clean(fleet: &Fleet) {
    let probe = fleet.probe();
    eventually("no znodes of live tasks", DEADLINE, || {
        let runs = probe.ls("/atalaya/tasks/run").into_iter();
        let mut left: Vec<String> = runs.map(|node| format!("run/{node}")).collect();
        left.extend(["spec", "claim", "done", "cancel", "file"].map(str::to_owned));
        left.iter().all(|folder| probe.ls(&format!("/atalaya/tasks/{folder}")).is_empty()).then_some(())
    });
}
