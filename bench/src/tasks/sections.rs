//! Sections of the page about tasks.

use super::{Death, History, Results, SESSION, SYSTEMS, WORKERS};
use crate::report::{Section, cells, row};
use crate::stats::{Sample, ThreeDigits};
use crate::targets::Target;

pub(super) fn throughput(results: &[Vec<Results>], rounds: u32, seconds: u32, celery: &str) -> Section {
    let mut rows = Vec::new();
    for (what, sample) in [
        ("tasks per second", (|results| &results.per_second) as fn(&Results) -> &Sample),
        ("submission to result, median, ms", |results| &results.median),
    ] {
        for ((_, name), results) in SYSTEMS.into_iter().zip(results) {
            let cells = results.iter().map(|results| sample(results).with_range());
            rows.push(row(format!("{name}: {what}"), cells));
        }
    }
    let of = |system: usize, workers: usize| results[system][workers].per_second.median();
    let targets = WORKERS.into_iter().enumerate().map(|(at, workers)| {
        let name = format!("tasks per second relative to Python programs, number of workers: {workers}");
        Target::at_least(&name, 1.0, " times", of(0, at) / of(2, at))
    });
    let head = WORKERS.map(|workers| format!("{workers} workers").replace("1 workers", "1 worker"));
    Section {
        title: "Tasks per second".into(),
        method: format!(
            "From the submission to the recorded result, of tasks that do nothing: the action `status` of `atalaya work`, sleeps of \
             0 s in the classic layout, and a Celery task that returns a small object. A client in Python \
             (`testbed/kazoo/bench_tasks.py`) keeps twice as many tasks waiting as there are workers, at least 4, and submits \
             another one for each result. Each worker is a process; those of Celery {celery} are one worker's pool (prefork, \
             `worker_prefetch_multiplier` 1), with Redis (`appendonly yes`, `appendfsync everysec`) as the broker and for the \
             results. ZooKeeper writes its log, and does not wait for the disk. **Median** (smallest – largest); rounds: {rounds}, \
             of {seconds} s each after one second of the same load; all programs have their turn in each round."
        ),
        head: row("", head),
        rows,
        notes: vec![
            "A native task is a record that the leader keeps, written in transactions that check its election: it survives the \
             client, the leader and the worker. A classic task ends with its client, and Celery's is lost with its worker \
             unless `acks_late` is set."
                .into(),
        ],
        targets: targets.collect(),
    }
}

pub(super) fn times(broadcast: &Sample, workers: usize, deaths: &[(Death, Sample)], rounds: u32) -> Section {
    let times =
        |name: String, sample: &Sample| row(name, [ThreeDigits(sample.median()).to_string(), sample.range()]);
    let session = SESSION.as_secs();
    Section {
        title: "Tasks: a broadcast, and the death of a worker and of a leader".into(),
        method: format!(
            "`node/benches/tasks.rs`: the workers of `atalaya work`, {workers} of them in one process, each with a session of its \
             own. A broadcast lasts from its submission until the leader has recorded the results of all. After a SIGKILL the \
             time is that of ZooKeeper's log, from the signal until another worker claims the task, with sessions of {session} \
             s; the task of the leader's death is submitted right after the signal. Repetitions: {rounds}."
        ),
        head: cells(["s", "median", "smallest – largest"]),
        rows: [times(format!("broadcast of `status` to {workers} workers"), broadcast)]
            .into_iter()
            .chain(deaths.iter().map(|(death, sample)| {
                let name = match death {
                    Death::Worker => "SIGKILL of a worker until the next one claims its task",
                    Death::WorkerWithReap => "the same, with `atalaya reap` right after the SIGKILL",
                    Death::Leader => "SIGKILL of the leader until a worker claims a new task",
                };
                times(name.into(), sample)
            }))
            .collect(),
        notes: Vec::new(),
        targets: vec![Target::at_most(
            &format!("broadcast to {workers} workers, median"),
            2.0,
            " s",
            broadcast.median(),
        )],
    }
}

pub(super) fn bounds(history: &History) -> Section {
    let left: usize = history.left.iter().map(|(_, count)| count).sum();
    let records = history.left.iter().find(|(parent, _)| *parent == "state").map_or(0, |(_, count)| *count);
    let mut rows = vec![
        row("tasks per second", [ThreeDigits(history.per_second).to_string()]),
        row("znodes of tasks, maximum", [history.znodes.to_string()]),
        row("znodes of tasks at the end", [left.to_string()]),
        row("  of these, records of ended tasks", [records.to_string()]),
    ];
    let after = [history.tasks / 100, history.tasks];
    for (count, (leader, worker)) in after.into_iter().zip(&history.memory) {
        for (name, memory) in [("leader", leader), ("worker", worker)] {
            let label = format!("resident memory of the {name} after {count} tasks, MiB");
            rows.push(row(label, [ThreeDigits(*memory).to_string()]));
        }
    }
    let growth = match history.memory.as_slice() {
        [first, .., last] => last.0 / first.0,
        _ => f64::NAN,
    };
    Section {
        title: "Tasks in sequence: znodes and memory".into(),
        method: format!(
            "One leader (`run`) and one worker (`work`) execute {} tasks of the action `status`; the client keeps 8 tasks waiting. \
             The znodes are counted five times a second.",
            history.tasks
        ),
        head: cells(["", ""]),
        rows,
        notes: Vec::new(),
        targets: vec![
            Target::at_most("znodes of tasks in sequence, maximum", 600.0, "", {
                #[expect(clippy::cast_precision_loss, reason = "some hundreds")]
                let znodes = history.znodes as f64;
                znodes
            }),
            Target::at_most(
                "memory of the leader after all tasks in sequence, relative to 1 %",
                1.5,
                " times",
                growth,
            ),
        ],
    }
}
