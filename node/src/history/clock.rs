//! State of the machine's clock. A Raspberry Pi has no clock that runs while it is off: it starts in 1970, or at the time
//! that systemd has saved, and the clock is set later, over the network.
//!
//! The kernel's own flag (adjtimex(2)) needs unsafe code, and only daemons of NTP set it. So the clock counts as
//! synchronised
//!
//! * under systemd-timesyncd, which has the folder `/run/systemd/timesync`: as soon as its file `synchronized` exists;
//! * otherwise (another daemon, a container, another system): when it is later than the release of this program. A
//!   machine that starts at a saved time must then start the node after its clock is set (`time-sync.target`).

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use atalaya_recipes::clock::BootInstant;

/// Folder that exists while systemd-timesyncd runs.
const TIMESYNCD: &str = "/run/systemd/timesync";
/// 2026-01-01 in milliseconds: no clock that is set is earlier.
const RELEASE_MS: i64 = 1_767_225_600_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockReading {
    /// Unix time; 0 if the clock is before 1970.
    pub(super) time_ms: i64,
    /// Time since the start of the machine, including suspended time.
    pub(super) since_boot_ms: i64,
    pub(super) is_synchronised: bool,
}

/// Reads the clock; tests provide their own.
pub(super) type Clock = Arc<dyn Fn() -> ClockReading + Send + Sync>;

impl ClockReading {
    /// Returns the Unix time of the machine's start.
    pub(super) fn offset_ms(self) -> i64 {
        self.time_ms - self.since_boot_ms
    }
}

pub(super) fn now() -> ClockReading {
    let to_ms = |milliseconds: u128| i64::try_from(milliseconds).unwrap_or(i64::MAX);
    let time_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| to_ms(time.as_millis()));
    let since_boot = BootInstant::now().since(BootInstant::default());
    ClockReading {
        time_ms,
        since_boot_ms: to_ms(since_boot.as_millis()),
        is_synchronised: is_synchronised(Path::new(TIMESYNCD), time_ms),
    }
}

fn is_synchronised(timesyncd: &Path, time_ms: i64) -> bool {
    time_ms >= RELEASE_MS && (!timesyncd.exists() || timesyncd.join("synchronized").exists())
}

/// Returns the beginning of the names of this machine's runs since its start: their times since the start are of one
/// clock.
pub(super) fn machine_start() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let id = id.get(..8)?;
    id.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| format!("{id}-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_is_synchronised_when_timesyncd_says_so_or_when_it_is_plausible() {
        let folder = tempfile::tempdir().unwrap();
        let timesyncd = folder.path().join("timesync");
        assert!(is_synchronised(&timesyncd, RELEASE_MS) && !is_synchronised(&timesyncd, 90_000));
        std::fs::create_dir(&timesyncd).unwrap();
        assert!(!is_synchronised(&timesyncd, RELEASE_MS));
        std::fs::write(timesyncd.join("synchronized"), "").unwrap();
        assert!(is_synchronised(&timesyncd, RELEASE_MS) && !is_synchronised(&timesyncd, 90_000));
    }

    #[test]
    fn clock_reads_the_time_of_this_machine() {
        let (first, second) = (now(), now());
        assert!(second.time_ms >= RELEASE_MS && second.since_boot_ms >= first.since_boot_ms);
        assert!((first.offset_ms() - second.offset_ms()).abs() < 1_000);
        #[cfg(target_os = "linux")]
        assert_eq!(machine_start().map(|start| start.len()), Some(9));
    }
}
