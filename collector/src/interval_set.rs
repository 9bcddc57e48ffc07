//! Sets of intervals: the cycles of an epoch that were recorded and have been deleted. Intervals suffice, because a
//! fleet leaves no cycle out. They prevent a report from being recorded twice even after its first copy is past the
//! retention, with one line per leader instead of one per report. Pure.

use std::collections::BTreeMap;

/// Set of whole numbers, as intervals that neither touch nor overlap.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IntervalSet {
    /// Last number of each interval by its first one, both inclusive.
    intervals: BTreeMap<i64, i64>,
}

impl IntervalSet {
    pub(crate) fn contains(&self, number: i64) -> bool {
        self.intervals.range(..=number).next_back().is_some_and(|(_, last)| number <= *last)
    }

    /// Adds `first` to `last`, both inclusive.
    pub(crate) fn insert(&mut self, mut first: i64, mut last: i64) {
        if first > last {
            return;
        }
        // Merges all intervals that touch the new one. They begin at most one above its end; the loop goes backwards
        // until an interval ends too low.
        while let Some((&begin, &end)) = self.intervals.range(..=last.saturating_add(1)).next_back() {
            if end < first.saturating_sub(1) {
                break;
            }
            self.intervals.remove(&begin);
            first = first.min(begin);
            last = last.max(end);
        }
        self.intervals.insert(first, last);
    }

    /// Iterates over the first and last number of each interval.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.intervals.iter().map(|(first, last)| (*first, *last))
    }
}

impl FromIterator<(i64, i64)> for IntervalSet {
    fn from_iter<I: IntoIterator<Item = (i64, i64)>>(intervals: I) -> IntervalSet {
        let mut all = IntervalSet::default();
        intervals.into_iter().for_each(|(first, last)| all.insert(first, last));
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn adjacent_intervals_are_merged() {
        let intervals: IntervalSet = [(1, 3), (5, 6), (4, 4)].into_iter().collect();
        assert_eq!(intervals.iter().collect::<Vec<_>>(), [(1, 6)]);
        let ends: IntervalSet = [(i64::MIN, i64::MIN), (i64::MAX, i64::MAX)].into_iter().collect();
        assert!(ends.contains(i64::MAX) && ends.contains(i64::MIN) && !ends.contains(0));
        let top: IntervalSet =
            [(i64::MAX - 2, i64::MAX - 2), (i64::MAX, i64::MAX), (i64::MAX - 1, i64::MAX - 1)]
                .into_iter()
                .collect();
        assert_eq!(top.iter().collect::<Vec<_>>(), [(i64::MAX - 2, i64::MAX)]);
    }

    proptest! {
        #[test]
        fn interval_set_contains_the_inserted_numbers(inserted in prop::collection::vec((-20..20_i64, 0..6_i64), 0..20)) {
            let mut intervals = IntervalSet::default();
            let mut set = BTreeSet::new();
            for (first, length) in inserted {
                intervals.insert(first, first + length);
                set.extend(first..=first + length);
            }
            for number in -30..40 {
                prop_assert_eq!(intervals.contains(number), set.contains(&number));
            }
            let all: Vec<_> = intervals.iter().collect();
            prop_assert!(all.windows(2).all(|pair| pair[0].1 + 1 < pair[1].0), "no two touch: {:?}", all);
        }
    }
}
