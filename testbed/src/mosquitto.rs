//! A Mosquitto server: an MQTT broker.

use std::fs;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;
use crate::tls::make_certificate;
use crate::wait::eventually;

/// Timeout for the start of a server.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Number of log lines that are printed when a test panics.
const SHOWN: usize = 30;

/// A Mosquitto server on loopback.
pub struct Mosquitto {
    // Drop order: the server must end before its folder is removed.
    process: Option<Process>,
    port: Port,
    tls_port: Port,
    scratch: Scratch,
}

impl Mosquitto {
    /// Starts a server that accepts all clients and stores nothing on the disk, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        Self::with("allow_anonymous true\n")
    }

    /// Starts a server like [`start`](Self::start) whose retained messages survive a restart.
    #[track_caller]
    pub fn persistent() -> Self {
        Self::with("allow_anonymous true\npersistence true\nautosave_on_changes true\nautosave_interval 1\n")
    }

    /// Starts a server that accepts one user with a password, and a second user `test` with the password `test`.
    #[track_caller]
    pub fn with_user(user: &str, password: &str) -> Self {
        let server = Self::prepare();
        let file = server.scratch.path().join("passwords");
        fs::write(&file, "").expect("write the password file");
        for (user, password) in [(user, password), ("test", "test")] {
            let mut command = Command::new("mosquitto_passwd");
            let status = command.arg("-b").arg(&file).args([user, password]).status();
            assert!(status.is_ok_and(|status| status.success()), "mosquitto_passwd fails");
        }
        let lines = format!("allow_anonymous false\npassword_file {}\n", file.display());
        server.launch(&lines)
    }

    /// Starts a server with additional configuration lines.
    #[track_caller]
    pub fn with(configuration: &str) -> Self {
        Self::prepare().launch(configuration)
    }

    #[track_caller]
    fn prepare() -> Self {
        install::require(&[Part::Mosquitto]);
        let scratch = Scratch::new("mosquitto");
        fs::create_dir(scratch.path().join("data")).expect("make Mosquitto's folder");
        Self { process: None, port: Port::reserve(), tls_port: Port::reserve(), scratch }
    }

    #[track_caller]
    fn launch(mut self, configuration: &str) -> Self {
        let (certificate, key) = make_certificate(self.scratch.path(), "127.0.0.1");
        let lines = format!(
            // Started by root, it would run as another user, who cannot write into the folder.
            "user root\nlog_dest stderr\nmax_queued_messages 0\npersistence_location {}/\n{configuration}\n\
             listener {} 127.0.0.1\nlistener {} 127.0.0.1\ncertfile {}\nkeyfile {}\n",
            self.folder().display(),
            self.port.number(),
            self.tls_port.number(),
            certificate.display(),
            key.display(),
        );
        fs::write(self.scratch.path().join("mosquitto.conf"), lines)
            .expect("write Mosquitto's configuration");
        self.restart();
        self
    }

    /// Returns its URL: `mqtt://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port())
    }

    /// Returns the URL of its listener with TLS.
    pub fn tls_url(&self) -> String {
        format!("mqtts://127.0.0.1:{}", self.tls_port.number())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Returns the file with the certificate that clients of the listener with TLS must trust.
    pub fn certificate(&self) -> PathBuf {
        self.scratch.path().join("certificate.pem")
    }

    fn folder(&self) -> PathBuf {
        self.scratch.path().join("data")
    }

    /// Starts it again, on the same ports, with the data in its folder, and waits until it accepts connections.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(!self.is_running(), "Mosquitto at {} runs already", self.port());
        let program = ["/usr/sbin/mosquitto", "mosquitto"].into_iter().find(|path| Path::new(path).exists());
        let mut command = parent_death_command(program.unwrap_or("mosquitto"));
        command.arg("-c").arg(self.scratch.path().join("mosquitto.conf"));
        self.process = Some(Process::spawn(command).called(format!("Mosquitto at {}", self.port()), SHOWN));
        eventually("Mosquitto starts", TIMEOUT, || {
            assert!(self.is_running(), "Mosquitto at {} ended while it started", self.port());
            TcpStream::connect((Ipv4Addr::LOCALHOST, self.port())).ok()
        });
    }

    /// Returns true if it runs.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
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
        self.process.as_ref().expect("a killed Mosquitto cannot continue").cont();
    }
}
