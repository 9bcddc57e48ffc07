//! The page as HTML. The parts that change are sections with ids, which the script replaces one by one.

use maud::{Markup, html};

use super::chart;
use super::document::{Frame, Live, ago};
use super::fleet::fleet;
use super::i18n::{Lang, span, unit};
use super::model::PageModel;
use super::navigation::{Navigation, PageKind};
use super::range::RANGES;
use super::status::ReportStatus;
use super::tasks::tasks;
use super::zones;
use crate::report::{Record, Report};

const LIVE: Live = Live { path: "page/live", reload: 10 };

pub(super) fn page(model: &PageModel, navigation: &Navigation) -> Markup {
    let params = &model.params;
    let title = match model.report() {
        Some(report) => format!("{} · Atalaya", params.lang.with_unit(report.mean, report.unit.as_deref())),
        None => "Atalaya".to_owned(),
    };
    let frame = Frame {
        params,
        title,
        translated: params.with_lang(params.lang.other()),
        live: &LIVE,
        pages: navigation.pages(params, PageKind::Averages),
    };
    frame.document(&html! { (navigation.fleet_form(params)) (live(model)) })
}

/// Renders the sections that change.
pub(super) fn live(model: &PageModel) -> Markup {
    html! {
        (status(model))
        (now(model))
        (history(model))
        (zones::section(&model.zones, &model.params, model.report()))
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

fn now(model: &PageModel) -> Markup {
    let lang = model.params.lang;
    let Some(report) = model.report() else { return html! { section #now hidden {} } };
    html! {
        section #now.card {
            div.hero {
                h1 { (lang.quantity(report.quantity.as_deref())) }
                p.value data-spoken=(lang.with_unit(report.mean, report.unit.as_deref())) {
                    span.number { (lang.measured(report.mean)) }
                    @let unit = unit(report.unit.as_deref());
                    @if !unit.is_empty() { " " span.unit { (unit) } }
                }
                p.under {
                    (if model.zones.are_shown() { lang.messages().zones_average } else { lang.messages().fleet_average })
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
                strong { (lang.with_unit(report.mean, report.unit.as_deref())) }
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
            @if let Some(chart) = &model.chart { (chart::figure(chart, lang, "table")) }
        }
    }
}
