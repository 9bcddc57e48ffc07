//! Replaces the history in a build without the feature `history`.

use std::sync::Arc;
use std::time::Duration;

use atalaya_hal::Reading;
use tokio::sync::watch;
use tracing::warn;

use crate::metrics::HistoryMetrics;
use crate::model::node_id::NodeId;
use crate::outputs::Output;
use crate::process::state_dir::StateFile;
use crate::settings::Settings;

#[derive(Clone, Debug)]
pub(crate) enum Recorder {}

impl Recorder {
    pub(crate) fn record(&self, _: &[(&str, Reading)]) {
        match *self {}
    }
}

#[derive(Debug)]
pub(crate) enum History {}

impl History {
    pub(crate) fn start(
        _: &NodeId,
        settings: &Settings,
        _: Option<&StateFile>,
        outputs: &[Arc<Output>],
        _: HistoryMetrics,
    ) -> Option<History> {
        if settings.measurements_url.is_some() {
            warn!("measurements_url is ignored: this atalaya was built without the feature \"history\"");
        }
        for output in outputs.iter().filter(|output| output.config.send.has_measurements()) {
            let output = &output.config.name;
            warn!(
                output,
                "measurements are not sent: this atalaya was built without the feature \"history\""
            );
        }
        None
    }

    pub(crate) fn recorder(&self) -> Recorder {
        match *self {}
    }

    pub(crate) async fn forward(&self, _: watch::Receiver<Settings>) {
        match *self {}
    }

    pub(crate) async fn close(&self, _: Duration) {
        match *self {}
    }
}
