//! Check of the ACLs that a leader relies on, once after each takeover.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use atalaya_recipes::{Connection, Error};
use futures_util::future::join_all;
use tokio::sync::{Mutex, watch};
use tracing::{debug, warn};

use crate::leader::outbox_store::OutboxPaths;
use crate::model::acl_policy::{AclPolicy, format_id};
use crate::model::fence;
use crate::model::fleet_paths::{FleetPaths, STANDBY_PATH};
use crate::model::leader_state::LeaderState;
use crate::model::task::paths;
use crate::model::text::sanitize_line;
use crate::outputs::Output;

/// Maximum time for reading the ACLs.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Warns about znodes that clients outside the fleet can write, once per path in the lifetime of the process.
#[derive(Debug)]
pub(crate) struct AclCheck {
    policy: AclPolicy,
    paths: Vec<String>,
    warned: Mutex<BTreeSet<String>>,
}

impl AclCheck {
    pub(crate) fn new(
        policy: AclPolicy,
        measurements: &str,
        election: &str,
        outputs: &[Arc<Output>],
    ) -> AclCheck {
        let FleetPaths { parents, trees } = FleetPaths::new(measurements, election);
        let own = [fence::PATH, STANDBY_PATH, paths::SPEC, paths::STATE, paths::RUN].map(str::to_owned);
        let of_outputs = outputs.iter().filter(|output| output.config.send.has_averages());
        let of_outputs = of_outputs.map(|output| OutboxPaths::of_output(&output.config.name));
        let outboxes = std::iter::once(OutboxPaths::api()).chain(of_outputs);
        let outboxes = outboxes.flat_map(|paths| [paths.reports, paths.rejected]);
        AclCheck {
            policy,
            paths: parents.into_iter().chain(trees).chain(own).chain(outboxes).collect(),
            warned: Mutex::default(),
        }
    }

    /// Checks the ACLs after the leader's takeover, so that its requests do not delay the takeover. Errors are not
    /// reported: the next takeover checks again. Does nothing if all clients may write.
    pub(super) async fn run(
        &self,
        connection: &Connection,
        mut leader_state: watch::Receiver<Option<LeaderState>>,
    ) {
        if self.policy.is_open() || leader_state.wait_for(Option::is_some).await.is_err() {
            return;
        }
        let checks = join_all(self.paths.iter().map(|path| self.check(connection, path)));
        if tokio::time::timeout(TIMEOUT, checks).await.is_err() {
            debug!("the ACLs of the fleet's znodes could not be read within {TIMEOUT:?}");
        }
    }

    async fn check(&self, connection: &Connection, path: &str) {
        match connection.get_acl(path).await {
            Ok((acl, _)) => {
                if let Some(entry) = self.policy.foreign_writer(&acl)
                    && self.warned.lock().await.insert(path.to_owned())
                {
                    let (id, permissions) = (format_id(entry.auth_id()), entry.permission());
                    let identity = sanitize_line(&id);
                    warn!(
                        path,
                        %identity,
                        %permissions,
                        "the leader relies on a znode that clients outside the fleet can write; restrict it with: \
                         atalaya acl apply"
                    );
                }
            }
            Err(error) if error.is_no_node() => {}
            Err(error) => self.log_unreadable(path, &error).await,
        }
    }

    async fn log_unreadable(&self, path: &str, error: &Error) {
        if error.is_connection_loss() || !self.warned.lock().await.insert(path.to_owned()) {
            return;
        }
        warn!(path, %error, "cannot check the ACL of a znode that the leader relies on");
    }
}
