//! A client of a broker, with MQTT 3.1.1 or 5. Each value is one connection: messages of a lost connection are never sent
//! again by this client, so that their order is always that of the caller.

use std::sync::Arc;
use std::time::Duration;

use rumqttc_v4::tokio_rustls::rustls::ClientConfig;
use rumqttc_v4::{self as v4};
use rumqttc_v5::{self as v5};

use super::broker::Broker;

/// Interval of keep-alive messages, in seconds. A broker considers a client lost after one and a half of it.
const KEEP_ALIVE: u16 = 20;
/// Timeout of an attempt to connect. A TLS handshake takes seconds on a small or busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Maximum number of messages that wait to be sent.
const QUEUE: usize = 16;
/// Maximum number of messages that are sent and not yet acknowledged.
pub(super) const MAX_IN_FLIGHT: u16 = 32;
/// Maximum size of a packet, in bytes. Announcements for Home Assistant are the largest.
const MAX_PACKET: u32 = 1024 * 1024;
/// Maximum size of a packet without topic and payload.
const OVERHEAD: usize = 64;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Message {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
}

/// Reason why a message was not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PublishError {
    /// The broker can never accept it.
    Refused(String),
    /// The broker may accept it later, or has accepted it and did not say so.
    Failed(String),
    /// The connection ended before the acknowledgement.
    Lost,
}

/// End of a connection.
#[derive(Debug)]
pub(super) struct Lost {
    pub(super) reason: String,
    /// The broker has sent a packet that is too large.
    pub(super) is_too_large: bool,
}

impl Lost {
    pub(super) fn new(reason: impl Into<String>) -> Lost {
        Lost { reason: reason.into(), is_too_large: false }
    }
}

#[derive(Debug)]
pub(super) enum Event {
    /// The broker has accepted the connection, and packets up to this size.
    Connected {
        max_packet: u32,
    },
    /// The broker has sent a message.
    Message {
        topic: String,
        payload: Vec<u8>,
        is_retained: bool,
    },
    Other,
}

/// Sender of one connection.
#[derive(Clone)]
pub(super) enum Client {
    V4(v4::AsyncClient),
    V5(v5::AsyncClient),
}

/// The connection itself. It exists as long as it is polled.
pub(super) enum Connection {
    V4(Box<v4::EventLoop>),
    V5(Box<v5::EventLoop>),
}

/// Acknowledgement of one message.
pub(super) enum Notice {
    V4(v4::PublishNotice),
    V5(v5::PublishNotice),
}

pub(super) struct Options<'a> {
    pub(super) broker: &'a Broker,
    pub(super) credentials: Option<(String, Vec<u8>)>,
    pub(super) tls: Option<Arc<ClientConfig>>,
    /// Message that the broker publishes when the connection ends.
    pub(super) will: Option<Message>,
}

/// Returns a client and its connection, which connects when it is first polled.
pub(super) fn open(options: Options<'_>) -> Result<(Client, Connection), Lost> {
    let Options { broker, credentials, tls, will } = options;
    let address = (broker.host.as_str(), broker.port);
    // Two versions of a crate have the same names.
    macro_rules! open {
        ($crate_name:ident, $set_limits:expr, $last_will:expr) => {{
            let mut options = $crate_name::MqttOptions::new(&broker.client_id, address);
            options.set_keep_alive(KEEP_ALIVE);
            if let Some((user, password)) = credentials {
                options.set_credentials(user, password);
            }
            if let Some(tls) = tls {
                let tls = $crate_name::TlsConfiguration::Rustls(tls);
                options.set_transport($crate_name::Transport::tls_with_config(tls));
            }
            if let Some(Message { topic, payload }) = will {
                options.set_last_will($last_will(topic, payload, $crate_name::QoS::AtLeastOnce));
            }
            $set_limits(&mut options);
            let client = $crate_name::AsyncClient::builder(options).capacity(QUEUE);
            client.try_build().map_err(|error| Lost::new(error.to_string()))?
        }};
    }
    if broker.is_v5 {
        let limits = |options: &mut v5::MqttOptions| {
            options.set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT);
            options.set_incoming_packet_size_limit(v5::IncomingPacketSizeLimit::Bytes(MAX_PACKET));
            options.set_connect_timeout(CONNECT_TIMEOUT);
            let mut network = options.network_options();
            network.set_tcp_nodelay(true);
            network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
            options.set_network_options(network);
        };
        let will = |topic: String, payload: Vec<u8>, qos| v5::LastWill::new(topic, payload, qos, true, None);
        let (client, connection) = open!(v5, limits, will);
        Ok((Client::V5(client), Connection::V5(Box::new(connection))))
    } else {
        let limits = |options: &mut v4::MqttOptions| {
            options.set_inflight(MAX_IN_FLIGHT);
            options.set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize);
        };
        let will = |topic: String, payload: Vec<u8>, qos| v4::LastWill::new(topic, payload, qos, true);
        let (client, mut connection) = open!(v4, limits, will);
        connection.network_options.set_tcp_nodelay(true);
        connection.network_options.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
        Ok((Client::V4(client), Connection::V4(Box::new(connection))))
    }
}

impl Client {
    /// Queues a message, if it is not larger than `max_packet` bytes.
    ///
    /// # Cancellation safety
    /// If the future is dropped, the message may be sent or not.
    pub(super) async fn publish(&self, message: Message, max_packet: u32) -> Result<Notice, PublishError> {
        let Message { topic, payload } = message;
        let size = topic.len() + payload.len() + OVERHEAD;
        if size > max_packet as usize {
            return Err(PublishError::Refused(format!(
                "the broker accepts packets of {max_packet} bytes, and this one has {size}"
            )));
        }
        let notice = match self {
            Client::V4(client) => {
                let options = v4::PublishOptions::at_least_once().retained();
                client.publish_tracked(topic, payload, options).await.map(Notice::V4).ok()
            }
            Client::V5(client) => {
                let options = v5::PublishOptions::at_least_once().retained();
                client.publish_tracked(topic, payload, options).await.map(Notice::V5).ok()
            }
        };
        // The only possible error: topics are valid.
        notice.ok_or(PublishError::Lost)
    }

    /// Subscribes a topic without waiting for the acknowledgement.
    pub(super) async fn subscribe(&self, topic: String) -> Result<(), Lost> {
        let result = match self {
            Client::V4(client) => {
                client.subscribe(topic, v4::QoS::AtLeastOnce).await.map_err(|error| error.to_string())
            }
            Client::V5(client) => {
                client.subscribe(topic, v5::QoS::AtLeastOnce).await.map_err(|error| error.to_string())
            }
        };
        result.map_err(Lost::new)
    }
}

impl Notice {
    /// Waits until the broker has acknowledged the message.
    pub(super) async fn acknowledged(self) -> Result<(), PublishError> {
        match self {
            Notice::V4(notice) => match notice.wait_async().await {
                Ok(_) => Ok(()),
                Err(v4::PublishNoticeError::Recv) => Err(PublishError::Lost),
                Err(error) => Err(PublishError::Failed(error.to_string())),
            },
            Notice::V5(notice) => match notice.wait_async().await {
                Ok(v5::PublishResult::Qos1(ack)) => check(ack.reason),
                Ok(_) => Ok(()),
                Err(v5::PublishNoticeError::Recv) => Err(PublishError::Lost),
                Err(v5::PublishNoticeError::V5PubAck(reason)) => check(reason),
                Err(error) => Err(PublishError::Failed(error.to_string())),
            },
        }
    }
}

fn check(reason: v5::PubAckReason) -> Result<(), PublishError> {
    use v5::PubAckReason::{NoMatchingSubscribers, PayloadFormatInvalid, Success, TopicNameInvalid};
    match reason {
        Success | NoMatchingSubscribers => Ok(()),
        TopicNameInvalid | PayloadFormatInvalid => {
            Err(PublishError::Refused(format!("the broker answers {reason:?}")))
        }
        reason => Err(PublishError::Failed(format!("the broker answers {reason:?}"))),
    }
}

impl Connection {
    /// Returns the next event.
    ///
    /// # Cancellation safety
    /// None: the connection must not be polled again after the future was dropped.
    pub(super) async fn next(&mut self, broker: &Broker) -> Result<Event, Lost> {
        match self {
            Connection::V4(connection) => match connection.poll().await {
                Ok(v4::Event::Incoming(packet)) => Ok(match packet {
                    v4::Packet::ConnAck(_) => Event::Connected { max_packet: MAX_PACKET },
                    v4::Packet::Publish(v4::Publish { topic, payload, retain, .. }) => {
                        message(&topic, &payload, retain)
                    }
                    _ => Event::Other,
                }),
                Ok(v4::Event::Outgoing(_)) => Ok(Event::Other),
                Err(error) => Err(v4_lost(&error, broker)),
            },
            Connection::V5(connection) => match connection.poll().await {
                Ok(v5::Event::Incoming(packet)) => Ok(match packet {
                    v5::Packet::ConnAck(ack) => {
                        let limit = ack.properties.and_then(|properties| properties.max_packet_size);
                        Event::Connected { max_packet: limit.unwrap_or(MAX_PACKET).min(MAX_PACKET) }
                    }
                    v5::Packet::Publish(v5::Publish { topic, payload, retain, .. }) => {
                        message(&topic, &payload, retain)
                    }
                    _ => Event::Other,
                }),
                Ok(_) => Ok(Event::Other),
                Err(error) => Err(v5_lost(&error, broker)),
            },
        }
    }
}

fn message(topic: &[u8], payload: &[u8], is_retained: bool) -> Event {
    Event::Message {
        topic: String::from_utf8_lossy(topic).into_owned(),
        payload: payload.to_vec(),
        is_retained,
    }
}

fn v4_lost(error: &v4::ConnectionError, broker: &Broker) -> Lost {
    use v4::ConnectReturnCode::{BadUserNamePassword, NotAuthorized};
    use v4::mqttbytes::Error::PayloadSizeLimitExceeded;
    match error {
        v4::ConnectionError::ConnectionRefused(code @ (BadUserNamePassword | NotAuthorized)) => {
            Lost::new(broker.denied(&format!("{code:?}")))
        }
        v4::ConnectionError::MqttState(v4::StateError::Deserialization(PayloadSizeLimitExceeded(_))) => {
            Lost { reason: error.to_string(), is_too_large: true }
        }
        error => Lost::new(with_sources(error)),
    }
}

fn v5_lost(error: &v5::ConnectionError, broker: &Broker) -> Lost {
    use v5::ConnectReturnCode::{BadAuthenticationMethod, BadUserNamePassword, Banned, NotAuthorized};
    use v5::mqttbytes::Error::PayloadSizeLimitExceeded;
    match error {
        v5::ConnectionError::ConnectionRefused(
            code @ (BadUserNamePassword | NotAuthorized | Banned | BadAuthenticationMethod),
        ) => Lost::new(broker.denied(&format!("{code:?}"))),
        v5::ConnectionError::MqttState(
            v5::StateError::IncomingPacketTooLarge { .. }
            | v5::StateError::Deserialization(PayloadSizeLimitExceeded { .. }),
        ) => Lost { reason: error.to_string(), is_too_large: true },
        error => Lost::new(with_sources(error)),
    }
}

/// Returns the messages of an error and of its causes.
fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_codes_of_the_broker_are_mapped_to_outcomes() {
        use v5::PubAckReason as Reason;
        for accepted in [Reason::Success, Reason::NoMatchingSubscribers] {
            assert_eq!(check(accepted), Ok(()));
        }
        for refused in [Reason::TopicNameInvalid, Reason::PayloadFormatInvalid] {
            assert!(matches!(check(refused), Err(PublishError::Refused(_))), "{refused:?}");
        }
        for failed in [
            Reason::UnspecifiedError,
            Reason::ImplementationSpecificError,
            Reason::NotAuthorized,
            Reason::PacketIdentifierInUse,
            Reason::QuotaExceeded,
        ] {
            assert!(matches!(check(failed), Err(PublishError::Failed(_))), "{failed:?}");
        }
    }
}
