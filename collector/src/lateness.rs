//! Times at which reports should arrive, and whether they do.

use std::time::Instant;

use jiff::Timestamp;

use crate::app::App;
use crate::fleet::Status;
use crate::fleet_name::FleetName;
use crate::report::Record;

/// Number of newest reports from whose arrivals the period is computed.
pub(crate) const NEWEST: usize = 64;
/// Minimum pause between two cycles, in microseconds: no fleet is read more often.
const MIN_PAUSE: i64 = 50_000;

/// Returns the seconds after which an event that should occur every `period` seconds counts as missing.
pub(crate) fn stale_after(period: Option<f64>) -> f64 {
    period.map_or(30.0, |period| 3.0 * period + 1.0)
}

/// Returns the seconds from one cycle to the next: the period in the fleet status, or otherwise the median pause
/// between the arrivals of reports, which are in the order of their ids.
pub(crate) fn period(status: Option<&Status>, arrivals: &[Record]) -> Option<f64> {
    if let Some(period) = status.and_then(|status| status.period).filter(|period| *period > 0.0) {
        return Some(period);
    }
    let received = |record: &Record| record.report.received.as_microsecond();
    let mut pauses: Vec<i64> =
        arrivals.windows(2).map(|pair| received(&pair[1]) - received(&pair[0])).collect();
    // The reports of one cycle arrive at almost the same time.
    pauses.retain(|pause| *pause >= MIN_PAUSE);
    pauses.sort_unstable();
    pauses.get(pauses.len() / 2).map(|pause| *pause as f64 / 1e6)
}

/// Returns the seconds since the arrival of the last report of a fleet. The clocks of the fleet do not matter.
pub(crate) fn age(app: &App, fleet: &FleetName, last: &Record, now: Timestamp) -> f64 {
    let monotonic = app.fleets().since_arrival(fleet, last.id, Instant::now()).map(|age| age.as_secs_f64());
    monotonic.unwrap_or_else(|| now.duration_since(last.report.received).as_secs_f64().max(0.0))
}
