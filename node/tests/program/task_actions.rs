//! The executor of actions: arguments, output, limits, and no process that is left when an execution ends.
#![cfg(target_os = "linux")]

use std::collections::{BTreeMap, VecDeque};
use std::future::pending;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use atalaya::sampling::BusReservations;
use atalaya::settings::{Env, FleetArgs, Settings};
use atalaya::tasks::actions::{
    ActionHandles, BoardActions, Execution, ExecutionOutcome, ExecutionRequest, Executor, LocalLease,
    MAX_OUTPUT, SensorHandles, StopReason,
};
use atalaya_config::Boards;
use atalaya_testbed::{Scratch, clean_command};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::common::{DEADLINE, Fleet, is_alive, wait_until};

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
/// Timeout of the simulated session.
pub(crate) const SESSION: Duration = Duration::from_secs(20);
/// Maximum number of executions that are killed before they have reacted to SIGTERM, on a busy machine.
const MAX_LATE: usize = 10;
const STOPPED: ExecutionOutcome = ExecutionOutcome::Stopped(StopReason::LeaseEnding);

/// Returns an executor whose action `run` runs `script`, with the text argument `x` as its only argument.
fn executor(folder: &Path, script: &str, keys: &str) -> Executor {
    executor_with(folder, script, keys, ActionHandles::default())
}

/// Writes `script`, and returns a boards.toml whose action `run` runs it.
pub(crate) fn boards(folder: &Path, script: &str, keys: &str) -> String {
    let file = folder.join("script");
    std::fs::write(&file, script).unwrap();
    format!(
        "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"lm75\"\nbus = \"i2c-1\"\n\
         address = 0x48\n[boards.b.tasks]\nallow_unauthenticated = true\n\
         [boards.b.tasks.run]\nrun = [\"/bin/sh\", \"{}\", \"--x={{x}}\"]\nargs = {{ x = \"text\" }}\n{keys}\n\
         [boards.b.tasks.missing]\nrun = [\"/nonexistent/program\"]\n",
        file.display()
    )
}

fn executor_with(folder: &Path, script: &str, keys: &str, handles: ActionHandles) -> Executor {
    let text = boards(folder, script, keys);
    let boards = Boards::parse(&text, "boards.toml").unwrap();
    let actions = BoardActions::of("b", &boards.boards["b"]);
    let settings = Settings::assemble(&FleetArgs::default(), &boards, Env { variable: &|_| None }).unwrap();
    Executor::new("7", actions, &settings, handles).with_program(PathBuf::from(BINARY))
}

fn request(action: &str, x: Option<&str>) -> ExecutionRequest {
    let args: BTreeMap<String, String> = x.map(|x| ("x".to_owned(), x.to_owned())).into_iter().collect();
    ExecutionRequest {
        file: None,
        task: "t-0000000001".to_owned(),
        action: action.to_owned(),
        args,
        attempt: 2,
        fence: 99,
        run_for: None,
    }
}

/// Returns a lease that is always renewed.
fn renewed() -> LocalLease {
    LocalLease { remaining: SESSION / 2, session_timeout: SESSION }
}

/// Returns a lease that is never renewed.
fn expiring(session_timeout: Duration) -> impl Fn() -> LocalLease {
    let end = Instant::now() + session_timeout / 2;
    move || LocalLease { remaining: end.saturating_duration_since(Instant::now()), session_timeout }
}

async fn execute(executor: &Executor, x: &str) -> Execution {
    executor.execute(request("run", Some(x)), renewed, watch::Sender::default(), pending()).await
}

/// Writes the ids of all its processes, in sessions of their own and as daemons, into `pids`; some ignore SIGTERM.
pub(crate) fn tree(folder: &Path, end: &str) -> String {
    let folder = folder.display();
    format!(
        "cd {folder}; echo $$ >> pids
         sleep 300 & echo $! >> pids
         setsid sh -c 'echo $$ >> pids; trap \"\" TERM HUP; while :; do sleep 1; done' &
         setsid -f sh -c 'echo $$ >> pids; exec sleep 300'
         while [ $(wc -l < pids) -lt 4 ]; do sleep 0.02; done; echo ready > ready
         {end}\n"
    )
}

/// Returns the processes of the tree that have not ended.
pub(crate) fn alive(folder: &Path) -> Vec<String> {
    let pids = std::fs::read_to_string(folder.join("pids")).unwrap_or_default();
    pids.lines().filter(|pid| is_alive(pid)).map(str::to_owned).collect()
}

async fn tree_is_ready(folder: &Path) {
    let ready = folder.join("ready");
    let wait = move || wait_until("all processes of the tree", || ready.exists());
    tokio::task::spawn_blocking(wait).await.unwrap();
}

#[tokio::test]
async fn command_gets_its_arguments_and_only_its_own_environment() {
    let scratch = Scratch::new("actions");
    let script = "echo $#; printf '%s\\n' \"$1\"; env | cut -d= -f1 | grep -vE '^(PWD|SHLVL|_|OLDPWD)$' | sort; \
                  echo $ATALAYA_TASK $ATALAYA_ATTEMPT $ATALAYA_FENCE $ATALAYA_NODE $COLOUR\n";
    let executor = executor(scratch.path(), script, "env = { COLOUR = \"red\" }");
    for x in
        ["", "a b", "; touch owned", "$(touch owned)`touch owned`", "'\"", "{x}", "*", "../../etc/passwd"]
    {
        let execution = execute(&executor, x).await;
        assert_eq!(execution.outcome, ExecutionOutcome::Done, "{execution:?}");
        let lines: Vec<&str> = execution.output.lines().collect();
        assert_eq!(&lines[..2], ["1", &format!("--x={x}")], "{execution:?}");
        assert_eq!(lines.last(), Some(&"t-0000000001 2 99 7 red"), "{execution:?}");
        let allowed = [
            "ATALAYA_ATTEMPT",
            "ATALAYA_EXECUTION",
            "ATALAYA_FENCE",
            "ATALAYA_NODE",
            "ATALAYA_TASK",
            "COLOUR",
            "HOME",
            "LANG",
            "PATH",
        ];
        for name in &lines[2..lines.len() - 1] {
            assert!(allowed.contains(name), "{name} in the environment: {execution:?}");
        }
    }
    assert!(!Path::new("owned").exists() && !scratch.path().join("owned").exists());
}

#[tokio::test]
async fn wrong_requests_start_no_process() {
    let scratch = Scratch::new("actions");
    let executor = executor(scratch.path(), &format!("echo > {}/ran\n", scratch.path().display()), "");
    let long = "x".repeat(2_000);
    for (action, x, reason) in [
        ("rm", None, "unknown action `rm`: this node executes missing, run, status"),
        ("run", None, "argument `x` is missing"),
        ("run", Some("a\nb"), "is not a text without control characters"),
        ("run", Some(long.as_str()), "is not a text"),
        ("missing", Some("1"), "unknown argument `x`: the action has no arguments"),
    ] {
        let request = request(action, x);
        assert!(executor.check(&request.action, &request.args).unwrap_err().contains(reason));
        let execution = executor.execute(request, renewed, watch::Sender::default(), pending()).await;
        assert_eq!(execution.outcome, ExecutionOutcome::Failed);
        assert!(execution.reason.unwrap().contains(reason));
    }
    assert!(!scratch.path().join("ran").exists());
}

#[tokio::test]
async fn exit_codes_signals_and_missing_programs_are_reported() {
    let scratch = Scratch::new("actions");
    let executor =
        executor(scratch.path(), "case $1 in --x=kill) kill -9 $$;; *) exit ${1#--x=};; esac\n", "");
    let failed = execute(&executor, "3").await;
    assert_eq!((failed.outcome, failed.exit_code), (ExecutionOutcome::Failed, Some(3)), "{failed:?}");
    assert_eq!(failed.reason.as_deref(), Some("exit code 3"));
    let killed = execute(&executor, "kill").await;
    assert_eq!((killed.outcome, killed.signal), (ExecutionOutcome::Failed, Some(9)), "{killed:?}");
    let missing =
        executor.execute(request("missing", None), renewed, watch::Sender::default(), pending()).await;
    assert_eq!((missing.outcome, missing.exit_code), (ExecutionOutcome::Failed, Some(127)), "{missing:?}");
    assert!(missing.output.contains("cannot run /nonexistent/program"), "{missing:?}");
}

/// Returns the maximum resident size of this process so far, in KiB.
fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn output_of_one_gibibyte_is_bounded_and_its_end_is_kept() {
    const SIZE: u64 = 1 << 30;
    let scratch = Scratch::new("actions");
    let script = format!("head -c {SIZE} /dev/zero | tr '\\0' x\necho; echo the end >&2\n");
    let executor = executor(scratch.path(), &script, "");
    let before = peak_memory();
    let execution = execute(&executor, "1").await;
    assert_eq!(execution.outcome, ExecutionOutcome::Done, "{:?}", execution.reason);
    assert!(execution.output.ends_with("xxx\nthe end\n"));
    assert_eq!(execution.output.len(), MAX_OUTPUT);
    assert_eq!(execution.output_cut, SIZE + 9 - MAX_OUTPUT as u64);
    // Other tests run in this process, too, and the kernel may return a little less than before (proc(5), VmHWM).
    assert!(peak_memory().saturating_sub(before) < 200 * 1024, "memory grows with the output");
}

#[tokio::test]
async fn progress_lines_are_passed_on() {
    let scratch = Scratch::new("actions");
    let script = "echo atalaya: progress half; while ! [ -e \"${1#--x=}\" ]; do sleep 0.02; done\n";
    let executor = executor(scratch.path(), script, "");
    let go = scratch.path().join("go");
    let progress = watch::Sender::default();
    let mut texts = progress.subscribe();
    let seen = async {
        texts.wait_for(|text: &String| text == "half").await.unwrap();
        std::fs::write(&go, "").unwrap();
    };
    let request = request("run", Some(go.to_str().unwrap()));
    let (execution, ()) = tokio::join!(executor.execute(request, renewed, progress, pending()), seen);
    assert_eq!(execution.outcome, ExecutionOutcome::Done, "{execution:?}");
}

#[tokio::test]
async fn processes_that_a_command_leaves_are_ended() {
    let scratch = Scratch::new("actions");
    let executor = executor(scratch.path(), &tree(scratch.path(), "exit 0"), "");
    let execution = execute(&executor, "1").await;
    assert_eq!(execution.outcome, ExecutionOutcome::Done, "{execution:?}");
    assert_eq!(alive(scratch.path()), [""; 0]);
}

#[tokio::test]
async fn time_limit_ends_a_command_that_ignores_sigterm() {
    let scratch = Scratch::new("actions");
    let executor =
        executor(scratch.path(), &tree(scratch.path(), "trap '' TERM; wait; sleep 300"), "run_for = \"1s\"");
    let execution = execute(&executor, "1").await;
    assert_eq!(execution.outcome, ExecutionOutcome::TimedOut, "{execution:?}");
    assert_eq!(execution.reason.as_deref(), Some("the time limit of 1s was reached"));
    assert_eq!(alive(scratch.path()), [""; 0]);
}

#[tokio::test]
async fn time_limit_of_the_task_is_used_if_it_is_shorter() {
    let scratch = Scratch::new("actions");
    let executor = executor(scratch.path(), "exec sleep 300\n", "");
    let request = ExecutionRequest { run_for: Some(Duration::from_millis(100)), ..request("run", Some("1")) };
    let execution = executor.execute(request, renewed, watch::Sender::default(), pending()).await;
    assert_eq!(
        (execution.outcome, execution.signal),
        (ExecutionOutcome::TimedOut, Some(15)),
        "{execution:?}"
    );
    assert!(execution.duration < DEADLINE);
}

#[tokio::test]
async fn stop_sends_sigterm_and_waits_for_all_processes() {
    let mut reasons = VecDeque::from([StopReason::Cancelled, StopReason::Shutdown, StopReason::LeaseEnding]);
    let mut late = 0;
    while let Some(reason) = reasons.pop_front() {
        let scratch = Scratch::new("actions");
        let tree = tree(scratch.path(), "while :; do sleep 0.05; done");
        let script = format!("trap 'echo cleaning up; exit 0' TERM\n{tree}");
        let executor = executor(scratch.path(), &script, "");
        let stop = async {
            tree_is_ready(scratch.path()).await;
            reason
        };
        let execution =
            executor.execute(request("run", Some("1")), renewed, watch::Sender::default(), stop).await;
        assert_eq!(execution.outcome, ExecutionOutcome::Stopped(reason), "{execution:?}");
        assert_eq!(alive(scratch.path()), [""; 0]);
        // Before the end of a lease a process has little time: on a busy machine it may be killed first.
        if reason == StopReason::LeaseEnding && execution.signal == Some(9) && late < MAX_LATE {
            late += 1;
            reasons.push_back(reason);
            continue;
        }
        assert!(execution.output.contains("cleaning up"), "{execution:?}");
    }
}

#[tokio::test]
async fn command_ends_before_a_lease_that_is_not_renewed() {
    for session in [SESSION / 2, SESSION] {
        let scratch = Scratch::new("actions");
        let executor = executor(scratch.path(), &tree(scratch.path(), "trap '' TERM; wait; sleep 300"), "");
        let request = request("run", Some("1"));
        let begin = Instant::now();
        let execution =
            executor.execute(request, expiring(session), watch::Sender::default(), pending()).await;
        assert!(begin.elapsed() < session / 2, "after the end of the lease: {execution:?}");
        assert_eq!(execution.outcome, STOPPED, "{execution:?}");
        assert_eq!(alive(scratch.path()), [""; 0]);
    }
}

#[tokio::test]
async fn command_does_not_start_if_the_lease_is_about_to_end() {
    let scratch = Scratch::new("actions");
    let executor = executor(scratch.path(), &format!("echo > {}/ran\n", scratch.path().display()), "");
    let ending = || LocalLease { remaining: SESSION / 5, session_timeout: SESSION };
    let execution =
        executor.execute(request("run", Some("1")), ending, watch::Sender::default(), pending()).await;
    assert_eq!(execution.outcome, STOPPED);
    assert!(!scratch.path().join("ran").exists());
}

#[tokio::test]
async fn dropped_execution_kills_all_processes() {
    let scratch = Scratch::new("actions");
    let executor = executor(scratch.path(), &tree(scratch.path(), "wait; sleep 300"), "");
    tokio::select! {
        execution = execute(&executor, "1") => panic!("ended: {execution:?}"),
        () = tree_is_ready(scratch.path()) => {}
    }
    tokio::time::timeout(DEADLINE, executor.wait_until_idle()).await.unwrap();
    assert_eq!(alive(scratch.path()), [""; 0]);
}

#[tokio::test]
async fn buses_that_a_command_needs_are_reserved_while_it_runs() {
    let scratch = Scratch::new("actions");
    let (reservations, latest) = (BusReservations::default(), watch::Sender::default());
    let sensors = SensorHandles {
        info: watch::Sender::default().subscribe(),
        latest: latest.subscribe(),
        reservations: reservations.clone(),
    };
    let handles = ActionHandles { sensors: Some(sensors), ..ActionHandles::default() };
    let script = tree(scratch.path(), "while ! [ -e go ]; do sleep 0.02; done");
    let executor = executor_with(scratch.path(), &script, "needs = [\"i2c-1\"]", handles);
    let watch = async {
        tree_is_ready(scratch.path()).await;
        assert_eq!(reservations.holder("i2c-1").as_deref(), Some("t-0000000001"));
        std::fs::write(scratch.path().join("go"), "").unwrap();
    };
    let (execution, ()) = tokio::join!(execute(&executor, "1"), watch);
    assert_eq!(execution.outcome, ExecutionOutcome::Done, "{execution:?}");
    assert_eq!(reservations.holder("i2c-1"), None);
}

#[tokio::test]
async fn processes_of_a_killed_guardian_are_killed() {
    let scratch = Scratch::new("actions");
    let script = format!("echo $PPID > {}/guardian\n", scratch.path().display());
    let executor = executor(scratch.path(), &(script + &tree(scratch.path(), "wait; sleep 300")), "");
    let kill = async {
        tree_is_ready(scratch.path()).await;
        let guardian = std::fs::read_to_string(scratch.path().join("guardian")).unwrap();
        let guardian = Pid::from_raw(guardian.trim().parse().unwrap()).unwrap();
        kill_process(guardian, Signal::KILL).unwrap();
    };
    let (execution, ()) = tokio::join!(execute(&executor, "1"), kill);
    assert_eq!(execution.outcome, ExecutionOutcome::Failed, "{execution:?}");
    assert!(execution.reason.as_ref().unwrap().contains("the guardian process has ended"), "{execution:?}");
    assert_eq!(alive(scratch.path()), [""; 0]);
}

#[test]
fn check_refuses_actions_of_a_fleet_without_authentication() {
    let scratch = Scratch::new("actions");
    let file = scratch.path().join("boards.toml");
    let check = |line: &str| {
        let text = format!(
            "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"random\"\n\
             [boards.b.tasks]\n{line}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = clean_command(scratch.path(), BINARY);
        let output = command.arg("check").arg(&file).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, message) = check("a = { run = [\"/bin/true\"] }");
    assert_eq!(code, Some(78), "{message}");
    assert!(message.contains("board b: any client that reaches ZooKeeper could submit tasks"), "{message}");
    assert_eq!(check("install_boards = true").0, Some(78));
    assert_eq!(check("").0, Some(0), "the built-in actions only read");
    assert_eq!(check("allow_unauthenticated = true\na = { run = [\"/bin/true\"] }").0, Some(0));
}

#[test]
fn node_without_authentication_warns_that_its_actions_are_not_executed() {
    let scratch = Scratch::new("actions");
    let file = scratch.path().join("boards.toml");
    let text = "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"random\"\n\
                [boards.b.tasks.a]\nrun = [\"/bin/true\"]\n";
    std::fs::write(&file, text).unwrap();
    let fleet = Fleet::memory();
    let node = fleet.leader("1", &["--boards", file.to_str().unwrap(), "--board", "b"]);
    const WARNING: &str = "only the read-only actions are executed: any client that reaches ZooKeeper";
    node.wait_for_line(WARNING, DEADLINE);
    // A reload without changed actions does not warn again.
    node.hup();
    node.wait_for_line("configuration reloaded", DEADLINE);
    assert_eq!(node.log().iter().filter(|line| line.text.contains(WARNING)).count(), 1);
}
