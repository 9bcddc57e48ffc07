//! The page as HTML. The parts that change are sections with ids, which the script replaces one by one.

use maud::{Markup, PreEscaped, html};

use super::assets;
use super::chart;
use super::document::{ago, document};
use super::fleet::fleet;
use super::i18n::{Lang, span, unit};
use super::model::PageModel;
use super::range::RANGES;
use super::status::ReportStatus;
use super::tasks::tasks;
use crate::report::{Record, Report};

pub(super) fn page(model: &PageModel, may_leave: bool) -> Markup {
    let lang = model.params.lang;
    let messages = lang.messages();
    let title = match model.report() {
        Some(report) => format!("{} · Atalaya", value(report, lang)),
        None => "Atalaya".to_owned(),
    };
    let other = lang.other();
    let other_code = other.messages().code;
    let body = html! {
        a.skip href="#main" { (messages.skip) }
        header {
            a.brand href="./" {
                (PreEscaped(assets::TOWER))
                span { "Atalaya" }
            }
            nav.small aria-label=(messages.language) {
                a href=(model.params.with_lang(other)) hreflang=(other_code) lang=(other_code) { (messages.other_language) }
                @if may_leave {
                    form method="post" action="sign-out" { button.link { (messages.sign_out) } }
                }
            }
        }
        p #spoken.unseen role="status" aria-live="polite" {}
        main #main {
            div #away.banner.bad hidden role="alert" {
                strong { (messages.no_answer) }
                " "
                span { (messages.data_from) span.age data-age="0" {} "." }
            }
            (live(model))
        }
        footer {
            p {
                a href="api/v1/openapi.json" { "API" }
                " · "
                a href="metrics" { (messages.metrics) }
                " · Atalaya " (env!("CARGO_PKG_VERSION"))
            }
        }
    };
    document(lang, &title, true, &body)
}

/// Renders the sections that change.
pub(super) fn live(model: &PageModel) -> Markup {
    html! {
        (status(model))
        (now(model))
        (history(model))
        (fleet(model))
        (tasks(model))
    }
}

/// Renders the status. It has no ARIA alert: the script replaces this section every second and announces only the
/// changes.
fn status(model: &PageModel) -> Markup {
    let lang = model.params.lang;
    let messages = lang.messages();
    // The name is for the style sheet and the script.
    let (name, title) = match &model.status {
        ReportStatus::Live => ("live", messages.live),
        ReportStatus::Empty => ("empty", messages.waiting),
        ReportStatus::Late(_) => ("late", messages.no_reports),
        ReportStatus::Behind(_) => ("behind", messages.catching_up),
        ReportStatus::Store(_) => ("store", messages.storage_unavailable),
    };
    html! {
        section #state data-state=(name) {
            p.pill.(name) {
                span.light aria-hidden="true" {}
                (title)
                @if let Some(age) = model.age { " · " span { (ago(lang, age)) } }
            }
            @match &model.status {
                ReportStatus::Live => {}
                ReportStatus::Empty => div.banner.calm {
                    strong { (messages.no_report_yet) } " " (messages.configure_fleet)
                    code { "--api-url http://…/nuevo" }
                },
                ReportStatus::Late(age) => div.banner.bad {
                    strong { (messages.no_report_for.replace("{}", &span(*age))) } " " (messages.outage)
                },
                ReportStatus::Behind(delay) => div.banner.warn {
                    strong { (messages.catching_up) "." } " " (messages.delayed.replace("{}", &span(*delay)))
                },
                ReportStatus::Store(reason) => div.banner.bad {
                    strong { (messages.store_failed) } " " span lang="en" { (reason) } ". " (messages.fleet_keeps)
                },
            }
        }
    }
}

/// Formats a value with its unit, such as `21.48 °C`.
fn value(report: &Report, lang: Lang) -> String {
    let unit = unit(report.unit.as_deref());
    format!("{} {unit}", lang.measured(report.mean)).trim_end().to_owned()
}

fn now(model: &PageModel) -> Markup {
    let lang = model.params.lang;
    let Some(report) = model.report() else { return html! { section #now hidden {} } };
    html! {
        section #now.card {
            div.hero {
                h1 { (lang.quantity(report.quantity.as_deref())) }
                p.value data-spoken=(value(report, lang)) {
                    span.number { (lang.measured(report.mean)) }
                    @let unit = unit(report.unit.as_deref());
                    @if !unit.is_empty() { " " span.unit { (unit) } }
                }
                p.under {
                    (lang.messages().fleet_average)
                    @if let Some(cycle) = report.cycle {
                        " · " (lang.messages().cycle) " " span.nobreak { (lang.count(cycle)) }
                    }
                }
            }
            (spread(report, lang))
            @if model.kinds.len() > 1 {
                ul.kinds aria-label=(lang.messages().quantities) {
                    @for (at, record) in model.kinds.iter().enumerate() { (kind(model, at, record)) }
                }
            }
        }
    }
}

fn spread(report: &Report, lang: Lang) -> Markup {
    let number = |value: Option<f64>| value.map_or("–".to_owned(), |value| lang.measured(value));
    let count = |value: Option<i64>| value.map_or("–".to_owned(), |value| lang.count(value));
    let messages = lang.messages();
    let has_excluded = report.excluded.is_some_and(|count| count > 0);
    let values = [
        (messages.min, number(report.min), false),
        (messages.max, number(report.max), false),
        (messages.stddev, number(report.stddev), false),
        (messages.measured, count(report.count), false),
        (messages.excluded, count(report.excluded), has_excluded),
    ];
    html! {
        dl.spread {
            @for (name, value, warn) in &values {
                div.warn[*warn] { dt { (name) } dd { (value) } }
            }
        }
    }
}

fn kind(model: &PageModel, at: usize, record: &Record) -> Markup {
    let lang = model.params.lang;
    let report = &record.report;
    html! {
        li {
            a id=(format!("kind-{at}")) href=(model.params.with_kind(report)) aria-current=[(at == model.chosen).then_some("true")] {
                span { (lang.quantity(report.quantity.as_deref())) }
                strong { (value(report, lang)) }
            }
        }
    }
}

fn history(model: &PageModel) -> Markup {
    let lang = model.params.lang;
    let messages = lang.messages();
    let range = model.params.range;
    html! {
        section #history.card hidden[model.chart.is_none()] {
            div.head {
                h2 { (range.texts(lang).0) }
                nav.ranges aria-label=(messages.time_range) {
                    @for other in RANGES {
                        @let (title, label) = other.texts(lang);
                        a id=(format!("range-{}", other.name)) href=(model.params.with_range(other))
                            aria-current=[(other == range).then_some("true")] title=(title) { (label) }
                    }
                }
            }
            @if let Some(chart) = &model.chart {
                @let summary = summary(model, chart);
                (chart::draw(chart, lang, &summary))
                ul.legend aria-hidden="true" {
                    li.mean { (messages.legend_mean) }
                    li.band { (messages.legend_band) }
                    @if !chart.gaps().is_empty() { li.gap { (messages.legend_gap) } }
                    @if !chart.changes.is_empty() { li.epoch { (messages.legend_epoch) } }
                    li.zone { (zone(chart.ahead.seconds())) }
                }
                p.summary { (summary) }
                details #table {
                    summary { (messages.as_table) }
                    div.scroll tabindex="0" role="region" aria-label=(messages.averages_as_table) {
                        (chart::table(chart, lang))
                    }
                }
            }
        }
    }
}

/// Formats an offset, such as `UTC+2`.
fn zone(ahead: i32) -> String {
    let (hours, minutes) = (ahead / 3_600, ahead.abs() / 60 % 60);
    match (ahead, minutes) {
        (0, _) => "UTC".to_owned(),
        (_, 0) => format!("UTC{hours:+}"),
        _ => format!("UTC{}{}:{minutes:02}", if ahead < 0 { "-" } else { "+" }, hours.abs()),
    }
}

/// Returns a description of the chart for people who cannot see it.
fn summary(model: &PageModel, chart: &chart::Chart) -> String {
    let lang = model.params.lang;
    let messages = lang.messages();
    let Some(whole) = chart.whole() else { return String::new() };
    let unit = unit(whole.unit.as_deref());
    let number = |value| format!("{} {unit}", lang.measured(value)).trim_end().to_owned();
    let mut text = messages
        .summary
        .replace("{reports}", &lang.count(whole.reports))
        .replace("{mean}", &number(whole.mean))
        .replace("{min}", &number(whole.min))
        .replace("{max}", &number(whole.max));
    for (count, one, more) in [
        (chart.gaps().len(), messages.gap, messages.gaps),
        (chart.changes.len(), messages.leader_change, messages.leader_changes),
    ] {
        match count {
            0 => {}
            1 => text += &format!("; 1 {one}"),
            count => text += &format!("; {count} {more}"),
        }
    }
    text + "."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zone_is_an_offset_from_utc() {
        let zones: Vec<_> = [0, 7_200, -12_600, 20_700].into_iter().map(zone).collect();
        assert_eq!(zones, ["UTC", "UTC+2", "UTC-3:30", "UTC+5:45"]);
    }
}
