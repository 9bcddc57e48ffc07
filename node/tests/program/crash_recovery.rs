//! A killed node leaves nothing that has to time out: its next start, `atalaya reap` or a supervising parent deletes
//! the znodes of its dead session, and no others.
#![cfg(unix)]

use std::path::Path;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, Scratch, eventually};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::machine::Machine;
use crate::common::{DEADLINE, Fleet, from, goes_on_publishing, report_from, wait_until};

on_both!(
    killed_supervised_leader_is_succeeded_at_once_and_restarts,
    killed_unsupervised_leader_is_succeeded_when_its_session_expires,
    running_or_frozen_node_is_not_cleaned_up,
    killed_leader_is_succeeded_at_once_after_reap,
    node_killed_at_any_moment_leaves_no_znodes_after_cleanup,
    restarted_node_publishes_at_once_after_a_kill,
    second_process_with_the_same_id_on_one_machine_exits_at_once,
    cleanup_keeps_znodes_of_other_sessions,
    node_works_without_a_state_directory,
    garbage_in_the_state_file_costs_one_session_timeout,
    node_that_shut_down_leaves_nothing_to_clean_up,
    reap_times_out_without_zookeeper,
    supervising_parent_forwards_signals,
    node_shuts_down_when_its_supervising_parent_is_killed,
    a_supervisor_ends_with_what_another_try_would_not_mend,
);

on_secured!(
    killed_supervised_leader_is_succeeded_at_once_and_restarts,
    killed_leader_is_succeeded_at_once_after_reap,
    restarted_node_publishes_at_once_after_a_kill,
);

/// Longer than any test here, so that no session expires.
const SLOW: [&str; 4] = ["--session-timeout", "30s", "--sampling-period", "200ms"];
/// Deadline for immediate reactions on a busy machine, far shorter than such a session.
const AT_ONCE: Duration = Duration::from_secs(10);

/// Returns the process id of the node that a supervising parent started last, after `since`.
fn child_of(supervisor: &Process, since: Instant) -> Pid {
    let line = supervisor.wait_for_line_since(since, "started the node process=", DEADLINE);
    let (_, number) = line.text.split_once("process=").unwrap();
    Pid::from_raw(number.trim().parse().unwrap()).unwrap()
}

#[test]
fn reap_names_a_refused_password() {
    let fleet = Fleet::secured();
    let mut machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &SLOW);
    one.kill9();
    let password = Scratch::new("password");
    let file = password.write("wrong", "wrong");
    let variable = "ATALAYA_ZOOKEEPER_PASSWORD_FILE".to_owned();
    machine.identity.push((variable, file.to_str().unwrap().to_owned()));
    let said = machine.reap_exits(&["1"], 77);
    assert!(said.contains("ZooKeeper refused the user name or the password"), "{said}");
    machine.identity.pop();
    let said = machine.reap_exits(&["1"], 0);
    assert!(said.contains("removed"), "{said}");
}

fn killed_supervised_leader_is_succeeded_at_once_and_restarts(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let begin = Instant::now();
    let one = machine.leader(&fleet, "1", &[&SLOW[..], &["--supervised"]].concat());
    let _two = fleet.follower("2", &SLOW);
    let _three = fleet.follower("3", &SLOW);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let probe = fleet.probe();
    let old = probe.exists("/mediciones/1").unwrap();

    let killed = Instant::now();
    kill_process(child_of(&one, begin), Signal::KILL).unwrap();
    let reported = report_from(&fleet.api, "2", killed, AT_ONCE);
    println!("from the kill to the next leader's first report: {:?}", reported - killed);
    one.wait_for_line_since(killed, "deleted the znodes of the dead node", DEADLINE);

    // The node is back, at the end of the queue.
    wait_until("the line to be 2, 3, 1", || probe.contenders("/election") == ["2", "3", "1"]);
    let new = probe.exists("/mediciones/1").unwrap();
    assert_ne!(new.ephemeral_owner, old.ephemeral_owner);
    let info = eventually("its node info", DEADLINE, || probe.exists("/atalaya/nodes/1"));
    assert_eq!(info.ephemeral_owner, new.ephemeral_owner);
    goes_on_publishing(&probe, "1", 3);
    let late = |request: &atalaya_testbed::Recorded| request.at > reported && from(request, "1");
    assert!(!fleet.api.requests().iter().any(late), "the dead one reports");
}

fn killed_unsupervised_leader_is_succeeded_when_its_session_expires(fleet: Fleet) {
    let mut one = fleet.leader("1", &[]);
    let _two = fleet.follower("2", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let killed = Instant::now();
    one.kill9();
    let in_time = fleet.pace.session + fleet.pace.period + Duration::from_secs(1);
    let reported = report_from(&fleet.api, "2", killed, in_time);
    // Its last ping was at most a third of the session timeout before the kill.
    assert!(reported - killed > fleet.pace.session / 2, "no cleanup has run");
}

fn running_or_frozen_node_is_not_cleaned_up(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &SLOW);
    let probe = fleet.probe();
    eventually("its presence", DEADLINE, || probe.exists("/atalaya/nodes/1"));
    let made = || {
        let [measurement, presence] =
            ["/mediciones/1", "/atalaya/nodes/1"].map(|path| probe.exists(path).unwrap().czxid);
        (measurement, presence, probe.ls("/election"))
    };
    let before = made();
    let refused = |args: &[&str], code: i32| {
        let (exit, said) = machine.reap(args);
        assert_eq!(exit, Some(code), "{said}");
        assert!(said.contains(&format!("node 1 is running (process {})", one.pid())) || code == 0, "{said}");
    };
    refused(&["1"], 75);
    refused(&["--all"], 0);
    let lock = machine.file("lock");
    let aside = lock.with_extension("aside");
    std::fs::rename(&lock, &aside).unwrap();
    let (exit, said) = machine.reap(&["1"]);
    assert!(exit == Some(65) && said.contains(".lock"), "without its lock nothing proves it dead: {said}");
    std::fs::rename(&aside, &lock).unwrap();
    one.stop();
    let (exit, said) = machine.reap(&["1"]);
    assert_eq!((exit, made()), (Some(75), before.clone()), "{said}");
    one.cont();
    goes_on_publishing(&probe, "1", 2);
    assert_eq!(made(), before);
}

fn killed_leader_is_succeeded_at_once_after_reap(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &SLOW);
    let _two = fleet.follower("2", &SLOW);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let probe = fleet.probe();
    eventually("its presence", DEADLINE, || probe.exists("/atalaya/nodes/1"));
    one.kill9();
    assert_eq!(probe.contenders("/election"), ["1", "2"], "what it left");
    let reaped = Instant::now();
    let said = machine.reap_exits(&["1"], 0);
    for part in ["node 1: removed /mediciones/1, /atalaya/nodes/1, /election/", "__lock__"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!((probe.exists("/mediciones/1"), probe.exists("/atalaya/nodes/1")), (None, None));
    assert_eq!(probe.contenders("/election"), ["2"]);
    report_from(&fleet.api, "2", reaped, AT_ONCE);

    assert_eq!(machine.reap(&["1"]), (Some(0), "node 1: no znodes left\n".to_owned()));
    let (exit, said) = machine.reap(&["2"]);
    assert!(exit == Some(0) && said.starts_with("node 2: no state file in "), "{said}");
    assert_eq!(probe.contenders("/election"), ["2"]);
}

fn node_killed_at_any_moment_leaves_no_znodes_after_cleanup(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let probe = fleet.probe();
    for round in 0..5 {
        // Between these log lines it creates one znode after the other.
        for line in ["starting id=1", "connected to", "published the first", " leading epoch=", " average "] {
            let mut one = machine.node(&fleet, "1", &SLOW);
            one.wait_for_line(line, DEADLINE);
            one.kill9();
            // Every other time its next start has to clean up, and is killed as well.
            if round % 2 == 0 {
                let said = machine.reap_exits(&["1"], 0);
                let parents = ["/mediciones", "/election", "/atalaya/standby", "/atalaya/nodes"];
                let left = parents.map(|path| probe.ls(path));
                assert!(left.iter().all(Vec::is_empty), "killed after \"{line}\": {left:?}; {said}");
            }
        }
    }
}

fn restarted_node_publishes_at_once_after_a_kill(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &SLOW);
    let probe = fleet.probe();
    // A process that was killed before it could clean up after its predecessor leaves nothing either.
    for _ in 0..2 {
        let old = probe.exists("/mediciones/1").unwrap().ephemeral_owner;
        one.kill9();
        let begin = Instant::now();
        one = machine.leader(&fleet, "1", &SLOW);
        let new = probe.exists("/mediciones/1").unwrap().ephemeral_owner;
        assert!(new != old && begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        one.wait_for_line("deleted the znodes of a dead process with this id", Duration::ZERO);
        assert!(!one.log().iter().any(|line| line.text.contains("waiting for it to end")));
        assert_eq!(probe.contenders("/election"), ["1"]);
    }
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
}

fn second_process_with_the_same_id_on_one_machine_exits_at_once(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut first = machine.leader(&fleet, "1", &SLOW);
    let probe = fleet.probe();
    let before = probe.exists("/mediciones/1").unwrap();
    let mut second = machine.node(&fleet, "1", &SLOW);
    assert_eq!(second.wait_exit(AT_ONCE).code(), Some(73));
    let taken = format!("the node id 1 is in use by process {} on this machine", first.pid());
    second.wait_for_line(&taken, Duration::ZERO);
    assert!(!second.log().iter().any(|line| line.text.contains("connected")), "it has not even connected");
    assert!(first.is_running());
    assert_eq!(probe.exists("/mediciones/1").unwrap().czxid, before.czxid);

    // A node 1 of another fleet is not affected.
    let other = fleet.below("/other");
    let folder = machine.folder();
    let args = [&SLOW[..], &["--state-dir", folder.to_str().unwrap()]].concat();
    let _other = other.leader("1", &args);
    let (exit, said) = machine.reap(&["--all"]);
    assert_eq!((exit, said.matches("is running").count()), (Some(0), 2), "{said}");
}

fn cleanup_keeps_znodes_of_other_sessions(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &SLOW);
    let probe = fleet.probe();
    eventually("its presence", DEADLINE, || probe.exists("/atalaya/nodes/1"));
    one.kill9();
    // As if the session had expired, and another machine had taken the id.
    for path in ["/mediciones/1", "/atalaya/nodes/1"] {
        probe.delete(path).unwrap();
        probe.create(path, b"7", path == "/mediciones/1").unwrap();
    }
    let (exit, said) = machine.reap(&["1"]);
    assert!(exit == Some(0) && said.starts_with("node 1: removed /election/"), "{said}");
    assert_eq!(probe.exists("/mediciones/1").unwrap().ephemeral_owner, probe.session_id());
    assert_eq!(probe.exists("/atalaya/nodes/1").unwrap().ephemeral_owner, 0);
    assert!(probe.ls("/election").is_empty());
}

fn node_works_without_a_state_directory(fleet: Fleet) {
    let scratch = Scratch::new("state");
    let file = scratch.write("file", "");
    let without_home = {
        let mut command = fleet.command("1", &[]);
        command.env_remove("HOME").env_remove("ATALAYA_STATE_DIR");
        command
    };
    let below_a_file = fleet.command("2", &["--state-dir", file.join("below").to_str().unwrap()]);
    let off = fleet.command("3", &["--state-dir", "off"]);
    for (id, command, warning) in [
        ("1", without_home, "no folder for the state file"),
        ("2", below_a_file, "cannot write a state file in"),
        ("3", off, ""),
    ] {
        let node = Process::start(command, " leading epoch=", DEADLINE);
        report_from(&fleet.api, id, Instant::now(), DEADLINE);
        let warned = node.log().iter().any(|line| line.text.contains("remain until its session times out"));
        assert_eq!(warned, !warning.is_empty());
        node.wait_for_line(warning, Duration::ZERO);
        node.term();
        let mut node = node;
        assert!(node.wait_exit(DEADLINE).success());
    }
}

fn garbage_in_the_state_file_costs_one_session_timeout(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    // Long enough for three processes to start before the session ends.
    let calm = ["--session-timeout", "10s"];
    let mut one = machine.leader(&fleet, "1", &calm);
    one.kill9();
    std::fs::write(machine.file("json"), b"\0\0\0\0").unwrap();
    machine.reap_exits(&["1"], 65);
    assert_eq!(machine.reap(&["2"]).0, Some(0), "another node's file");
    let again = machine.leader(&fleet, "1", &calm);
    again.wait_for_line("cannot be read", Duration::ZERO);
    again.wait_for_line("waiting for it to end", Duration::ZERO);
    let (exit, said) = machine.reap(&["1"]);
    assert_eq!(exit, Some(75), "it is remembered again: {said}");
}

fn node_that_shut_down_leaves_nothing_to_clean_up(mut fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &[]);
    one.shut_down(DEADLINE);
    fleet.server.vanish();
    // It exits before it connects.
    assert_eq!(machine.reap(&["--all"]), (Some(0), "node 1: no znodes left\n".to_owned()));
}

fn reap_times_out_without_zookeeper(mut fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &SLOW);
    one.kill9();
    fleet.server.vanish();
    let (exit, said) = machine.reap(&["1", "--timeout", "1s"]);
    assert!(exit == Some(69) && said.contains("node 1: not done within 1s"), "{said}");
    // The lock is not held, so the node can start at any time.
    let again = machine.node(&fleet, "1", &SLOW);
    again.wait_for_line("cannot reach ZooKeeper", DEADLINE);
    fleet.server.come_back();
    again.wait_for_line("deleted the znodes of a dead process with this id", DEADLINE);
    again.wait_for_line(" leading epoch=", DEADLINE);
}

fn supervising_parent_forwards_signals(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    for end in [Process::term, Process::int] {
        let mut one = machine.leader(&fleet, "1", &[&SLOW[..], &["--supervised"]].concat());
        let probe = fleet.probe();
        one.hup();
        one.wait_for_line("configuration reloaded", DEADLINE);
        end(&one);
        assert_eq!(one.wait_exit(DEADLINE).code(), Some(0));
        one.wait_for_line("all znodes of this node are deleted", Duration::ZERO);
        assert!(probe.ls("/mediciones").is_empty() && probe.ls("/election").is_empty());
    }
}

fn node_shuts_down_when_its_supervising_parent_is_killed(fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut one = machine.leader(&fleet, "1", &[&SLOW[..], &["--supervised"]].concat());
    let _two = fleet.follower("2", &SLOW);
    let probe = fleet.probe();
    let killed = Instant::now();
    one.kill9();
    report_from(&fleet.api, "2", killed, AT_ONCE);
    assert_eq!(probe.ls("/mediciones"), ["2"]);
    wait_until("its lock to be free", || {
        machine.reap(&["1"]) == (Some(0), "node 1: no znodes left\n".to_owned())
    });
}

fn a_supervisor_ends_with_what_another_try_would_not_mend(mut fleet: Fleet) {
    let machine = Machine::of(&fleet);
    let mut wrong = machine.node(&fleet, "1", &["--supervised", "--board", "no-such"]);
    assert_eq!(wrong.wait_exit(DEADLINE).code(), Some(78));
    let _first = machine.leader(&fleet, "1", &[]);
    let mut second = machine.node(&fleet, "1", &["--supervised"]);
    assert_eq!(second.wait_exit(DEADLINE).code(), Some(73));
    // A temporary failure is retried.
    fleet.server.vanish();
    let begin = Instant::now();
    let third = machine.node(&fleet, "3", &["--supervised", "--connect-timeout", "100ms"]);
    let first = third.wait_for_line("the node has ended (exit status: 69); restarting it in 100ms", DEADLINE);
    third.wait_for_line_since(first.at, "restarting it in 200ms", DEADLINE);
    assert!(child_of(&third, begin) != child_of(&third, first.at));
}

/// Asserts that both files exist and are not readable by others.
#[test]
fn state_files_are_not_readable_by_others() {
    use std::os::unix::fs::PermissionsExt as _;

    let fleet = Fleet::memory();
    let machine = Machine::of(&fleet);
    let _one = machine.leader(&fleet, "1", &[]);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!((mode(&machine.file("json")), mode(&machine.file("lock"))), (0o600, 0o600));
    assert_eq!(mode(&machine.folder()), 0o700);
    let text = std::fs::read_to_string(machine.file("json")).unwrap();
    let owner = fleet.probe().exists("/mediciones/1").unwrap().ephemeral_owner;
    assert!(text.contains(&format!("\"{owner:#x}\"")) && text.contains("/election"), "{text}");
}
