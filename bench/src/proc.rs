//! Memory and processor time of processes, from proc(5).

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context as _, ensure};

/// Memory of a process, in MiB.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    /// Resident set size (RSS).
    pub(crate) resident: f64,
    /// Proportional set size (PSS): memory shared by several processes is divided among them.
    pub(crate) proportional: f64,
    /// Anonymous memory: heap and stacks.
    pub(crate) anonymous: f64,
}

pub(crate) fn memory(pid: u32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let mib = |name| mib(&text, name);
    Ok(Memory { resident: mib("Rss")?, proportional: mib("Pss")?, anonymous: mib("Anonymous")? })
}

/// Returns the maximum resident memory of process `pid` so far, in MiB.
pub(crate) fn peak(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/status");
    mib(&fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?, "VmHWM")
}

/// Returns the size in the first line `name: value kB` of a file, in MiB.
pub(crate) fn mib(text: &str, name: &str) -> anyhow::Result<f64> {
    let kib = entry(text, name).and_then(|value| value.strip_suffix("kB")?.trim().parse::<f64>().ok());
    kib.map(|kib| kib / 1024.0).with_context(|| format!("no {name} in {text}"))
}

/// Returns the value in the first line `name: value` of a file.
pub(crate) fn entry<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| Some(line.strip_prefix(name)?.trim_start().strip_prefix(':')?.trim()))
}

/// Returns the processor time of process `pid`, including threads that have ended, in units of 10 ms.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name of the program may contain any character, so split behind it: user time is the 12th field from there,
    // system time the 13th.
    let fields = text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().collect::<Vec<_>>());
    let ticks = fields
        .and_then(|fields| Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?));
    ticks
        .map(|ticks| Duration::from_millis(ticks * 10))
        .with_context(|| format!("unexpected format of stat: {text}"))
}

/// Run times of the threads of a process, in nanoseconds; `stat` has a resolution of 10 ms.
#[derive(Clone, Debug)]
pub(crate) struct RunTimes {
    threads: BTreeMap<u32, RunTime>,
}

#[derive(Clone, Copy, Debug, Default)]
struct RunTime {
    time: Duration,
    /// Number of times that the thread got a processor.
    wakes: u64,
}

impl RunTimes {
    /// Returns the run times so far of the threads that process `pid` has now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<RunTimes> {
        let folder = format!("/proc/{pid}/task");
        let mut threads = BTreeMap::new();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))? {
            let Ok(thread) = entry?.file_name().to_string_lossy().parse() else { continue };
            // The thread may have ended since the directory was read.
            let Ok(text) = fs::read_to_string(format!("{folder}/{thread}/schedstat")) else { continue };
            threads.insert(thread, parse_schedstat(&text)?);
        }
        ensure!(
            !threads.is_empty(),
            "{folder} has no thread with a schedstat; it needs a kernel with CONFIG_SCHED_INFO"
        );
        Ok(RunTimes { threads })
    }

    /// Returns the processor time and the number of wake-ups since `earlier`. Threads that have ended since are not
    /// included.
    pub(crate) fn since(&self, earlier: &RunTimes) -> (Duration, u64) {
        let before = |thread| earlier.threads.get(thread).copied().unwrap_or_default();
        let time =
            self.threads.iter().map(|(thread, run)| run.time.saturating_sub(before(thread).time)).sum();
        let wakes =
            self.threads.iter().map(|(thread, run)| run.wakes.saturating_sub(before(thread).wakes)).sum();
        (time, wakes)
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads.len()
    }
}

/// Parses a `schedstat`: time on a processor, time spent waiting for one, number of times it got one.
fn parse_schedstat(text: &str) -> anyhow::Result<RunTime> {
    let fields: Vec<u64> = text.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let [time, _, wakes] = fields[..] else { anyhow::bail!("unexpected format of schedstat: {text}") };
    Ok(RunTime { time: Duration::from_nanos(time), wakes })
}

/// Returns the processor time of one timer wake-up, in microseconds. It dominates the cost of processes that sleep most
/// of the time, and differs much between machines.
pub(crate) fn bare_wake(pause: Duration, count: u32) -> anyhow::Result<f64> {
    let now = || parse_schedstat(&fs::read_to_string("/proc/thread-self/schedstat")?);
    let before = now()?;
    for _ in 0..count {
        std::thread::sleep(pause);
    }
    Ok((now()?.time - before.time).as_secs_f64() * 1e6 / f64::from(count))
}
