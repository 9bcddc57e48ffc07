use proptest::prelude::*;

use super::*;
use crate::model::senml::Value;

/// Returns the aggregate of one reading per node; `None`: the node has no usable measurement.
fn fleet(readings: &[Option<f64>]) -> Aggregate {
    let mut aggregate = Aggregate::default();
    for (node, value) in readings.iter().enumerate() {
        if let Some(value) = value {
            aggregate.add(node, Value { unit: None, value: *value });
        }
    }
    aggregate
}

fn nodes<'a>(count: usize, groups: &'a [Option<&'a str>]) -> Nodes<'a> {
    Nodes { count, id_of: &|node| format!("n{node}"), groups }
}

fn evaluated(readings: &[f64], config: &ValueConfig, groups: &[Option<&str>]) -> Evaluation {
    let readings: Vec<_> = readings.iter().copied().map(Some).collect();
    evaluate(&fleet(&readings), config, &nodes(readings.len(), groups))
}

const ONE_OUTLIER: [f64; 5] = [20.0, 21.0, 22.0, 23.0, 85.0];

#[test]
fn default_settings_report_the_averages_of_earlier_versions() {
    let aggregate = fleet(&[Some(20.0), None, Some(21.5), Some(23.0)]);
    let evaluation = evaluate(&aggregate, &ValueConfig::default(), &nodes(4, &[]));
    assert_eq!(evaluation, Evaluation { averages: aggregate.averages(), findings: Findings::default() });
    assert_eq!(evaluation.averages[0].details, None);
    assert_eq!(evaluate(&fleet(&[None]), &ValueConfig::default(), &nodes(1, &[])), Evaluation::default());
}

#[test]
fn outliers_are_flagged_with_the_id_of_their_node_and_excluded_only_if_asked() {
    let flagged = evaluated(&ONE_OUTLIER, &ValueConfig::default(), &[]);
    let average = &flagged.averages[0];
    assert_eq!((average.mean, average.count), (34.2, 5));
    let json = serde_json::to_string(&average.details).unwrap();
    assert_eq!(json, r#"{"aggregate":"mean","outliers":[{"node":"n4","value":85.0}]}"#);
    let outlier = UnitOutlier { node: "n4".into(), unit: None, value: 85.0 };
    assert_eq!(flagged.findings, Findings { outliers: vec![outlier], ..Findings::default() });

    let config = ValueConfig { outliers: Outliers::Exclude, ..ValueConfig::default() };
    let excluded = evaluated(&ONE_OUTLIER, &config, &[]);
    let average = &excluded.averages[0];
    assert_eq!((average.mean, average.max, average.count), (21.5, 23.0, 4));
    assert!(average.details.as_ref().unwrap().outliers_excluded);
    assert_eq!(excluded.findings, flagged.findings);
}

#[test]
fn aggregate_chooses_the_main_value() {
    for (mode, value) in [
        (AggregateMode::Mean, 34.2),
        (AggregateMode::Median, 22.0),
        (AggregateMode::Trimmed(0.2), 22.0),
        (AggregateMode::Quantile(0.75), 23.0),
    ] {
        let config = ValueConfig { aggregate: mode, quantiles: vec![0.25], ..ValueConfig::default() };
        let average = evaluated(&ONE_OUTLIER, &config, &[]).averages.remove(0);
        assert_eq!((average.mean, average.arithmetic_mean()), (value, 34.2), "{mode}");
        let details = average.details.unwrap();
        let statistics = details.statistics.unwrap();
        assert_eq!((details.aggregate, statistics.median), (mode.to_string(), 22.0));
        assert_eq!(statistics.quantiles, [(0.25, 21.0)]);
    }
}

#[test]
fn quorum_withholds_a_value_that_too_few_nodes_support() {
    let aggregate = fleet(&[Some(20.0), None, Some(22.0), None]);
    for (quorum, needed) in [
        (Quorum::Nodes(2), None),
        (Quorum::Nodes(3), Some(3)),
        (Quorum::Percent(50.0), None),
        (Quorum::Percent(60.0), Some(3)),
    ] {
        let config = ValueConfig { quorum: Some(quorum), ..ValueConfig::default() };
        let evaluation = evaluate(&aggregate, &config, &nodes(4, &[]));
        let withheld = needed.map(|needed| Withheld { unit: None, value: 21.0, nodes: 2, needed });
        assert_eq!(evaluation.averages.is_empty(), withheld.is_some(), "{quorum}");
        assert_eq!(evaluation.findings.withheld, Vec::from_iter(withheld), "{quorum}");
    }
}

#[test]
fn quorum_counts_nodes_and_not_readings_and_not_excluded_outliers() {
    let mut aggregate = Aggregate::default();
    for (node, value) in [(0, 20.0), (0, 21.0), (0, 22.0), (1, 21.0), (2, 85.0)] {
        aggregate.add(node, Value { unit: Some("Cel".into()), value });
    }
    let evaluation = |quorum, outliers| {
        let config = ValueConfig { quorum: Some(Quorum::Nodes(quorum)), outliers, ..ValueConfig::default() };
        evaluate(&aggregate, &config, &nodes(3, &[]))
    };
    assert!(evaluation(4, Outliers::Flag).averages.is_empty());
    assert_eq!(evaluation(3, Outliers::Flag).averages[0].count, 5);
    let withheld = evaluation(3, Outliers::Exclude).findings.withheld;
    assert_eq!((withheld[0].nodes, withheld[0].value, withheld[0].unit.as_deref()), (2, 21.0, Some("Cel")));
}

#[test]
fn groups_have_values_of_their_own_and_nodes_are_compared_within_them() {
    let roof = Some("roof");
    let groups = [None, None, roof, roof, roof, None];
    let values = [20.0, 21.0, 40.0, 41.0, 42.0, 22.0];
    let evaluation = evaluated(&values, &ValueConfig::default(), &groups);
    assert_eq!(evaluation.averages[0].mean, 31.0);
    let details = evaluation.averages[0].details.as_ref().unwrap();
    assert_eq!(details.outliers, [], "the roof is warmer");
    let [group] = &details.groups[..] else { panic!("{details:?}") };
    assert_eq!(
        (group.group.as_str(), group.value, group.min, group.max, group.count),
        ("roof", 41.0, 40.0, 42.0, 3)
    );
    assert_eq!(evaluation.findings.groups[0].value, 41.0);
    // In the fleet as a whole 20 °C is a usual value.
    let values = [40.0, 41.0, 39.0, 40.5, 20.0, 20.5, 21.0];
    let groups = [roof, roof, roof, roof, roof, None, None];
    let evaluation = evaluated(&values, &ValueConfig::default(), &groups);
    let outliers: Vec<&str> =
        evaluation.findings.outliers.iter().map(|outlier| outlier.node.as_str()).collect();
    assert_eq!(outliers, ["n4"]);
}

#[test]
fn outliers_and_groups_that_are_named_are_bounded() {
    let mut values = [20.0, 21.0, 22.0].repeat(40);
    values.extend([900.0; MAX_OUTLIERS + 4]);
    let evaluation = evaluated(&values, &ValueConfig::default(), &[]);
    let details = evaluation.averages[0].details.as_ref().unwrap();
    assert_eq!((details.outliers.len(), details.more_outliers), (MAX_OUTLIERS, 4));
    assert_eq!((evaluation.findings.outliers.len(), evaluation.findings.more_outliers), (MAX_OUTLIERS, 4));
    let names: Vec<String> = (0..100).map(|group| format!("g{group:02}")).collect();
    let groups: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
    let evaluation = evaluated(&[20.0; 100], &ValueConfig::default(), &groups);
    assert_eq!(evaluation.findings.groups.len(), MAX_GROUP_VALUES);
    let long = |_: usize| "x\n".repeat(500);
    let nodes = Nodes { count: 5, id_of: &long, groups: &[] };
    let evaluation = evaluate(&fleet(&ONE_OUTLIER.map(Some)), &ValueConfig::default(), &nodes);
    let id = &evaluation.findings.outliers[0].node;
    assert!(id.chars().count() <= MAX_ID && !id.contains('\n'), "{id}");
}

proptest! {
    #[test]
    fn evaluation_counts_each_reading_once_and_reports_values_between_the_extremes(
        values in prop::collection::vec(prop_oneof![9 => -50.0..50.0, 1 => -1e4..1e4], 1..60),
        groups in prop::collection::vec(prop::option::of(prop::sample::select(vec!["a", "b"])), 60),
        mode in prop_oneof![
            Just(AggregateMode::Mean), Just(AggregateMode::Median),
            (0.0..0.5).prop_map(AggregateMode::Trimmed), (0.0..=1.0).prop_map(AggregateMode::Quantile),
        ],
        exclude in any::<bool>(), grouped in any::<bool>(),
    ) {
        let outliers = if exclude { Outliers::Exclude } else { Outliers::Flag };
        let config = ValueConfig { aggregate: mode, outliers, ..ValueConfig::default() };
        let groups = if grouped { &groups[..] } else { &[] };
        let evaluation = evaluated(&values, &config, groups);
        let average = &evaluation.averages[0];
        let found = evaluation.findings.outliers.len() + evaluation.findings.more_outliers;
        let kept = if exclude { values.len() - found } else { values.len() };
        prop_assert_eq!(average.count, kept);
        let slack = 1e-9;
        prop_assert!(average.mean >= average.min - slack && average.mean <= average.max + slack);
        for group in average.details.iter().flat_map(|details| &details.groups) {
            prop_assert!(group.value >= group.min - slack && group.value <= group.max + slack);
            prop_assert!(group.min >= average.min && group.max <= average.max && group.count <= average.count);
        }
    }
}
