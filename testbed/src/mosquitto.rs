//! A Mosquitto server, the MQTT broker.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;
use crate::wait::eventually;

/// Timeout for the start of a server, and of each answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Number of log lines that are printed when a test panics.
const SHOWN: usize = 40;

/// A Mosquitto server on loopback. Without other configuration it accepts all clients, and keeps nothing on its disk: after
/// a restart, its retained messages are lost.
pub struct Mosquitto {
    // Drop order: the server must end before its folder is removed.
    process: Option<Process>,
    port: Port,
    scratch: Scratch,
}

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
        install::require(&[Part::Mosquitto]);
        let scratch = Scratch::new("mosquitto");
        let file = scratch.path().join("passwords");
        let output =
            Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&file).args([user, password]).output();
        let output = output.expect("run mosquitto_passwd");
        assert!(output.status.success(), "mosquitto_passwd: {}", String::from_utf8_lossy(&output.stderr));
        let lines = format!("allow_anonymous false\npassword_file {}", file.display());
        Self::launch(scratch, Port::reserve(), &lines)
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
        Self::launch(Scratch::new("mosquitto"), Port::reserve(), configuration)
    }

    #[track_caller]
    fn launch(scratch: Scratch, port: Port, configuration: &str) -> Self {
        install::require(&[Part::Mosquitto]);
        // Started by root, it would become another user, who cannot read the folder.
        let folder = scratch.path().join("data");
        fs::create_dir_all(&folder).expect("make Mosquitto's folder");
        let lines = format!(
            "user root\nlog_dest stderr\nlog_type all\nlog_timestamp false\nmax_queued_messages 0\n\
             persistence_location {}/\nlistener {} 127.0.0.1\n{configuration}\n",
            folder.display(),
            port.number()
        );
        fs::write(scratch.path().join("mosquitto.conf"), lines).expect("write Mosquitto's configuration");
        let mut server = Self { process: None, port, scratch };
        server.restart();
        server
    }

    /// Starts it again, on the same port, with the data in its folder, and waits until it accepts connections.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "Mosquitto at {} runs already", self.port());
        let mut command = parent_death_command("/usr/sbin/mosquitto");
        command.arg("-c").arg(self.scratch.path().join("mosquitto.conf"));
        self.process = Some(Process::spawn(command).called(format!("Mosquitto at {}", self.port()), SHOWN));
        eventually("Mosquitto starts", TIMEOUT, || {
            assert!(self.is_running(), "Mosquitto at {} ended while it started", self.port());
            TcpStream::connect(("127.0.0.1", self.port())).ok()
        });
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the folder with its data.
    pub fn folder(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Returns its address: `mqtt://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    /// Returns true if it runs: it may end by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends SIGTERM, and waits until it has written its data and is gone.
    #[track_caller]
    pub fn end(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.term();
            process.wait_exit(TIMEOUT);
        }
    }

    /// Sends SIGKILL, and waits until it is gone. Does nothing if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Removes all data in its folder, as if its disk had been replaced. It must not run.
    #[track_caller]
    pub fn lose_all(&mut self) {
        assert!(!self.is_running(), "Mosquitto at {} runs", self.port());
        fs::remove_dir_all(self.folder()).expect("remove Mosquitto's folder");
        fs::create_dir(self.folder()).expect("make Mosquitto's folder");
    }

    /// Sends SIGSTOP: the server is frozen, its connections stay open, and the kernel accepts new ones.
    #[track_caller]
    pub fn stop_process(&mut self) {
        self.process.as_mut().expect("a killed Mosquitto cannot be stopped").stop();
    }

    /// Sends SIGCONT: the server continues.
    #[track_caller]
    pub fn continue_process(&self) {
        self.process.as_ref().expect("a killed Mosquitto cannot go on").cont();
    }

    /// Returns the number of lines in its log, since its last start, that contain `pattern`, such as
    /// `New client connected`.
    pub fn count_lines(&self, pattern: &str) -> usize {
        let log = self.process.as_ref().map(Process::log).unwrap_or_default();
        log.iter().filter(|line| line.text.contains(pattern)).count()
    }

    /// Waits for a line in its log, since its last start, that contains `pattern`.
    #[track_caller]
    pub fn wait_for_line(&self, pattern: &str) {
        self.process.as_ref().expect("a killed Mosquitto has no log").wait_for_line(pattern, TIMEOUT);
    }

    /// Publishes a message, as a client without a user, and waits until the server has it.
    #[track_caller]
    pub fn publish(&self, topic: &str, payload: impl AsRef<[u8]>, retain: bool) {
        self.publish_as(None, topic, payload.as_ref(), retain);
    }

    /// Publishes a message like [`publish`](Self::publish), as a client with a user and password.
    #[track_caller]
    pub fn publish_as(&self, user: Option<(&str, &str)>, topic: &str, payload: &[u8], retain: bool) {
        if let Err(error) = publish(self.port(), user, topic, payload, retain) {
            panic!("cannot publish to {topic}: {error}");
        }
    }
}

/// Sends CONNECT, PUBLISH with QoS 1 and DISCONNECT of MQTT 3.1.1.
fn publish(
    port: u16,
    user: Option<(&str, &str)>,
    topic: &str,
    payload: &[u8],
    retain: bool,
) -> io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let flags = if user.is_some() { 0xc2 } else { 0x02 };
    let mut connect = [&text("MQTT")[..], &[4, flags, 0, 60], &text("")].concat();
    if let Some((user, password)) = user {
        connect.extend([text(user), text(password)].concat());
    }
    stream.write_all(&packet(0x10, &connect))?;
    let mut answer = [0; 4];
    stream.read_exact(&mut answer)?;
    if answer != [0x20, 2, 0, 0] {
        return Err(io::Error::other(format!("answer to CONNECT: {answer:?}")));
    }
    let message = [&text(topic)[..], &[0, 1], payload].concat();
    stream.write_all(&packet(0x32 | u8::from(retain), &message))?;
    stream.read_exact(&mut answer)?;
    if answer != [0x40, 2, 0, 1] {
        return Err(io::Error::other(format!("answer to PUBLISH: {answer:?}")));
    }
    stream.write_all(&packet(0xe0, &[]))
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a text of MQTT has at most 65535 bytes");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let (mut packet, mut length) = (vec![kind], body.len());
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            return [packet, body.to_vec()].concat();
        }
    }
}
