//! Resource usage of this process, from proc(5). All values are `None` on systems without /proc.

#[cfg(target_os = "linux")]
use std::fs;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessStats {
    pub(super) cpu_seconds: Option<f64>,
    pub(super) resident_bytes: Option<f64>,
    pub(super) virtual_bytes: Option<f64>,
    pub(super) start_time: Option<f64>,
    pub(super) threads: Option<f64>,
    pub(super) open_files: Option<f64>,
    pub(super) max_open_files: Option<f64>,
}

impl ProcessStats {
    #[cfg(target_os = "linux")]
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
    pub(super) fn read() -> ProcessStats {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        // The directory that is being listed is one of the open files.
        let open_files = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
        let (tick, page) =
            (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as f64);
        let open_files = open_files.ok().map(|files| files as f64);
        let stats = ProcessStats::parse(&read("/proc/self/stat"), &read("/proc/stat"), tick, page);
        let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        let max_open_files = limits.current.map(|files| files as f64);
        ProcessStats { open_files, max_open_files, ..stats.unwrap_or_default() }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn read() -> ProcessStats {
        ProcessStats::default()
    }

    /// Parses /proc/self/stat, and the boot time in /proc/stat.
    #[cfg(target_os = "linux")]
    fn parse(process: &str, system: &str, tick: f64, page: f64) -> Option<ProcessStats> {
        // The second field, the program's name in parentheses, may contain anything. The third is the first after it.
        let fields: Vec<&str> = process.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot = system.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Some(ProcessStats {
            cpu_seconds: Some((field(14)? + field(15)?) / tick),
            threads: field(20),
            start_time: boot.zip(field(22)).map(|(boot, ticks)| boot + ticks / tick),
            virtual_bytes: field(23),
            resident_bytes: field(24).map(|pages| pages * page),
            ..ProcessStats::default()
        })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn process_stats_are_parsed() {
        let process = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 150 13 14 15 16 4 18 1000 4096000 50 21";
        let stats = ProcessStats::parse(process, "cpu 1\nbtime 1700000000\n", 100.0, 4096.0).unwrap();
        assert_eq!((stats.cpu_seconds, stats.threads), (Some(4.0), Some(4.0)));
        assert_eq!((stats.start_time, stats.resident_bytes), (Some(1_700_000_010.0), Some(204_800.0)));
        assert_eq!(stats.virtual_bytes, Some(4_096_000.0));
        assert!(ProcessStats::parse("", "", 100.0, 4096.0).is_none());
    }

    #[test]
    fn process_stats_of_this_process_are_complete() {
        let stats = ProcessStats::read();
        assert!(stats.resident_bytes.unwrap() > 1e5 && stats.open_files.unwrap() >= 3.0, "{stats:?}");
        assert!(stats.start_time.unwrap() > 1e9 && stats.max_open_files.unwrap() >= 3.0, "{stats:?}");
        assert!(stats.threads.unwrap() >= 1.0 && stats.cpu_seconds.is_some(), "{stats:?}");
    }
}
