//! Measures how late a sleeping thread wakes up on this machine.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(super) struct DelayMonitor {
    longest: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl DelayMonitor {
    pub(super) fn start() -> DelayMonitor {
        const SLEEP: Duration = Duration::from_millis(20);
        let monitor = DelayMonitor { longest: Arc::default(), over: Arc::default() };
        let (longest, over) = (Arc::clone(&monitor.longest), Arc::clone(&monitor.over));
        thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                thread::sleep(SLEEP);
                let late = begin.elapsed().saturating_sub(SLEEP);
                longest.fetch_max(u64::try_from(late.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
            }
        });
        monitor
    }

    pub(super) fn stop(self) -> Duration {
        self.over.store(true, Ordering::Relaxed);
        Duration::from_millis(self.longest.load(Ordering::Relaxed))
    }
}
