//! What Linux says of a process: proc(5).

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Everything of it that is in memory.
    pub(crate) resident: f64,
    /// The same, what several processes share divided among them.
    pub(crate) proportional: f64,
    /// What is in no file: heap and stacks.
    pub(crate) anonymous: f64,
}

/// The memory of process `pid` now.
pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let mib = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
        kib.map(|kib| kib / 1024.0).with_context(|| format!("no {name} in {path}"))
    };
    Ok(Memory { resident: mib("Rss")?, proportional: mib("Pss")?, anonymous: mib("Anonymous")? })
}

/// The most memory that process `pid` has had so far, in MiB.
pub(crate) fn peak(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).with_context(|| format!("no VmHWM in {path}"))
}

/// Processor time of process `pid`, threads that have ended included; in hundredths of a second.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The program's name may hold anything, so count from behind it: user time is the 12th field, the system's the 13th.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    let ticks = fields
        .and_then(|fields| Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?));
    ticks
        .map(|ticks| Duration::from_millis(ticks * 10))
        .with_context(|| format!("a stat of another form: {text}"))
}

/// How long and how often the threads of a process have run. To the nanosecond; `stat` counts in hundredths of a second.
#[derive(Clone, Debug)]
pub(crate) struct Runs {
    threads: BTreeMap<u32, Run>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Run {
    time: Duration,
    times: u64,
}

impl Runs {
    /// Until now, of the threads that `pid` has now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Runs> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let Ok(thread) = entry?.file_name().to_string_lossy().parse() else { continue };
            // One that has ended between the two reads has no file any more.
            let Ok(text) = fs::read_to_string(format!("{folder}/{thread}/schedstat")) else { continue };
            threads.insert(thread, run(&text)?);
        }
        ensure!(!threads.is_empty(), "{folder} shows no thread; it needs a kernel with CONFIG_SCHED_INFO");
        Ok(Runs { threads })
    }

    /// Processor time used since `earlier`, and how often a thread was woken for it. A thread that has ended meanwhile
    /// is not in it.
    pub(crate) fn since(&self, earlier: &Runs) -> (Duration, u64) {
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or_default();
        let time =
            self.threads.iter().map(|(thread, run)| run.time.saturating_sub(before(thread).time)).sum();
        let times =
            self.threads.iter().map(|(thread, run)| run.times.saturating_sub(before(thread).times)).sum();
        (time, times)
    }

    /// How many threads.
    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }
}

/// A line of `schedstat`: time on a processor, time spent waiting for one, how often it got one.
fn run(text: &str) -> anyhow::Result<Run> {
    let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [time, _, times] = fields[..] else { anyhow::bail!("a schedstat of another form: {text}") };
    Ok(Run { time: Duration::from_nanos(time), times })
}

/// Microseconds of processor time for nothing but being woken, by a clock, now and then: the measure of all processes
/// that sleep most of the time, and very different from machine to machine.
pub(crate) fn bare_wake(pause: Duration, times: u32) -> anyhow::Result<f64> {
    let now = || run(&fs::read_to_string("/proc/thread-self/schedstat")?);
    let before = now()?;
    for _ in 0..times {
        std::thread::sleep(pause);
    }
    Ok((now()?.time - before.time).as_secs_f64() * 1e6 / f64::from(times))
}
