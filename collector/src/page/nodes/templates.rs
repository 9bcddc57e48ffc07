//! The list of nodes as HTML. The form for the filter is not a part of the sections that change, so that the script does
//! not overwrite what a user types.

use maud::{Markup, html};

use super::model::{NodeRow, NodesModel};
use super::params::{SORTS, ranges};
use super::sparkline::sparkline;
use crate::page::document::{Frame, Live, ago, pager, store_state};
use crate::page::fleet::class_and_name;
use crate::page::navigation::{Navigation, PageKind, hidden_fields};
use crate::page::samples::{clock_note, series_name};

const LIVE: Live = Live { path: "page/nodes", reload: 60 };
/// Maximum number of values that are displayed per node.
const MAX_VALUES: usize = 6;

pub(super) fn page(model: &NodesModel, navigation: &Navigation) -> Markup {
    let params = &model.params.page;
    let frame = Frame {
        params,
        title: format!("{} · Atalaya", params.lang.messages().nodes),
        translated: model.params.address(model.params.part, Some(params.lang.other())),
        live: &LIVE,
        pages: navigation.pages(params, PageKind::Nodes),
    };
    frame.document(&html! { (form(model, navigation)) (live(model)) })
}

fn form(model: &NodesModel, navigation: &Navigation) -> Markup {
    let params = &model.params;
    let lang = params.page.lang;
    let messages = lang.messages();
    let kept = params.page.common().into_iter().filter(|(name, _)| *name != "range").collect::<Vec<_>>();
    html! {
        form.filter method="get" action="nodes" role="search" {
            (navigation.fleet_field(&params.page))
            label {
                span { (messages.find) }
                input type="search" name="find" value=(params.find) maxlength="128" dir="auto";
            }
            label {
                span { (messages.sort) }
                select name="sort" {
                    @for sort in SORTS {
                        option value=(sort.name()) selected[sort == params.sort] { (sort.text(lang)) }
                    }
                }
            }
            label {
                span { (messages.time_range) }
                select name="range" {
                    @for range in ranges() {
                        option value=(range.name) selected[range == params.page.range] { (range.texts(lang).0) }
                    }
                }
            }
            (hidden_fields(&kept))
            button { (messages.show) }
        }
    }
}

/// Renders the sections that change.
pub(super) fn live(model: &NodesModel) -> Markup {
    let lang = model.params.page.lang;
    let messages = lang.messages();
    let nodes = if model.all == 1 { messages.count_of_one_node } else { messages.count_of_nodes };
    let nodes = nodes.replace("{found}", &lang.count(model.found));
    html! {
        (store_state(model.problem.as_deref(), lang))
        section #list.card hidden[model.problem.is_some()] {
            div.head {
                h1 { (messages.nodes) " · " bdi { (model.params.page.fleet) } }
                p.faint {
                    (nodes.replace("{all}", &lang.count(model.all)))
                    @if model.old > 0 { " · " (messages.count_of_old.replace("{}", &lang.count(model.old))) }
                }
            }
            @if model.nodes.is_empty() { p.nothing { (messages.no_nodes) } }
            ul.nodes { @for row in &model.nodes { (node(row, model)) } }
            (pager(lang, model.params.part, model.parts, |part| model.params.address(part, None)))
        }
    }
}

fn node(row: &NodeRow, model: &NodesModel) -> Markup {
    let params = &model.params.page;
    let lang = params.lang;
    let messages = lang.messages();
    let (class, health) = class_and_name(row.condition, lang);
    let id: String = form_urlencoded::byte_serialize(row.name.as_bytes()).collect();
    html! {
        li.(class) {
            p.name {
                span.light aria-hidden="true" {}
                a id=(format!("node-{id}")) href=(params.link("node", &[("node", &row.name)])) { bdi { (row.name) } }
            }
            @if row.latest.is_empty() { p.faint { (messages.no_samples) } }
            ul.values {
                @for sample in row.latest.iter().take(MAX_VALUES) {
                    li {
                        span.faint { (series_name(sample, lang)) }
                        strong { (lang.with_unit(sample.value, sample.unit.as_deref())) }
                        (clock_note(sample, lang))
                    }
                }
            }
            @match row.latest.len().saturating_sub(MAX_VALUES) {
                0 => {},
                1 => p.faint { (messages.one_more_value) },
                more => p.faint { (messages.more_values.replace("{}", &lang.count(more))) },
            }
            @if let (Some(first), false) = (row.latest.first(), row.points.is_empty()) {
                @let name = format!("{}, {}", first.sensor, params.range.texts(lang).0);
                (sparkline(&row.points, &model.window, &name))
            }
            p.faint {
                (health)
                @if let Some(age) = row.age {
                    " · " (ago(lang, age))
                    @if row.is_old { " · " strong.old { (messages.old_data) } }
                }
            }
            @if let Some(problem) = row.status.as_ref().and_then(|node| node.problem.as_ref()) {
                p.problem lang="en" { (problem) }
            }
        }
    }
}
