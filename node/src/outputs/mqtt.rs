//! MQTT brokers.

use std::time::Duration;

use atalaya_config::{MqttConfig, OutputConfig};

use super::{Outcome, Sender};
use crate::model::report::Report;
#[cfg(feature = "history")]
use crate::model::sample::Batch;

#[derive(Debug)]
pub(super) struct Mqtt {}

impl Mqtt {
    pub(super) fn new(_: &OutputConfig, _: &MqttConfig, _: &Sender) -> Result<Mqtt, String> {
        Ok(Mqtt {})
    }

    pub(super) async fn send_report(&self, _: &Report, _: Duration) -> Outcome {
        Outcome::Failed("not built yet".to_owned())
    }

    #[cfg(feature = "history")]
    pub(super) async fn send_samples(&self, _: &Batch, _: Duration) -> Outcome {
        Outcome::Failed("not built yet".to_owned())
    }
}
