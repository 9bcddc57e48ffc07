//! All processes that a command of `lock` or `elect`, or a `command` sensor, has started end with it, however they were
//! started and whatever ends the command.
#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Scratch, Terminal, clean_command, eventually, parent_death_command};

use crate::common::{DEADLINE, Fleet, children, is_alive, wait_until};

/// Starts background processes in two generations, in their own sessions and as daemons. Each writes its id into
/// `pids`; then `ready` is written.
fn script(folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "cd {folder}; echo $$ >> pids
         sleep 300 & echo $! >> pids
         (sh -c 'sleep 300 & echo $! >> pids; exec sleep 300' & echo $! >> pids)
         setsid sh -c 'echo $$ >> pids; trap \"\" TERM HUP; while :; do sleep 1; done' &
         setsid -f sh -c 'echo $$ >> pids; exec sleep 300'
         while [ $(wc -l < pids) -lt 6 ]; do sleep 0.02; done; echo ready > ready
         "
    )
}

/// Session timeout with which a process keeps its lock on a busy machine.
const SESSION: Duration = Duration::from_secs(6);

struct Tree {
    scratch: Scratch,
}

impl Tree {
    fn new() -> Tree {
        Tree { scratch: Scratch::new("trees") }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// `atalaya WORDS… --zookeeper … -- sh -c SCRIPT`.
    fn tool(&self, fleet: &Fleet, words: &[&str], session: Duration, script: &str) -> Command {
        let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
        let timeout = format!("{}s", session.as_secs());
        command.args(words).args(["--zookeeper", &fleet.hosts, "--session-timeout", &timeout]);
        command.args(["--", "sh", "-c", script]).current_dir(self.scratch.path());
        command
    }

    fn hold(&self, fleet: &Fleet, words: &[&str], end: &str) -> Process {
        let holder = Process::spawn(self.tool(fleet, words, SESSION, &(script(self.scratch.path()) + end)));
        wait_until("all processes of the tree", || self.file("ready").exists());
        holder
    }

    /// Returns the processes of the tree that have not ended.
    fn alive(&self) -> Vec<String> {
        let pids = std::fs::read_to_string(self.file("pids")).unwrap_or_default();
        pids.lines().filter(|pid| is_alive(pid)).map(str::to_owned).collect()
    }

    /// Acquires the same lock, and writes which processes of the tree are alive at that moment.
    fn next(&self, fleet: &Fleet, words: &[&str]) -> Process {
        let script = "for pid in $(cat pids); do
                          case $(cut -d' ' -f3 /proc/$pid/stat 2>/dev/null) in ''|Z) ;; *) echo $pid >> met;; esac
                      done; touch met";
        let next = Process::spawn(self.tool(fleet, words, SESSION, script));
        let (path, probe) = (words[1], fleet.probe());
        wait_until("two in line", || probe.contenders(path).len() == 2);
        next
    }

    #[track_caller]
    fn next_met_nobody(&self) {
        let met = eventually("the next holder", DEADLINE, || std::fs::read_to_string(self.file("met")).ok());
        assert_eq!(met, "", "processes of the holder before");
    }
}

#[test]
fn lock_and_elect_end_every_process_of_the_tree_at_sigterm_before_the_next_holder_enters() {
    let fleet = Fleet::memory();
    for words in [["lock", "/locks/term"], ["elect", "/service"]] {
        let tree = Tree::new();
        let mut holder = tree.hold(&fleet, &words, "wait; sleep 300");
        let mut next = tree.next(&fleet, &words);
        holder.term();
        let status = holder.wait_exit(DEADLINE);
        assert_eq!(tree.alive(), [""; 0], "when {words:?} ends, all of the tree has ended");
        assert_eq!(status.code(), Some(128 + 15));
        tree.next_met_nobody();
        assert!(next.wait_exit(DEADLINE).success());
    }
}

#[test]
fn lock_ends_every_process_of_the_tree_when_the_lock_is_lost() {
    let mut fleet = Fleet::memory();
    let tree = Tree::new();
    let mut holder = tree.hold(&fleet, &["lock", "/locks/lost"], "wait; sleep 300");
    let lost = Instant::now();
    fleet.server.vanish();
    // Another client could acquire the lock after the session timeout.
    eventually("the end of the tree", SESSION, || tree.alive().is_empty().then_some(()));
    assert!(lost.elapsed() < SESSION);
    assert_eq!(holder.wait_exit(DEADLINE).code(), Some(75));
}

#[test]
fn lock_ends_every_process_of_the_tree_when_its_own_process_is_killed() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let words = ["lock", "/locks/killed"];
    let mut holder = tree.hold(&fleet, &words, "wait; sleep 300");
    let _next = tree.next(&fleet, &words);
    holder.kill9();
    wait_until("the end of the tree", || tree.alive().is_empty());
    tree.next_met_nobody();
}

#[test]
fn lock_ends_every_process_of_the_tree_when_its_helper_process_is_killed() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let words = ["lock", "/locks/helper"];
    let mut holder = tree.hold(&fleet, &words, "wait; sleep 300");
    let _next = tree.next(&fleet, &words);
    let helper = rustix::process::Pid::from_raw(children(holder.pid())[0].parse().unwrap()).unwrap();
    rustix::process::kill_process(helper, rustix::process::Signal::KILL).unwrap();
    holder.wait_exit(DEADLINE);
    assert_eq!(tree.alive(), [""; 0]);
    tree.next_met_nobody();
}

#[test]
fn lock_ends_what_its_command_has_left_in_the_background() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let mut holder = tree.hold(&fleet, &["lock", "/locks/left"], "exit 7");
    assert_eq!(holder.wait_exit(DEADLINE).code(), Some(7));
    assert_eq!(tree.alive(), [""; 0]);
}

#[test]
fn command_of_lock_reads_the_terminal_and_gets_its_interrupt() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    // It starts no processes, so that the shell itself gets the interrupt, and not while it forks.
    let script =
        "read word; echo got $word; trap 'echo interrupted; exit 3' INT; echo ready; while :; do :; done";
    let command = tree.tool(&fleet, &["lock", "/locks/tty"], Duration::from_secs(60), script);
    let mut terminal = Terminal::spawn(command, (100, 24));
    wait_until("a holder", || fleet.probe().contenders("/locks/tty").len() == 1);
    terminal.press("hello\r");
    terminal.wait_for("got hello", DEADLINE);
    terminal.wait_for("ready", DEADLINE);
    terminal.press("\x03");
    terminal.wait_for("interrupted", DEADLINE);
    assert_eq!(terminal.wait_exit(DEADLINE), 3);
}

#[test]
fn lock_ends_a_command_that_ignores_the_interrupt_of_the_terminal() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let script = script(tree.scratch.path()) + "trap '' INT; echo deaf; sleep 300";
    let mut terminal =
        Terminal::spawn(tree.tool(&fleet, &["lock", "/locks/tty"], SESSION, &script), (100, 24));
    terminal.wait_for("deaf", DEADLINE);
    terminal.press("\x03");
    assert_eq!(terminal.wait_exit(DEADLINE), 128 + 15);
    assert_eq!(tree.alive(), [""; 0]);
}

/// A board with one `command` sensor.
fn board(folder: &Path, script: &str, timeout: &str) -> PathBuf {
    let file = folder.join("boards.toml");
    let text = format!(
        "[boards.b]\nbackend = \"linux\"\n[[boards.b.sensors]]\nname = \"slow\"\nchip = \"command\"\n\
         command = [\"sh\", \"-c\", '''{script}''']\nquantity = \"voltage\"\ntimeout = \"{timeout}\"\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn node_that_is_killed_takes_the_programs_of_its_command_sensors_with_it() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let boards = board(tree.scratch.path(), &(script(tree.scratch.path()) + "sleep 300"), "9s");
    let args = ["--boards", &boards.display().to_string(), "--board", "b"];
    let mut node = fleet.node("1", &args);
    wait_until("all processes of the program", || tree.file("ready").exists());
    node.kill9();
    wait_until("the end of the program", || tree.alive().is_empty());
}

#[test]
fn sensors_read_says_why_a_slow_command_gave_nothing_and_leaves_no_process() {
    let tree = Tree::new();
    for timeout in ["3s", "6s"] {
        let boards = board(tree.scratch.path(), &(script(tree.scratch.path()) + "sleep 300"), timeout);
        let mut command = clean_command(tree.scratch.path(), env!("CARGO_BIN_EXE_atalaya"));
        command.args(["sensors", "read", "--boards", &boards.display().to_string(), "--board", "b"]);
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{stderr}");
        assert!(stderr.contains(&format!("not done after {timeout}")), "{stderr}");
        assert_eq!(tree.alive(), [""; 0]);
    }
}

#[test]
fn command_sensor_reads_what_a_program_prints_and_ends_what_it_left() {
    let tree = Tree::new();
    let boards = board(tree.scratch.path(), &(script(tree.scratch.path()) + "echo 12.5"), "9s");
    let read = |boards: &Path| {
        let mut command = clean_command(tree.scratch.path(), env!("CARGO_BIN_EXE_atalaya"));
        command.args(["sensors", "read", "--boards", &boards.display().to_string(), "--board", "b"]);
        command.output().unwrap()
    };
    let output = read(&boards);
    assert!(String::from_utf8_lossy(&output.stdout).contains("12.5"), "{output:?}");
    assert_eq!(tree.alive(), [""; 0]);
    for (script, reason) in [
        ("kill -9 $$", "signal: 9 (SIGKILL)"),
        ("exit 3", "exit status: 3"),
        ("echo no probe >&2; exit 127", "exit status: 127: no probe"),
    ] {
        let output = read(&board(tree.scratch.path(), script, "5s"));
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(reason), "{stderr}");
    }
    let missing = board(tree.scratch.path(), "", "5s");
    let text = std::fs::read_to_string(&missing).unwrap().replace("\"sh\"", "\"./no-such-program\"");
    std::fs::write(&missing, text).unwrap();
    let output = read(&missing);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("nothing to read at the command `./no-such-program`: cannot start it: No such"),
        "{stderr}"
    );
}

#[test]
fn supervised_node_that_hangs_ends_when_its_parent_is_killed() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let boards = board(tree.scratch.path(), &(script(tree.scratch.path()) + "sleep 300"), "9s");
    let args = ["--supervised", "--boards", &boards.display().to_string(), "--board", "b"];
    let mut parent = fleet.node("1", &args);
    wait_until("all processes of the program", || tree.file("ready").exists());
    parent.kill9();
    wait_until("the end of the program", || tree.alive().is_empty());
}

/// Runs a command as process 1 of a process namespace, as a container does.
fn as_process_one(command: &Command) -> Command {
    let mut unshare = parent_death_command("/usr/bin/unshare");
    unshare.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]);
    unshare.arg(command.get_program()).args(command.get_args());
    unshare.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    unshare.current_dir(command.get_current_dir().unwrap());
    unshare
}

#[test]
fn process_one_reaps_orphans_and_passes_signals_on() {
    let fleet = Fleet::memory();
    let tree = Tree::new();
    let folder = tree.scratch.path();
    let lock = tree.tool(&fleet, &["lock", "/locks/one"], SESSION, "sleep 300");
    let node = fleet.command("1", &[]);
    let listen = ["collect", "--listen", "127.0.0.1:0", "--store", "memory"];
    let mut collect = clean_command(folder, env!("CARGO_BIN_EXE_atalaya"));
    collect.args(listen);
    let supervised = fleet.command("2", &["--supervised"]);
    for (command, line) in [
        (lock, "holding the lock"),
        (node, "leading epoch="),
        (collect, "listening at"),
        (supervised, "published the first"),
    ] {
        let mut outside = Process::start(as_process_one(&command), line, DEADLINE);
        let one = children(outside.pid()).remove(0);
        // An orphan of another process of the namespace becomes a child of process 1.
        let entered = Command::new("/usr/bin/nsenter")
            .args(["--target", &one, "--pid", "--", "sh", "-c", "sleep 0.3 & echo orphan"])
            .output()
            .unwrap();
        assert!(entered.status.success(), "{entered:?}");
        let sleeps = |pid: &String| {
            std::fs::read_to_string(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|line| line.starts_with("sleep\x000.3"))
        };
        wait_until("the end of the orphan", || {
            !children(&one).iter().any(sleeps) && children(&one).iter().all(|pid| is_alive(pid))
        });
        let one = rustix::process::Pid::from_raw(one.parse().unwrap()).unwrap();
        rustix::process::kill_process(one, rustix::process::Signal::TERM).unwrap();
        let status = outside.wait_exit(DEADLINE);
        assert!(matches!(status.code(), Some(0 | 143)), "{command:?}: {status}");
    }
}
