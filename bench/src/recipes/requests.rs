//! Number of requests per operation of a recipe, counted by the in-memory server, which both implementations use.

use std::time::Duration;

use anyhow::Context as _;
use atalaya_testbed::{Process, parent_death_command};

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::report::{Section, cells, row};
use super::super::targets::Target;
use super::implementations::{start_atalaya, start_kazoo};

/// Repetitions of each operation, so that a ping among the requests does not matter.
const REPETITIONS: u32 = 100;
/// Number of clients that contend for a lock or wait at a barrier.
const CLIENTS: u32 = 20;
/// Time without requests after which an operation is complete.
const QUIET_TIME: Duration = Duration::from_millis(100);

/// An operation, its command for Atalaya, that for Kazoo (`None` if it has no such operation), the minimum number of requests
/// with the znodes of Kazoo's recipe, and these requests.
type Operation = (&'static str, &'static str, Option<&'static str>, f64, &'static str);

/// Operations in the order of execution: entries must be put before they are taken.
const OPERATIONS: [Operation; 11] = [
    (
        "lock, free: acquire, release",
        "lock",
        Some("lock"),
        3.0,
        "create the contender znode, list the contenders, delete it",
    ),
    (
        "lock: hand-over to the next of many",
        CONTEND_IN_QUEUE,
        Some(CONTEND_IN_QUEUE),
        2.0,
        "delete the contender znode; the next one lists the contenders",
    ),
    (
        "semaphore, free: acquire, release",
        "semaphore",
        Some("semaphore"),
        5.0,
        "create the contender znode, list the contenders, list the permits, take one and delete the contender znode, release it",
    ),
    (
        "counter, exact: add",
        "exact",
        None,
        1.0,
        "write sum and dedup record at the versions of the last reply",
    ),
    (
        "counter, as Kazoo's: add",
        "compatible",
        Some("kazoo"),
        1.0,
        "write the sum at the version of the last reply",
    ),
    ("queue: put", "plain-put", Some("plain-put"), 1.0, "create the entry"),
    ("queue: take", "plain-take", Some("plain-take"), 2.0, "read, delete; one list per many entries"),
    ("locking queue: put", "locking-put", Some("locking-put"), 1.0, "create the entry"),
    (
        "locking queue: take, consume",
        "locking-take",
        Some("locking-take"),
        5.0,
        "list the entries, list the locks, read, lock, delete",
    ),
    ("barrier, open: pass", "open-barrier", Some("open-barrier"), 1.0, "check that it is open"),
    (
        "barrier, closed: wait, pass",
        WAIT_AT_BARRIER,
        Some(WAIT_AT_BARRIER),
        1.0,
        "check and watch; the notification does the rest",
    ),
];

/// Notes below the table: reasons for requests beyond the minimum.
const NOTES: [&str; 3] = [
    "A lock of Atalaya watches its own znode as well, so that its guard detects a loss at once; a waiting contender does so \
     before its turn. Kazoo lists the queue once more before it joins it again.",
    "Kazoo has no exact counter. Its counter reads before each write; Atalaya's uses the answer of its last write, and reads \
     only after a conflict.",
    "A barrier of Atalaya sends a `sync` first, so that it sees a closing that another client already knows of.",
];

/// Commands that need several clients.
const CONTEND_IN_QUEUE: &str = "line";
const WAIT_AT_BARRIER: &str = "await";

/// Server that counts requests, and the client that opens and closes barriers.
struct Counter {
    server: Coprocess,
    controller: Coprocess,
}

impl Counter {
    /// Waits until the number of requests is stable, and returns it.
    fn settled(&mut self) -> anyhow::Result<f64> {
        let mut before = f64::NAN;
        loop {
            let now = self.server.ask("requests")?["requests"].as_f64().context("no requests")?;
            if now == before {
                return Ok(now);
            }
            before = now;
            std::thread::sleep(QUIET_TIME);
        }
    }

    /// Returns the number of requests per operation `what` of `client`, with znodes below `path`.
    fn requests(&mut self, client: &mut Coprocess, path: &str, what: &str) -> anyhow::Result<f64> {
        match what {
            CONTEND_IN_QUEUE => {
                client.ask(&format!("line {path}-line {CLIENTS}"))?;
                let before = self.settled()?;
                let passed = client.ask("pass")?["passed"]
                    .as_f64()
                    .context("no number of hand-overs in the answer")?;
                Ok((self.settled()? - before) / passed)
            }
            WAIT_AT_BARRIER => {
                self.controller.ask(&format!("close {path}-barrier"))?;
                let before = self.settled()?;
                client.ask(&format!("await {path}-barrier {CLIENTS}"))?;
                self.settled()?;
                self.controller.ask(&format!("open {path}-barrier"))?;
                client.value()?;
                // Subtract the request that opened the barrier.
                Ok((self.settled()? - before - 1.0) / f64::from(CLIENTS))
            }
            _ => {
                // Create znodes that are created only once before counting: put and take one entry for a queue.
                match what.rsplit_once('-') {
                    Some((queue, "put")) => {
                        client.ask(&format!("times {what} {path} 1"))?;
                        client.ask(&format!("times {queue}-take {path} 1"))?;
                    }
                    Some((_, "take")) => {}
                    _ => drop(client.ask(&format!("times {what} {path} 1"))?),
                }
                let before = self.settled()?;
                client.ask(&format!("times {what} {path} {REPETITIONS}"))?;
                Ok((self.settled()? - before) / f64::from(REPETITIONS))
            }
        }
    }
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    eprintln!("requests of the recipes");
    let mut command = parent_death_command(&bench.recipes);
    command.arg("serve");
    let mut server = Coprocess::new(Process::spawn_piped(command));
    let answer = server.value()?;
    let hosts = answer["listening"].as_str().context("the server did not print its address")?;
    let (mut atalaya, mut kazoo) = (start_atalaya(bench, hosts), start_kazoo(&bench.kazoo, hosts));
    let mut controller = start_atalaya(bench, hosts);
    for client in [&mut atalaya, &mut kazoo, &mut controller] {
        client.value()?;
    }
    // Open the sessions of the operations with several clients before counting.
    for client in [&mut atalaya, &mut kazoo] {
        client.ask(&format!("sessions {CLIENTS}"))?;
    }
    let mut counter = Counter { server, controller };
    let mut counted = Vec::new();
    for (_, of_atalaya, of_kazoo, ..) in OPERATIONS {
        let here = counter.requests(&mut atalaya, "/atalaya", of_atalaya)?;
        let there = of_kazoo.map(|what| counter.requests(&mut kazoo, "/kazoo", what)).transpose()?;
        counted.push((here, there));
    }
    Ok(section(&counted))
}

/// Builds the section. `counted` has the requests of Atalaya and of Kazoo for each of [`OPERATIONS`].
fn section(counted: &[(f64, Option<f64>)]) -> Section {
    let rows = OPERATIONS.iter().zip(counted).map(|((name, _, _, min, steps), (atalaya, kazoo))| {
        let kazoo = kazoo.map_or_else(|| "–".into(), format_count);
        row(*name, [format_count(*atalaya), kazoo, format_count(*min), (*steps).to_owned()])
    });
    let ratios = counted.iter().filter_map(|(atalaya, kazoo)| Some(atalaya / (*kazoo)?));
    let max = ratios.fold(0.0, f64::max);
    Section {
        title: "Recipes of Atalaya and Kazoo: requests".into(),
        method: format!(
            "Requests of one client for one operation, counted by the in-memory server, which both implementations use, over \
             {REPETITIONS} operations in a row, or {CLIENTS} clients; without the requests that are sent once per path. The last \
             columns have the minimum with the znodes of Kazoo's recipe, and its requests. Notifications do not count as \
             requests."
        ),
        head: cells(["requests", "Atalaya", "Kazoo", "min", "requests of the minimum"]),
        rows: rows.collect(),
        notes: NOTES.map(str::to_owned).to_vec(),
        targets: vec![Target::at_most(
            "recipes relative to Kazoo: requests per operation, maximum",
            1.0,
            " times",
            max,
        )],
    }
}

/// Formats a number without trailing zeros.
fn format_count(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queue_operations_put_before_they_take() {
        for (at, (_, command, ..)) in OPERATIONS.iter().enumerate() {
            let Some((queue, "take")) = command.rsplit_once('-') else { continue };
            let put = format!("{queue}-put");
            assert!(OPERATIONS[..at].iter().any(|before| before.1 == put), "{put} comes too late");
        }
    }
}
