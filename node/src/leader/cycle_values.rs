//! Values of a cycle: evaluates the readings, and publishes what is noteworthy about them.

use atalaya_recipes::clock::BootInstant;
use tracing::info;

use super::{AVERAGES_TARGET, CycleRunner};
use crate::leader::evaluation::{Evaluation, Nodes, evaluate};
use crate::leader::members::Member;
use crate::leader::read_fleet::FleetReading;
use crate::model::details::{Findings, Withheld};
use crate::model::report::{Average, CycleReport};
use crate::settings::parse_name;

impl CycleRunner<'_> {
    /// Evaluates the readings of all members. Logs outliers and withheld values, and publishes them in the metrics and in
    /// the state of the leader.
    pub(super) fn evaluate(&mut self, reading: &FleetReading) -> Evaluation {
        let members = &self.members.0;
        let known_groups = self.groups.borrow().clone();
        let template = &self.handles.name_template;
        let id = |member: &Member| {
            let name = member.name();
            parse_name(template, name).unwrap_or(name).to_owned()
        };
        let group_of = |member: &Member| known_groups.get(&id(member)).map(String::as_str);
        let groups: Vec<Option<&str>> =
            if known_groups.is_empty() { Vec::new() } else { members.iter().map(group_of).collect() };
        let id_of = |node: usize| members.get(node).map(id).unwrap_or_default();
        let nodes = Nodes { count: members.len(), id_of: &id_of, groups: &groups };
        let evaluation = evaluate(&reading.aggregate, &self.config.values, &nodes);
        let findings = &evaluation.findings;
        let is_excluded = self.config.values.outliers == atalaya_config::Outliers::Exclude;
        self.findings_log.log(BootInstant::now(), findings, is_excluded);
        findings.withheld.iter().for_each(log_withheld);
        self.handles.metrics.set_findings(findings);
        let published = (*findings != Findings::default()).then(|| Box::new(findings.clone()));
        self.handles.state.send_if_modified(|state| match state {
            Some(state) if state.findings != published => {
                state.findings = published;
                true
            }
            _ => false,
        });
        evaluation
    }
}

fn log_withheld(withheld: &Withheld) {
    let Withheld { unit, value, nodes, needed } = withheld;
    info!(target: AVERAGES_TARGET, value, unit = unit.as_deref(), nodes, needed, "withheld");
}

pub(super) fn log_averages(report: &CycleReport) {
    for average in &report.averages {
        let Average { unit, mean: value, min, max, count, details, .. } = average;
        // The name of the main value, if it is not the mean.
        let name = details.as_ref().map(|details| details.aggregate.as_str()).filter(|name| *name != "mean");
        info!(
            target: AVERAGES_TARGET,
            cycle = report.cycle,
            mean = average.arithmetic_mean(),
            unit = unit.as_deref(),
            min,
            max,
            count,
            excluded = report.excluded,
            aggregate = name,
            value = name.map(|_| value),
            "average"
        );
    }
}
