//! Time to start and memory of the servers.

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::proc;
use super::super::report::{Section, cells, row};
use super::super::stats::{QUARTILES_HEAD, Sample};
use super::super::targets::Target;
use super::servers::{Apache, InMemory, Jvm, Running};

const SESSIONS: u32 = 1_000;
/// Load on a server before its memory is read, as commands of the load program: the command, and its arguments after
/// the address.
const LOADS: [(&str, &str); 2] = [("read", "100 32"), ("write", "100 32")];

#[derive(Default)]
struct Usage {
    /// Time from the start of the process to the first session, in milliseconds.
    start: Sample,
    /// Resident memory after the start, in MiB.
    started: Sample,
    /// Resident memory with [`SESSIONS`] open sessions, in MiB.
    with_sessions: Sample,
    /// Resident memory after the load, in MiB.
    loaded: Sample,
    peak: Sample,
}

impl Usage {
    fn add(&mut self, server: &Running, load_program: Option<&mut Coprocess>, ms: u32) -> anyhow::Result<()> {
        let resident = || proc::memory(server.process.pid()).map(|memory| memory.resident);
        self.start.push(server.start.as_secs_f64() * 1e3);
        let Some(load_program) = load_program else { return Ok(()) };
        self.started.push(resident()?);
        load_program.ask(&format!("hold {} {SESSIONS}", server.address))?;
        self.with_sessions.push(resident()?);
        load_program.ask(&format!("hold {} 0", server.address))?;
        for (command, arguments) in LOADS {
            load_program.ask(&format!("{command} {} {arguments} {ms}", server.address))?;
        }
        self.loaded.push(resident()?);
        self.peak.push(proc::peak(server.process.pid())?);
        Ok(())
    }
}

pub(super) fn measure(
    bench: &Bench,
    apache: &Apache,
    in_memory: &InMemory,
    load_program: &mut Coprocess,
) -> anyhow::Result<Vec<Section>> {
    // The first `memory_rounds` of the starts are used to measure memory as well.
    let (starts, memory_rounds, ms) = if bench.quick { (2, 1, 100) } else { (10, 3, 1_000) };
    let (mut in_memory_usage, mut apache_small, mut apache_full) =
        (Usage::default(), Usage::default(), Usage::default());
    // The first start loads the programs from the disk, so it does not count.
    drop((in_memory.start()?, apache.start(Jvm::Small)?));
    eprintln!("{starts} starts");
    for round in 0..starts {
        let mut load_program = (round < memory_rounds).then_some(&mut *load_program);
        in_memory_usage.add(&in_memory.start()?, load_program.as_deref_mut(), ms)?;
        apache_small.add(&apache.start(Jvm::Small)?, load_program.as_deref_mut(), ms)?;
        if load_program.is_some() {
            apache_full.add(&apache.start(Jvm::Full)?, load_program, ms)?;
        }
    }
    Ok(vec![
        start(&in_memory_usage, &apache_small),
        memory([&in_memory_usage, &apache_small, &apache_full], ms),
    ])
}

fn start(in_memory_usage: &Usage, apache: &Usage) -> Section {
    Section {
        title: "In-memory server and Apache ZooKeeper: start".into(),
        method: format!(
            "Time from the start of the process until a client that retries continuously has its session. {} starts \
             of each, in turns, Apache's without data and with the JVM of the tests, which is configured to start \
             quickly.",
            in_memory_usage.start.len(),
        ),
        head: cells(QUARTILES_HEAD),
        rows: vec![
            row("in-memory", in_memory_usage.start.quartile_cells()),
            row("Apache ZooKeeper", apache.start.quartile_cells()),
        ],
        notes: Vec::new(),
        targets: vec![Target::at_most(
            "in-memory server, start to first session",
            50.0,
            " ms",
            in_memory_usage.start.median(),
        )],
    }
}

fn memory(usage: [&Usage; 3], ms: u32) -> Section {
    let mut rows = Vec::new();
    let mut add = |name: &str, sample: fn(&Usage) -> &Sample| {
        rows.push(row(name, usage.map(|usage| sample(usage).with_range())));
    };
    add("after the start", |usage| &usage.started);
    add(&format!("with {SESSIONS} sessions open"), |usage| &usage.with_sessions);
    add("after a load", |usage| &usage.loaded);
    add("maximum", |usage| &usage.peak);
    let [in_memory_usage, ..] = usage;
    Section {
        title: "In-memory server and Apache ZooKeeper: memory".into(),
        method: format!(
            "Resident memory of new processes: with one session, with {SESSIONS} more, and after these are closed and \
             100 connections with 32 requests in flight have read and written for {ms} ms each. **Median** (smallest \
             – largest) of {} processes of each. The JVM of the tests has 192 MiB of heap, a serial garbage collector and the \
             first-tier compiler only; that of `zkServer.sh` has 1000 MiB.",
            in_memory_usage.peak.len(),
        ),
        head: cells(["MiB", "in-memory", "Apache, JVM of the tests", "Apache, JVM of zkServer.sh"]),
        rows,
        notes: Vec::new(),
        targets: vec![
            Target::at_most(
                "in-memory server, resident memory after the start",
                20.0,
                " MiB",
                in_memory_usage.started.median(),
            ),
            Target::at_most(
                "in-memory server, maximum resident memory, load and 1000 sessions",
                20.0,
                " MiB",
                in_memory_usage.peak.median(),
            ),
        ],
    }
}
