//! `atalaya task retry`.

use anyhow::anyhow;
use clap::Args;

use super::submit::{WaitArgs, submission_id, submit_and_wait};
use super::{client_name, with_task};
use crate::commands::args::ConnectionArgs;
use crate::commands::exit::Failure;
use crate::model::task::record::State;
use crate::model::task::spec::{Spec, Target};
use crate::tasks::client::view::TaskView;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya task retry 12
  atalaya task retry 12 --wait --timeout 10m

The command submits a new task with the same specification, which refers to the old one, and prints its \
id. A task for several nodes is repeated for the nodes that are not done.

Exit codes: those of atalaya task submit; 65 also for an unknown task, one that has not ended, and one \
that is done on all nodes.")]
pub(in crate::commands) struct RetryArgs {
    /// Id of the task, such as 12 or t-0000000012.
    task: String,

    #[command(flatten)]
    wait: WaitArgs,

    #[command(flatten)]
    connection: ConnectionArgs,
}

pub(super) fn main(args: &RetryArgs) -> Result<(), Failure> {
    with_task(&args.connection, &args.task, async |session, view| {
        let spec = repeated(&view).map_err(|reason| Failure::data(anyhow!("{}: {reason}", view.task)))?;
        submit_and_wait(&session, &spec, None, &args.wait).await
    })
}

/// Returns the specification of the new task.
fn repeated(view: &TaskView) -> Result<Spec, String> {
    if view.is_unreadable {
        return Err("the record is unreadable".to_owned());
    }
    if !view.state().is_final() {
        return Err(format!("it is {}; cancel it first", view.state_name()));
    }
    let old = view.spec.clone()?;
    let mut spec = Spec {
        id: submission_id(),
        retry_of: Some(view.task.clone()),
        by: client_name(),
        // Of a task for all nodes, this limit was implied.
        start_by_ms: old.start_by(),
        ..old
    };
    if view.is_broadcast() {
        let is_open = |state: State| state != State::Done;
        let nodes: Vec<String> = view
            .parts
            .iter()
            .filter(|(_, part)| part.is_unreadable || is_open(part.part.state))
            .map(|(node, _)| node.clone())
            .collect();
        if nodes.is_empty() && !view.parts.is_empty() {
            return Err("it is done on all nodes".to_owned());
        }
        if nodes.len() == 1 {
            spec.rollout = None;
        }
        if !nodes.is_empty() {
            spec.to = Target::Nodes(nodes);
        }
    }
    Ok(spec)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::task::record::{Part, Record};
    use crate::model::task::spec::tests::spec;
    use crate::model::task::spec::{BatchSize, Rollout};
    use crate::tasks::client::view::PartView;
    use crate::tasks::client::view::tests::view;

    fn ended(spec: Spec, parts: &[(&str, State)]) -> TaskView {
        let ended_at = Some(1);
        let record = Record { state: State::Failed, spec: Some(spec.clone()), ended_at, ..Record::default() };
        let part = |state| PartView { part: Part { state, ..Part::default() }, ..PartView::default() };
        let parts = parts.iter().map(|(node, state)| ((*node).to_owned(), part(*state))).collect();
        TaskView { parts, ..view(spec, Some(record)) }
    }

    #[test]
    fn retry_of_a_broadcast_contains_the_nodes_that_are_not_done() {
        let rollout = Rollout { batches: vec![BatchSize::Nodes(1)], pause_ms: 0, stop_after: 1 };
        let all = Spec { to: Target::All, rollout: Some(rollout), ..spec("status") };
        let parts = [("1", State::Done), ("2", State::Failed), ("3", State::Skipped)];
        let again = repeated(&ended(all.clone(), &parts)).unwrap();
        assert_eq!(again.to, Target::Nodes(vec!["2".into(), "3".into()]));
        assert_eq!((again.retry_of, again.start_by_ms), ("7".parse().ok(), Some(60_000)));
        assert!(again.id != all.id && again.rollout.is_some());
        let one = repeated(&ended(all.clone(), &parts[..2])).unwrap();
        assert!(one.rollout.is_none() && one.check().is_ok());
        assert!(repeated(&ended(all, &parts[..1])).unwrap_err().contains("done on all nodes"));
    }

    #[test]
    fn task_that_has_not_ended_is_not_repeated() {
        let mut view = ended(spec("status"), &[]);
        assert_eq!(repeated(&view).unwrap().to, Target::Any);
        view.record = None;
        view.parts = BTreeMap::new();
        assert!(repeated(&view).unwrap_err().contains("queued; cancel it first"));
    }
}
