//! Recognises two fleets that report under one name. Pure: time is passed in.
//!
//! In one fleet, all cycles of a higher epoch are read after those of the lower ones. A report of a lower epoch that was
//! read after one of a higher epoch is therefore of another fleet, or of a fleet whose ZooKeeper lost its data. After
//! such a loss the higher epoch never reports again, so only fleets that alternate are two. Two reports of one epoch and
//! cycle with different averages are of two fleets as well.

use std::time::{Duration, Instant};

use jiff::Timestamp;

use crate::report::Report;
use crate::store::Outcome;

/// Time for which a contradiction counts.
const WINDOW: Duration = Duration::from_secs(3_600);
/// Number of contradictions, each after a further report of the highest epoch, that prove that there are two fleets.
const PROOFS: u32 = 2;

/// Facts about a received report.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sighting {
    epoch: Option<i64>,
    /// Time at which the fleet was read, if the sender has sent it.
    time: Option<Timestamp>,
}

impl Sighting {
    pub(crate) fn of(report: &Report) -> Sighting {
        let time = Some(report.time).filter(|time| *time != report.received);
        Sighting { epoch: report.epoch, time }
    }
}

/// Newest recorded report of the highest epoch.
#[derive(Clone, Debug)]
struct Newest {
    epoch: i64,
    time: Option<Timestamp>,
    reporter: Option<String>,
}

/// Contradictions between the reports of one name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rivals {
    newest: Option<Newest>,
    /// True if the highest epoch has reported since the last contradiction.
    is_armed: bool,
    contradictions: u32,
    last: Option<Instant>,
}

impl Rivals {
    /// Adds a received report. Returns true if it is the proof that two fleets report, and there was none before.
    pub(crate) fn note(
        &mut self,
        sighting: Sighting,
        reporter: Option<&str>,
        outcome: &Outcome,
        now: Instant,
    ) -> bool {
        let Sighting { epoch: Some(epoch), time } = sighting else { return false };
        let recorded = matches!(outcome, Outcome::Recorded(_));
        match &self.newest {
            _ if *outcome == Outcome::Repeated => false,
            _ if matches!(outcome, Outcome::Conflict(_)) => self.is_armed && self.contradict(now),
            Some(newest) if epoch < newest.epoch => {
                let is_later = match time.zip(newest.time) {
                    Some((time, newest)) => time > newest,
                    // The leader of the higher epoch may deliver reports of the lower one.
                    None => !recorded && newest.reporter.as_deref() != reporter,
                };
                is_later && self.is_armed && self.contradict(now)
            }
            _ if recorded => {
                let reporter = reporter.map(str::to_owned);
                self.newest = Some(Newest { epoch, time, reporter });
                self.is_armed = true;
                false
            }
            _ => false,
        }
    }

    fn contradict(&mut self, now: Instant) -> bool {
        let was_proved = self.are_two(now);
        if self.last.is_none_or(|last| now.saturating_duration_since(last) > WINDOW) {
            self.contradictions = 0;
        }
        self.contradictions = self.contradictions.saturating_add(1);
        (self.is_armed, self.last) = (false, Some(now));
        !was_proved && self.are_two(now)
    }

    /// Returns true if two fleets have reported recently.
    pub(crate) fn are_two(&self, now: Instant) -> bool {
        self.contradictions >= PROOFS
            && self.last.is_some_and(|last| now.saturating_duration_since(last) <= WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sighting(epoch: i64, second: i64) -> Sighting {
        Sighting { epoch: Some(epoch), time: Some(Timestamp::from_second(second).unwrap()) }
    }

    /// Returns the outcome of a report that is recorded or stale.
    fn outcome(recorded: bool) -> Outcome {
        match recorded {
            true => Outcome::Recorded(1),
            false => Outcome::Stale(crate::fence::Stale { epoch: 200, first_cycle: 1 }),
        }
    }

    #[test]
    fn two_fleets_are_recognised_by_their_second_alternation() {
        // Both leaders are node 1. The lower epoch is refused, or has lower cycles and is recorded.
        for recorded in [false, true] {
            let (mut rivals, now) = (Rivals::default(), Instant::now());
            let mut note = |epoch, second, recorded| {
                rivals.note(sighting(epoch, second), Some("node 1"), &outcome(recorded), now)
            };
            assert!(!note(200, 1, true) && !note(100, 2, recorded) && !note(100, 2, recorded));
            assert!(!note(200, 6, true));
            assert!(note(100, 7, recorded), "recorded: {recorded}");
            assert!(!note(200, 11, true) && !note(100, 12, recorded), "reported once");
            assert!(rivals.are_two(now) && rivals.are_two(now + WINDOW));
            assert!(!rivals.are_two(now + WINDOW + Duration::from_secs(1)));
        }
    }

    #[test]
    fn leaders_that_take_over_above_each_other_are_two_fleets() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        let mut note =
            |epoch, second, recorded| rivals.note(sighting(epoch, second), None, &outcome(recorded), now);
        assert!(!note(200, 1, true) && !note(100, 2, false) && !note(201, 3, true));
        assert!(note(200, 6, false));
    }

    #[test]
    fn fleet_whose_zookeeper_lost_its_data_is_one_fleet() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        let mut note =
            |epoch, second, recorded| rivals.note(sighting(epoch, second), None, &outcome(recorded), now);
        assert!(!note(200, 1, true));
        for second in 5..9 {
            assert!(!note(100, second, false), "until it takes over");
        }
        assert!(!note(201, 10, true));
        assert!((5..9).all(|second| !note(100, second, false)), "the rest of its outbox");
        assert!(!note(201, 15, true) && !rivals.are_two(now));
    }

    #[test]
    fn leaders_of_one_fleet_that_replace_each_other_are_one_fleet() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        for epoch in 1..50 {
            let leader = format!("node {}", epoch % 2);
            assert!(!rivals.note(sighting(epoch, 10 * epoch), Some(&leader), &outcome(true), now));
            // A report of the previous leader is late.
            assert!(!rivals.note(sighting(epoch - 1, 10 * epoch - 5), Some("node 9"), &outcome(true), now));
            let bare = Sighting { epoch: Some(epoch - 1), time: None };
            assert!(!rivals.note(bare, Some("node 9"), &outcome(true), now));
        }
        assert!(!rivals.are_two(now));
    }

    #[test]
    fn senders_without_times_are_compared_by_their_names() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        let mut note = |epoch, reporter, recorded| {
            rivals.note(Sighting { epoch: Some(epoch), time: None }, Some(reporter), &outcome(recorded), now)
        };
        for _ in 0..5 {
            assert!(!note(200, "a", true) && !note(100, "a", false));
        }
        assert!(!note(100, "b", false) && !note(200, "a", true) && note(100, "b", false));
    }

    #[test]
    fn two_averages_of_one_cycle_are_two_fleets() {
        let (mut rivals, now) = (Rivals::default(), Instant::now());
        let mut note = |second, outcome| rivals.note(sighting(7, second), None, &outcome, now);
        assert!(!note(1, Outcome::Recorded(1)) && !note(1, Outcome::Conflict(1.0)));
        assert!(!note(1, Outcome::Conflict(1.0)), "sent again");
        assert!(!note(6, Outcome::Recorded(2)) && note(6, Outcome::Conflict(2.0)));
    }
}
