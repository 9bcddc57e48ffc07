//! The processes of a schedule: starts, stops, kills and replaces them.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::schedule::{Party, SESSION, Submission};
use super::stage::Programs;
use crate::kazoo::Kazoo;
use crate::node::{clean_command, node_command_in};
use crate::process::{Line, Process, Stream};
use crate::proxy::Proxy;

/// Time after which a process that has ended by itself is restarted.
const AGAIN: Duration = Duration::from_millis(500);
/// Exit codes of a process that cannot reach ZooKeeper, or whose id is in use by its predecessor.
const EXPECTED: [i32; 2] = [69, 73];

/// Script that every execution runs: it writes its start and its end, and holds a lock on a file of its task. The last
/// argument is the duration. All of its processes hold the lock.
pub(super) const ACTION: &str = "\
say() { echo \"$1 $ATALAYA_TASK\" >> witness; }
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
pub(super) struct Cast<'a> {
    pub(super) programs: Programs,
    pub(super) binary: &'a Path,
    pub(super) kazoo: &'a Kazoo,
    pub(super) folder: &'a Path,
    pub(super) chroot: &'a str,
    pub(super) api: String,
}

impl Cast<'_> {
    fn command(&self, party: Party, hosts: &str, submissions: &[Submission]) -> Command {
        let (name, hosts) = (party.name(), format!("{hosts}{}", self.chroot));
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
        match (self.programs, party) {
            (Programs::Native, Party::Leader(_)) => {
                let mut command = node_command_in(self.folder, &binary, &name, &hosts);
                command.args(["--session-timeout", &session, "--api-url", &self.api, "--boards", &boards]);
                command.args(["--board", "leader"]);
                command
            }
            (Programs::Native, Party::Worker(_)) => {
                let mut command = atalaya(&["work", &name]);
                command.args(["--boards", &boards, "--board", "worker"]);
                command
            }
            (Programs::Native, Party::Client(client)) => {
                let (run, promise) = submission(client);
                self.kazoo.command("task_client.py", &[&hosts, "work", &run, promise, "--timeout", &seconds])
            }
            (Programs::Classic, Party::Leader(_)) => atalaya(&["classic", "master", &name]),
            (Programs::Classic, Party::Worker(_)) => {
                let mut command = atalaya(&["classic", "worker", &name]);
                command.args(["--", "sh", &script]);
                command
            }
            (Programs::Classic, Party::Client(client)) => {
                atalaya(&["classic", "submit", &submission(client).0, "--id", &name])
            }
            (Programs::Python, Party::Leader(_)) => {
                self.kazoo.command("classic.py", &["master", &hosts, "--timeout", &seconds])
            }
            (Programs::Python, Party::Worker(_)) => {
                let folder = self.folder.display().to_string();
                let words = ["worker", &hosts, &name, "--timeout", &seconds, "--witness", &folder];
                self.kazoo.command("classic.py", &words)
            }
            (Programs::Python, Party::Client(client)) => {
                let run = submission(client).0;
                self.kazoo.command("classic.py", &["client", &hosts, &name, &run, "--timeout", &seconds])
            }
        }
    }
}

impl Party {
    fn name(self) -> String {
        match self {
            Party::Leader(number) => format!("leader{number}"),
            Party::Worker(number) => format!("worker{number}"),
            Party::Client(number) => format!("task{number}"),
        }
    }
}

/// A party: one process after another.
pub(super) struct Member {
    pub(super) party: Party,
    pub(super) proxy: Proxy,
    process: Option<Process>,
    started: usize,
    again: Option<Instant>,
    /// Numbers of faults that have begun and not ended.
    pub(super) stops: usize,
    pub(super) cuts: usize,
    pub(super) killed: bool,
    pub(super) exit: Option<i32>,
    pub(super) logs: Vec<(String, Vec<Line>)>,
    /// Last lines of processes that ended by themselves.
    pub(super) ended: Vec<String>,
}

impl Member {
    pub(super) fn new(party: Party, port: u16) -> Member {
        Member {
            party,
            proxy: Proxy::to(port),
            process: None,
            started: 0,
            again: None,
            stops: 0,
            cuts: 0,
            killed: false,
            exit: None,
            logs: Vec::new(),
            ended: Vec::new(),
        }
    }

    pub(super) fn start(&mut self, cast: &Cast<'_>, submissions: &[Submission]) {
        let command = cast.command(self.party, &self.proxy.connect_string(), submissions);
        self.started += 1;
        self.again = None;
        self.process = Some(Process::spawn(command).called(self.party.name(), 0));
    }

    /// Keeps the log of a process that has ended by itself, and starts another one when it is due.
    pub(super) fn look_after(&mut self, cast: &Cast<'_>, submissions: &[Submission]) {
        let exit = self.process.as_mut().and_then(Process::try_exit);
        if let Some(exit) = exit {
            self.exit = Some(exit.code().unwrap_or(-1));
            self.bury();
            if !matches!(self.party, Party::Client(_)) {
                self.again = Some(Instant::now() + AGAIN);
                if !exit.code().is_some_and(|code| EXPECTED.contains(&code)) {
                    let last = self.logs.last().and_then(|(_, log)| log.last()).map(|line| line.text.clone());
                    self.ended.push(format!("{} {exit}: {}", self.party.name(), last.unwrap_or_default()));
                }
            }
        }
        if self.again.is_some_and(|again| again <= Instant::now()) {
            self.start(cast, submissions);
        }
    }

    fn bury(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        // The log is complete after this.
        process.wait_exit(Duration::from_secs(10));
        self.logs.push((format!("{}-{}", self.party.name(), self.started), process.log()));
    }

    pub(super) fn kill(&mut self, back: Duration) -> bool {
        let Some(process) = &mut self.process else { return false };
        process.kill9();
        self.bury();
        self.killed = true;
        if !matches!(self.party, Party::Client(_)) {
            self.again = Some(Instant::now() + back);
        }
        true
    }

    pub(super) fn freeze(&mut self, on: bool) {
        self.stops = if on { self.stops + 1 } else { self.stops.saturating_sub(1) };
        match &self.process {
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
        self.process.is_some()
    }

    /// Returns the id of the task of a client, if it is known.
    pub(super) fn task(&self, programs: Programs) -> Option<String> {
        if programs != Programs::Native {
            return Some(self.party.name());
        }
        let lines = self.logs.iter().flat_map(|(_, log)| log).filter(|line| line.stream == Stream::Stdout);
        lines.filter_map(|line| line.text.strip_prefix("submitted ")).map(str::to_owned).next()
    }

    pub(super) fn terminate(&self) {
        if let Some(process) = &self.process {
            process.cont();
            process.term();
        }
    }

    /// Waits until the process has ended, or kills it.
    pub(super) fn finish(&mut self, deadline: Instant) {
        self.again = None;
        let Some(process) = &mut self.process else { return };
        while process.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        if process.is_running() {
            self.ended.push(format!("{} did not end after SIGTERM", self.party.name()));
            process.kill9();
        }
        self.bury();
    }
}
