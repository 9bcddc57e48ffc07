//! What the system says of this process: proc(5). Nothing where there is no /proc.

#[cfg(target_os = "linux")]
use std::fs;

/// This process now.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Process {
    /// Processor time, in seconds.
    pub(crate) cpu: Option<f64>,
    /// In bytes.
    pub(crate) resident: Option<f64>,
    /// In bytes.
    pub(crate) virtual_size: Option<f64>,
    /// In seconds since 1970.
    pub(crate) started: Option<f64>,
    pub(crate) threads: Option<f64>,
    pub(crate) files: Option<f64>,
    pub(crate) most_files: Option<f64>,
}

impl Process {
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> Process {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let files = fs::read_dir("/proc/self/fd").map(|files| files.count().saturating_sub(1));
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let (tick, page) =
            (rustix::param::clock_ticks_per_second() as f64, rustix::param::page_size() as f64);
        #[allow(clippy::cast_precision_loss, reason = "far below 2^52")]
        let files = files.ok().map(|files| files as f64);
        let stat = Process::of_stat(&read("/proc/self/stat"), &read("/proc/stat"), tick, page);
        Process { files, most_files: most_files(&read("/proc/self/limits")), ..stat.unwrap_or_default() }
    }

    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> Process {
        Process::default()
    }

    /// By /proc/self/stat, and by /proc/stat, which says when the machine was started.
    #[cfg(target_os = "linux")]
    fn of_stat(own: &str, machine: &str, tick: f64, page: f64) -> Option<Process> {
        // The program's name may hold anything: the fields behind it begin with the third.
        let fields: Vec<&str> = own.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        let boot = machine.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok());
        Some(Process {
            cpu: Some((field(14)? + field(15)?) / tick),
            threads: field(20),
            started: boot.zip(field(22)).map(|(boot, ticks)| boot + ticks / tick),
            virtual_size: field(23),
            resident: field(24).map(|pages| pages * page),
            files: None,
            most_files: None,
        })
    }
}

#[cfg(target_os = "linux")]
fn most_files(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_says_is_understood() {
        let own = "7 (a) b (c) R 1 2 3 4 5 6 7 8 9 10 250 150 13 14 15 16 4 18 1000 4096000 50 21";
        let process = Process::of_stat(own, "cpu 1\nbtime 1700000000\n", 100.0, 4096.0).unwrap();
        assert_eq!((process.cpu, process.threads), (Some(4.0), Some(4.0)));
        assert_eq!((process.started, process.resident), (Some(1_700_000_010.0), Some(204_800.0)));
        assert_eq!(process.virtual_size, Some(4_096_000.0));
        assert!(Process::of_stat("", "", 100.0, 4096.0).is_none());
        assert_eq!(most_files("Max open files            1024                 4096   files\n"), Some(1024.0));
    }

    #[test]
    fn this_process_has_them_all() {
        let process = Process::now();
        assert!(process.resident.unwrap() > 1e5 && process.files.unwrap() >= 3.0, "{process:?}");
        assert!(process.started.unwrap() > 1e9 && process.most_files.unwrap() >= 3.0, "{process:?}");
        assert!(process.threads.unwrap() >= 1.0 && process.cpu.is_some(), "{process:?}");
    }
}
