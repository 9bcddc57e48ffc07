//! Thread of a connection: connects, subscribes and receives, until it is stopped.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::time::{Duration, Instant};

use rumqttc_v4::{
    AsyncClient, ConnectReturnCode, ConnectionError, Event, MqttOptions, NetworkOptions, Outgoing, Packet,
    QoS, SubscribeReasonCode,
};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use super::messages::{Access, Messages};
use super::packet_limit::MAX_PACKET;
use super::transport::{self, MAX_FILE};
use crate::read_limited::read_limited;

/// Timeout of a connection, up to the answer of the broker.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of pings, in seconds. A broker that does not answer one until the next is gone.
const KEEP_ALIVE: u16 = 15;
/// Pause before the second attempt. It doubles with each further one.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// Maximum pause between attempts.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// Duration of a connection after which the pause is short again.
const STABLE: Duration = Duration::from_secs(10);
/// Maximum size of a packet that is sent: a subscription of one topic, or the password.
const MAX_SENT: usize = 2 * MAX_FILE;

/// Serves a connection until the sender of `stopped` is dropped.
pub(super) fn run(access: &Access, messages: &Messages, mut stopped: oneshot::Receiver<()>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return messages.down(format!("cannot start: {error}")),
    };
    runtime.block_on(async {
        let serve = async {
            let mut attempts = 0;
            loop {
                let began = Instant::now();
                let reason = session(access, messages).await;
                messages.down(reason);
                attempts = if began.elapsed() < STABLE { attempts + 1 } else { 0 };
                sleep(backoff(attempts, random())).await;
            }
        };
        tokio::select! {
            _ = &mut stopped => {}
            () = serve => {}
        }
    });
    // Does not wait for a name server that does not answer.
    runtime.shutdown_background();
}

/// Returns the pause after `attempts` short connections: between half and all of the interval, which doubles.
fn backoff(attempts: u32, random: u64) -> Duration {
    let interval =
        MIN_BACKOFF.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1))).min(MAX_BACKOFF);
    interval.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
}

/// Returns a random number, from the keys that the standard library draws for hash maps.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// Connects, and receives messages until the connection ends. Returns the reason.
async fn session(access: &Access, messages: &Messages) -> String {
    let options = match options(access) {
        Ok(options) => options,
        Err(reason) => return reason,
    };
    let topics = messages.topics();
    let (client, mut events) = AsyncClient::builder(options).capacity(topics.len() + 1).build();
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(CONNECT_TIMEOUT.as_secs());
    events.set_network_options(network);
    // Subscriptions in the order of their requests, and by packet identifier once they are sent.
    let mut requested = VecDeque::new();
    let mut sent = HashMap::new();
    let mut is_connected = false;
    loop {
        let event = match is_connected {
            true => events.poll().await,
            false => match timeout(CONNECT_TIMEOUT, events.poll()).await {
                Ok(event) => event,
                Err(_) => return NO_ANSWER.to_owned(),
            },
        };
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => {
                is_connected = true;
                messages.connected();
                for (number, topic) in topics.iter().enumerate() {
                    if let Err(error) = client.try_subscribe(topic, QoS::AtLeastOnce) {
                        return format!("cannot subscribe: {error}");
                    }
                    requested.push_back(number);
                }
            }
            Ok(Event::Outgoing(Outgoing::Subscribe(id))) => {
                sent.extend(requested.pop_front().map(|topic| (id, topic)));
            }
            Ok(Event::Incoming(Packet::SubAck(answer))) => {
                let is_refused = answer.return_codes.contains(&SubscribeReasonCode::Failure);
                if let Some(topic) = sent.remove(&answer.pkid).filter(|_| is_refused) {
                    messages.refused(topic);
                }
            }
            Ok(Event::Incoming(Packet::Publish(message))) => {
                messages.received(&message.topic, &message.payload, message.retain);
            }
            Ok(_) => {}
            Err(error) => return reason(&error),
        }
    }
}

const NO_ANSWER: &str = "the broker does not answer";

fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ConnectionRefused(
            ConnectReturnCode::BadUserNamePassword | ConnectReturnCode::NotAuthorized,
        ) => "the broker refuses the user or the password".to_owned(),
        ConnectionError::ConnectionRefused(code) => format!("the broker refuses the connection: {code:?}"),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => NO_ANSWER.to_owned(),
        ConnectionError::Io(error) => format!("cannot connect: {error}"),
        other => format!("the connection ended: {other}"),
    }
}

/// Reads the files of a connection, and returns its options.
fn options(access: &Access) -> Result<MqttOptions, String> {
    let broker = access.broker.clone();
    // At most 23 letters and digits, which every broker accepts; random, because a second client with the same one would
    // end the first.
    let id = format!("atalaya{:016x}", random());
    let mut options = MqttOptions::new(id, (broker.host().to_owned(), broker.port()));
    options.set_keep_alive(KEEP_ALIVE).set_clean_session(true).set_max_packet_size(MAX_PACKET, MAX_SENT);
    match (&access.user, &access.password_file) {
        (Some(user), Some(file)) => {
            options.set_credentials(user.as_str(), password(file)?);
        }
        (Some(user), None) => {
            options.set_username(user.as_str());
        }
        (None, _) => {}
    }
    let tls = if broker.is_tls() { Some(transport::tls(access.ca.as_deref())?) } else { None };
    options.set_socket_connector(move |_, _| transport::connect(broker.clone(), tls.clone()));
    Ok(options)
}

/// Reads a password, without the end of its line.
fn password(file: &Path) -> Result<Vec<u8>, String> {
    let mut password = read_limited(file, MAX_PASSWORD)
        .map_err(|error| format!("the password file {} cannot be read: {error}", file.display()))?;
    while password.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        password.pop();
    }
    match password.is_empty() {
        true => Err(format!("the password file {} is empty", file.display())),
        false => Ok(password),
    }
}

const MAX_PASSWORD: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_grow_to_their_limit_with_jitter(attempts in 0_u32..100, random in any::<u64>()) {
            let pause = backoff(attempts, random);
            prop_assert!(pause >= MIN_BACKOFF / 2 && pause <= MAX_BACKOFF);
            let interval = backoff(attempts, u64::MAX);
            prop_assert!(pause >= interval.mul_f64(0.49) && pause <= interval);
        }
    }

    #[test]
    fn pauses_double() {
        let seconds: Vec<f64> = (1..9).map(|attempts| backoff(attempts, u64::MAX).as_secs_f64()).collect();
        assert_eq!(seconds, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]);
        assert_ne!(random(), random());
    }

    #[test]
    fn passwords_lose_the_end_of_their_line_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (text, want) in [(" s3cret \r\n", " s3cret "), ("a", "a"), ("a\nb\n", "a\nb")] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(password(&file).as_deref(), Ok(want.as_bytes()));
        }
        std::fs::write(&file, "\n").unwrap();
        assert!(password(&file).unwrap_err().ends_with("is empty"));
        assert!(
            password(&folder.path().join("absent")).unwrap_err().contains("cannot be read: No such file")
        );
    }
}
