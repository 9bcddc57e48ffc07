//! Snapshot of a running node, for observers in the same process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use atalaya_recipes::persistent_node::NodeState;
use atalaya_recipes::{ConnectError, Session, SessionState, Standing, WrongZnode};
use tokio::sync::watch;

use crate::model::health_status::SensorState;
use crate::model::node_info::SensorStatus;

/// A measurement.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Data for the measurement's znode.
    pub data: Arc<[u8]>,
    /// Time of the measurement.
    pub at: Instant,
}

/// Errors of the sensors that cannot be read, by sensor name.
pub type SensorErrors = BTreeMap<String, String>;

/// State of a node.
#[derive(Clone, Debug, Default)]
pub struct NodeStatus {
    /// ZooKeeper session; `None` before the node starts to connect.
    pub session: Option<SessionState>,
    /// Reason why the last attempt to start a session failed. `None` while there is a session.
    pub connect_error: Option<ConnectError>,
    /// Position in the election.
    pub standing: Standing,
    /// Newest measurement, published or not.
    pub measured: Option<Measured>,
    /// State of the measurement's znode.
    pub published: NodeState,
    /// Sensors that cannot be read.
    pub sensor_errors: SensorErrors,
    /// Znodes of the wrong type on the paths that the node uses.
    pub wrong_znodes: BTreeSet<WrongZnode>,
}

/// Updates `status` whenever a source changes, until dropped. Does nothing without a receiver.
pub(crate) async fn follow(
    status: &watch::Sender<NodeStatus>,
    session: &Session,
    mut standing: watch::Receiver<Standing>,
    mut measured: watch::Receiver<Option<Vec<u8>>>,
    mut published: watch::Receiver<NodeState>,
    mut sensors: watch::Receiver<Vec<SensorStatus>>,
) {
    if status.receiver_count() == 0 {
        return std::future::pending().await;
    }
    let (mut session_state, mut wrong_znodes) = (session.watch(), session.wrong_znodes());
    let mut connect_error = session.connect_error();
    let mut newest = None;
    loop {
        status.send_replace(NodeStatus {
            session: Some(*session_state.borrow_and_update()),
            connect_error: connect_error.borrow_and_update().clone(),
            standing: *standing.borrow_and_update(),
            measured: newest.clone(),
            published: *published.borrow_and_update(),
            sensor_errors: sensor_errors(&sensors.borrow_and_update()),
            wrong_znodes: wrong_znodes.borrow_and_update().clone(),
        });
        // A source whose sender is gone keeps its last value, and its branch is disabled.
        tokio::select! {
            Ok(()) = measured.changed() => {
                let data = measured.borrow_and_update().as_deref().map(Arc::from);
                newest = data.map(|data| Measured { data, at: Instant::now() });
            }
            Ok(()) = session_state.changed() => {}
            Ok(()) = connect_error.changed() => {}
            Ok(()) = standing.changed() => {}
            Ok(()) = published.changed() => {}
            Ok(()) = sensors.changed() => {}
            Ok(()) = wrong_znodes.changed() => {}
            else => return std::future::pending().await,
        }
    }
}

fn sensor_errors(sensors: &[SensorStatus]) -> SensorErrors {
    let error = |sensor: &SensorStatus| Some((sensor.name.clone(), sensor.health.error.clone()?));
    // A working sensor has one while a task uses its bus.
    let failing = sensors.iter().filter(|sensor| sensor.health.state != SensorState::Ok);
    failing.filter_map(error).collect()
}
