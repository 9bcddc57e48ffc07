//! Paths of the znodes of tasks, relative to the chroot.

use super::TaskId;

/// Parent of all znodes of tasks.
pub const ROOT: &str = "/atalaya/tasks";
/// Parent of the specifications of live tasks, which clients create.
pub const SPEC: &str = "/atalaya/tasks/spec";
/// Parent of the requests to cancel a task.
pub const CANCEL: &str = "/atalaya/tasks/cancel";
/// Parent of the records of tasks, which the leader writes.
pub const STATE: &str = "/atalaya/tasks/state";
/// Parent of the assignments, by node.
pub const RUN: &str = "/atalaya/tasks/run";
/// Parent of the claims of workers.
pub const CLAIM: &str = "/atalaya/tasks/claim";
/// Parent of the outcomes that the leader has not recorded yet.
pub const DONE: &str = "/atalaya/tasks/done";
/// Parent of the descriptions of workers, present and absent.
pub const WORKER: &str = "/atalaya/tasks/worker";
/// Parent of the ephemeral znodes of the present workers.
pub const ALIVE: &str = "/atalaya/tasks/alive";
/// Parent of the files that tasks distribute.
pub const FILE: &str = "/atalaya/tasks/file";

/// All parents, in the order of their creation.
pub const PARENTS: [&str; 10] = [ROOT, SPEC, CANCEL, STATE, RUN, CLAIM, DONE, WORKER, ALIVE, FILE];

/// Returns the path of a task's specification.
pub fn spec(task: &TaskId) -> String {
    format!("{SPEC}/{task}")
}

/// Returns the path of the request to cancel a task.
pub fn cancel(task: &TaskId) -> String {
    format!("{CANCEL}/{task}")
}

/// Returns the path of a task's record.
pub fn state(task: &TaskId) -> String {
    format!("{STATE}/{task}")
}

/// Returns the path of the record of a node's part in a task for several nodes.
pub fn part(task: &TaskId, node: &str) -> String {
    format!("{STATE}/{task}/{node}")
}

/// Returns the parent of a node's assignments.
pub fn runs(node: &str) -> String {
    format!("{RUN}/{node}")
}

/// Returns the path of an assignment.
pub fn run(node: &str, task: &TaskId) -> String {
    format!("{RUN}/{node}/{task}")
}

/// Returns the path of a claim.
pub fn claim(task: &TaskId, node: &str) -> String {
    format!("{CLAIM}/{task}.{node}")
}

/// Returns the path of an outcome that the leader has not recorded yet.
pub fn done(task: &TaskId, node: &str) -> String {
    format!("{DONE}/{task}.{node}")
}

/// Returns the path of a worker's description.
pub fn worker(node: &str) -> String {
    format!("{WORKER}/{node}")
}

/// Returns the path of the ephemeral znode of a present worker.
pub fn alive(node: &str) -> String {
    format!("{ALIVE}/{node}")
}

/// Returns the path of a file that a task distributes.
pub fn file(id: &str) -> String {
    format!("{FILE}/{id}")
}

/// Returns task and node in the name of a claim or an outcome.
pub fn parse_task_and_node(name: &str) -> Option<(TaskId, &str)> {
    let (task, node) = name.split_once('.')?;
    Some((TaskId::of_znode(task)?, node)).filter(|(_, node)| !node.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_claims_contain_task_and_node() {
        let task: TaskId = "7".parse().unwrap();
        for node in ["1", "a.b", "greenhouse-2"] {
            let path = claim(&task, node);
            let name = path.rsplit_once('/').unwrap().1;
            assert_eq!(parse_task_and_node(name), Some((task.clone(), node)));
        }
        for wrong in ["", "t-0000000007", "t-0000000007.", ".1", "t-7.1", "x.1"] {
            assert_eq!(parse_task_and_node(wrong), None, "{wrong}");
        }
    }
}
