//! The page of a node as HTML.

use jiff::Timestamp;
use maud::{Markup, html};

use super::model::{NodeModel, SeriesChart};
use crate::page::chart;
use crate::page::document::{Frame, Live, ago, pager, store_state};
use crate::page::fleet::class_and_name;
use crate::page::navigation::{Navigation, PageKind};
use crate::page::range::RANGES;
use crate::page::samples::{clock_note, series_name};

const LIVE: Live = Live { path: "page/node", reload: 60 };

pub(super) fn page(model: &NodeModel, navigation: &Navigation) -> Markup {
    let params = &model.params.page;
    let frame = Frame {
        params,
        title: format!("{} · Atalaya", model.params.node),
        translated: model.params.address(&params.in_lang(params.lang.other()), model.params.part),
        live: &LIVE,
        pages: navigation.pages(params, PageKind::Node),
    };
    frame.document(&live(model))
}

/// Renders the sections that change.
pub(super) fn live(model: &NodeModel) -> Markup {
    let params = &model.params;
    let lang = params.page.lang;
    let messages = lang.messages();
    let (class, health) = class_and_name(model.condition, lang);
    html! {
        (store_state(model.problem.as_deref(), lang))
        section #node hidden[model.problem.is_some()] {
            div.head {
                h1.(class) {
                    span.light aria-hidden="true" {}
                    bdi { (model.params.node) }
                    span.faint {
                        (health)
                        @if !model.params.page.fleet.is_default() { " · " (model.params.page.fleet) }
                    }
                }
                nav.ranges aria-label=(messages.time_range) {
                    @for range in RANGES {
                        @let (title, label) = range.texts(lang);
                        @let address = params.address(&params.page.in_range(range), params.part);
                        a id=(format!("range-{}", range.name)) href=(address) title=(title)
                            aria-current=[(range == model.params.page.range).then_some("true")] { (label) }
                    }
                }
            }
            @if let Some(problem) = model.status.as_ref().and_then(|node| node.problem.as_ref()) {
                p.problem lang="en" { (problem) }
            }
            @if model.series.is_empty() { p.nothing { (messages.no_samples) } }
            @for (at, series) in model.series.iter().enumerate() { (series_card(at, series, model)) }
            (pager(lang, params.part, model.parts, |part| params.address(&params.page, part)))
        }
    }
}

fn series_card(at: usize, series: &SeriesChart, model: &NodeModel) -> Markup {
    let lang = model.params.page.lang;
    let messages = lang.messages();
    let latest = &series.latest;
    html! {
        article.card {
            div.head {
                h2 { (series_name(latest, lang)) }
                p.latest {
                    strong { (lang.with_unit(latest.value, latest.unit.as_deref())) }
                    " "
                    span.faint {
                        (ago(lang, series.age))
                        @if series.is_old { " · " strong.old { (messages.old_data) } }
                    }
                    (clock_note(latest, lang))
                }
            }
            (chart::figure(&series.chart, lang, &format!("table-{at}")))
            p.small { a href=(csv(series, model)) download { (messages.as_csv) } }
        }
    }
}

/// Returns the address of the displayed data as CSV.
fn csv(series: &SeriesChart, model: &NodeModel) -> String {
    let (window, latest) = (&series.chart.window, &series.latest);
    let time = |micros: i64| Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_string();
    let mut query = form_urlencoded::Serializer::new("api/v1/measurements?".to_owned());
    let fleet = &model.params.page.fleet;
    query.append_pair("fleet", fleet.fleet().as_str());
    if let Some(zone) = fleet.zone() {
        query.append_pair("zone", zone.as_str());
    }
    for (name, value) in [("node", &latest.node), ("sensor", &latest.sensor), ("quantity", &latest.quantity)]
    {
        query.append_pair(name, value);
    }
    query.append_pair("from", &time(window.from)).append_pair("to", &time(window.to));
    query.append_pair("format", "csv").finish()
}
