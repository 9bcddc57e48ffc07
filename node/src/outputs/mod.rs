//! Outputs: receivers of averages and samples besides the API and the collector (`[[fleet.outputs]]`).
//!
//! An [`Output`] sends records, and returns whether the receiver has stored them. It stores nothing: averages wait in
//! ZooKeeper, samples in the ring on the node's disk, for each output apart. So an output that is away never delays
//! another.

#[cfg(test)]
#[cfg(all(feature = "history", feature = "output-influxdb", feature = "output-prometheus"))]
mod dashboard_tests;
#[cfg(any(feature = "output-influxdb", feature = "output-prometheus", feature = "output-webhook"))]
mod http;
#[cfg(feature = "output-influxdb")]
mod influxdb;
#[cfg(feature = "output-mqtt")]
mod mqtt;
#[cfg(feature = "output-prometheus")]
mod prometheus;
#[cfg(test)]
#[cfg(feature = "history")]
#[allow(dead_code, reason = "the tests of each receiver use their own part")]
mod test_support;
#[cfg(feature = "output-webhook")]
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use atalaya_config::{BoardsError, OutputConfig, OutputRecords, ReceiverConfig};
use reqwest::Url;
use tokio::sync::watch;

use crate::model::node_id::NodeId;
use crate::model::node_info::SensorStatus;
use crate::model::report::Report;
#[cfg(feature = "history")]
use crate::model::sample::Batch;
use crate::model::text::sanitize_line;
use crate::settings::Settings;

/// Name of a fleet without `fleet_name`.
const DEFAULT_FLEET: &str = "atalaya";

/// Result of sending records.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Outcome {
    /// It has stored them, except the samples in this list, which it can never accept.
    Accepted(Vec<RefusedSample>),
    /// It can never accept the records as they are; fewer of them may be accepted.
    Refused(String),
    /// It has not stored the records, or that is not known: they must be sent again.
    Failed(String),
    /// As [`Outcome::Failed`], with an answer that may concern these records only, such as the status 500.
    Doubtful(String),
}

/// A sample that the receiver can never accept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RefusedSample {
    /// Sequence number of the sample in its batch.
    pub(crate) seq: i64,
    pub(crate) reason: String,
}

/// Names under which a node sends records.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    /// Name of the fleet: `fleet_name`, or `atalaya`.
    pub(crate) fleet: String,
    /// Zone of the fleet, which only a webhook receives: it may be a collector.
    pub(crate) zone: Option<String>,
    pub(crate) node: NodeId,
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) config: OutputConfig,
    receiver: Receiver,
}

#[derive(Debug)]
enum Receiver {
    #[cfg(feature = "output-influxdb")]
    Influxdb(influxdb::Influxdb),
    #[cfg(feature = "output-mqtt")]
    Mqtt(mqtt::Mqtt),
    #[cfg(feature = "output-prometheus")]
    Prometheus(prometheus::Prometheus),
    #[cfg(feature = "output-webhook")]
    Webhook(webhook::Webhook),
}

/// Prepares all outputs of a node, without connecting.
///
/// # Errors
/// The settings of an output cannot be used; the error has their location in boards.toml.
pub(crate) fn prepare(settings: &Settings, node: &NodeId) -> Result<Vec<Arc<Output>>, BoardsError> {
    let fleet = settings.fleet_name.clone().unwrap_or_else(|| DEFAULT_FLEET.to_owned());
    let sender = Sender { fleet, zone: settings.zone.clone(), node: node.clone() };
    let prepare = |config: &OutputConfig| {
        let output = Output::new(config.clone(), &sender);
        let refused = |problem: String| {
            let problem = format!("the output `{}` cannot be used: {problem}", config.name);
            BoardsError::at(&config.url.at, problem, "correct or remove it")
        };
        output.map(Arc::new).map_err(refused)
    };
    settings.outputs.iter().map(prepare).collect()
}

/// Returns a line about an output for people, without secrets.
pub(crate) fn describe(output: &OutputConfig) -> String {
    let OutputConfig { name, send, url, .. } = output;
    let kind = match output.receiver {
        ReceiverConfig::Mqtt(_) => "mqtt",
        ReceiverConfig::Influxdb(_) => "influxdb",
        ReceiverConfig::Prometheus => "prometheus",
        ReceiverConfig::Webhook => "webhook",
    };
    let records = match send {
        OutputRecords::Averages => "averages",
        OutputRecords::Measurements => "measurements",
        OutputRecords::Both => "averages and measurements",
    };
    // The rest of the address may have a secret.
    let origin = Url::parse(&url.value)
        .ok()
        .and_then(|url| Some(format!("{}://{}", url.scheme(), url.host_str()?)))
        .unwrap_or_default();
    sanitize_line(&format!("{name} (type {kind}, {records}) at {origin}")).into_owned()
}

impl Output {
    /// Prepares an output, without connecting. The paths of its files are absolute or relative to the current folder.
    /// The error says what is wrong with the settings.
    #[allow(unreachable_code, reason = "a build without any receiver makes no output")]
    pub(crate) fn new(config: OutputConfig, sender: &Sender) -> Result<Output, String> {
        let receiver = match &config.receiver {
            #[cfg(feature = "output-influxdb")]
            ReceiverConfig::Influxdb(influxdb) => {
                Receiver::Influxdb(influxdb::Influxdb::new(&config, influxdb, sender)?)
            }
            #[cfg(feature = "output-mqtt")]
            ReceiverConfig::Mqtt(mqtt) => Receiver::Mqtt(mqtt::Mqtt::new(&config, mqtt, sender)?),
            #[cfg(feature = "output-prometheus")]
            ReceiverConfig::Prometheus => Receiver::Prometheus(prometheus::Prometheus::new(&config, sender)?),
            #[cfg(feature = "output-webhook")]
            ReceiverConfig::Webhook => Receiver::Webhook(webhook::Webhook::new(&config, sender)?),
            #[allow(unreachable_patterns, reason = "builds with all receivers have no other")]
            _ => return Err("this program was built without this type of receiver".to_owned()),
        };
        Ok(Output { config, receiver })
    }

    /// Connects to a receiver that shows the availability of the node, if this output has measurements. `sensors` are
    /// those of boards.toml. Must be called within a runtime.
    pub(crate) fn connect(&self, sensors: watch::Receiver<Vec<SensorStatus>>) {
        match &self.receiver {
            #[cfg(feature = "output-mqtt")]
            Receiver::Mqtt(receiver) if self.config.send.has_measurements() => receiver.connect(sensors),
            _ => drop(sensors),
        }
    }

    /// Returns true if the receiver refuses or mixes up records that arrive after later ones.
    pub(crate) fn needs_order(&self) -> bool {
        matches!(self.config.receiver, ReceiverConfig::Prometheus | ReceiverConfig::Mqtt(_))
    }

    /// Sends an average.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the receiver may have the average or not. Sending it again is safe, see the module of
    /// the receiver.
    pub(crate) async fn send_report(&self, report: &Report, timeout: Duration) -> Outcome {
        match self.receiver {
            #[cfg(feature = "output-influxdb")]
            Receiver::Influxdb(ref receiver) => receiver.send_report(report, timeout).await,
            #[cfg(feature = "output-mqtt")]
            Receiver::Mqtt(ref receiver) => receiver.send_report(report, timeout).await,
            #[cfg(feature = "output-prometheus")]
            Receiver::Prometheus(ref receiver) => receiver.send_report(report, timeout).await,
            #[cfg(feature = "output-webhook")]
            Receiver::Webhook(ref receiver) => receiver.send_report(report, timeout).await,
        }
    }

    /// Sends samples of this node.
    ///
    /// # Cancellation safety
    /// As for [`Output::send_report`].
    #[cfg(feature = "history")]
    pub(crate) async fn send_samples(&self, batch: &Batch, timeout: Duration) -> Outcome {
        match self.receiver {
            #[cfg(feature = "output-influxdb")]
            Receiver::Influxdb(ref receiver) => receiver.send_samples(batch, timeout).await,
            #[cfg(feature = "output-mqtt")]
            Receiver::Mqtt(ref receiver) => receiver.send_samples(batch, timeout).await,
            #[cfg(feature = "output-prometheus")]
            Receiver::Prometheus(ref receiver) => receiver.send_samples(batch, timeout).await,
            #[cfg(feature = "output-webhook")]
            Receiver::Webhook(ref receiver) => receiver.send_samples(batch, timeout).await,
        }
    }
}
