//! How many requests each recipe sends, counted where they arrive: at the server in memory, which serves both sides.

use std::time::Duration;

use anyhow::Context as _;
use atalaya_testbed::{Process, guarded};

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::figures::{Aim, Section};
use super::sides::{ours, theirs};

/// How often each is done, so that a ping among them does not matter.
const TIMES: u32 = 100;
/// Those who stand in line, or wait at a barrier.
const SEVERAL: u32 = 20;
/// A client that has sent nothing for so long has nothing more to send.
const CALM: Duration = Duration::from_millis(100);

/// Something that is done, how each side calls it, and what it cannot be done without.
struct Operation {
    name: &'static str,
    ours: &'static str,
    /// None where Kazoo has nothing like it.
    theirs: Option<&'static str>,
    least: f64,
    why: &'static str,
}

const fn operation(
    name: &'static str,
    ours: &'static str,
    theirs: Option<&'static str>,
    least: f64,
    why: &'static str,
) -> Operation {
    Operation { name, ours, theirs, least, why }
}

/// In this order: what is put has to be there to be taken.
const OPERATIONS: [Operation; 11] = [
    operation(
        "lock, free: acquire, release",
        "lock",
        Some("lock"),
        3.0,
        "join the line, see that nobody is ahead, leave",
    ),
    operation(
        "lock: hand-over to the next of many",
        LINE,
        Some(LINE),
        2.0,
        "leave; the next one looks at the line",
    ),
    operation(
        "semaphore, free: acquire, release",
        "semaphore",
        Some("semaphore"),
        5.0,
        "join the line, see its head, see the places, take one and leave the line, leave",
    ),
    operation(
        "counter, exact: add",
        "exact",
        None,
        1.0,
        "sum and marker, at the versions that the last reply told",
    ),
    operation(
        "counter, as Kazoo's: add",
        "compatible",
        Some("kazoo"),
        1.0,
        "the sum, at the version that the last reply told",
    ),
    operation("queue: put", "plain-put", Some("plain-put"), 1.0, "the entry"),
    operation("queue: take", "plain-take", Some("plain-take"), 2.0, "read, remove; a list serves for many"),
    operation("locking queue: put", "locking-put", Some("locking-put"), 1.0, "the entry"),
    operation(
        "locking queue: take, consume",
        "locking-take",
        Some("locking-take"),
        5.0,
        "see the entries, see who holds which, read, hold, remove",
    ),
    operation("barrier, open: pass", "open-barrier", Some("open-barrier"), 1.0, "see that it is open"),
    operation(
        "barrier, closed: wait, pass",
        AWAIT,
        Some(AWAIT),
        1.0,
        "see and watch; what comes tells the rest",
    ),
];

/// What the table does not show: why it is more than the least.
const NOTES: [&str; 3] = [
    "A lock of Atalaya watches its own znode as well, for its guard to know at once when it is lost; one that stands in line \
     does so before its turn comes. Kazoo lists the line once more before it joins it again.",
    "An exact counter of Kazoo does not exist. Its counter reads before each write; Atalaya's takes what its last write \
     answered, and reads only when somebody else was faster.",
    "A barrier of Atalaya asks for a `sync` first, so that a closing that somebody was told of is seen.",
];

/// What takes several clients.
const LINE: &str = "line";
const AWAIT: &str = "await";

/// A server that counts, and who does what others wait for.
struct Counter {
    server: Coprocess,
    hand: Coprocess,
}

impl Counter {
    /// Requests so far, once no more come.
    fn settled(&mut self) -> anyhow::Result<f64> {
        let mut before = f64::NAN;
        loop {
            let now = self.server.ask("figures")?["requests"].as_f64().context("no requests")?;
            if now == before {
                return Ok(now);
            }
            before = now;
            std::thread::sleep(CALM);
        }
    }

    /// Requests of `client` for doing `what` once; its znodes are below `path`.
    fn requests(&mut self, client: &mut Coprocess, path: &str, what: &str) -> anyhow::Result<f64> {
        match what {
            LINE => {
                client.ask(&format!("line {path}-line {SEVERAL}"))?;
                let before = self.settled()?;
                let passed = client.ask("pass")?["passed"].as_f64().context("nobody passed it on")?;
                Ok((self.settled()? - before) / passed)
            }
            AWAIT => {
                self.hand.ask(&format!("close {path}-barrier"))?;
                let before = self.settled()?;
                client.ask(&format!("await {path}-barrier {SEVERAL}"))?;
                self.settled()?;
                self.hand.ask(&format!("open {path}-barrier"))?;
                client.value()?;
                // Without the one that opened it.
                Ok((self.settled()? - before - 1.0) / f64::from(SEVERAL))
            }
            _ => {
                // What is made once is made before: a queue and its place in it by one entry put and taken.
                match what.rsplit_once('-') {
                    Some((queue, "put")) => {
                        client.ask(&format!("times {what} {path} 1"))?;
                        client.ask(&format!("times {queue}-take {path} 1"))?;
                    }
                    Some((_, "take")) => {}
                    _ => drop(client.ask(&format!("times {what} {path} 1"))?),
                }
                let before = self.settled()?;
                client.ask(&format!("times {what} {path} {TIMES}"))?;
                Ok((self.settled()? - before) / f64::from(TIMES))
            }
        }
    }
}

pub(super) fn measure(bench: &Bench) -> anyhow::Result<Section> {
    eprintln!("requests of the recipes");
    let mut command = guarded(&bench.recipes);
    command.arg("serve");
    let mut server = Coprocess::of(Process::spawn_piped(command));
    let said = server.value()?;
    let hosts = said["listening"].as_str().context("the server does not say where it is")?;
    let (mut atalaya, mut kazoo) = (ours(bench, hosts), theirs(&bench.kazoo, hosts));
    let mut hand = ours(bench, hosts);
    for client in [&mut atalaya, &mut kazoo, &mut hand] {
        client.value()?;
    }
    // The sessions of those who come in numbers begin here.
    for client in [&mut atalaya, &mut kazoo] {
        client.ask(&format!("sessions {SEVERAL}"))?;
    }
    let mut counter = Counter { server, hand };
    let mut counted = Vec::new();
    for operation in &OPERATIONS {
        let here = counter.requests(&mut atalaya, "/atalaya", operation.ours)?;
        let there = match operation.theirs {
            Some(what) => Some(counter.requests(&mut kazoo, "/kazoo", what)?),
            None => None,
        };
        counted.push((here, there));
    }
    Ok(section(&counted))
}

/// `counted`: of ours and theirs, for each of [`OPERATIONS`].
fn section(counted: &[(f64, Option<f64>)]) -> Section {
    let rows = OPERATIONS.iter().zip(counted).map(|(operation, (ours, theirs))| {
        vec![
            operation.name.to_owned(),
            plain(*ours),
            theirs.map_or_else(|| "–".into(), plain),
            plain(operation.least),
            operation.why.to_owned(),
        ]
    });
    let beside = counted.iter().filter_map(|(ours, theirs)| Some(ours / (*theirs)?));
    let most = beside.fold(0.0, f64::max);
    Section {
        title: "Recipes beside Kazoo: requests".into(),
        method: format!(
            "Requests of one client for one operation, counted by the server in memory, which both sides use, over {TIMES}              operations in a row, or {SEVERAL} clients; without what is done once for a path. The last columns say what              cannot be done without, with the znodes that Kazoo's recipe has. Notifications are no requests."
        ),
        head: ["requests", "Atalaya", "Kazoo", "least", "for"].map(str::to_owned).to_vec(),
        rows: rows.collect(),
        notes: NOTES.map(str::to_owned).to_vec(),
        aims: vec![Aim::at_most(
            "recipes beside Kazoo: requests of an operation, worst line",
            1.0,
            " times",
            most,
        )],
    }
}

/// A small number, without decimals that say nothing.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_are_shown_without_needless_decimals() {
        assert_eq!([4.0, 2.02, 0.5, 10.0, 0.0].map(plain), ["4", "2.02", "0.5", "10", "0"]);
    }

    #[test]
    fn a_queue_has_what_is_taken_from_it() {
        for (at, operation) in OPERATIONS.iter().enumerate() {
            let Some((queue, "take")) = operation.ours.rsplit_once('-') else { continue };
            let put = format!("{queue}-put");
            assert!(OPERATIONS[..at].iter().any(|before| before.ours == put), "{put} comes too late");
        }
    }
}
