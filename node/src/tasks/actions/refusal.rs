//! Protection of ZooKeeper that the actions of a board need.

use atalaya_hal::boards::Tasks;

use crate::settings::{AclMode, Settings};

/// Returns the reason why a node must not execute the actions of `tasks`, with the remedy; `None` if it may.
///
/// Any client that can write to ZooKeeper can submit a task. Actions that do not only read therefore need an identity of
/// the node and ACLs, unless boards.toml says `allow_unauthenticated = true`.
pub fn refusal(tasks: &Tasks, settings: &Settings) -> Option<String> {
    let changes_something = !tasks.actions.is_empty() || tasks.install_boards;
    if !changes_something || tasks.allow_unauthenticated {
        return None;
    }
    let has_identity = settings.zookeeper_user.is_some() || settings.zookeeper_certificate.is_some();
    let missing = match (has_identity, settings.acl != AclMode::Open) {
        (true, true) => return None,
        (true, false) => "the znodes are open to all clients (set acl = \"fleet\" or \"read-world\")",
        (false, true) => {
            "the node has no identity in ZooKeeper (set zookeeper_user and zookeeper_password_file, or \
             zookeeper_certificate)"
        }
        (false, false) => {
            "the node has no identity in ZooKeeper, and the znodes are open to all clients (set zookeeper_user, \
             zookeeper_password_file and acl)"
        }
    };
    Some(format!(
        "any client that reaches ZooKeeper could submit tasks: {missing}, or set allow_unauthenticated = true in the \
         table `tasks`"
    ))
}
