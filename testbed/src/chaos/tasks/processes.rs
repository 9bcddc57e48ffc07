//! The processes of a schedule: starts, stops, kills and replaces them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::schedule::{Programs, Role, SESSION, Submission};
use crate::chaos::managed_process::ManagedProcess;
use crate::kazoo::Kazoo;
use crate::node::{clean_command, node_command_in};
use crate::process::StderrTarget;
use crate::process::Stream;
use crate::proxy::Proxy;

/// Time after which a process that has ended by itself is restarted.
const RESTART_DELAY: Duration = Duration::from_millis(500);
/// Exit codes of a process that cannot reach ZooKeeper, or whose id is in use by its predecessor.
const EXPECTED: [i32; 2] = [69, 73];

/// Script that every execution runs: it writes its start and its end, and holds a lock on a file of its task. The last
/// argument is the duration. All of its processes hold the lock.
pub(super) const ACTION: &str = "\
say() { echo \"$1 $ATALAYA_TASK\" >> executions; }
cd \"$(dirname \"$0\")\"
exec 9>>\"lock.$ATALAYA_TASK\"
flock --nonblock 9 || say overlap
say start
sleep \"$1\"
say end
echo done
";

/// Returns the boards of native leaders and workers.
pub(super) fn boards(action: &Path) -> String {
    format!(
        "[boards.leader]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\", sim = {{ temperature = {{ uniform \
         = [0, 9], step = 1 }} }} }}]\n\n\
         [boards.worker]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\", sim = {{ temperature = {{ uniform \
         = [0, 9], step = 1 }} }} }}]\n\n\
         [boards.worker.tasks]\nallow_unauthenticated = true\n\n\
         [boards.worker.tasks.work]\nrun = [\"/bin/sh\", \"{}\", \"{{seconds}}\"]\nargs = {{ seconds = {{ number = [0, 10] }} \
         }}\nrun_for = \"20s\"\n",
        action.display()
    )
}

/// Settings of all processes of a schedule.
pub(super) struct Launcher<'a> {
    pub(super) programs: Programs,
    pub(super) binary: &'a Path,
    pub(super) kazoo: &'a Kazoo,
    pub(super) folder: &'a Path,
    pub(super) chroot: &'a str,
    pub(super) api: String,
}

impl Launcher<'_> {
    fn command(&self, role: Role, hosts: &str, submissions: &[Submission]) -> Command {
        let (name, hosts) = (role.name(), format!("{hosts}{}", self.chroot));
        let session = format!("{}ms", SESSION.as_millis());
        let binary = self.binary.display().to_string();
        let seconds = SESSION.as_secs_f64().to_string();
        let boards = self.folder.join("boards.toml").display().to_string();
        let script = self.folder.join("action.sh").display().to_string();
        let atalaya = |words: &[&str]| {
            let mut command = clean_command(self.folder, &binary);
            command.args(words).args(["--zookeeper", &hosts, "--session-timeout", &session]);
            command
        };
        let submission = |client: usize| {
            let Submission { run, once, .. } = submissions[client];
            let promise = if once { "at-most-once" } else { "at-least-once" };
            (run.as_secs_f64().to_string(), promise)
        };
        match (self.programs, role) {
            (Programs::Native, Role::Leader(_)) => {
                let mut command = node_command_in(self.folder, &binary, &name, &hosts);
                command.args(["--session-timeout", &session, "--api-url", &self.api, "--boards", &boards]);
                command.args(["--board", "leader"]);
                command
            }
            (Programs::Native, Role::Worker(_)) => {
                let mut command = atalaya(&["work", &name]);
                command.args(["--boards", &boards, "--board", "worker"]);
                command
            }
            (Programs::Native, Role::Client(client)) => {
                let (run, promise) = submission(client);
                self.kazoo.command("task_client.py", &[&hosts, "work", &run, promise, "--timeout", &seconds])
            }
            (Programs::Classic, Role::Leader(_)) => atalaya(&["classic", "master", &name]),
            (Programs::Classic, Role::Worker(_)) => {
                let mut command = atalaya(&["classic", "worker", &name]);
                command.args(["--", "sh", &script]);
                command
            }
            (Programs::Classic, Role::Client(client)) => {
                atalaya(&["classic", "submit", &submission(client).0, "--id", &name])
            }
            (Programs::Python, Role::Leader(_)) => {
                self.kazoo.command("classic.py", &["master", &hosts, "--timeout", &seconds])
            }
            (Programs::Python, Role::Worker(_)) => {
                let folder = self.folder.display().to_string();
                let words = ["worker", &hosts, &name, "--timeout", &seconds, "--execution-log", &folder];
                self.kazoo.command("classic.py", &words)
            }
            (Programs::Python, Role::Client(client)) => {
                let run = submission(client).0;
                self.kazoo.command("classic.py", &["client", &hosts, &name, &run, "--timeout", &seconds])
            }
        }
    }
}

impl Role {
    fn name(self) -> String {
        match self {
            Role::Leader(number) => format!("leader{number}"),
            Role::Worker(number) => format!("worker{number}"),
            Role::Client(number) => format!("task{number}"),
        }
    }
}

/// A role, over all of its processes.
pub(super) struct RoleProcess {
    pub(super) role: Role,
    pub(super) proxy: Proxy,
    pub(super) managed: ManagedProcess,
    /// Numbers of faults that have begun and not ended.
    stops: usize,
    cuts: usize,
    pub(super) killed: bool,
    pub(super) exit: Option<i32>,
    /// Last lines of processes that ended by themselves.
    pub(super) ended: Vec<String>,
}

impl RoleProcess {
    pub(super) fn new(role: Role, port: u16) -> RoleProcess {
        RoleProcess {
            role,
            proxy: Proxy::to(port),
            managed: ManagedProcess::new(role.name()),
            stops: 0,
            cuts: 0,
            killed: false,
            exit: None,
            ended: Vec::new(),
        }
    }

    pub(super) fn is_client(&self) -> bool {
        matches!(self.role, Role::Client(_))
    }

    pub(super) fn start(&mut self, launcher: &Launcher<'_>, submissions: &[Submission]) {
        let command = launcher.command(self.role, &self.proxy.connect_string(), submissions);
        self.managed.start(command, StderrTarget::Pipe);
    }

    /// Keeps the log of a process that has ended by itself, and starts another one when it is due.
    pub(super) fn supervise(&mut self, launcher: &Launcher<'_>, submissions: &[Submission]) {
        if let Some(exit) = self.managed.try_exit() {
            self.exit = Some(exit.code().unwrap_or(-1));
            self.managed.reap();
            if !self.is_client() {
                self.managed.restart_at = Some(Instant::now() + RESTART_DELAY);
                if !exit.code().is_some_and(|code| EXPECTED.contains(&code)) {
                    let last = self.managed.last_lines().next().unwrap_or_default();
                    self.ended.push(format!("{} {exit}: {last}", self.role.name()));
                }
            }
        }
        if self.managed.is_due() {
            self.start(launcher, submissions);
        }
    }

    /// Kills the process. Clients are not restarted.
    pub(super) fn kill(&mut self, delay: Duration) -> bool {
        let is_killed = self.managed.kill((!self.is_client()).then_some(delay));
        self.killed |= is_killed;
        is_killed
    }

    pub(super) fn freeze(&mut self, on: bool) {
        self.stops = if on { self.stops + 1 } else { self.stops.saturating_sub(1) };
        match &self.managed.process {
            Some(process) if on => process.freeze(),
            Some(process) if self.stops == 0 => process.cont(),
            _ => {}
        }
    }

    pub(super) fn cut(&mut self, on: bool) {
        self.cuts = if on { self.cuts + 1 } else { self.cuts.saturating_sub(1) };
        self.proxy.refuse(self.cuts > 0);
        if on {
            self.proxy.cut();
        }
    }

    pub(super) fn is_running(&self) -> bool {
        self.managed.process.is_some()
    }

    /// Returns the id of the task of a client, if it is known.
    pub(super) fn task(&self, programs: Programs) -> Option<String> {
        if programs != Programs::Native {
            return Some(self.role.name());
        }
        let lines = self.managed.logs.iter().flat_map(|(_, log)| log);
        let mut stdout = lines.filter(|line| line.stream == Stream::Stdout);
        stdout.find_map(|line| line.text.strip_prefix("submitted ")).map(str::to_owned)
    }

    pub(super) fn terminate(&self) {
        if let Some(process) = &self.managed.process {
            process.cont();
            process.term();
        }
    }

    /// Waits until the process has ended, or kills it.
    pub(super) fn finish(&mut self, deadline: Instant) {
        self.managed.restart_at = None;
        let Some(process) = &mut self.managed.process else { return };
        while process.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if process.is_running() {
            self.ended.push(format!("{} did not end after SIGTERM", self.role.name()));
            process.kill9();
        }
        self.managed.reap();
    }
}
