//! Protection of ZooKeeper that the actions of a board need.

use atalaya_config::Tasks;

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

#[cfg(test)]
mod tests {
    use super::*;

    fn tasks() -> Tasks {
        let text = "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"random\"\n\
                    [boards.b.tasks.a]\nrun = [\"/bin/true\"]\n";
        let boards = atalaya_config::Boards::parse(text, "boards.toml").unwrap();
        boards.boards["b"].tasks.clone().unwrap()
    }

    #[test]
    fn actions_need_an_identity_and_acls_unless_the_board_says_otherwise() {
        let open = Settings::default();
        let user = Settings { zookeeper_user: Some("fleet".into()), ..Settings::default() };
        let acl = Settings { acl: AclMode::Fleet, ..Settings::default() };
        let both = Settings { acl: AclMode::ReadWorld, ..user.clone() };
        let certificate = Settings { zookeeper_certificate: Some("node.pem".into()), ..acl.clone() };
        for (settings, missing) in [
            (&open, Some("no identity in ZooKeeper, and the znodes are open")),
            (&user, Some("the znodes are open to all clients")),
            (&acl, Some("the node has no identity")),
            (&both, None),
            (&certificate, None),
        ] {
            let reason = refusal(&tasks(), settings);
            match missing {
                None => assert_eq!(reason, None),
                Some(words) => {
                    let reason = reason.unwrap();
                    assert!(reason.contains(words) && reason.contains("allow_unauthenticated"), "{reason}");
                }
            }
        }
        assert_eq!(refusal(&Tasks { allow_unauthenticated: true, ..tasks() }, &open), None);
        assert!(refusal(&Tasks { install_boards: true, ..Tasks::default() }, &open).is_some());
        assert_eq!(refusal(&Tasks::default(), &open), None, "the built-in actions only read");
    }
}
