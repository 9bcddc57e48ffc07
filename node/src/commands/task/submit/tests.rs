//! Tests of the command.

use super::*;
use crate::model::task::spec::tests::spec;
use crate::model::task::worker_info::tests::worker;
use crate::tasks::client::view::WorkerView;

fn workers() -> Workers {
    let worker = WorkerView { info: Some(worker()), is_alive: true, assigned: 0 };
    Workers::from([("1".to_owned(), worker)])
}

#[test]
fn unknown_action_is_refused_with_the_known_ones() {
    let reason = refusal_of_workers(&spec("reboot"), &workers()).unwrap();
    assert!(reason.contains("the known actions are calibrate, status; --force"), "{reason}");
    let reason = refusal_of_workers(&spec("status"), &Workers::new()).unwrap();
    assert!(reason.contains("no node has published its actions"), "{reason}");
    assert_eq!(refusal_of_workers(&spec("status"), &workers()), None);
}

#[test]
fn wrong_argument_is_refused_unless_an_unknown_node_may_accept_it() {
    let args = BTreeMap::from([("x".to_owned(), "1".to_owned())]);
    let wrong = Spec { args, ..spec("status") };
    let reason = refusal_of_workers(&wrong, &workers()).unwrap();
    assert!(reason.contains("no argument x; it has none (node 1)"), "{reason}");
    let to = |nodes: &[&str]| Target::Nodes(nodes.iter().map(|node| (*node).to_owned()).collect());
    let unknown = Spec { to: to(&["1", "2"]), ..wrong };
    assert_eq!(refusal_of_workers(&unknown, &workers()), None);
}

#[test]
fn promise_is_the_stricter_one_of_the_actions() {
    let mut workers = workers();
    assert_eq!(promise_of_action(&spec("status"), &workers), Promise::AtLeastOnce);
    let mut strict = worker();
    strict.actions.get_mut("status").unwrap().promise = Promise::AtMostOnce;
    workers.insert("2".to_owned(), WorkerView { info: Some(strict), ..WorkerView::default() });
    assert_eq!(promise_of_action(&spec("status"), &workers), Promise::AtMostOnce);
    let to_one = Spec { to: Target::Nodes(vec!["1".into()]), ..spec("status") };
    assert_eq!(promise_of_action(&to_one, &workers), Promise::AtLeastOnce);
}

#[test]
fn flags_are_parsed_to_a_target_and_arguments() {
    assert_eq!(parse_target("any"), Ok(Target::Any));
    assert_eq!(parse_target("1, 2"), Ok(Target::Nodes(vec!["1".into(), "2".into()])));
    assert_eq!(parse_arg("a=b=c"), Ok(("a".into(), "b=c".into())));
    assert!(parse_arg("a").is_err() && parse_arg("=a").is_err());
}
