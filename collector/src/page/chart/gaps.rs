//! Gaps between reports. Pure.

use crate::store::Point;

/// Time range without reports, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

/// Splits the points where reports are missing, and returns the gaps: between points whose distance is much longer than
/// usual, and after the last one if it is much older than usual. `period` is the time between two reports, if known.
pub(super) fn cut(points: &[Point], step: i64, period: Option<i64>, now: i64) -> (Vec<&[Point]>, Vec<Gap>) {
    let at = |point: &Point| point.time.as_microsecond();
    let mut pauses: Vec<i64> = points.windows(2).map(|pair| at(&pair[1]) - at(&pair[0])).collect();
    pauses.sort_unstable();
    let median = pauses.get(pauses.len() / 2).copied();
    let longest = period.or(median).unwrap_or(step).max(step).saturating_mul(5) / 2;
    let mut gaps = Vec::new();
    let runs: Vec<&[Point]> = points.chunk_by(|one, next| at(next) - at(one) <= longest).collect();
    for pair in runs.windows(2) {
        if let (Some(before), Some(after)) = (pair[0].last(), pair[1].first()) {
            gaps.push(Gap { from: at(before).saturating_add(step).min(at(after)), to: at(after) });
        }
    }
    if let Some(last) = points.last()
        && now - at(last) > longest.saturating_add(step)
    {
        gaps.push(Gap { from: at(last).saturating_add(step), to: now });
    }
    (runs, gaps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(seconds: &[i64]) -> Vec<Point> {
        seconds.iter().map(|second| Point::of_one(*second, 1.0)).collect()
    }

    fn gaps(seconds: &[i64], step: i64, period: Option<i64>, now: i64) -> Vec<(i64, i64)> {
        let points = points(seconds);
        let (runs, gaps) =
            cut(&points, step * 1_000_000, period.map(|period| period * 1_000_000), now * 1_000_000);
        assert_eq!(runs.concat(), points, "no point is lost");
        gaps.iter().map(|gap| (gap.from / 1_000_000, gap.to / 1_000_000)).collect()
    }

    #[test]
    fn pause_much_longer_than_usual_is_a_gap() {
        assert_eq!(gaps(&[0, 5, 10, 15, 40, 45], 1, None, 46), [(16, 40)]);
        assert_eq!(gaps(&[0, 5, 10, 15, 20, 30], 1, None, 31), [], "one report is missing");
        assert_eq!(gaps(&[0, 5, 10], 1, None, 60), [(11, 60)], "the reports have stopped");
        assert_eq!(gaps(&[0, 60], 1, Some(5), 60), [(1, 60)], "the period of the fleet is known");
        assert_eq!(gaps(&[0, 60, 120, 600], 60, None, 650), [(180, 600)]);
        assert_eq!(gaps(&[], 60, None, 650), []);
        assert_eq!(gaps(&[0], 1, None, 2), []);
    }
}
