//! A Mosquitto server, the MQTT broker.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread;

use derive_more::{Deref, DerefMut};
use rumqttc_v4::{Client, ConnectionError, Event, MqttOptions, Packet, PublishOptions};

use crate::install::Part;
use crate::server::{Server, TIMEOUT};

/// Maximum size of a message, in bytes: some tests send huge ones.
const MAX_PACKET: usize = 1 << 25;

/// A Mosquitto server on loopback. Without other configuration it accepts all clients, and keeps nothing on its disk: after
/// a restart, its retained messages are lost.
#[derive(Deref, DerefMut)]
pub struct Mosquitto(Server);

impl Mosquitto {
    /// Starts a server that accepts all clients.
    #[track_caller]
    pub fn start() -> Self {
        Self::with("allow_anonymous true")
    }

    /// Starts a server that accepts all clients, and whose retained messages survive a restart.
    #[track_caller]
    pub fn persistent() -> Self {
        Self::with("allow_anonymous true\npersistence true\nautosave_on_changes true\nautosave_interval 1")
    }

    /// Starts a server that accepts one user with a password.
    #[track_caller]
    pub fn with_user(user: &str, password: &str) -> Self {
        let server = Self::prepare();
        let file = server.file("passwords");
        let output =
            Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args([user, password]).output();
        let output = output.expect("run mosquitto_passwd");
        assert!(output.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&output.stderr));
        Self::launch(server, &format!("allow_anonymous false\npassword_file {}", file.display()))
    }

    /// Starts a server with TLS, with this certificate and its key.
    #[track_caller]
    pub fn with_tls(certificate: &Path, key: &Path) -> Self {
        let (certificate, key) = (certificate.display(), key.display());
        Self::with(&format!("allow_anonymous true\ncertfile {certificate}\nkeyfile {key}"))
    }

    /// Starts a server with these configuration lines of its listener.
    #[track_caller]
    pub fn with(configuration: &str) -> Self {
        Self::launch(Self::prepare(), configuration)
    }

    #[track_caller]
    fn prepare() -> Server {
        let accepts = |server: &Server| TcpStream::connect(server.address()).is_ok();
        Server::prepare("Mosquitto", &[Part::Mosquitto], accepts)
    }

    #[track_caller]
    fn launch(server: Server, configuration: &str) -> Self {
        // Started by root, it would become another user, who cannot read the folder.
        let lines = format!(
            "user root\nlog_dest stderr\nlog_type all\nlog_timestamp false\nmax_queued_messages 0\n\
             persistence_location {}/\nlistener {} 127.0.0.1\n{configuration}\n",
            server.folder().display(),
            server.port()
        );
        let file = server.write("mosquitto.conf", &lines);
        Self(server.start(&["/usr/sbin/mosquitto", "-c", &file]))
    }

    /// Returns its address: `mqtt://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("mqtt://{}", self.address())
    }

    /// Returns the number of lines in its log, since its last start, that contain `pattern`, such as
    /// `New client connected`.
    #[track_caller]
    pub fn count_lines(&self, pattern: &str) -> usize {
        self.process().log().iter().filter(|line| line.text.contains(pattern)).count()
    }

    /// Waits for a line in its log, since its last start, that contains `pattern`.
    #[track_caller]
    pub fn wait_for_line(&self, pattern: &str) {
        self.process().wait_for_line(pattern, TIMEOUT);
    }

    /// Publishes a message, as a client without a user, and waits until the server has it.
    #[track_caller]
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, retain: bool) {
        self.publish_as(None, topic, payload.as_ref(), retain);
    }

    /// Publishes a message like [`publish`](Self::publish), as a client with a user and password.
    #[track_caller]
    pub fn publish_as(&self, user: Option<(&str, &str)>, topic: &str, payload: &[u8], retain: bool) {
        let mut options = MqttOptions::new("", ("127.0.0.1", self.port()));
        options.set_max_packet_size(MAX_PACKET, MAX_PACKET);
        if let Some((user, password)) = user {
            options.set_credentials(user.to_owned(), password.to_owned().into_bytes());
        }
        // The calling thread may belong to an asynchronous runtime.
        let published =
            thread::scope(|scope| scope.spawn(|| publish(options, topic, payload, retain)).join());
        published
            .expect("the client does not panic")
            .unwrap_or_else(|error| panic!("cannot publish to {topic}: {error}"));
    }
}

/// Connects, publishes a message with QoS 1, and waits for the acknowledgement.
fn publish(options: MqttOptions, topic: &str, payload: &[u8], retain: bool) -> Result<(), ConnectionError> {
    let (client, mut connection) = Client::builder(options).capacity(1).build();
    let sent = client.publish(topic, payload.to_vec(), PublishOptions::at_least_once().retain(retain));
    sent.expect("there is room for one message");
    for event in connection.iter() {
        if matches!(event?, Event::Incoming(Packet::PubAck(_))) {
            return Ok(());
        }
    }
    Err(ConnectionError::RequestsDone)
}
