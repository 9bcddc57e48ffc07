//! Describes the process that owns a node id, for error messages.

use std::time::Duration;

use atalaya_recipes::Session;

use crate::model::node_info::{NodeInfo, PARENT_PATH};

const READ_TIMEOUT: Duration = Duration::from_secs(1);

/// Describes the session `owner` of the node id `id`, with its process and host if it has published a node info.
pub(crate) async fn describe(session: &Session, id: &str, owner: i64) -> String {
    let path = format!("{PARENT_PATH}/{id}");
    let read = async { session.connection().await.get(&path).await.ok() };
    let found = tokio::time::timeout(READ_TIMEOUT, read).await.ok().flatten();
    let data = found.filter(|(_, stat)| stat.ephemeral_owner == owner).map(|(data, _)| data);
    match data.and_then(|data| NodeInfo::parse(&data)) {
        Some(NodeInfo { host, pid, .. }) => format!("session {owner:#x} (process {pid} on host {host})"),
        None => format!("session {owner:#x} (which has not published its host)"),
    }
}
