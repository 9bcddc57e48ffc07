//! When cycles are due: at whole multiples of the period, by ZooKeeper's clock. So a new leader keeps the rhythm of the one
//! before, whatever the clocks of their machines say. Pure.

use std::time::Duration;

use atalaya_recipes::clock::BootInstant;

/// What ZooKeeper's clock shows, as far as its answers tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerClock {
    /// A moment here, and what it was there, in milliseconds since 1970.
    known: Option<(BootInstant, i64)>,
}

impl ServerClock {
    /// A write that was `sent` and answered at `answered` has that time in its stat.
    pub fn heard(&mut self, time: i64, sent: BootInstant, answered: BootInstant) {
        let between = sent + answered.since(sent) / 2;
        let told = match self.now(between) {
            // Mostly the way took a little longer or shorter: no reason to jump.
            Some(guess) if time.saturating_sub(guess).saturating_abs() < SMALL => guess + (time - guess) / 4,
            _ => time,
        };
        self.known = Some((between, told));
    }

    /// What it shows at `now`; `None` before anything was heard.
    pub fn now(&self, now: BootInstant) -> Option<i64> {
        let (then, time) = self.known?;
        Some(time.saturating_add(millis(now.since(then))).saturating_sub(millis(then.since(now))))
    }
}

/// A difference between two answers that the way explains, in milliseconds.
const SMALL: i64 = 200;

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// When the next cycle is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    period: i64,
    next: i64,
    /// At whole periods; otherwise each a period after the last one.
    aligned: bool,
}

impl Schedule {
    /// Goes on after a cycle at `last`; without one, the first is due at once. All times are ZooKeeper's, in milliseconds.
    pub fn after(last: Option<i64>, now: i64, period: Duration) -> Schedule {
        Schedule::new(last, now, period, true)
    }

    /// The same for cycles that may begin earlier, when all are ready: each is due a whole period after the last one, not
    /// before, for whoever needs that long.
    pub fn at_the_latest(last: Option<i64>, now: i64, period: Duration) -> Schedule {
        Schedule::new(last, now, period, false)
    }

    fn new(last: Option<i64>, now: i64, period: Duration, aligned: bool) -> Schedule {
        let mut rhythm = Schedule { period: millis(period).max(1), next: now, aligned };
        if let Some(last) = last {
            rhythm.next = rhythm.following(last);
        }
        rhythm
    }

    /// When the cycle after one at `last` is due.
    fn following(&self, last: i64) -> i64 {
        match self.aligned {
            true => last.div_euclid(self.period).saturating_add(1).saturating_mul(self.period),
            false => last.saturating_add(self.period),
        }
    }

    /// How long it is until the next cycle.
    pub fn wait(&mut self, now: i64) -> Duration {
        if self.next.saturating_sub(now) > self.period.saturating_add(self.period / 2) {
            // More than a timer that fired early: another server with another clock answers now.
            self.next = self.following(now);
        }
        Duration::from_millis(u64::try_from(self.next.saturating_sub(now)).unwrap_or(0))
    }

    /// How late a cycle is that begins at `now`; one that begins early is not.
    pub fn late(&self, now: i64) -> Duration {
        Duration::from_millis(u64::try_from(now.saturating_sub(self.next)).unwrap_or(0))
    }

    /// A cycle began at `now`, late perhaps: those that were missed until then are not made up for.
    pub fn begun(&mut self, now: i64) {
        // A timer may fire a little early: not twice in one period.
        let due = if self.aligned { self.next.max(now) } else { now };
        self.next = self.following(due);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(millis: u64) -> BootInstant {
        BootInstant::at(Duration::from_millis(millis))
    }

    #[test]
    fn a_clock_is_what_the_answers_say() {
        let mut clock = ServerClock::default();
        assert_eq!(clock.now(at(5)), None);
        clock.heard(1_000_000, at(10), at(20));
        assert_eq!(clock.now(at(15)), Some(1_000_000));
        assert_eq!(clock.now(at(115)), Some(1_000_100));
        assert_eq!(clock.now(at(5)), Some(999_990));
        // A little more: half-way. An hour less: another server.
        clock.heard(1_000_108, at(110), at(120));
        assert_eq!(clock.now(at(115)), Some(1_000_102));
        clock.heard(500, at(210), at(220));
        assert_eq!(clock.now(at(215)), Some(500));
    }

    #[test]
    fn cycles_are_due_at_whole_periods() {
        let mut rhythm = Schedule::after(Some(10_200), 10_300, SECOND);
        assert_eq!(rhythm.wait(10_300), Duration::from_millis(700));
        rhythm.begun(11_005);
        assert_eq!(rhythm.wait(11_010), Duration::from_millis(990));
        // Fired a little early: not twice.
        rhythm.begun(11_999);
        assert_eq!(rhythm.wait(11_999), Duration::from_millis(1001));
    }

    #[test]
    fn a_new_leader_makes_up_for_the_one_that_was_missed_and_keeps_the_rhythm() {
        let mut rhythm = Schedule::after(Some(10_000), 12_300, SECOND);
        assert_eq!(rhythm.wait(12_300), Duration::ZERO);
        rhythm.begun(12_310);
        assert_eq!(rhythm.wait(12_310), Duration::from_millis(690));
        assert_eq!(Schedule::after(None, 12_300, SECOND).wait(12_300), Duration::ZERO, "the first of all");
    }

    #[test]
    fn cycles_that_begin_early_leave_a_whole_period_for_the_next() {
        let mut rhythm = Schedule::at_the_latest(Some(10_200), 10_300, SECOND);
        assert_eq!(rhythm.wait(10_300), Duration::from_millis(900));
        for early in [10_400, 10_600, 10_990, 11_100] {
            rhythm.begun(early);
            assert_eq!(rhythm.wait(early), SECOND);
        }
        // Somebody hangs, and so for each cycle.
        rhythm.begun(12_100);
        assert_eq!(rhythm.wait(12_150), Duration::from_millis(950));
        assert!(rhythm.wait(5_300) <= SECOND, "a clock that was set back");
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_stop_the_cycles() {
        let mut rhythm = Schedule::after(Some(1_000_000), 1_000_100, SECOND);
        assert!(rhythm.wait(5_300) <= SECOND);
        rhythm.begun(6_000);
        assert_eq!(rhythm.wait(6_000), SECOND);
    }

    proptest! {
        #[test]
        fn server_clock_and_rhythm_never_wrap(times in prop::collection::vec(any::<i64>(), 1..6), period in any::<u64>()) {
            let mut clock = ServerClock::default();
            let mut rhythm = Schedule::after(times.first().copied(), times[times.len() - 1], Duration::from_millis(period));
            for (turn, time) in (0..).zip(times) {
                clock.heard(time, at(turn), at(turn + 1));
                prop_assert!(clock.now(at(turn)).is_some() && clock.now(at(u64::MAX / 2)).is_some());
                rhythm.wait(time);
                rhythm.late(time);
                rhythm.begun(time);
            }
        }

        #[test]
        fn once_in_each_period_unless_it_is_late(
            period in 1i64..5_000, start in 0i64..1_000_000, late in prop::collection::vec(0i64..20_000, 1..40)
        ) {
            let mut rhythm = Schedule::after(Some(start), start, Duration::from_millis(period as u64));
            let (mut now, mut last) = (start, start.div_euclid(period));
            for late in late {
                let wait = rhythm.wait(now);
                prop_assert!(wait <= Duration::from_millis(period as u64) * 3 / 2);
                now += i64::try_from(wait.as_millis()).unwrap() + late;
                rhythm.begun(now);
                let slot = now.div_euclid(period);
                prop_assert!(slot > last);
                prop_assert!(late >= period || slot == last + 1);
                last = slot;
            }
        }
    }
}
