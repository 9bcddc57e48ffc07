//! MQTT brokers, with MQTT 3.1.1 or 5, and Home Assistant's discovery.
//!
//! Each record is a retained message with QoS 1: the broker stores the newest value of each topic. A record is accepted once
//! the broker has acknowledged it. If that is not known, it is sent again, so a subscriber may receive it twice; the payload
//! has the keys by which it recognises that. Messages are sent in the order of the records, also after an outage.
//!
//! A process has one connection per output. It begins with the first record, or when the node starts if the output has
//! measurements: the broker then shows the availability of the node.

mod broker;
mod client;
mod discovery;
mod link;
mod payload;
mod topics;

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use atalaya_config::{MqttConfig, OutputConfig};
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

use self::broker::Broker;
use self::client::{MAX_IN_FLIGHT, Message, Notice, PublishError};
use self::discovery::Announcer;
use self::link::Link;
use self::topics::Topics;
use super::{Outcome, Sender};
use crate::model::node_info::SensorStatus;
use crate::model::report::Report;
#[cfg(feature = "history")]
use crate::model::sample::Batch;
#[cfg(feature = "history")]
use crate::outputs::RefusedSample;

/// A broker that receives records.
#[derive(Debug)]
pub(super) struct Mqtt {
    topics: Topics,
    link: Arc<Link>,
    /// Task that keeps the connection. It ends with this value.
    task: OnceLock<AbortOnDropHandle<()>>,
}

impl Mqtt {
    pub(super) fn new(config: &OutputConfig, mqtt: &MqttConfig, sender: &Sender) -> Result<Mqtt, String> {
        let topics = Topics::new(&mqtt.topic, &sender.fleet, sender.node.as_str());
        let broker = Broker::new(config, mqtt, sender)?;
        let status = config.send.has_measurements().then(|| topics.status());
        let announcer = mqtt
            .discovery
            .as_ref()
            .map(|prefix| Announcer::new(prefix, &sender.fleet, sender.node.as_str(), topics.clone()));
        Ok(Mqtt { topics, link: Arc::new(Link::new(broker, status, announcer)), task: OnceLock::new() })
    }

    /// Connects, and announces these sensors.
    pub(super) fn connect(&self, mut sensors: watch::Receiver<Vec<SensorStatus>>) {
        sensors.mark_changed();
        self.start(Some(sensors));
    }

    /// Starts the connection if it was not started.
    fn start(&self, sensors: Option<watch::Receiver<Vec<SensorStatus>>>) {
        self.task.get_or_init(|| AbortOnDropHandle::new(tokio::spawn(Arc::clone(&self.link).run(sensors))));
    }

    pub(super) async fn send_report(&self, report: &Report, timeout: Duration) -> Outcome {
        let unit = report.average.unit.as_deref();
        self.link.note_average(unit);
        let message = Message { topic: self.topics.average(unit), payload: payload::average(report) };
        match self.publish(vec![message], timeout).await {
            Ok(results) => match results.into_iter().flatten().next() {
                None => Outcome::Accepted(Vec::new()),
                Some(reason) => Outcome::Refused(reason),
            },
            Err(reason) => Outcome::Failed(reason),
        }
    }

    #[cfg(feature = "history")]
    pub(super) async fn send_samples(&self, batch: &Batch, timeout: Duration) -> Outcome {
        let (mut messages, mut seqs, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        for sample in &batch.samples {
            match payload::sample(sample, &batch.boot) {
                Ok(payload) => {
                    let topic = self.topics.sample(&sample.sensor, &sample.quantity);
                    messages.push(Message { topic, payload });
                    seqs.push(sample.seq);
                }
                Err(reason) => refused.push(RefusedSample { seq: sample.seq, reason }),
            }
        }
        match self.publish(messages, timeout).await {
            Ok(results) => {
                let by_broker = seqs.into_iter().zip(results);
                refused.extend(
                    by_broker.filter_map(|(seq, reason)| Some(RefusedSample { seq, reason: reason? })),
                );
                Outcome::Accepted(refused)
            }
            Err(reason) => Outcome::Failed(reason),
        }
    }

    /// Publishes messages in order, and waits for all acknowledgements. Returns for each message the reason why the broker
    /// can never accept it. The error is the reason why not all messages were acknowledged.
    async fn publish(
        &self,
        messages: Vec<Message>,
        timeout: Duration,
    ) -> Result<Vec<Option<String>>, String> {
        self.start(None);
        let deadline = tokio::time::Instant::now() + timeout;
        let (client, max_packet, number) = self.link.connected(deadline).await?;
        let all = async {
            let (mut waiting, mut results) = (VecDeque::new(), Vec::with_capacity(messages.len()));
            for message in messages {
                if waiting.len() == usize::from(MAX_IN_FLIGHT) {
                    results.push(self.acknowledged(waiting.pop_front(), number).await?);
                }
                waiting.push_back(client.publish(message, max_packet).await);
            }
            while !waiting.is_empty() {
                results.push(self.acknowledged(waiting.pop_front(), number).await?);
            }
            Ok(results)
        };
        match tokio::time::timeout_at(deadline, all).await {
            Ok(result) => result,
            Err(_) => {
                // Messages of a connection that makes no progress must not be sent after those of the next try.
                self.link.reset(number);
                Err(format!("the broker did not acknowledge all messages within {timeout:?}"))
            }
        }
    }

    /// Waits for the acknowledgement of a message of the connection with this number. Returns the reason if the broker can
    /// never accept the message.
    async fn acknowledged(
        &self,
        sent: Option<Result<Notice, PublishError>>,
        number: u64,
    ) -> Result<Option<String>, String> {
        let result = match sent {
            None => return Ok(None),
            Some(Ok(notice)) => notice.acknowledged().await,
            Some(Err(error)) => Err(error),
        };
        match result {
            Ok(()) => Ok(None),
            Err(PublishError::Refused(reason)) => Ok(Some(reason)),
            Err(PublishError::Failed(reason)) => Err(reason),
            Err(PublishError::Lost) => Err(self.link.reason_of_loss(number).await),
        }
    }
}

#[cfg(test)]
#[cfg(feature = "history")]
mod tests;
