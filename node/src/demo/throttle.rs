//! How many lines a second can be read. A thousand nodes that lose ZooKeeper at the same time all say so; what is too
//! much is counted. Pure.

use std::time::Duration;

/// Lines let through in each second.
const BURST: u32 = 50;
const WINDOW: Duration = Duration::from_secs(1);

/// Lets so many lines through in each second, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    begin: Duration,
    passed: u32,
    held: u64,
}

/// What is to be shown of a line that came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Pass {
    /// How many were held back until now, to be said first.
    pub held: Option<u64>,
    /// Whether the line itself is shown.
    pub line: bool,
}

impl Throttle {
    /// A line came at this time since the start.
    pub(crate) fn line(&mut self, at: Duration) -> Pass {
        let held = self.flush(at);
        let line = self.passed < BURST;
        if line {
            self.passed += 1;
        } else {
            self.held += 1;
        }
        Pass { held, line }
    }

    /// How many lines were held back, once their second is over.
    pub(crate) fn flush(&mut self, at: Duration) -> Option<u64> {
        if at < self.begin + WINDOW {
            return None;
        }
        self.begin = at;
        self.passed = 0;
        Some(std::mem::take(&mut self.held)).filter(|held| *held > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_short_and_counted() {
        let mut throttle = Throttle::default();
        let at = |milliseconds| Duration::from_millis(milliseconds);
        let shown = (0..1000).filter(|_| throttle.line(at(100)).line).count();
        assert_eq!(shown, BURST as usize);
        assert_eq!(throttle.flush(at(500)), None);
        assert_eq!(throttle.line(at(1_200)), Pass { held: Some(1000 - u64::from(BURST)), line: true });
        assert_eq!(throttle.flush(at(2_200)), None, "nothing was held back");
    }
}
