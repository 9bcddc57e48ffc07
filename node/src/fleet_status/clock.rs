//! What ZooKeeper's clock shows, without writing anything to ask it. Pure.
//!
//! Stats tell when something was written, by the clock of whichever server led then. A write that is seen is over: that
//! bounds the clock from one side. A write that was not there at the last look came after it: that bounds it from the
//! other. Between the bounds this machine's own clock is believed.

/// A moment in milliseconds since 1970.
pub type Millis = i64;

/// How far ZooKeeper's clock can be ahead of this machine's, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    at_least: Option<Millis>,
    at_most: Option<Millis>,
    /// The newest write at the last look, and when that look began, by this machine's clock.
    last: Option<(Millis, Millis)>,
}

/// Clocks drift, and servers take turns: bounds that are wider apart from each other than this have been overtaken.
const PLAY: Millis = 50;

impl Clock {
    /// A look that began at `began` and ended at `ended`, by this machine's clock, has seen nothing newer than `newest`,
    /// which is ZooKeeper's.
    pub fn look(&mut self, newest: Millis, began: Millis, ended: Millis) {
        let at_least = newest.saturating_sub(ended);
        self.at_least = Some(self.at_least.map_or(at_least, |known| known.max(at_least)));
        if let Some((before, began_before)) = self.last
            && newest > before
        {
            let at_most = newest.saturating_sub(began_before);
            self.at_most = Some(self.at_most.map_or(at_most, |known| known.min(at_most)));
        }
        if let (Some(least), Some(most)) = (self.at_least, self.at_most)
            && least > most.saturating_add(PLAY)
        {
            // One of the clocks was set: only what was just seen holds.
            (self.at_least, self.at_most) = (Some(at_least), None);
        }
        self.last = Some((newest, began));
    }

    /// How far ZooKeeper's clock is ahead, as far as is known: as little as the bounds allow.
    pub fn ahead(&self) -> Millis {
        let bounded = self.at_most.map_or(0, |most| most.min(0));
        self.at_least.map_or(bounded, |least| bounded.max(least))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_write_from_the_future_says_that_this_clock_is_slow() {
        let mut clock = Clock::default();
        assert_eq!(clock.ahead(), 0);
        clock.look(9_000, 10_000, 10_010);
        assert_eq!(clock.ahead(), 0, "it may just be old");
        clock.look(13_010, 11_000, 11_010);
        assert_eq!(clock.ahead(), 2_000);
    }

    #[test]
    fn a_write_since_the_last_look_that_seems_older_says_that_this_clock_is_fast() {
        let mut clock = Clock::default();
        clock.look(4_000, 10_000, 10_010);
        assert_eq!(clock.ahead(), 0, "old, or ours is six seconds fast");
        clock.look(5_500, 11_000, 11_010);
        assert_eq!(clock.ahead(), -4_500, "it was written after 10 000 of ours");
    }

    #[test]
    fn a_clock_that_is_set_is_believed_anew() {
        let mut clock = Clock::default();
        clock.look(4_000, 10_000, 10_010);
        clock.look(5_500, 11_000, 11_010);
        clock.look(12_100, 12_000, 12_010);
        assert_eq!(clock.ahead(), 90);
    }

    proptest! {
        /// Whatever the difference, and however slow the looks: a write that was just seen has no negative age, and, where
        /// this machine's clock is fast, none of more than its real one and the time between two looks.
        #[test]
        fn ages_are_not_negative_and_not_far_off(
            ahead in -10_000_000i64..10_000_000,
            looks in prop::collection::vec((100i64..5_000, 0i64..500), 2..30),
        ) {
            let mut clock = Clock::default();
            let mut now = 1_000_000_000;
            let (mut longest, mut before) = (0, 0);
            for (wait, took) in looks {
                now += wait;
                // Somebody writes just before each look.
                let newest = now + ahead;
                clock.look(newest, now, now + took);
                let age = now + took + clock.ahead() - newest;
                prop_assert!(age >= 0);
                longest = longest.max(before + wait);
                before = took;
                now += took;
            }
            let age = now + clock.ahead() - (now + ahead);
            prop_assert!(ahead > 0 || age <= longest + before, "{} {}", age, longest);
        }
    }
}
