//! What a node is doing at the moment, for whoever looks on from inside its process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use atalaya_recipes::persistent_node::NodeState;
use atalaya_recipes::{Session, SessionState, Standing, WrongZnode};
use tokio::sync::watch;

use crate::model::node_info::NodeInfoSensor;

/// A measurement as it is published, or about to be.
#[derive(Clone, Debug)]
pub struct Measured {
    /// What stands in the znode.
    pub data: Arc<[u8]>,
    /// When it was measured, by this machine's clock.
    pub at: Instant,
}

/// What is wrong with sensors, by their names; empty if all can be read.
pub type Faults = BTreeMap<String, String>;

/// A node at one moment.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// Its session; `None` before it has begun to connect.
    pub session: Option<SessionState>,
    /// Where it stands in the election.
    pub standing: Standing,
    /// Its newest measurement, published or not.
    pub measured: Option<Measured>,
    /// Its measurement's znode.
    pub published: NodeState,
    /// Its sensors that cannot be read.
    pub faults: Faults,
    /// Znodes of the wrong type on the paths that it uses.
    pub wrong_znodes: BTreeSet<WrongZnode>,
}

/// Where a node's parts say what they do.
pub(crate) struct Sources<'a> {
    pub(crate) session: &'a Session,
    pub(crate) standing: watch::Receiver<Standing>,
    pub(crate) measured: watch::Receiver<Option<Vec<u8>>>,
    pub(crate) published: watch::Receiver<NodeState>,
    pub(crate) sensors: watch::Receiver<Vec<NodeInfoSensor>>,
}

/// Keeps `node_status` up to date until it is dropped. Costs nothing if nobody looks on.
pub(crate) async fn follow(node_status: &watch::Sender<NodeStatus>, sources: Sources<'_>) {
    if node_status.receiver_count() == 0 {
        return std::future::pending().await;
    }
    let Sources { session, mut standing, mut measured, mut published, mut sensors } = sources;
    let (mut view, mut wrong) = (session.watch(), session.wrong_znodes());
    node_status.send_modify(|node_status| node_status.session = Some(*view.borrow_and_update()));
    loop {
        // Whatever ends says nothing any more; what it said last holds.
        tokio::select! {
            Ok(()) = view.changed() => {
                let now = *view.borrow_and_update();
                node_status.send_modify(|node_status| node_status.session = Some(now));
            }
            Ok(()) = standing.changed() => {
                let now = *standing.borrow_and_update();
                node_status.send_modify(|node_status| node_status.standing = now);
            }
            Ok(()) = measured.changed() => {
                let data = measured.borrow_and_update().as_deref().map(Arc::from);
                let now = data.map(|data| Measured { data, at: Instant::now() });
                node_status.send_modify(|node_status| node_status.measured = now);
            }
            Ok(()) = published.changed() => {
                let now = *published.borrow_and_update();
                node_status.send_modify(|node_status| node_status.published = now);
            }
            Ok(()) = sensors.changed() => {
                let now = faults(&sensors.borrow_and_update());
                node_status.send_modify(|node_status| node_status.faults = now);
            }
            Ok(()) = wrong.changed() => {
                let now = wrong.borrow_and_update().clone();
                node_status.send_modify(|node_status| node_status.wrong_znodes = now);
            }
            else => return std::future::pending().await,
        }
    }
}

fn faults(sensors: &[NodeInfoSensor]) -> Faults {
    let fault = |sensor: &NodeInfoSensor| Some((sensor.name.clone(), sensor.health.error.clone()?));
    sensors.iter().filter_map(fault).collect()
}
