//! The description of a worker: from the board's actions and the state of its sensors.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::OptionFuture;
use tokio::sync::watch;

use crate::model::health_status::SensorState;
use crate::model::node_info::{SensorStatus, host_name};
use crate::model::task::worker_info::{WorkerHealth, WorkerInfo};
use crate::tasks::actions::{ActionConfig, Executor};

/// Returns the description of a worker; `None` if its board executes nothing.
fn describe(
    executor: &Executor,
    config: &ActionConfig,
    sensors: Option<&[SensorStatus]>,
) -> Option<WorkerInfo> {
    let tasks = config.tasks()?;
    let known = sensors.unwrap_or_default();
    let chips: BTreeSet<&String> = known.iter().map(|sensor| &sensor.chip).collect();
    Some(WorkerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        host: host_name(),
        board: config.board().to_owned(),
        chips: chips.into_iter().cloned().collect(),
        labels: tasks.labels.clone(),
        health: health(known),
        measures: sensors.is_some(),
        slots: u32::from(tasks.slots),
        actions: executor.catalogue(),
    })
}

fn health(sensors: &[SensorStatus]) -> WorkerHealth {
    let any = |state: SensorState| sensors.iter().any(|sensor| sensor.health.state == state);
    if any(SensorState::Failing) || any(SensorState::Absent) {
        WorkerHealth::Failing
    } else if sensors.is_empty() || any(SensorState::Unread) {
        WorkerHealth::Unknown
    } else {
        WorkerHealth::Ok
    }
}

/// Keeps the description current until dropped. `sensors` is `None` for a worker without sensors.
pub async fn follow(
    executor: &Executor,
    mut sensors: Option<watch::Receiver<Vec<SensorStatus>>>,
    info: &watch::Sender<Option<WorkerInfo>>,
) {
    let mut actions: watch::Receiver<Arc<ActionConfig>> = executor.changes();
    loop {
        let config = actions.borrow_and_update().clone();
        let known = sensors.as_mut().map(|sensors| sensors.borrow_and_update().clone());
        let new = describe(executor, &config, known.as_deref());
        // A worker whose board executes nothing any more has no actions.
        info.send_if_modified(|info| {
            let new = if new.is_none() && info.is_some() { Some(WorkerInfo::default()) } else { new };
            std::mem::replace(info, new.clone()) != new
        });
        let sensors_changed = OptionFuture::from(sensors.as_mut().map(|sensors| sensors.changed()));
        tokio::select! {
            // The executor has the sender.
            _ = actions.changed() => {}
            Some(Ok(())) = sensors_changed => {}
        }
    }
}
