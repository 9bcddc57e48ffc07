//! `atalaya demo` on a terminal, and as lines for a script.

use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Process, Scratch, Terminal, eventually, parent_death_command};

const DEADLINE: Duration = Duration::from_secs(30);
/// Deadline for immediate reactions, on a machine that is busy with other tests.
const AT_ONCE: Duration = Duration::from_secs(5);
const CTRL_C: &str = "\x03";
const DOWN: &str = "\x1b[B";

fn demo(args: &[&str]) -> Command {
    let mut command = parent_death_command(env!("CARGO_BIN_EXE_atalaya"));
    // Without a boards.toml, the built-in board is used.
    command.arg("demo").args(args).current_dir(std::env::temp_dir());
    command
}

fn screen(args: &[&str]) -> Terminal {
    Terminal::spawn(demo(args), (80, 24))
}

/// Presses these keys, and waits for these texts on the screen, each after the other.
fn plays(terminal: &mut Terminal, steps: &[(&str, &[&str])]) {
    for (keys, texts) in steps {
        terminal.press(keys);
        for text in *texts {
            terminal.wait_for(text, DEADLINE);
        }
    }
}

/// Presses these keys, which end the demo.
fn ends(terminal: &mut Terminal, keys: &str) {
    terminal.press(keys);
    assert_eq!(terminal.wait_exit(AT_ONCE), 0);
    is_restored(terminal);
}

/// The screen is restored and shows the summary of the demo.
fn is_restored(terminal: &Terminal) {
    terminal.wait_for("delivered: ", AT_ONCE);
    terminal.look(|screen| {
        assert!(!screen.alternate_screen(), "the alternate screen stays");
        assert!(!screen.hide_cursor(), "the cursor stays hidden");
    });
}

/// Returns the number after `key: ` in the summary.
fn figure(lines: &[String], key: &str) -> u64 {
    let line = lines.iter().find_map(|line| line.strip_prefix(&format!("{key}: ")));
    line.unwrap_or_else(|| panic!("no \"{key}\" in {lines:#?}")).parse().unwrap()
}

fn plain(args: &[&str]) -> Vec<String> {
    let output = demo(args).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "", "stdout tells everything");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn position(lines: &[String], words: &str) -> usize {
    let found = lines.iter().position(|line| line.contains(words));
    found.unwrap_or_else(|| panic!("no \"{words}\" in {lines:#?}"))
}

#[test]
fn demo_shows_averages_at_once_and_restores_the_screen_at_ctrl_c() {
    // The period is longer than the deadline: the demo does not wait for it.
    let mut terminal = screen(&["--sampling-period", "60s"]);
    terminal.wait_for("averages 1", DEADLINE);
    for words in ["leader", "follower", "ZooKeeper up", "API up", "of 3", "delivered"] {
        terminal.wait_for(words, DEADLINE);
    }
    assert!(terminal.look(|screen| screen.alternate_screen()));
    ends(&mut terminal, CTRL_C);
}

#[test]
fn demo_keys_kill_freeze_revive_and_expire_nodes() {
    let mut terminal = screen(&["--sampling-period", "500ms", "--session-timeout", "1s"]);
    // The average of three nodes: there is a leader.
    terminal.wait_for("count=3", DEADLINE);
    // The next leader reports the average of two nodes.
    plays(
        &mut terminal,
        &[("l", &[", the leader, is killed", "count=2"]), ("R", &["is revived", "count=3"])],
    );
    plays(
        &mut terminal,
        &[(DOWN, &[]), ("h", &["node 2 is stopped", "hung"]), ("r", &["node 2 is revived"])],
    );
    terminal.wait_until("three nodes", DEADLINE, |text| text.contains("  3 nodes, every"));
    plays(&mut terminal, &[("x", &["the session of node 2 expires"])]);
    ends(&mut terminal, "q");
}

#[test]
fn demo_keys_stop_and_restore_the_api_and_zookeeper() {
    let mut terminal = screen(&["--sampling-period", "500ms"]);
    terminal.wait_for("averages 2", DEADLINE);
    let steps: [(&str, &[&str]); 5] = [
        ("a", &["API down", "waiting 3"]),
        ("a", &["accepts reports again", "waiting 0"]),
        ("z", &["ZooKeeper stopped", "offline"]),
        ("z", &["leading again"]),
        ("?", &["this help"]),
    ];
    plays(&mut terminal, &steps);
    terminal.press("q");
    terminal.wait_until("help", DEADLINE, |text| !text.contains("this help"));
    ends(&mut terminal, "q");
}

#[test]
fn demo_key_submits_a_self_test_to_all_nodes_and_shows_its_progress() {
    let mut terminal = screen(&["--sampling-period", "500ms"]);
    terminal.wait_for("averages 2", DEADLINE);
    // The session of the client ends with the task.
    plays(&mut terminal, &[("t", &["sensors.selftest: 3 of 3 done", "sessions 3"])]);
    plays(&mut terminal, &[("t", &["t-0000000001 sensors.selftest: 3 of 3 done"])]);
    ends(&mut terminal, "q");
}

#[test]
fn demo_redraws_when_the_window_is_resized() {
    let mut terminal = screen(&["--nodes", "30"]);
    terminal.wait_for("averages 1", DEADLINE);
    terminal.resize((40, 10));
    terminal.wait_for("too small", DEADLINE);
    terminal.resize((132, 50));
    terminal.wait_for("requests", DEADLINE);
    terminal.press("\x1b[F");
    terminal.wait_for("│30 ", DEADLINE);
    terminal.press(CTRL_C);
    assert_eq!(terminal.wait_exit(AT_ONCE), 0);
}

#[test]
fn demo_restores_the_screen_before_a_panic_message() {
    let scratch = Scratch::new("demo");
    let script = scratch.write("panic.txt", "500ms panic\n");
    let mut command = demo(&["--script", script.to_str().unwrap()]);
    // A backtrace is longer than the screen, and scrolls the message away.
    command.env("RUST_BACKTRACE", "0");
    let mut terminal = Terminal::spawn(command, (80, 24));
    terminal.wait_for("requested by the script", DEADLINE);
    assert_eq!(terminal.wait_exit(DEADLINE), 101);
    terminal.look(|screen| {
        assert!(!screen.alternate_screen(), "the alternate screen stays");
        assert!(!screen.hide_cursor(), "the cursor stays hidden");
    });
}

#[cfg(unix)]
#[test]
fn demo_restores_the_screen_at_sigterm() {
    let mut terminal = screen(&[]);
    terminal.wait_for("averages 1", DEADLINE);
    terminal.signal_term();
    assert_eq!(terminal.wait_exit(AT_ONCE), 0);
    is_restored(&terminal);
}

#[test]
fn demo_without_a_terminal_prints_lines_and_ends() {
    let lines = plain(&["--for", "6s", "--sampling-period", "200ms"]);
    let averages = lines.iter().filter(|line| line.contains("  average ")).count();
    assert!(averages >= 20, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("average") && line.contains("count=3")), "{lines:#?}");
    position(&lines, "all 3 nodes publish");
    position(&lines, "summary");
    assert_eq!(figure(&lines, "sessions"), 3);
    assert_eq!(figure(&lines, "leaders"), 1);
    assert_eq!(figure(&lines, "averages"), averages as u64);
    assert_eq!(figure(&lines, "lost"), 0);
}

#[test]
fn demo_api_serves_its_reports() {
    let mut demo = Process::spawn(demo(&["--plain", "--sampling-period", "200ms"]));
    let line = demo.wait_for_line("web page at http://", DEADLINE).text;
    let address = line.rsplit('/').nth(1).unwrap();
    let text = |path: &str| atalaya_testbed::get(address, path, &[]).map(|answer| answer.body);
    let reports = eventually("three reports", DEADLINE, || {
        let answer: serde_json::Value = serde_json::from_str(&text("/api/v1/reports").ok()?).ok()?;
        let reports = answer["reports"].as_array()?.clone();
        (reports.len() >= 3).then_some(reports)
    });
    assert!(reports.iter().all(|report| report["cycle"].is_u64() && report["mean"].is_f64()), "{reports:#?}");
    let page = text("/").unwrap();
    assert!(page.contains("<svg") && page.contains("Atalaya"), "and it has a page: {page}");
    // The leader pushes the fleet status beside its reports.
    eventually("three nodes on the page", DEADLINE, || {
        text("/").ok().filter(|page| page.contains("<dt>Nodes</dt><dd>3</dd>"))
    });
    demo.shut_down(DEADLINE);
}

#[test]
fn demo_script_plays_faults_with_at_most_one_leader() {
    let scratch = Scratch::new("demo");
    let script = scratch.path().join("show.txt");
    let show = "2s kill leader\n4500ms revive all\n5500ms hang leader\n8500ms revive all\n\
                9500ms api hang\n10s api back\n10500ms api away\n11500ms api back\n\
                12s zookeeper stop\n12500ms zookeeper start\n14s expire leader\n17s end\n";
    std::fs::write(&script, show).unwrap();
    let args = ["--sampling-period", "250ms", "--session-timeout", "1s", "--for", "60s"];
    let lines = plain(&[&args[..], &["--script", script.to_str().unwrap()]].concat());
    let order = [
        ", the leader, is killed",
        "is revived",
        ", the leader, is stopped",
        "no longer the leader",
        "the API hangs",
        "the API is down",
        "the API does not accept reports",
        "the API is up again",
        "the API accepts reports again",
        "ZooKeeper stops",
        "suspended",
        "ZooKeeper is up again",
        "leading again",
        "the session of the leader expires",
    ];
    let mut rest = &lines[..];
    for words in order {
        let at = rest.iter().position(|line| line.contains(words));
        let at = at.unwrap_or_else(|| panic!("no \"{words}\" in its place in {lines:#?}"));
        rest = &rest[at..];
    }
    assert!(figure(&lines, "leaders") >= 4, "{lines:#?}");
    assert_eq!(figure(&lines, "from a deposed leader"), 0, "{lines:#?}");
    assert_eq!(figure(&lines, "waiting"), 0, "{lines:#?}");
    assert_eq!(figure(&lines, "nodes"), figure(&lines, "publishing"));
}

#[test]
fn demo_refuses_wrong_arguments_with_the_remedy() {
    let scratch = Scratch::new("demo");
    let script = scratch.write("bad.txt", "1s kill 1\n2s kill 4\n");
    let script = script.to_str().unwrap();
    for (args, words) in [
        (&["--nodes", "0"][..], &["--nodes", "1..=20000"][..]),
        (&["--for", "soon"], &["--for", "soon"]),
        (&["--sampling-period", "1ms"], &["--sampling-period", "100ms"]),
        (&["--script", "/does/not/exist"], &["/does/not/exist"]),
        (&["--script", script], &["bad.txt", "line 2", "the nodes are 1 to 3"]),
        (&["--log", "atalaya=loudly"], &["loudly"]),
    ] {
        let output = demo(args).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{args:?}: {text}");
        assert!(words.iter().all(|word| text.contains(word)), "{args:?}: {text}");
    }
    let output = demo(&["--board", "nowhere"]).output().unwrap();
    assert_eq!(output.status.code(), Some(78), "{output:?}");
}

#[test]
fn demo_runs_a_thousand_nodes() {
    let node = Process::start(
        demo(&["--plain", "--nodes", "1000", "--sampling-period", "2s"]),
        "all 1000 nodes publish",
        Duration::from_secs(120),
    );
    node.wait_for_line("count=1000", DEADLINE);
}
