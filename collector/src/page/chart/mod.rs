//! The chart: mean, minimum and maximum of each step, gaps between reports, and changes of leader.
//!
//! `plotters` draws it as SVG for a wide screen and for a phone; the page displays the one that fits, in the colours of
//! its style sheet. Interactive elements and elements with titles lie over it.

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

/// Data of a chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// Displayed time.
    pub(super) window: Window,
    /// Points of one quantity and unit, ordered by time.
    pub(super) points: Vec<Point>,
    /// Microseconds from one report to the next, if known.
    pub(super) period: Option<i64>,
    /// Beginnings of epochs in microseconds, and the numbers of the epochs.
    pub(super) changes: Vec<(i64, i64)>,
    /// Offset from UTC of the browser's clock.
    pub(super) ahead: tz::Offset,
}

impl Chart {
    /// Returns the gaps between reports.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        gaps::cut(&self.points, self.window.step, self.period, self.window.now).1
    }

    /// Returns mean, minimum and maximum of all points, and the number of reports.
    pub(super) fn whole(&self) -> Option<Point> {
        table::merged(&self.points)
    }
}
