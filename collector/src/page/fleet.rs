//! Section of the page for the nodes, the leader and the outbox.

use maud::{Markup, html};

use super::gather::View;
use super::state::patience;
use super::view::ago;
use super::words::{Lang, span, unit};
use crate::fleet::{Health, Node, Status, Told};

/// Maximum number of nodes that are displayed.
const NODES: usize = 240;
/// Number of readings that are displayed per node.
const READINGS: usize = 4;
/// Size of the outbox that is normal: most of the time one report is being sent.
const USUAL_WAIT: u64 = 3;

/// Returns the id in `atalaya/0.1.0 (node 1)`.
fn node_of(reporter: &str) -> Option<&str> {
    reporter.strip_suffix(')')?.split_once("(node ").map(|(_, id)| id)
}

pub(super) fn fleet(view: &View) -> Markup {
    let lang = view.asked.lang;
    let newest = view.epoch.as_ref();
    let told = view.told.as_ref().map(|(told, age)| (&told.status, *age));
    // The status of a deposed leader does not describe the current leader.
    let current = told.filter(|(status, _)| newest.is_none_or(|newest| newest.epoch <= status.epoch));
    let reporter = newest.and_then(|newest| node_of(newest.reporter.as_deref()?));
    let leader = current.map(|(status, _)| status.leader.as_str()).or(reporter);
    if told.is_none() && newest.is_none() {
        return html! { section #fleet hidden {} };
    }
    html! {
        section #fleet.card {
            h2 { (lang.say("The fleet", "La flota")) }
            dl.facts {
                div { dt { (lang.say("Leader", "Líder")) } dd { (leader.unwrap_or("–")) } }
                @if let Some((status, age)) = told {
                    @if let Some(since) = view.told.as_ref().and_then(|(told, age)| leading_for(told, *age)) { div { dt { (lang.say("leads for", "lidera desde hace")) } dd { (span(since)) } } }
                    div.bad[status.waiting > USUAL_WAIT] {
                        dt { (lang.say("Reports waiting", "Informes en espera")) }
                        dd { (lang.count(i64::try_from(status.waiting).unwrap_or(i64::MAX))) }
                    }
                    div { dt { (lang.say("Nodes", "Nodos")) } dd { (status.nodes.len() as u64 + status.more) } }
                    div.bad[age > 20.0] { dt { (lang.say("Last heard", "Última señal")) } dd { (ago(lang, age)) } }
                }
                @if let Some(epoch) = newest.map(|newest| newest.epoch).max(told.map(|(status, _)| status.epoch)) {
                    div { dt { (lang.say("Epoch", "Época")) } dd.small { (epoch) } }
                }
            }
            @if let Some((status, age)) = told { (nodes(status, age, view.period, leader, lang)) }
        }
    }
}

/// Returns the seconds for which the leader has led: up to the arrival of its status by the wall clocks, since then by
/// the monotonic clock. `None` if its clock is more than a minute ahead, because the time is then meaningless.
fn leading_for(told: &Told, age: f64) -> Option<f64> {
    let before = told.received.duration_since(told.status.since?).as_secs_f64();
    (before > -60.0).then(|| before.max(0.0) + age)
}

fn nodes(status: &Status, age: f64, period: Option<f64>, leader: Option<&str>, lang: Lang) -> Markup {
    let mut shown: Vec<(&Node, Condition)> =
        status.nodes.iter().map(|node| (node, condition(node, age, period))).collect();
    // In a large fleet, unhealthy nodes come first.
    if shown.len() > 24 {
        shown.sort_by_key(|(_, condition)| *condition);
    }
    let hidden = shown.len().saturating_sub(NODES) as u64 + status.more;
    html! {
        ul.nodes.old[age > 20.0] {
            @for (node, condition) in shown.iter().take(NODES) {
                li.(condition.name()) {
                    p.name {
                        span.light aria-hidden="true" {}
                        strong { (node.id) }
                        @if Some(node.id.as_str()) == leader { span.badge { (lang.say("leads", "lidera")) } }
                    }
                    p.readings {
                        @for reading in node.readings.iter().take(READINGS) {
                            span { (lang.measured(reading.value)) " " (unit(reading.unit.as_deref())) }
                        }
                        @if node.readings.is_empty() { span.faint { "–" } }
                    }
                    p.faint {
                        (condition.words(lang))
                        @if let Some(measured) = node.age { " · " (ago(lang, measured + age)) }
                        @if let Some(host) = &node.host { " · " (host) }
                    }
                    @if let Some(problem) = &node.problem { p.problem lang="en" { (problem) } }
                }
            }
        }
        @if hidden > 0 {
            p.faint { (lang.say("and ", "y ")) (hidden) (lang.say(" more", " más")) }
        }
    }
}

/// Condition of a node, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Condition {
    Failing,
    Late,
    Unknown,
    Ok,
}

fn condition(node: &Node, age: f64, period: Option<f64>) -> Condition {
    match node.health {
        Health::Failing => Condition::Failing,
        _ if node.age.is_none_or(|measured| measured + age > patience(period) + 5.0) => Condition::Late,
        Health::Ok => Condition::Ok,
        Health::Unknown => Condition::Unknown,
    }
}

impl Condition {
    fn name(self) -> &'static str {
        match self {
            Condition::Failing => "failing",
            Condition::Late => "late",
            Condition::Unknown => "unknown",
            Condition::Ok => "ok",
        }
    }

    fn words(self, lang: Lang) -> &'static str {
        match self {
            Condition::Failing => lang.say("failing", "con fallos"),
            Condition::Late => lang.say("silent", "en silencio"),
            Condition::Unknown => lang.say("measures", "mide"),
            Condition::Ok => lang.say("well", "bien"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_a_node_is() {
        let node = |health, age| {
            let node =
                Node { id: "1".to_owned(), age, health, problem: None, host: None, readings: Vec::new() };
            condition(&node, 2.0, Some(1.0))
        };
        assert_eq!(node(Health::Ok, Some(1.0)), Condition::Ok);
        assert_eq!(node(Health::Ok, Some(8.0)), Condition::Late);
        assert_eq!(node(Health::Ok, None), Condition::Late);
        assert_eq!(node(Health::Failing, None), Condition::Failing);
        assert_eq!(node(Health::Unknown, Some(1.0)), Condition::Unknown);
    }

    #[test]
    fn who_reports_says_which_node_it_is() {
        assert_eq!(node_of("atalaya/0.1.0 (node pi-3)"), Some("pi-3"));
        assert_eq!(node_of("curl/8.0"), None);
    }
}
