//! Limits the number of log lines per second. If a thousand nodes lose ZooKeeper at the same time, each of them logs
//! it; lines beyond the limit are counted instead. No I/O.

use std::time::Duration;

/// Maximum number of lines per window.
const MAX_LINES: u64 = 50;
const WINDOW: Duration = Duration::from_secs(1);

/// Admits a limited number of lines per second and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    window_start: Duration,
    /// Number of lines in the window.
    lines: u64,
}

impl Throttle {
    /// Decides about a line. Returns true if it is printed. Must be called after [`Throttle::flush`].
    pub(crate) fn admit(&mut self) -> bool {
        self.lines += 1;
        self.lines <= MAX_LINES
    }

    /// Returns the number of suppressed lines, if their window has ended at this time since the start.
    pub(crate) fn flush(&mut self, at: Duration) -> Option<u64> {
        if at < self.window_start + WINDOW {
            return None;
        }
        self.window_start = at;
        std::mem::take(&mut self.lines).checked_sub(MAX_LINES).filter(|suppressed| *suppressed > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttle_counts_the_lines_beyond_its_limit() {
        let mut throttle = Throttle::default();
        let at = |milliseconds| Duration::from_millis(milliseconds);
        let shown = (0..1000).filter(|_| throttle.admit()).count();
        assert_eq!(shown, MAX_LINES as usize);
        assert_eq!(throttle.flush(at(500)), None);
        let suppressed = Some(1000 - MAX_LINES);
        assert_eq!((throttle.flush(at(1_200)), throttle.admit()), (suppressed, true));
        assert_eq!(throttle.flush(at(2_200)), None, "nothing was suppressed");
    }
}
