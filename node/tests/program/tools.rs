//! `atalaya lock`, `elect`, `counter`, `barrier`, `inspect`, as used by a shell script.
#![cfg(unix)]

use std::path::Path;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Scratch, eventually, parent_death_command};

use crate::common::outputs::{assert_refused, stdout};
use crate::common::{DEADLINE, Fleet, lines, wait_until};

on_both!(
    lock_runs_one_command_at_a_time,
    lock_exits_with_the_code_of_its_command,
    lock_times_out,
    later_lock_holders_have_higher_fencing_tokens,
    killed_lock_process_ends_its_command,
    lost_lock_ends_its_command_before_the_next_holder,
    elect_runs_the_leaders_command_and_fails_over,
    counter_command_adds_and_prints,
    barrier_command_opens_closes_and_waits,
    queue_command_keeps_the_order,
    config_command_stores_values_and_checks_fleet_keys,
    config_watch_prints_each_change,
    inspect_describes_znodes,
);

/// Returns `atalaya WORDS… --zookeeper … --session-timeout 6s -- sh -c SCRIPT`. A busy machine can stop a process for
/// more than a second: with a shorter timeout it would lose a lock that this test expects it to keep.
fn tool(fleet: &Fleet, words: &[&str], script: Option<&str>) -> Command {
    tool_with_timeout(fleet, words, script, "6s")
}

fn tool_with_timeout(fleet: &Fleet, words: &[&str], script: Option<&str>, timeout: &str) -> Command {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    command.args(words).args(["--zookeeper", &fleet.hosts, "--session-timeout", timeout]);
    command.current_dir(std::env::temp_dir());
    if let Some(script) = script {
        command.args(["--", "sh", "-c", script]);
    }
    command
}

fn run(fleet: &Fleet, words: &[&str], script: Option<&str>) -> Output {
    tool(fleet, words, script).output().unwrap()
}

fn wait_for_lines(file: &Path, what: &str, wanted: impl Fn(&[String]) -> bool) -> Vec<String> {
    eventually(what, DEADLINE, || Some(lines(file)).filter(|lines| wanted(lines)))
}

fn lock_runs_one_command_at_a_time(fleet: Fleet) {
    let scratch = Scratch::new("tools");
    let file = scratch.path().join("log");
    let script = format!("echo in >> {0}; sleep 0.1; echo out >> {0}", file.display());
    let workers: Vec<Process> =
        (0..5).map(|_| Process::spawn(tool(&fleet, &["lock", "/locks/one"], Some(&script)))).collect();
    for mut worker in workers {
        assert!(worker.wait_exit(DEADLINE).success(), "{:?}", worker.log());
    }
    assert_eq!(lines(&file), ["in", "out"].repeat(5));
    assert!(fleet.probe().ls("/locks/one").is_empty(), "nothing of them stays");
}

fn lock_exits_with_the_code_of_its_command(fleet: Fleet) {
    let code = |script| run(&fleet, &["lock", "/locks/code"], Some(script)).status.code();
    assert_eq!(code("exit 7"), Some(7));
    assert_eq!(code("true"), Some(0));
    assert_eq!(code("kill -KILL $$"), Some(128 + 9));
    let mut missing = tool(&fleet, &["lock", "/locks/code"], None);
    missing.args(["--", "/does/not/exist"]);
    let output = missing.output().unwrap();
    assert_refused(&output, 127, "/does/not/exist");
    assert_eq!(run(&fleet, &["lock", "no-slash"], None).status.code(), Some(64));
}

fn lock_times_out(fleet: Fleet) {
    let mut holder = Process::start(
        tool(&fleet, &["lock", "/locks/held", "--id", "me"], None),
        "holding the lock",
        DEADLINE,
    );
    for wait in ["0", "300ms"] {
        let output = run(&fleet, &["lock", "/locks/held", "--wait", wait], Some("echo never"));
        assert_eq!((output.status.code(), stdout(&output).as_str()), (Some(75), ""), "{output:?}");
    }
    assert_eq!(
        fleet.probe().contenders("/locks/held"),
        ["me"],
        "the contender that timed out has left the queue"
    );
    holder.int();
    assert!(holder.wait_exit(DEADLINE).success());
    assert!(run(&fleet, &["lock", "/locks/held", "--wait", "0"], Some("true")).status.success());
}

fn later_lock_holders_have_higher_fencing_tokens(fleet: Fleet) {
    let fences: Vec<i64> = (0..3)
        .map(|_| {
            stdout(&run(&fleet, &["lock", "/locks/fence"], Some("echo $ATALAYA_FENCE")))
                .trim()
                .parse()
                .unwrap()
        })
        .collect();
    assert!(fences.is_sorted() && fences[0] < fences[2] && fences[0] > 0, "{fences:?}");
}

fn killed_lock_process_ends_its_command(fleet: Fleet) {
    let scratch = Scratch::new("tools");
    let file = scratch.path().join("log");
    let script = format!("echo $$ >> {}; exec sleep 1000", file.display());
    let mut holder = Process::spawn(tool(&fleet, &["lock", "/locks/killed"], Some(&script)));
    let pid = wait_for_lines(&file, "the command", |lines| lines.len() == 1).remove(0);
    let runs =
        || std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(runs());
    holder.kill9();
    wait_until("the end of the command", || !runs());
    assert!(run(&fleet, &["lock", "/locks/killed", "--wait", "20s"], Some("true")).status.success());
}

fn lost_lock_ends_its_command_before_the_next_holder(mut fleet: Fleet) {
    let scratch = Scratch::new("tools");
    let file = scratch.path().join("log");
    // The command ignores SIGTERM.
    let script =
        format!("trap 'echo told >> {0}' TERM; echo in >> {0}; while :; do sleep 0.05; done", file.display());
    let mut holder = Process::spawn(tool_with_timeout(&fleet, &["lock", "/locks/lost"], Some(&script), "2s"));
    wait_for_lines(&file, "the command", |lines| lines.len() == 1);
    let lost = Instant::now();
    fleet.server.vanish();
    assert_eq!(holder.wait_exit(DEADLINE).code(), Some(75), "{:?}", holder.log());
    // No other process can acquire the lock before the session timeout of 2 s; the release may stay unconfirmed.
    let killed = holder.wait_for_line("killing it", Duration::ZERO).at;
    assert!(killed - lost < Duration::from_millis(2_000), "killed after {:?}", killed - lost);
    assert_eq!(lines(&file), ["in", "told"]);
    fleet.server.come_back();
    assert!(run(&fleet, &["lock", "/locks/lost", "--wait", "20s"], Some("true")).status.success());
}

fn elect_runs_the_leaders_command_and_fails_over(fleet: Fleet) {
    let scratch = Scratch::new("tools");
    let file = scratch.path().join("log");
    let contender = |id: &str| {
        let script = format!("echo {id} >> {}; exec sleep 1000", file.display());
        Process::spawn(tool(&fleet, &["elect", "/service", "--id", id], Some(&script)))
    };
    let mut one = contender("one");
    wait_for_lines(&file, "the first leader", |lines| lines == ["one"]);
    let mut two = contender("two");
    wait_until("two in line", || fleet.probe().contenders("/service").len() == 2);
    one.kill9();
    wait_for_lines(&file, "the second leader", |lines| lines == ["one", "two"]);
    two.term();
    // The signal is forwarded: it ends the command, and the exit code says so.
    assert_eq!(two.wait_exit(DEADLINE).code(), Some(128 + 15));
    assert!(fleet.probe().ls("/service").is_empty());
}

fn counter_command_adds_and_prints(fleet: Fleet) {
    let counter = |words: &[&str]| stdout(&run(&fleet, words, None)).trim().to_owned();
    assert_eq!(counter(&["counter", "get", "/count"]), "0");
    assert_eq!(counter(&["counter", "add", "/count"]), "1");
    assert_eq!(counter(&["counter", "add", "/count", "41"]), "42");
    assert_eq!(counter(&["counter", "add", "/count", "-2"]), "40");
    assert_eq!(fleet.probe().text("/count").as_deref(), Some("40"), "as Kazoo writes it");
    fleet.probe().set("/count", b"many").unwrap();
    for words in [&["counter", "get", "/count"][..], &["counter", "add", "/count"]] {
        let output = run(&fleet, words, None);
        assert_eq!(output.status.code(), Some(65), "another try would not help: {output:?}");
    }
    assert_eq!(fleet.probe().text("/count").as_deref(), Some("many"), "left as it is");
}

fn barrier_command_opens_closes_and_waits(fleet: Fleet) {
    let barrier = |words: &[&str]| run(&fleet, &[&["barrier"], words].concat(), None).status.code();
    assert_eq!(barrier(&["wait", "/gate"]), Some(0), "no barrier is an open one");
    assert_eq!(barrier(&["close", "/gate"]), Some(0));
    assert_eq!(barrier(&["wait", "/gate", "--wait", "200ms"]), Some(75));
    let mut waiting = Process::spawn(tool(&fleet, &["barrier", "wait", "/gate"], None));
    wait_until("a waiter", || waiting.is_running());
    assert_eq!(barrier(&["open", "/gate"]), Some(0));
    assert!(waiting.wait_exit(DEADLINE).success());
}

fn queue_command_keeps_the_order(fleet: Fleet) {
    let take = |words: &[&str]| run(&fleet, &[&["queue", "take", "/jobs"], words].concat(), None);
    assert_eq!(take(&[]).status.code(), Some(75), "empty");
    for (value, priority) in [("first", "100"), ("second", "100"), ("urgent", "1")] {
        assert!(
            run(&fleet, &["queue", "put", "/jobs", value, "--priority", priority], None).status.success()
        );
    }
    for value in ["urgent\n", "first\n", "second\n"] {
        assert_eq!(stdout(&take(&[])), value);
    }
    let waiting = Process::spawn(tool(&fleet, &["queue", "take", "/jobs", "--wait", "20s"], None));
    assert!(run(&fleet, &["queue", "put", "/jobs", "late"], None).status.success());
    waiting.wait_for_line("late", DEADLINE);
    assert_eq!(take(&["--wait", "100ms"]).status.code(), Some(75), "empty again");
}

fn config_command_stores_values_and_checks_fleet_keys(fleet: Fleet) {
    let config = |words: &[&str]| run(&fleet, &[&["config"], words].concat(), None);
    assert_eq!(config(&["get", "/configs/demo"]).status.code(), Some(74));
    for value in ["one", "two", ""] {
        assert!(config(&["set", "/configs/demo", value]).status.success());
        assert_eq!(stdout(&config(&["get", "/configs/demo"])), format!("{value}\n"));
    }
    let mut piped = tool(&fleet, &["config", "set", "/configs/demo", "-"], None);
    piped.stdin(std::process::Stdio::piped());
    let mut piped = piped.spawn().unwrap();
    std::io::Write::write_all(&mut piped.stdin.take().unwrap(), b"from a pipe\n").unwrap();
    assert!(piped.wait().unwrap().success());
    assert_eq!(fleet.probe().text("/configs/demo").as_deref(), Some("from a pipe"));
    let output = config(&["set", "/config/sampling_period", "soon"]);
    assert_refused(&output, 64, "a duration such as");
    assert!(config(&["set", "/config/sampling_period", "2.5"]).status.success());
}

fn config_watch_prints_each_change(mut fleet: Fleet) {
    let set = |fleet: &Fleet, value: &str| {
        assert!(run(fleet, &["config", "set", "/configs/demo", value], None).status.success());
    };
    let mut watching =
        Process::start(tool(&fleet, &["config", "watch", "/configs/demo"], None), "no such znode", DEADLINE);
    for value in ["one", "two"] {
        set(&fleet, value);
        watching.wait_for_line(value, DEADLINE);
    }
    fleet.server.vanish();
    watching.wait_for_line("suspended", DEADLINE);
    fleet.server.come_back();
    set(&fleet, "three");
    watching.wait_for_line("three", DEADLINE);
    watching.int();
    assert!(watching.wait_exit(DEADLINE).success());
    let printed: Vec<String> = watching.log().into_iter().map(|line| line.text).collect();
    let values: Vec<&String> =
        printed.iter().filter(|text| ["one", "two", "three"].contains(&text.as_str())).collect();
    assert_eq!(values, ["one", "two", "three"], "each once");
}

fn inspect_describes_znodes(fleet: Fleet) {
    let _holder = Process::start(
        tool(&fleet, &["lock", "/locks/seen", "--id", "first"], None),
        "holding the lock",
        DEADLINE,
    );
    let _second = Process::spawn(tool(&fleet, &["lock", "/locks/seen", "--id", "second"], None));
    wait_until("two in line", || fleet.probe().contenders("/locks/seen").len() == 2);
    let text = stdout(&run(&fleet, &["inspect", "/locks/seen"], None));
    assert!(text.starts_with("/locks/seen: lock or election; 1 of 2 contenders holds it\n"), "{text}");
    let line = |id: &str| {
        text.lines().find(|line| line.ends_with(id)).unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert!(line("first").contains("holds") && line("first").contains("0x"), "{text}");
    assert!(!line("second").contains("holds"), "{text}");
    let json = stdout(&run(&fleet, &["inspect", "/locks/seen", "--output", "json"], None));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["kind"], &json["entries"][0]["data"]), (&"kazoo-line".into(), &"first".into()));
    let tree = stdout(&run(&fleet, &["inspect", "--recursive"], None));
    assert!(tree.lines().any(|line| line.starts_with("    ") && line.contains("__lock__")), "{tree}");
    assert_eq!(run(&fleet, &["inspect", "/nowhere"], None).status.code(), Some(74));
}
