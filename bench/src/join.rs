//! Requests of fleets that join: they must grow with the number of nodes, not with its square.

use std::time::Duration;

use anyhow::ensure;
use atalaya_testbed::{Process, parent_death_command};
use serde_json::Value;

use super::Bench;
use super::report::Section;
use super::stats::ThreeDigits;
use super::targets::Target;

/// Timeout for all fleets.
const TIMEOUT: Duration = Duration::from_secs(1_800);

/// A fleet that has joined.
struct Join {
    nodes: f64,
    /// True if a node of the fleet leads.
    leader: bool,
    requests: f64,
    names: f64,
    seconds: f64,
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let sizes: &[&str] = if bench.quick { &["100", "200"] } else { &["1000", "2000", "4000", "8000"] };
    eprintln!("fleets of {} nodes join", sizes.join(", "));
    let mut command = parent_death_command(&bench.join);
    command.args(sizes);
    let mut process = Process::spawn(command);
    let exit = process.wait_exit(TIMEOUT);
    let lines: Vec<String> = process.log().into_iter().map(|line| line.text).collect();
    ensure!(exit.success(), "the fleets ended with {exit}: {:?}", lines.last());
    let joins: Vec<Join> = lines.iter().filter_map(|line| parse(line)).collect();
    ensure!(joins.len() == sizes.len() * 2, "{} results of {} fleets", joins.len(), sizes.len() * 2);
    Ok(vec![section(&joins)])
}

fn parse(line: &str) -> Option<Join> {
    let line: Value = serde_json::from_str(line).ok()?;
    let number = |name: &str| line[name].as_f64();
    Some(Join {
        nodes: number("nodes")?,
        leader: line["leader"].as_bool()?,
        requests: number("requests")?,
        names: number("names")?,
        seconds: number("seconds")?,
    })
}

/// Returns how much more than in proportion the last of `values` is than the first.
fn growth(joins: &[&Join], value: impl Fn(&Join) -> f64) -> f64 {
    let per_node = |join: &&Join| value(join) / join.nodes;
    let ratio = joins.first().zip(joins.last()).map(|(first, last)| per_node(last) / per_node(first));
    ratio.unwrap_or(f64::NAN)
}

fn section(joins: &[Join]) -> Section {
    let (led, others): (Vec<&Join>, Vec<&Join>) = joins.iter().partition(|join| join.leader);
    let mut rows = Vec::new();
    let mut row = |name: &str, joins: &[&Join], value: &dyn Fn(&Join) -> f64| {
        let values = joins.iter().map(|join| ThreeDigits(value(join)).to_string());
        rows.push([name.to_owned()].into_iter().chain(values).collect::<Vec<_>>());
    };
    row("requests per node", &others, &|join| join.requests / join.nodes);
    row("names in lists per node", &others, &|join| join.names / join.nodes);
    row("with a node that leads: requests per node", &led, &|join| join.requests / join.nodes);
    row("  names in lists per node", &led, &|join| join.names / join.nodes);
    row("  time until all have joined, s", &led, &|join| join.seconds);
    let what = "join of the largest fleet, relative to the smallest in proportion";
    let target = |name: &str, growth: f64| Target::at_most(&format!("{what}: {name}"), 1.1, " times", growth);
    Section {
        title: "Fleets that join".into(),
        method: "`node/benches/join.rs`: all nodes start at once, each with a session of its own, 500 on a thread, \
                 beside the in-memory server in one process. They measure once a day. Counted at the server until all \
                 nodes have published a measurement and their node info, and contend or wait for that. In the first two \
                 rows another program leads, in the others a node, which lists the nodes."
            .into(),
        head: [String::new()].into_iter().chain(led.iter().map(|join| format!("{} nodes", join.nodes))).collect(),
        rows,
        notes: Vec::new(),
        targets: vec![
            target("requests", growth(&led, |join| join.requests)),
            target("names in lists without the leader", growth(&others, |join| join.names)),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_relative_to_the_number_of_nodes() {
        let line = |nodes: u32, requests: u32| {
            parse(&format!(
                r#"{{"nodes":{nodes},"leader":true,"requests":{requests},"names":1,"seconds":0.5}}"#
            ))
            .unwrap()
        };
        let joins = [line(100, 1_000), line(200, 2_200)];
        let growth = growth(&joins.iter().collect::<Vec<_>>(), |join| join.requests);
        assert!((growth - 1.1).abs() < 1e-9, "{growth}");
        assert!(parse("warning").is_none());
    }
}
