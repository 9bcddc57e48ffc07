//! The chart: mean, least and most of each step of time, where reports are missing, and when leaders changed.
//!
//! `plotters` draws it, as SVG, for a wide screen and for a phone; the page shows the one that fits, in the colours of its style
//! sheet. What there is to point at, and what has a title, lies over that.

mod draw;
mod gaps;
mod plot;
mod table;
mod times;
mod values;

use jiff::tz;

pub(super) use draw::draw;
pub(super) use gaps::Gap;
pub(super) use table::table;

use super::range::Window;
use crate::store::Point;

/// What a chart shows.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Of when.
    pub(super) window: Window,
    /// Of one quantity and unit, by time.
    pub(super) points: Vec<Point>,
    /// Microseconds from one report to the next, if it is known.
    pub(super) usual: Option<i64>,
    /// When epochs began, in microseconds, and their numbers.
    pub(super) changes: Vec<(i64, i64)>,
    /// How far clocks are ahead of UTC where it is looked at.
    pub(super) ahead: tz::Offset,
}

impl Chart {
    /// Where reports are missing.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        gaps::cut(&self.points, self.window.step, self.usual, self.window.now).1
    }

    /// Mean, least and most of all, and how many reports that are.
    pub(super) fn whole(&self) -> Option<Point> {
        table::merged(&self.points)
    }
}
