//! `atalaya classic`: master, worker and client of the classic task layout, with Python programs and without them.
#![cfg(unix)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_sim::zookeeper::{AtRequest, Cut, Operation};
use atalaya_testbed::{Change, Ensemble, Probe, Process, Scratch, Stream, Transaction, eventually, guarded};

use crate::common::server::Server;
use crate::common::{CALM, DEADLINE, Fleet, TestEnv};

on_both!(
    one_master_one_worker_one_client,
    tasks_wait_for_a_free_worker_and_run_once,
    task_of_a_killed_worker_runs_on_another,
    task_of_a_killed_client_is_stopped_and_its_worker_becomes_free,
    task_that_is_deleted_is_stopped_and_its_result_dropped,
    backup_master_takes_over_after_sigkill,
    two_of_each_with_one_of_each_killed,
    paused_master_changes_nothing_after_it_returns,
    paused_worker_cannot_record_a_result,
    execution_stops_before_the_session_can_expire,
    worker_id_in_use_is_refused,
    znodes_are_gone_at_once_after_sigterm,
    task_assigned_by_a_dead_master_in_any_form_is_recovered,
    mixes_of_atalaya_and_python_programs,
    leadership_passes_between_python_and_atalaya_masters,
);

const SESSION_TIMEOUT: Duration = Duration::from_secs(4);

/// Returns `atalaya classic WORDS…`, and after the settings `-- COMMAND…`.
fn classic(fleet: &TestEnv, words: &[&str], command: &[&str]) -> Command {
    let mut atalaya = guarded(env!("CARGO_BIN_EXE_atalaya"));
    let timeout = format!("{}s", SESSION_TIMEOUT.as_secs());
    atalaya.arg("classic").args(words).args(["--zookeeper", &fleet.hosts, "--session-timeout", &timeout]);
    if !command.is_empty() {
        atalaya.arg("--").args(command);
    }
    atalaya.current_dir(std::env::temp_dir());
    atalaya
}

fn start(fleet: &TestEnv, words: &[&str]) -> Process {
    Process::spawn(classic(fleet, words, &[]))
}

/// Starts a master and waits until it leads.
fn leader(fleet: &TestEnv, id: &str) -> Process {
    let master = start(fleet, &["master", id]);
    master.wait_for_line("leading", DEADLINE);
    master
}

/// Starts a master and waits until it is in the election behind another one.
fn backup(fleet: &TestEnv, id: &str) -> Process {
    let master = start(fleet, &["master", id]);
    master.wait_for_line("waiting to lead", DEADLINE);
    master
}

fn worker(fleet: &TestEnv, id: &str) -> Process {
    let worker = start(fleet, &["worker", id]);
    worker.wait_for_line("registered", DEADLINE);
    worker
}

/// Starts a worker whose tasks append their input to `file`, twice: at their start and at their end.
fn recording_worker(fleet: &TestEnv, id: &str, file: &Path, work: &str) -> Process {
    let script =
        format!("echo begin $1 >> {0}; {work}; echo end $1 >> {0}; echo $1,$ATALAYA_TASK", file.display());
    let worker = Process::spawn(classic(fleet, &["worker", id], &["sh", "-c", &script, "sh"]));
    worker.wait_for_line("registered", DEADLINE);
    worker
}

fn client(fleet: &TestEnv, id: &str, input: &str) -> Process {
    start(fleet, &["submit", input, "--id", id])
}

/// Returns what a client printed.
fn output(client: &mut Process) -> Vec<String> {
    let exit = client.wait_exit(DEADLINE * 2);
    assert!(exit.success(), "{exit:?}: {:?}", client.log());
    let printed = client.log().into_iter().filter(|line| line.stream == Stream::Stdout);
    printed.map(|line| line.text).collect()
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn stop(processes: impl IntoIterator<Item = Process>) {
    for mut process in processes {
        process.term();
        assert!(process.wait_exit(DEADLINE).success(), "{:?}", process.log());
    }
}

/// Waits until no znode of any role is left below `root`.
fn nothing_is_left(probe: &Probe, root: &str) {
    eventually("no znode left", DEADLINE, || {
        let children = |name: &str| probe.ls(&format!("{root}/{name}"));
        let parents = ["workers", "tasks", "data", "master/master_current"];
        let rest = children("master").into_iter().filter(|name| name != "master_current").count();
        (rest == 0 && parents.iter().all(|parent| children(parent).is_empty())).then_some(())
    });
}

fn wait_for_text(probe: &Probe, path: &str, wanted: &str) {
    eventually(&format!("{path} contains {wanted:?}"), DEADLINE, || {
        probe.text(path).filter(|text| text == wanted)
    });
}

/// Returns the owner of the election znode of the leader.
fn leading_session(probe: &Probe) -> i64 {
    let mut masters = probe.ls("/master");
    masters.retain(|name| name != "master_current");
    probe.exists(&format!("/master/{}", masters[0])).unwrap().ephemeral_owner
}

fn one_master_one_worker_one_client(fleet: Fleet) {
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let worker = worker(&fleet, "w1");
    assert_eq!(probe.text("/workers/w1").as_deref(), Some("non"));
    assert_eq!(probe.ls("/master/master_current"), probe.ls("/master")[..1]);
    let mut long = client(&fleet, "t1", "3");
    wait_for_text(&probe, "/workers/w1", "t1");
    assert_eq!(probe.text("/tasks/t1").as_deref(), Some("t1,w1"));
    assert_eq!(probe.text("/data/t1").as_deref(), Some("3"));
    let status = classic(&fleet, &["status", "--output", "json"], &[]).output().unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (&status["masters"][0]["state"], &status["workers"][0]["text"]),
        (&"leading".into(), &"t1".into())
    );
    assert_eq!(
        (&status["tasks"][0]["state"], &status["tasks"][0]["text"]),
        (&"assigned".into(), &"t1,w1".into())
    );
    assert_eq!(output(&mut long), ["3"]);
    assert_eq!(output(&mut client(&fleet, "t2", "soon")), ["error: the input is not a number of seconds"]);
    for unassigned in ["id", "empty", "zero"] {
        let mut short = start(&fleet, &["submit", "0.1", "--unassigned", unassigned]);
        assert_eq!(output(&mut short), ["0.1"]);
    }
    stop([worker, master]);
    nothing_is_left(&probe, "");
    let mut late = start(&fleet, &["submit", "1", "--timeout", "300ms"]);
    assert_eq!(late.wait_exit(DEADLINE).code(), Some(75));
    nothing_is_left(&probe, "");
}

fn tasks_wait_for_a_free_worker_and_run_once(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let mut clients: Vec<Process> =
        (0..6).map(|id| client(&fleet, &format!("t{id}"), &id.to_string())).collect();
    let master = leader(&fleet, "m1");
    let workers = ["w1", "w2"].map(|id| recording_worker(&fleet, id, &file, "sleep 0.2"));
    for (id, client) in clients.iter_mut().enumerate() {
        assert_eq!(output(client), [format!("{id},t{id}")]);
    }
    let mut begun: Vec<String> = lines(&file).into_iter().filter(|line| line.starts_with("begin")).collect();
    begun.sort();
    assert_eq!(begun, (0..6).map(|id| format!("begin {id}")).collect::<Vec<_>>());
    stop(workers.into_iter().chain([master]));
    nothing_is_left(&probe, "");
}

fn task_of_a_killed_worker_runs_on_another(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let master = leader(&fleet, "m1");
    let mut first = recording_worker(&fleet, "w1", &file, "sleep 1000");
    let mut client = client(&fleet, "t1", "x");
    eventually("the first execution", DEADLINE, || (lines(&file) == ["begin x"]).then_some(()));
    let second = recording_worker(&fleet, "w2", &file, "true");
    first.kill9();
    assert_eq!(output(&mut client), ["x,t1"]);
    master.wait_for_line("assigned again", DEADLINE);
    assert_eq!(lines(&file), ["begin x", "begin x", "end x"]);
    stop([second, master]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t1");
}

fn task_of_a_killed_client_is_stopped_and_its_worker_becomes_free(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let master = leader(&fleet, "m1");
    let worker = recording_worker(&fleet, "w1", &file, "[ $1 = short ] || sleep 1000");
    let mut long = client(&fleet, "t1", "long");
    eventually("the execution", DEADLINE, || (lines(&file) == ["begin long"]).then_some(()));
    let mut waiting = client(&fleet, "t2", "short");
    long.kill9();
    assert_eq!(output(&mut waiting), ["short,t2"]);
    worker.wait_for_line("result dropped", DEADLINE);
    assert_eq!(lines(&file), ["begin long", "begin short", "end short"]);
    stop([worker, master]);
    nothing_is_left(&probe, "");
}

fn task_that_is_deleted_is_stopped_and_its_result_dropped(fleet: Fleet) {
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let worker = worker(&fleet, "w1");
    let mut client = client(&fleet, "t1", "1000");
    worker.wait_for_line("executing", DEADLINE);
    probe.delete("/tasks/t1").unwrap();
    assert_eq!(client.wait_exit(DEADLINE).code(), Some(75), "{:?}", client.log());
    worker.wait_for_line("result dropped", DEADLINE);
    wait_for_text(&probe, "/workers/w1", "non");
    assert!(probe.exists("/tasks/t1").is_none());
    stop([worker, master]);
    nothing_is_left(&probe, "");
}

fn backup_master_takes_over_after_sigkill(fleet: Fleet) {
    let probe = fleet.probe();
    let mut first = leader(&fleet, "m1");
    let second = backup(&fleet, "m2");
    let worker = worker(&fleet, "w1");
    let mut running = client(&fleet, "t1", "6");
    worker.wait_for_line("executing", DEADLINE);
    first.kill9();
    let mut waiting = client(&fleet, "t2", "0.1");
    assert_eq!(output(&mut running), ["6"]);
    assert_eq!(output(&mut waiting), ["0.1"]);
    second.wait_for_line("leading", DEADLINE);
    let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
    assert_eq!(executed, 2, "a new leader does not assign a task again that is being executed");
    stop([worker, second]);
    nothing_is_left(&probe, "");
}

fn two_of_each_with_one_of_each_killed(fleet: Fleet) {
    let (scratch, probe) = (Scratch::new("classic"), fleet.probe());
    let file = scratch.path().join("log");
    let mut first = leader(&fleet, "m1");
    let second = backup(&fleet, "m2");
    let work = "[ $1 = short ] || sleep 2";
    let mut w1 = recording_worker(&fleet, "w1", &file, work);
    let w2 = recording_worker(&fleet, "w2", &file, work);
    let mut lost = client(&fleet, "t1", "one");
    let mut kept = client(&fleet, "t2", "two");
    eventually("two executions", DEADLINE, || (lines(&file).len() == 2).then_some(()));
    first.kill9();
    w1.kill9();
    lost.kill9();
    assert_eq!(output(&mut kept), ["two,t2"]);
    assert_eq!(output(&mut client(&fleet, "t3", "short")), ["short,t3"]);
    stop([w2, second]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t2");
}

fn paused_master_changes_nothing_after_it_returns(fleet: Fleet) {
    let probe = fleet.probe();
    let mut first = leader(&fleet, "m1");
    let second = backup(&fleet, "m2");
    let worker = worker(&fleet, "w1");
    assert_eq!(output(&mut client(&fleet, "t0", "0.1")), ["0.1"]);
    let old = leading_session(&probe);
    first.stop();
    let stopped = Instant::now();
    // The paused master has not seen these tasks. It sees them all when it returns.
    let mut done = 0;
    while stopped.elapsed() < SESSION_TIMEOUT * 3 {
        done += 1;
        assert_eq!(output(&mut client(&fleet, &format!("t{done}"), "0.2")), ["0.2"]);
    }
    let mut running = client(&fleet, "last", "2");
    eventually("an execution", DEADLINE, || probe.text("/tasks/last").filter(|text| text == "last,w1"));
    let new = leading_session(&probe);
    assert_ne!(old, new);
    let returned = Instant::now();
    first.cont();
    first.wait_for_line_since(returned, "waiting to lead", DEADLINE);
    assert_eq!(output(&mut running), ["2"]);
    assert_eq!(output(&mut client(&fleet, "after", "0.1")), ["0.1"]);
    if let Server::Apache(server) = &fleet.server {
        assert_no_writes_of_the_deposed(&server.journal(0), old, new);
    }
    stop([worker, second, first]);
    nothing_is_left(&probe, "");
}

/// Asserts that after the first write to a task or worker by session `new` none by session `old` was committed.
fn assert_no_writes_of_the_deposed(journal: &[Transaction], old: i64, new: i64) {
    let writes = |transaction: &Transaction| {
        transaction.changes.iter().any(|change| {
            matches!(change, Change::Create { .. } | Change::Set { .. } | Change::Delete { .. })
        })
    };
    let assigns = |transaction: &Transaction| {
        transaction
            .changes
            .iter()
            .any(|change| matches!(change, Change::Set { path, .. } if path.starts_with("/tasks/")))
    };
    let of = |session: i64| journal.iter().filter(move |transaction| transaction.session == session);
    let first =
        of(new).find(|transaction| assigns(transaction)).expect("the new leader has assigned tasks").zxid;
    assert!(of(old).any(assigns), "the old leader has assigned a task before");
    let late: Vec<_> =
        of(old).filter(|transaction| transaction.zxid > first && writes(transaction)).collect();
    assert!(late.is_empty(), "{late:?}");
    for transaction in
        journal.iter().filter(|transaction| assigns(transaction) && transaction.changes.len() == 3)
    {
        assert!(matches!(&transaction.changes[0], Change::Check { path } if path.starts_with("/master/")));
    }
}

fn paused_worker_cannot_record_a_result(fleet: Fleet) {
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let mut first = worker(&fleet, "w1");
    let mut client = client(&fleet, "t1", "1.5");
    first.wait_for_line("executing", DEADLINE);
    first.stop();
    let second = worker(&fleet, "w2");
    assert_eq!(output(&mut client), ["1.5"]);
    let returned = Instant::now();
    first.cont();
    first.wait_for_line_since(returned, "registered", DEADLINE);
    assert!(!first.log().iter().any(|line| line.text.contains("finished")), "{:?}", first.log());
    stop([first, second, master]);
    nothing_is_left(&probe, "");
    one_result(&fleet, "t1");
}

fn execution_stops_before_the_session_can_expire(mut fleet: Fleet) {
    let scratch = Scratch::new("classic");
    let file = scratch.path().join("log");
    let master = leader(&fleet, "m1");
    let worker = recording_worker(&fleet, "w1", &file, "trap '' TERM; sleep 1000");
    let mut client = client(&fleet, "t1", "x");
    eventually("the execution", DEADLINE, || (lines(&file) == ["begin x"]).then_some(()));
    let lost = Instant::now();
    fleet.server.vanish();
    let stopped = worker.wait_for_line("the session may have ended; stopped the execution", DEADLINE).at;
    assert!(stopped - lost < SESSION_TIMEOUT, "stopped after {:?}", stopped - lost);
    fleet.server.come_back();
    // If the sessions have survived, the task is executed again; if not, it is gone with its client.
    let survived = eventually("the end of the outage", DEADLINE, || {
        (lines(&file).len() == 2).then_some(true).or_else(|| client.try_exit().map(|_| false))
    });
    if survived {
        client.int();
    }
    assert_eq!(client.wait_exit(DEADLINE).code(), Some(if survived { 130 } else { 75 }), "{:?}", client.log());
    stop([worker, master]);
    nothing_is_left(&fleet.probe(), "");
}

/// Asserts that the result of a task was written once. Only Apache ZooKeeper keeps a log.
fn one_result(fleet: &Fleet, task: &str) {
    let Server::Apache(server) = &fleet.server else { return };
    let begin = format!("{task}=");
    let is_result = |change: &&Change| matches!(change, Change::Set { path, data } if *path == format!("/tasks/{task}") && data.starts_with(begin.as_bytes()));
    let journal = server.journal(0);
    let results = journal.iter().flat_map(|transaction| &transaction.changes).filter(is_result).count();
    assert_eq!(results, 1);
}

fn worker_id_in_use_is_refused(fleet: Fleet) {
    let _first = worker(&fleet, "w1");
    let mut second = start(&fleet, &["worker", "w1"]);
    assert_eq!(second.wait_exit(DEADLINE).code(), Some(73), "{:?}", second.log());
    let mut wrong = start(&fleet, &["worker", "non"]);
    assert_eq!(wrong.wait_exit(DEADLINE).code(), Some(64));
}

fn znodes_are_gone_at_once_after_sigterm(fleet: Fleet) {
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let first = worker(&fleet, "w1");
    let mut running = client(&fleet, "t1", "2");
    first.wait_for_line("executing", DEADLINE);
    let second = worker(&fleet, "w2");
    let begin = Instant::now();
    stop([first]);
    second.wait_for_line("executing", DEADLINE);
    assert!(begin.elapsed() < SESSION_TIMEOUT, "a worker that stops does not wait for its session timeout");
    running.int();
    assert_eq!(running.wait_exit(DEADLINE).code(), Some(130));
    assert!(probe.exists("/tasks/t1").is_none() && probe.exists("/data/t1").is_none());
    second.wait_for_line("result dropped", DEADLINE);
    stop([second, master]);
    nothing_is_left(&probe, "");
}

/// Tasks and workers that other programs left in the middle of an assignment.
fn task_assigned_by_a_dead_master_in_any_form_is_recovered(fleet: Fleet) {
    let probe = fleet.probe();
    for (task, data) in [("a", "a,gone"), ("b", "gone,b"), ("c", "('c', 'gone')"), ("d", "0"), ("e", "")] {
        probe.create(&format!("/data/{task}"), b"0.05", true).unwrap();
        probe.create(&format!("/tasks/{task}"), data.as_bytes(), true).unwrap();
    }
    probe.create("/tasks/done", b"done=1", true).unwrap();
    probe.create("/workers/persistent", b"non", false).unwrap();
    let worker = worker(&fleet, "w1");
    let master = leader(&fleet, "m1");
    for task in ["a", "b", "c", "d", "e"] {
        wait_for_text(&probe, &format!("/tasks/{task}"), &format!("{task}=0.05"));
    }
    assert_eq!(probe.text("/tasks/done").as_deref(), Some("done=1"));
    assert_eq!(probe.text("/workers/persistent").as_deref(), Some("non"), "its end would not be noticed");
    let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
    assert_eq!(executed, 5, "{:?}", worker.log());
    stop([worker, master]);
}

fn mixes_of_atalaya_and_python_programs(fleet: Fleet) {
    let (kazoo, probe) = (fleet.kazoo(), fleet.probe());
    let hosts = &*fleet.hosts;
    for mix in 0..8 {
        let [python_master, python_worker, python_client] = [1, 2, 4].map(|bit| mix & bit != 0);
        let root = format!("/mix{mix}");
        let master = if python_master {
            kazoo.script("classic.py", &["master", hosts, "--root", &root])
        } else {
            start(&fleet, &["master", "m", "--root", &root])
        };
        master.wait_for_line("leading", DEADLINE);
        let worker = if python_worker {
            kazoo.script(
                "classic.py",
                &["worker", hosts, "w1", "--root", &root, "--free", ["non", "idle"][mix / 4]],
            )
        } else {
            start(&fleet, &["worker", "w1", "--root", &root, "--free", ["non", "idle"][mix / 4]])
        };
        worker.wait_for_line("registered", DEADLINE);
        for task in ["t1", "t2"] {
            if python_client {
                let args = ["client", hosts, task, "0.25", "--root", &root];
                let mut client = kazoo.script("classic.py", &args);
                client.wait_for_line(&format!("result {task}=0.25"), DEADLINE);
                assert!(client.wait_exit(DEADLINE).success());
            } else {
                let zero = ["submit", "0.25", "--id", task, "--root", &root, "--unassigned", "zero"];
                assert_eq!(output(&mut start(&fleet, &zero)), ["0.25"], "mix {mix}");
            }
        }
        if !python_worker {
            // The worker is faster than the second write of a Python master.
            let fast = ["submit", "0", "--id", "fast", "--root", &root, "--unassigned", "zero"];
            assert_eq!(output(&mut start(&fleet, &fast)), ["0"], "mix {mix}");
        }
        stop([worker, master]);
        nothing_is_left(&probe, &root);
    }
}

fn leadership_passes_between_python_and_atalaya_masters(fleet: Fleet) {
    let (kazoo, probe) = (fleet.kazoo(), fleet.probe());
    let hosts = &*fleet.hosts;
    let mut first = kazoo.script("classic.py", &["master", hosts]);
    first.wait_for_line("leading", DEADLINE);
    let mut second = backup(&fleet, "m2");
    let third = kazoo.script("classic.py", &["master", hosts]);
    third.wait_for_line("contending", DEADLINE);
    let mut python = kazoo.script("classic.py", &["worker", hosts, "w1"]);
    python.wait_for_line("registered", DEADLINE);
    let worker = worker(&fleet, "w2");
    let mut long = client(&fleet, "t1", "8");
    let mut other = client(&fleet, "t2", "8");
    for id in ["t1", "t2"] {
        eventually("an assignment", DEADLINE, || {
            probe.text(&format!("/tasks/{id}")).filter(|text| text.contains(','))
        });
    }
    first.kill9();
    second.wait_for_line("leading", DEADLINE);
    // The task of the Python worker is assigned again when the worker is gone; the other one continues.
    python.kill9();
    assert_eq!(output(&mut long), ["8"]);
    assert_eq!(output(&mut other), ["8"]);
    let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
    assert_eq!(executed, 2, "{:?}", worker.log());
    assert!(!third.log().iter().any(|line| line.text.contains("leading")));
    second.kill9();
    third.wait_for_line("leading", DEADLINE);
    let mut last = start(&fleet, &["submit", "0.1", "--unassigned", "zero"]);
    assert_eq!(output(&mut last), ["0.1"]);
    stop([worker, third]);
    nothing_is_left(&probe, "");
}

/// Each write of each role is lost once, before it took effect and after.
#[test]
fn lost_requests_and_replies_change_nothing() {
    for cut in [Cut::BeforeEffect, Cut::BeforeReply] {
        let fleet = Fleet::memory();
        let (hand, probe) = (fleet.server.hand(), fleet.probe());
        for parent in ["/tasks", "/workers", "/data", "/master/master_current"] {
            probe.create(parent, b"", false).unwrap();
        }
        let losses = ["/workers/w1", "/master/"]
            .map(|path| hand.cut(cut, AtRequest::next().of_kind(Operation::Create2).about(path)));
        let master = leader(&fleet, "m1");
        let worker = worker(&fleet, "w1");
        losses.into_iter().for_each(|loss| loss.has_happened());
        let multi = |path: &str| AtRequest::next().of_kind(Operation::Multi).about(path);
        // The client creates /data/t1, the master assigns, and the worker finishes the task.
        let loss = hand.cut(cut, multi("/data/t1"));
        let mut client = client(&fleet, "t1", "1");
        loss.has_happened();
        worker.wait_for_line("executing", DEADLINE);
        let loss = hand.cut(cut, multi("/tasks/t1"));
        assert_eq!(output(&mut client), ["1"], "{cut:?}");
        loss.has_happened();
        worker.wait_for_line("finished", DEADLINE);
        let loss = hand.cut(cut, multi("/tasks/t2"));
        let mut second = start(&fleet, &["submit", "0.1", "--id", "t2"]);
        loss.has_happened();
        assert_eq!(output(&mut second), ["0.1"], "{cut:?}");
        let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
        assert_eq!(executed, 2, "{:?}", worker.log());
        stop([worker, master]);
        nothing_is_left(&probe, "");
    }
}

/// Two workers, two clients, two masters on three servers, of which each is killed once.
#[test]
fn tasks_continue_while_one_of_three_servers_is_killed() {
    let mut ensemble = Ensemble::start();
    let around = TestEnv::of(ensemble.connect_string(), CALM);
    let scratch = Scratch::new("classic");
    let file = scratch.path().join("log");
    let masters = [leader(&around, "m1"), backup(&around, "m2")];
    let workers = ["w1", "w2"].map(|id| recording_worker(&around, id, &file, "sleep 1"));
    for server in 0..3 {
        let ids = [0, 1, 2, 3].map(|number| format!("s{server}t{number}"));
        let mut clients = ids.each_ref().map(|id| client(&around, id, id));
        eventually("two executions", DEADLINE, || (lines(&file).len() >= 2).then_some(()));
        ensemble.kill(server);
        for (client, id) in clients.iter_mut().zip(&ids) {
            assert_eq!(output(client), [format!("{id},{id}")]);
        }
        ensemble.restart(server);
        ensemble.wait_for_quorum(DEADLINE);
        std::fs::remove_file(&file).unwrap();
    }
    stop(workers.into_iter().chain(masters));
    nothing_is_left(&around.probe(), "");
}
