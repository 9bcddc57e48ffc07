//! How soon the servers serve, and how much memory they take.

use super::super::Bench;
use super::super::coprocess::Coprocess;
use super::super::figures::{Aim, Sample, Section, Short};
use super::super::proc;
use super::servers::{Apache, InMemory, Jvm, Running};

const SESSIONS: u32 = 1_000;
/// What a server is asked for before its memory is looked at, as the load program's command: word, and what follows
/// the address.
const LOADS: [(&str, &str); 2] = [("read", "100 32"), ("write", "100 32")];

/// What one of the servers took.
#[derive(Default)]
struct Taken {
    /// Milliseconds.
    start: Sample,
    /// MiB.
    started: Sample,
    with_sessions: Sample,
    loaded: Sample,
    peak: Sample,
}

impl Taken {
    fn add(&mut self, server: &Running, asker: Option<&mut Coprocess>, ms: u32) -> anyhow::Result<()> {
        let resident = || proc::memory(server.process.pid()).map(|memory| memory.resident);
        self.start.push(server.start.as_secs_f64() * 1e3);
        let Some(asker) = asker else { return Ok(()) };
        self.started.push(resident()?);
        asker.ask(&format!("hold {} {SESSIONS}", server.address))?;
        self.with_sessions.push(resident()?);
        asker.ask(&format!("hold {} 0", server.address))?;
        for (word, how) in LOADS {
            asker.ask(&format!("{word} {} {how} {ms}", server.address))?;
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
    asker: &mut Coprocess,
) -> anyhow::Result<Vec<Section>> {
    // So many of the starts go on to the memory.
    let (starts, memories, ms) = if bench.quick { (2, 1, 100) } else { (10, 3, 1_000) };
    let (mut ours, mut small, mut full) = (Taken::default(), Taken::default(), Taken::default());
    // The first round reads the programs from the disk: it does not count.
    drop((in_memory.start()?, apache.start(Jvm::Small)?));
    eprintln!("{starts} starts");
    for round in 0..starts {
        let mut asker = (round < memories).then_some(&mut *asker);
        ours.add(&in_memory.start()?, asker.as_deref_mut(), ms)?;
        small.add(&apache.start(Jvm::Small)?, asker.as_deref_mut(), ms)?;
        if asker.is_some() {
            full.add(&apache.start(Jvm::Full)?, asker, ms)?;
        }
    }
    Ok(vec![start(&ours, &small), memory([&ours, &small, &full], ms)])
}

fn start(ours: &Taken, apache: &Taken) -> Section {
    let row = |name: &str, sample: &Sample| {
        vec![name.to_owned(), format!("**{}**", Short(sample.median())), sample.middle(), sample.range()]
    };
    Section {
        title: "The server in memory beside Apache ZooKeeper: start".into(),
        method: format!(
            "Time from the start of the process until a client that tries again all the time has its session. {} starts \
             of each, in turns, Apache's without data and with the JVM of the tests, which is made to start quickly.",
            ours.start.len(),
        ),
        head: ["ms", "median", "middle half", "smallest – largest"].map(str::to_owned).to_vec(),
        rows: vec![row("in memory", &ours.start), row("Apache ZooKeeper", &apache.start)],
        notes: Vec::new(),
        aims: vec![Aim::at_most(
            "server in memory, start to first session",
            50.0,
            " ms",
            ours.start.median(),
        )],
    }
}

fn memory(taken: [&Taken; 3], ms: u32) -> Section {
    let mut rows = Vec::new();
    let mut row = |name: &str, of: fn(&Taken) -> &Sample| {
        let show = |taken: &&Taken| format!("**{}** ({})", Short(of(taken).median()), of(taken).range());
        rows.push([name.to_owned()].into_iter().chain(taken.iter().map(show)).collect());
    };
    row("after the start", |taken| &taken.started);
    row(&format!("with {SESSIONS} sessions open"), |taken| &taken.with_sessions);
    row("after a load", |taken| &taken.loaded);
    row("at most", |taken| &taken.peak);
    let [ours, ..] = taken;
    Section {
        title: "The server in memory beside Apache ZooKeeper: memory".into(),
        method: format!(
            "Resident memory of new processes: with one session, with {SESSIONS} more, and when these are closed and {ms} \
             ms each of reads and writes are over, of 100 connections with 32 requests under way. **Median** (smallest \
             – largest) of {} processes of each. The JVM of the tests has 192 MiB of heap, a simple collector and the \
             first-tier compiler only; that of `zkServer.sh` has 1000 MiB.",
            ours.peak.len(),
        ),
        head: ["MiB", "in memory", "Apache, JVM of the tests", "Apache, JVM of zkServer.sh"]
            .map(str::to_owned)
            .to_vec(),
        rows,
        notes: Vec::new(),
        aims: vec![
            Aim::at_most("server in memory, resident after the start", 20.0, " MiB", ours.started.median()),
            Aim::at_most(
                "server in memory, resident at most, load and 1000 sessions",
                20.0,
                " MiB",
                ours.peak.median(),
            ),
        ],
    }
}
