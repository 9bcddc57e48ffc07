//! Mixes with `testbed/kazoo/classic.py`, and znodes as other programs leave them.

use atalaya_testbed::eventually;

use super::support::*;
use crate::common::{DEADLINE, Fleet};

on_both!(
    task_assigned_by_a_dead_master_in_any_form_is_recovered,
    mixes_of_atalaya_and_python_programs,
    leadership_passes_between_python_and_atalaya_masters,
);

/// Tasks and workers that other programs left in the middle of an assignment.
fn task_assigned_by_a_dead_master_in_any_form_is_recovered(fleet: Fleet) {
    let probe = fleet.probe();
    for (task, data) in [("a", "a,gone"), ("b", "gone,b"), ("c", "('c', 'gone')"), ("d", "0"), ("e", "")] {
        probe.create(&format!("/data/{task}"), b"0.05", true).unwrap();
        probe.create(&format!("/tasks/{task}"), data.as_bytes(), true).unwrap();
    }
    probe.create("/tasks/done", b"done=1", true).unwrap();
    probe.create("/workers/persistent", b"non", false).unwrap();
    let junk = vec![0xff; 900_000];
    for path in ["/workers/junk", "/data/junk", "/tasks/junk"] {
        probe.create(path, &junk, true).unwrap();
    }
    let worker = worker(&fleet, "w1");
    let master = leader(&fleet, "m1");
    for task in ["a", "b", "c", "d", "e"] {
        wait_for_text(&probe, &format!("/tasks/{task}"), &format!("{task}=0.05"));
    }
    wait_for_text(&probe, "/tasks/junk", "junk=error: the input is not a number of seconds");
    assert_eq!(probe.text("/tasks/done").as_deref(), Some("done=1"));
    assert_eq!(probe.text("/workers/persistent").as_deref(), Some("non"), "its end would not be noticed");
    let executed = worker.log().iter().filter(|line| line.text.contains("executing")).count();
    assert_eq!(executed, 6, "{:?}", worker.log());
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
