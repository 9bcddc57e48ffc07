//! Tests of the reasons why tasks wait.

use super::*;
use crate::model::task::record::{Part, Record};
use crate::model::task::spec::tests::spec;
use crate::model::task::spec::{BatchSize, Rollout};
use crate::model::task::worker_info::tests::worker;
use crate::tasks::client::view::tests::view;

fn present() -> WorkerView {
    WorkerView { info: Some(worker()), is_alive: true, assigned: 0 }
}

fn workers(list: impl IntoIterator<Item = (&'static str, WorkerView)>) -> Workers {
    list.into_iter().map(|(node, worker)| (node.to_owned(), worker)).collect()
}

fn record(part: Option<Part>) -> Record {
    Record { part, ..Record::default() }
}

fn first(spec: &Spec, workers: &Workers) -> String {
    let view = view(spec.clone(), Some(record(Some(Part::default()))));
    reasons(&view, workers, true, 0).join("; ")
}

#[test]
fn task_without_a_record_waits_for_the_leader() {
    let view = view(spec("status"), None);
    assert_eq!(reasons(&view, &Workers::new(), true, 0), [NOT_ACCEPTED]);
    let reason = reasons(&view, &Workers::new(), false, 0).join("");
    assert_eq!(reason, "not accepted by a leader yet: no node leads the fleet");
}

#[test]
fn queued_task_names_the_reason_of_each_kind_of_worker() {
    let busy = WorkerView { assigned: 1, ..present() };
    let absent = WorkerView { is_alive: false, ..present() };
    let cold = Spec { selector: "chip=lm75".parse().unwrap(), ..spec("status") };
    let table = [
        (spec("status"), workers([]), "there are no workers"),
        (spec("status"), workers([("1", present())]), "will assign it to one of: 1"),
        (spec("status"), workers([("1", busy.clone())]), "all suitable workers are busy; 1 is busy"),
        (spec("status"), workers([("1", absent.clone())]), "all suitable workers are absent: 1"),
        (
            cold,
            workers([("1", present())]),
            "no worker meets the condition chip=lm75; 1 does not meet chip=lm75",
        ),
        (
            spec("statos"),
            workers([("1", present())]),
            "no worker offers the action statos; similar actions: status",
        ),
        (
            Spec { args: BTreeMap::from([("x".into(), "1".into())]), ..spec("status") },
            workers([("1", present())]),
            "no worker accepts the arguments; 1 the action has no argument x; it has none",
        ),
    ];
    for (spec, workers, wanted) in table {
        let found = first(&spec, &workers);
        assert!(found.contains(wanted), "{found} / {wanted}");
    }
    let to = |node: &str| Spec { to: Target::Nodes(vec![node.into()]), ..spec("status") };
    assert!(first(&to("9"), &workers([("1", present())])).contains("node 9 is unknown"));
    assert!(first(&to("1"), &workers([("1", absent)])).contains("node 1 is absent"));
    assert!(first(&to("1"), &workers([("1", busy)])).contains("node 1 is busy"));
}

#[test]
fn explanation_names_at_most_five_workers() {
    let many: Workers = (0..9).map(|node| (node.to_string(), present())).collect();
    let found = first(&Spec { selector: "board=x".parse().unwrap(), ..spec("status") }, &many);
    assert!(found.matches("does not meet").count() == 5 && found.ends_with("and 4 more"), "{found}");
}

#[test]
fn waiting_and_assigned_parts_name_time_and_node() {
    let waiting = Part { state: State::Waiting, not_before: Some(5_000), ..Part::default() };
    let waits = view(spec("status"), Some(record(Some(waiting))));
    assert_eq!(reasons(&waits, &Workers::new(), true, 2_000), ["waits 3.0s for its next attempt"]);
    let part = Part { state: State::Assigned, node: Some("1".into()), ..Part::default() };
    let mut assigned = view(spec("status"), Some(record(Some(part.clone()))));
    assigned.parts.insert("1".into(), PartView { part, ..PartView::default() });
    let workers = workers([("1", present())]);
    assert_eq!(reasons(&assigned, &workers, true, 0), ["node 1 has not started it yet"]);
    assigned.parts.get_mut("1").unwrap().progress = Some(String::new());
    assert!(reasons(&assigned, &workers, true, 0).is_empty());
}

#[test]
fn rollout_names_its_batch_and_the_nodes_that_it_waits_for() {
    let rollout =
        Rollout { batches: vec![BatchSize::Nodes(1), BatchSize::Percent(100)], pause_ms: 0, stop_after: 1 };
    let spec = Spec { to: Target::All, rollout: Some(rollout), ..spec("status") };
    let mut view = view(spec, Some(Record { roster: Some(BTreeMap::new()), ..record(None) }));
    let part = |state| PartView { part: Part { state, ..Part::default() }, ..PartView::default() };
    view.parts.insert("1".into(), part(State::Assigned));
    view.parts.insert("2".into(), part(State::Queued));
    view.parts.insert("3".into(), part(State::Queued));
    let found = reasons(&view, &workers([("1", present())]), true, 0).join("; ");
    assert_eq!(found, "roll-out: batch 1 of 2; waits for nodes 1; node 1 has not started it yet");
    view.parts.insert("1".into(), part(State::Done));
    let found = reasons(&view, &Workers::new(), true, 0).join("; ");
    assert!(
        found.starts_with("roll-out: batch 2 of 2; waits until the nodes of the last batch are healthy"),
        "{found}"
    );
}

#[test]
fn broadcast_names_absent_and_unknown_nodes() {
    let mut view = view(Spec { to: Target::All, ..spec("status") }, Some(record(None)));
    for node in ["1", "2", "3"] {
        view.parts.insert(node.into(), PartView::default());
    }
    let absent = WorkerView { is_alive: false, ..present() };
    let found = reasons(&view, &workers([("1", present()), ("2", absent)]), true, 0);
    assert_eq!(found, ["node 2 is absent", "node 3 is unknown: it has never been a worker"]);
}

#[test]
fn arguments_are_checked_by_type_without_the_sensors_of_the_worker() {
    let kinds = [("sensor", ArgType::Sensor), ("at", ArgType::Number([0.0, 10.0]))];
    let args = kinds.map(|(name, kind)| (name.to_owned(), kind)).into();
    let action = ActionInfo { args, run_for_ms: 1, promise: Default::default(), read_only: false };
    let check = |list: &[(&str, &str)]| {
        let args = list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        check_args(&action, &args.collect())
    };
    assert_eq!(check(&[("sensor", "air"), ("at", "5")]), Ok(()));
    assert!(check(&[("sensor", "air")]).unwrap_err().contains("at is missing: a number from 0 to 10"));
    assert!(check(&[("at", "5")]).unwrap_err().contains("the name of a sensor of the node"));
    assert!(check(&[("sensor", "air"), ("at", "11")]).unwrap_err().contains("`11` is not a number"));
    assert!(check(&[("sensor", "a\nb"), ("at", "1")]).is_err());
    assert!(check(&[("sensor", "a"), ("at", "1"), ("to", "2")]).unwrap_err().contains("it has at, sensor"));
}

#[test]
fn similar_actions_are_those_with_few_different_characters() {
    let workers = workers([("1", present())]);
    assert_eq!(similar_actions("statsu", &workers), ["status"]);
    assert_eq!(similar_actions("recalibrate", &workers), ["calibrate"]);
    assert!(similar_actions("reboot", &workers).is_empty());
    assert_eq!(known_actions(&workers), ["calibrate", "status"]);
}
