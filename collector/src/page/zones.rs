//! Averages over all zones of a fleet, and the section of the page for the zones.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::document::ago;
use super::i18n::unit;
use super::params::PageParams;
use crate::app::App;
use crate::fleet_name::FleetName;
use crate::moments::{Moments, merge};
use crate::problem::Problem;
use crate::report::{Record, Report};
use crate::store::{Filter, Point};
use crate::zones::{CombinedPoint, Zone, combine, names, sums, zones};

/// Zone with its latest reports.
#[derive(Debug)]
pub(super) struct ZoneRow {
    zone: Zone,
    latest: Vec<Record>,
}

/// Zones of the displayed fleet.
#[derive(Debug, Default)]
pub(super) struct ZoneRows {
    rows: Vec<ZoneRow>,
    /// Number of displayed steps in which zones are missing.
    incomplete: usize,
}

/// Returns true if the address selects a whole fleet that has zones.
pub(super) async fn are_wanted(app: &App, params: &PageParams) -> Result<bool, Problem> {
    Ok(params.is_whole && names(app, &params.fleet).await?.iter().any(|name| name.zone().is_some()))
}

impl ZoneRows {
    /// Reads the zones of a fleet and their latest reports.
    pub(super) async fn load(app: &App, fleet: &FleetName) -> Result<ZoneRows, Problem> {
        let mut rows = Vec::new();
        for zone in zones(app, fleet).await? {
            let latest = app.with_store_timeout(app.store.latest(&zone.name)).await?;
            rows.push(ZoneRow { zone, latest });
        }
        Ok(ZoneRows { rows, incomplete: 0 })
    }

    /// Returns true if the page displays a fleet with all of its zones.
    pub(super) fn are_shown(&self) -> bool {
        !self.rows.is_empty()
    }

    /// Returns the zone whose last report is the newest one.
    pub(super) fn newest(&self) -> Option<&Zone> {
        let zones = self.rows.iter().map(|row| &row.zone);
        zones.min_by(|one, other| one.age.total_cmp(&other.age))
    }

    /// Returns the latest reports of the zones that report, combined by quantity and unit. If none does, those of all.
    pub(super) fn latest(&self) -> Vec<Record> {
        let any_reports = self.rows.iter().any(|row| !row.zone.is_late());
        let current = self.rows.iter().filter(|row| !any_reports || !row.zone.is_late());
        combined_reports(current.flat_map(|row| &row.latest).map(|record| &record.report))
    }

    /// Reads the combined steps of one quantity and unit, with at most `limit` of each zone, and counts the incomplete ones.
    pub(super) async fn read(
        &mut self,
        app: &App,
        filter: &Filter,
        (step, limit): (i64, usize),
    ) -> Result<Vec<Point>, Problem> {
        let mut steps = combine(&sums(app, filter, step, limit).await?, step);
        // A filter cannot select reports without a quantity.
        steps.retain(|step| step.quantity == filter.quantity && step.unit == filter.unit);
        self.incomplete = steps.iter().filter(|step| !step.missing.is_empty()).count();
        Ok(steps.into_iter().map(point).collect())
    }
}

fn point(step: CombinedPoint) -> Point {
    let CombinedPoint { time, quantity, unit, reports, mean, min, max, .. } = step;
    Point { time, quantity, unit, reports, mean, min, max }
}

/// Returns a report per quantity and unit over the reports of several zones, by quantity and unit.
fn combined_reports<'a>(reports: impl Iterator<Item = &'a Report>) -> Vec<Record> {
    let mut kinds: BTreeMap<_, (Option<Moments>, Report)> = BTreeMap::new();
    for report in reports.filter(|report| Moments::of(report).is_some()) {
        let (moments, all) =
            kinds.entry((&report.quantity, &report.unit)).or_insert_with(|| (None, first(report)));
        *moments = merge(*moments, Moments::of(report));
        all.min = lowest(all.min, report.min.unwrap_or(report.mean));
        all.max = lowest(all.max.map(|max| -max), -report.max.unwrap_or(report.mean)).map(|max| -max);
        all.excluded = all.excluded.zip(report.excluded).map(|(all, own)| all.saturating_add(own));
        all.time = all.time.min(report.time);
        all.received = all.received.max(report.received);
    }
    let record = |(moments, all): (Option<Moments>, Report)| {
        let moments = moments?;
        let (mean, stddev, count) = (moments.mean, moments.stddev(), Some(moments.readings));
        Some(Record { id: 0, report: Report { mean, stddev, count, ..all } })
    };
    kinds.into_values().filter_map(record).collect()
}

/// Returns the report to which those of all zones are added.
fn first(report: &Report) -> Report {
    Report {
        quantity: report.quantity.clone(),
        unit: report.unit.clone(),
        excluded: Some(0),
        time: report.time,
        ..Report::bare(report.mean, report.received)
    }
}

fn lowest(known: Option<f64>, other: f64) -> Option<f64> {
    Some(known.map_or(other, |known| known.min(other)))
}

/// Renders the zones with their state: a link to the page of each.
/// `shown` is the report that is displayed large.
pub(super) fn section(zones: &ZoneRows, params: &PageParams, shown: Option<&Report>) -> Markup {
    let ZoneRows { rows, incomplete } = zones;
    let lang = params.lang;
    let messages = lang.messages();
    if rows.is_empty() {
        return html! { section #zones hidden {} };
    }
    let live = rows.iter().filter(|row| !row.zone.is_late()).count();
    let text = messages.zones_reporting.replace("{live}", &live.to_string());
    html! {
        section #zones.card {
            div.head {
                h2 { (messages.zones) }
                p.faint { (text.replace("{all}", &rows.len().to_string())) }
            }
            ul.nodes {
                @for row in rows { (zone(row, params, shown)) }
            }
            @if *incomplete > 0 {
                p.faint { (messages.incomplete_steps.replace("{}", &incomplete.to_string())) }
            }
            p.faint { (messages.zones_note) }
        }
    }
}

fn zone(ZoneRow { zone, latest }: &ZoneRow, params: &PageParams, shown: Option<&Report>) -> Markup {
    let lang = params.lang;
    let messages = lang.messages();
    let (class, state) = if zone.is_late() { ("late", messages.no_reports) } else { ("ok", messages.live) };
    let name = zone.zone();
    let id: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    let is_chosen = |own: &&Record| {
        shown.is_some_and(|shown| (&shown.quantity, &shown.unit) == (&own.report.quantity, &own.report.unit))
    };
    html! {
        li.(class) {
            p.name {
                span.light aria-hidden="true" {}
                a id=(format!("zone-{id}")) href=(params.in_fleet(zone.name.clone(), false).link("./", &[])) {
                    @if name.is_empty() { (messages.without_zone) } @else { bdi { (name) } }
                }
            }
            p.readings {
                @match latest.iter().find(is_chosen) {
                    Some(Record { report, .. }) => span {
                        (lang.measured(report.mean)) " " (unit(report.unit.as_deref()))
                    },
                    None => span.faint { "–" },
                }
            }
            p.faint { (state) " · " (ago(lang, zone.age)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn reports_of_zones_are_combined_by_quantity_and_unit() {
        let report = |unit: &str, mean, count, (min, max)| Report {
            unit: Some(unit.to_owned()),
            count: Some(count),
            stddev: Some(0.0),
            excluded: Some(1),
            min: Some(min),
            max: Some(max),
            ..Report::bare(mean, Timestamp::UNIX_EPOCH)
        };
        let bare = Report::bare(99.0, Timestamp::UNIX_EPOCH);
        let reports = [
            report("Cel", 20.0, 3, (19.0, 21.0)),
            report("%RH", 40.0, 1, (40.0, 40.0)),
            bare,
            report("Cel", 30.0, 1, (30.0, 30.0)),
        ];
        let combined = combined_reports(reports.iter());
        let short: Vec<_> = combined
            .iter()
            .map(|Record { report, .. }| {
                (report.unit.as_deref(), report.mean, report.count, report.min, report.max)
            })
            .collect();
        let expected = [
            (Some("%RH"), 40.0, Some(1), Some(40.0), Some(40.0)),
            (Some("Cel"), 22.5, Some(4), Some(19.0), Some(30.0)),
        ];
        assert_eq!(short, expected);
        assert_eq!(combined[1].report.excluded, Some(2));
        assert!((combined[1].report.stddev.unwrap() - 18.75_f64.sqrt()).abs() < 1e-12);
    }
}
