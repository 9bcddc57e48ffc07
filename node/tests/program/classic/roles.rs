//! The roles without failures of processes.

use std::time::Instant;

use atalaya_testbed::{Process, Scratch};

use super::support::*;
use crate::common::{DEADLINE, Fleet};

on_both!(
    one_master_one_worker_one_client,
    tasks_wait_for_a_free_worker_and_run_once,
    worker_id_in_use_is_refused,
    znodes_are_gone_at_once_after_sigterm,
    task_that_is_deleted_is_stopped_and_its_result_dropped,
);

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

fn worker_id_in_use_is_refused(fleet: Fleet) {
    let _first = worker(&fleet, "w1");
    let mut second = start(&fleet, &["worker", "w1"]);
    assert_eq!(second.wait_exit(DEADLINE).code(), Some(73), "{:?}", second.log());
    let mut wrong = start(&fleet, &["worker", "non"]);
    assert_eq!(wrong.wait_exit(DEADLINE).code(), Some(64));
}

fn znodes_are_gone_at_once_after_sigterm(mut fleet: Fleet) {
    // Long, so that a busy machine does not need as much time.
    fleet.around.pace.session = SESSION_TIMEOUT * 5;
    let probe = fleet.probe();
    let master = leader(&fleet, "m1");
    let first = worker(&fleet, "w1");
    let mut running = client(&fleet, "t1", "2");
    first.wait_for_line("executing", DEADLINE);
    let second = worker(&fleet, "w2");
    let begin = Instant::now();
    stop([first]);
    second.wait_for_line("executing", DEADLINE);
    assert!(
        begin.elapsed() < fleet.pace.session,
        "a worker that stops does not wait for its session timeout"
    );
    running.int();
    assert_eq!(running.wait_exit(DEADLINE).code(), Some(130));
    assert!(probe.exists("/tasks/t1").is_none() && probe.exists("/data/t1").is_none());
    second.wait_for_line("result dropped", DEADLINE);
    stop([second, master]);
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
