//! Section of the page for the nodes, the leader and the outbox.

use maud::{Markup, html};

use super::document::ago;
use super::findings;
use super::i18n::{Lang, span, unit};
use super::model::PageModel;
use super::status::stale_after;
use crate::fleet::{FleetSnapshot, Health, Node, Status};

/// Maximum number of nodes that are displayed.
const MAX_NODES: usize = 240;
/// Number of readings that are displayed per node.
const MAX_READINGS: usize = 4;
/// Size of the outbox that is normal: most of the time one report is being sent.
const USUAL_OUTBOX: u64 = 3;

/// Returns the id in `atalaya/0.1.0 (node 1)`.
fn node_of(reporter: &str) -> Option<&str> {
    reporter.strip_suffix(')')?.split_once("(node ").map(|(_, id)| id)
}

pub(super) fn fleet(model: &PageModel) -> Markup {
    let lang = model.params.lang;
    let messages = lang.messages();
    let newest = model.epoch.as_ref();
    let fleet = model.fleet.as_ref().map(|(snapshot, age)| (snapshot, *age));
    // The status of a deposed leader does not describe the current leader.
    let current =
        fleet.filter(|(snapshot, _)| newest.is_none_or(|newest| newest.epoch <= snapshot.status.epoch));
    let reporter = newest.and_then(|newest| node_of(newest.reporter.as_deref()?));
    let leader = current.map(|(snapshot, _)| snapshot.status.leader.as_str()).or(reporter);
    if fleet.is_none() && newest.is_none() {
        return html! { section #fleet hidden {} };
    }
    let epoch = newest.map(|newest| newest.epoch).max(fleet.map(|(snapshot, _)| snapshot.status.epoch));
    html! {
        section #fleet.card {
            h2 { (messages.fleet) }
            dl.facts {
                div { dt { (messages.leader) } dd { (leader.unwrap_or("–")) } }
                @if let Some((snapshot, age)) = fleet {
                    @let status = &snapshot.status;
                    @if let Some(seconds) = leading_for(snapshot, age) {
                        div { dt { (messages.leader_for) } dd { (span(seconds)) } }
                    }
                    div.bad[status.waiting > USUAL_OUTBOX] {
                        dt { (messages.reports_waiting) }
                        dd { (lang.count(status.waiting)) }
                    }
                    div { dt { (messages.nodes) } dd { (status.nodes.len() as u64 + status.more) } }
                    div.bad[age > 20.0] { dt { (messages.last_status) } dd { (ago(lang, age)) } }
                }
                @if let Some(epoch) = epoch {
                    div { dt { (messages.epoch) } dd.small { (epoch) } }
                }
            }
            @if let Some(findings) = fleet.and_then(|(snapshot, _)| snapshot.status.findings.as_ref()) {
                (findings::findings(findings, lang))
            }
            @if let Some((snapshot, age)) = fleet { (nodes(&snapshot.status, age, leader, model)) }
        }
    }
}

/// Returns the seconds for which the leader has led: up to the arrival of its status by the wall clocks, since then by
/// the monotonic clock. `None` if its clock is more than a minute ahead, because the time is then meaningless.
fn leading_for(snapshot: &FleetSnapshot, age: f64) -> Option<f64> {
    let before = snapshot.received.duration_since(snapshot.status.since?).as_secs_f64();
    (before > -60.0).then(|| before.max(0.0) + age)
}

fn nodes(status: &Status, age: f64, leader: Option<&str>, model: &PageModel) -> Markup {
    let (lang, period) = (model.params.lang, model.period);
    let mut shown: Vec<(&Node, NodeCondition)> =
        status.nodes.iter().map(|node| (node, condition(node, age, period))).collect();
    // In a large fleet, unhealthy nodes come first.
    if shown.len() > 24 {
        shown.sort_by_key(|(_, condition)| *condition);
    }
    let hidden = shown.len().saturating_sub(MAX_NODES) as u64 + status.more;
    html! {
        ul.nodes.old[age > 20.0] {
            @for (node, condition) in shown.iter().take(MAX_NODES) {
                @let (class, name) = class_and_name(*condition, lang);
                li.(class) {
                    p.name {
                        span.light aria-hidden="true" {}
                        (node_name(&node.id, model))
                        @if is_outlier(status, &node.id) { span.badge.bad { (lang.messages().outlier_badge) } }
                        @if Some(node.id.as_str()) == leader { span.badge { (lang.messages().leader_badge) } }
                    }
                    p.readings {
                        @for reading in node.readings.iter().take(MAX_READINGS) {
                            span { (lang.measured(reading.value)) " " (unit(reading.unit.as_deref())) }
                        }
                        @if node.readings.is_empty() { span.faint { "–" } }
                    }
                    p.faint {
                        (name)
                        @if let Some(measured) = node.age { " · " (ago(lang, measured + age)) }
                        @if let Some(host) = &node.host { " · " (host) }
                        @if let Some(group) = &node.group { " · " (group) }
                        @if node.standby { " · " (lang.messages().standby) }
                    }
                    @if let Some(problem) = &node.problem { p.problem lang="en" { (problem) } }
                }
            }
        }
        @if hidden > 0 {
            p.faint { (lang.messages().more_nodes.replace("{}", &hidden.to_string())) }
        }
    }
}

/// Renders the name of a node: a link to its page if it has samples.
fn node_name(name: &str, model: &PageModel) -> Markup {
    let id: String = form_urlencoded::byte_serialize(name.as_bytes()).collect();
    html! {
        @if model.sampled.contains(name) {
            a id=(format!("node-{id}")) href=(model.params.link("node", &[("node", name)])) { bdi { (name) } }
        } @else {
            strong { (name) }
        }
    }
}

/// Returns true if a reading of the node is far from the others.
fn is_outlier(status: &Status, node: &str) -> bool {
    status.findings.iter().flat_map(|findings| &findings.outliers).any(|outlier| outlier.node == node)
}

/// Condition of a node, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum NodeCondition {
    Failing,
    Late,
    Unknown,
    Ok,
}

pub(super) fn condition(node: &Node, age: f64, period: Option<f64>) -> NodeCondition {
    match node.health {
        Health::Failing => NodeCondition::Failing,
        _ if node.age.is_none_or(|measured| measured + age > stale_after(period) + 5.0) => {
            NodeCondition::Late
        }
        Health::Ok => NodeCondition::Ok,
        Health::Unknown => NodeCondition::Unknown,
    }
}

/// Returns the class of a condition in the style sheet, and its name.
pub(super) fn class_and_name(condition: NodeCondition, lang: Lang) -> (&'static str, &'static str) {
    let messages = lang.messages();
    match condition {
        NodeCondition::Failing => ("failing", messages.failing),
        NodeCondition::Late => ("late", messages.outdated),
        NodeCondition::Unknown => ("unknown", messages.health_unknown),
        NodeCondition::Ok => ("ok", messages.healthy),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn condition_of_a_node_depends_on_its_health_and_age() {
        let node = |health, age| {
            let node = serde_json::from_str(r#"{"id": "1"}"#).unwrap();
            condition(&Node { age, health, ..node }, 2.0, Some(1.0))
        };
        assert_eq!(node(Health::Ok, Some(1.0)), NodeCondition::Ok);
        assert_eq!(node(Health::Ok, Some(8.0)), NodeCondition::Late);
        assert_eq!(node(Health::Ok, None), NodeCondition::Late);
        assert_eq!(node(Health::Failing, None), NodeCondition::Failing);
        assert_eq!(node(Health::Unknown, Some(1.0)), NodeCondition::Unknown);
    }

    #[test]
    fn node_id_is_parsed_from_the_reporter() {
        assert_eq!(node_of("atalaya/0.1.0 (node pi-3)"), Some("pi-3"));
        assert_eq!(node_of("curl/8.0"), None);
    }
}
