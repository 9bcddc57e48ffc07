//! The chart: mean, minimum and maximum of each step, and gaps between reports or samples. Over reports it marks changes
//! of leader; over samples, times by an uncertain clock.
//!
//! `plotters` draws it as SVG for a wide screen and for a phone; the page displays the one that fits, in the colours of
//! its style sheet. Interactive elements and elements with titles lie over it.

mod draw;
mod figure;
mod gaps;
mod plot;
mod table;
mod times;
mod values;

use jiff::tz;

pub(super) use figure::figure;
pub(super) use gaps::Gap;

use super::i18n::Lang;
use super::range::Window;
use crate::measurements::ClockState;
use crate::store::Point;

/// Subject of a chart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    /// Averages that the leaders reported.
    Reports,
    /// Samples of one series.
    Samples,
}

impl Subject {
    /// Formats a number of reports or samples.
    fn counted(self, count: i64, lang: Lang) -> String {
        let messages = lang.messages();
        let one = match self {
            Subject::Reports => messages.report,
            Subject::Samples => messages.sample,
        };
        format!("{} {}", lang.count(count), if count == 1 { one } else { self.nouns(lang).0 })
    }

    /// Returns the plural noun, and the same as the heading of a column.
    fn nouns(self, lang: Lang) -> (&'static str, &'static str) {
        let messages = lang.messages();
        match self {
            Subject::Reports => (messages.reports, messages.column_reports),
            Subject::Samples => (messages.samples, messages.column_samples),
        }
    }
}

/// Time range with samples by a clock that was corrected or not synchronised, in microseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockRun {
    pub(super) from: i64,
    pub(super) to: i64,
    pub(super) clock: ClockState,
}

/// Data of a chart.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    pub(super) subject: Subject,
    /// Displayed time.
    pub(super) window: Window,
    /// Points of one quantity and unit, ordered by time.
    pub(super) points: Vec<Point>,
    /// Average of the fleet beside samples, ordered by time. Minimum and maximum are not displayed.
    pub(super) average: Vec<Point>,
    /// Microseconds from one report to the next, if known.
    pub(super) period: Option<i64>,
    /// Beginnings of epochs in microseconds, and the numbers of the epochs.
    pub(super) changes: Vec<(i64, i64)>,
    pub(super) clocks: Vec<ClockRun>,
    /// Offset from UTC of the browser's clock.
    pub(super) ahead: tz::Offset,
}

impl Chart {
    /// Creates a chart of these points alone.
    pub(super) fn new(subject: Subject, window: Window, points: Vec<Point>, ahead: tz::Offset) -> Chart {
        let (average, changes, clocks) = (Vec::new(), Vec::new(), Vec::new());
        Chart { subject, window, points, average, period: None, changes, clocks, ahead }
    }

    /// Returns the gaps between reports or samples.
    fn gaps(&self) -> Vec<Gap> {
        gaps::cut(&self.points, self.window.step, self.period, self.window.now).1
    }

    /// Returns the marked clocks, each once.
    fn marked_clocks(&self) -> impl Iterator<Item = ClockState> {
        let has = |clock| self.clocks.iter().any(|run| run.clock == clock);
        [ClockState::Corrected, ClockState::Unsynchronised].into_iter().filter(move |clock| has(*clock))
    }
}

/// Returns the class of a marked clock in the style sheet, and its description.
pub(super) fn clock_class_and_name(clock: ClockState, lang: Lang) -> (&'static str, &'static str) {
    match clock {
        ClockState::Synchronised => ("synchronised", ""),
        ClockState::Corrected => ("corrected", lang.messages().clock_corrected),
        ClockState::Unsynchronised => ("unsynchronised", lang.messages().clock_unsynchronised),
    }
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}
