//! An MQTT client that subscribes and publishes, on its own thread.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rumqttc_v4::{Client, Event, MqttOptions, Packet, PublishOptions, QoS};
use serde_json::Value;

use crate::wait::eventually;

#[derive(Clone, Debug, PartialEq)]
pub struct MqttMessage {
    pub topic: String,
    pub payload: Vec<u8>,
    /// True if the broker had stored the message before the subscription.
    pub is_retained: bool,
}

impl MqttMessage {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }

    /// Returns the payload as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

/// A subscriber of one filter, with MQTT 3.1.1. It connects and subscribes again after each loss.
pub struct MqttClient {
    client: Client,
    received: Arc<Mutex<Vec<MqttMessage>>>,
}

impl MqttClient {
    /// Connects to `port` of loopback, subscribes, and waits for the acknowledgement.
    #[track_caller]
    pub fn subscribe(port: u16, filter: &str) -> Self {
        Self::connect(port, filter, true)
    }

    /// Subscribes like [`subscribe`](Self::subscribe), in a session that the broker keeps while the client is away.
    #[track_caller]
    pub fn persistent(port: u16, filter: &str) -> Self {
        Self::connect(port, filter, false)
    }

    #[track_caller]
    fn connect(port: u16, filter: &str, is_clean: bool) -> Self {
        let id = format!("testbed-{}-{:x}", std::process::id(), rand_number());
        let mut options = MqttOptions::new(id, ("127.0.0.1", port));
        options.set_clean_session(is_clean).set_keep_alive(5).set_max_packet_size(1 << 24, 1 << 24);
        let (client, mut connection) = Client::builder(options).capacity(256).build();
        let received = Arc::<Mutex<Vec<MqttMessage>>>::default();
        let (acknowledge, acknowledged) = mpsc::channel();
        let (messages, subscriber, filter) = (Arc::clone(&received), client.clone(), filter.to_owned());
        let receive = move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::ConnAck(_))) => {
                        let _ = subscriber.try_subscribe(filter.clone(), QoS::AtLeastOnce);
                    }
                    Ok(Event::Incoming(Packet::SubAck(_))) => {
                        // Only the first acknowledgement is awaited.
                        let _ = acknowledge.send(());
                    }
                    Ok(Event::Incoming(Packet::Publish(publish))) => {
                        let message = MqttMessage {
                            topic: String::from_utf8_lossy(&publish.topic).into_owned(),
                            payload: publish.payload.to_vec(),
                            is_retained: publish.retain,
                        };
                        messages.lock().push(message);
                    }
                    Ok(_) => {}
                    Err(rumqttc_v4::ConnectionError::RequestsDone) => return,
                    Err(_) => thread::sleep(Duration::from_millis(50)),
                }
            }
        };
        thread::Builder::new().name("mqtt client".into()).spawn(receive).expect("start a thread");
        acknowledged.recv_timeout(Duration::from_secs(30)).expect("the broker acknowledges the subscription");
        Self { client, received }
    }

    pub fn messages(&self) -> Vec<MqttMessage> {
        self.received.lock().clone()
    }

    /// Returns the messages with this topic so far.
    pub fn of(&self, topic: &str) -> Vec<MqttMessage> {
        self.messages().into_iter().filter(|message| message.topic == topic).collect()
    }

    /// Waits until a message with this topic satisfies `is_right`, and returns it.
    #[track_caller]
    pub fn wait_for(
        &self,
        topic: &str,
        timeout: Duration,
        is_right: impl Fn(&MqttMessage) -> bool,
    ) -> MqttMessage {
        eventually(&format!("a message of {topic}"), timeout, || self.of(topic).into_iter().find(&is_right))
    }

    #[track_caller]
    pub fn publish(&self, topic: &str, payload: impl Into<Vec<u8>>, is_retained: bool) {
        let options = PublishOptions::at_least_once().retain(is_retained);
        let sent = self.client.publish(topic, payload.into(), options);
        sent.expect("publish a message");
    }
}

fn rand_number() -> u64 {
    use std::hash::{BuildHasher as _, Hasher as _};
    std::hash::RandomState::new().build_hasher().finish()
}
