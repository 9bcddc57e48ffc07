//! Publishes the [`NodeInfo`] of this node as an ephemeral znode.

use atalaya_recipes::persistent_node::{Conflict, PersistentNode};
use atalaya_recipes::{Session, Standing, WrongZnode, WrongZnodeReporter, ZnodeProblem};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::warn;

use crate::model::leader_state::LeaderState;
use crate::model::node_id::NodeId;
use crate::model::node_info::{self, NodeInfo, SensorStatus};

/// Parts of the node info that change while the node runs.
pub(crate) struct NodeInfoContent {
    pub(crate) sensors: watch::Receiver<Vec<SensorStatus>>,
    pub(crate) board: watch::Receiver<String>,
    pub(crate) group: watch::Receiver<Option<String>>,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) leader_state: watch::Receiver<Option<LeaderState>>,
}

/// Publishes the node info until dropped. Changes of board, group, sensors, standing or leader state are published with a minimum
/// interval, see [`node_info::publish_delay`]; the newest state is published, and states in between are skipped.
///
/// If the znode cannot be published because another session owns it, or because it is persistent, the node logs that
/// and works without it.
pub(crate) async fn publish_node_info(
    session: &Session,
    id: &NodeId,
    mut info: NodeInfo,
    mut content: NodeInfoContent,
) {
    info.sensors.clone_from(&content.sensors.borrow_and_update());
    info.group.clone_from(&content.group.borrow_and_update());
    info.standby = *content.standing.borrow_and_update() == Standing::Standby;
    let (data, published) = watch::channel(Some(info.to_json()));
    let path = format!("{}/{id}", node_info::PARENT_PATH);
    // Kept until this future is dropped, so that the wrong znode is reported as long as the node runs.
    let mut wrong_znodes = WrongZnodeReporter::default();
    tokio::select! {
        conflict = PersistentNode::new(session.clone(), &path).run(published) => match conflict {
            Conflict::Persistent => {
                wrong_znodes.update(session, [WrongZnode::new(&path, ZnodeProblem::NotEphemeral)]);
            }
            Conflict::Held { .. } => {
                warn!("cannot publish the node info: a node of another fleet with the same id owns {path}: {conflict}");
            }
        },
        () = update(info, &data, content) => {}
    }
    std::future::pending().await
}

/// Keeps `data` current.
async fn update(mut info: NodeInfo, data: &watch::Sender<Option<Vec<u8>>>, content: NodeInfoContent) {
    let NodeInfoContent { mut sensors, mut board, mut group, mut standing, mut leader_state } = content;
    let mut standby = info.standby;
    let mut last = Instant::now();
    loop {
        let leading = leader_state.borrow_and_update().clone();
        match *standing.borrow_and_update() {
            Standing::Standby => standby = true,
            Standing::Waiting { .. } | Standing::Leading => standby = false,
            // Until it has joined again after a lost connection, mostly as before.
            Standing::Inactive => {}
        }
        let is_other = *board.borrow_and_update() != info.board
            || *group.borrow_and_update() != info.group
            || standby != info.standby
            || leading != info.leading;
        let interval = node_info::publish_delay(&info.sensors, &sensors.borrow_and_update());
        let interval = if is_other { Some(node_info::MIN_PUBLISH_INTERVAL) } else { interval };
        tokio::select! {
            () = tokio::time::sleep_until(last + interval.unwrap_or_default()), if interval.is_some() => {
                info.board.clone_from(&board.borrow());
                info.group.clone_from(&group.borrow());
                info.sensors.clone_from(&sensors.borrow());
                info.standby = standby;
                info.leading = leading;
                data.send_replace(Some(info.to_json()));
                last = Instant::now();
            }
            Ok(()) = sensors.changed() => {}
            Ok(()) = board.changed() => {}
            Ok(()) = group.changed() => {}
            Ok(()) = standing.changed() => {}
            Ok(()) = leader_state.changed() => {}
        }
    }
}
