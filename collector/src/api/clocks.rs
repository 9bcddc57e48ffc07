//! Comparison of reports with the collector's clock and with the recorded epochs.

use jiff::Timestamp;

use crate::app::App;
use crate::fleet_name::FleetName;
use crate::plausibility::Clock;
use crate::problem::Problem;
use crate::report::Report;

/// Returns the highest recorded epoch of a fleet.
pub(super) async fn highest_epoch(app: &App, fleet: &FleetName) -> Result<Option<i64>, Problem> {
    Ok(app.with_store_timeout(app.store.epochs(fleet, 1)).await?.first().map(|epoch| epoch.epoch))
}

/// Refuses reports of a fleet whose time or epoch is ahead of the collector's clock, before any of them is recorded.
pub(super) async fn check_clocks(
    app: &App,
    fleet: &FleetName,
    reports: &[Report],
    received: Timestamp,
) -> Result<(), Problem> {
    let clock = Clock::new(received, app.options.limits.max_clock_skew);
    for (at, report) in reports.iter().enumerate() {
        clock.check_time(report.time).map_err(|invalid| match reports.len() {
            1 => Problem::from(invalid),
            _ => Problem::from(invalid.of(format_args!("report {at}"))),
        })?;
    }
    let Some(epoch) = reports.iter().filter_map(|report| report.epoch).max() else { return Ok(()) };
    if clock.check_epoch(epoch, None).is_ok() {
        return Ok(());
    }
    let highest = highest_epoch(app, fleet).await?;
    clock.check_epoch(epoch, highest).map_err(|ahead| Problem::ahead(ahead, &clock.skew()))
}
