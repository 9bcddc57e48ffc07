//! An InfluxDB 1.x server.

use std::fs;
use std::time::Duration;

use serde_json::Value;

use crate::http;
use crate::install::{self, Part};
use crate::ports::Port;
use crate::process::Process;
use crate::scratch::Scratch;
use crate::spawn::parent_death_command;
use crate::wait::eventually;

/// Timeout for the start of a server.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Number of log lines that are printed when a test panics.
const SHOWN: usize = 20;

/// An InfluxDB server on loopback, with reserved ports and its own data.
pub struct Influxdb {
    // Drop order: the server must end before its folder is removed.
    process: Option<Process>,
    port: Port,
    /// Port for backups, which the server always opens.
    backup_port: Port,
    scratch: Scratch,
}

impl Influxdb {
    /// Starts a server without a database, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        install::require(&[Part::Influxdb]);
        let [port, backup_port] = [Port::reserve(), Port::reserve()];
        let mut server = Self { process: None, port, backup_port, scratch: Scratch::new("influxdb") };
        server.restart();
        server
    }

    /// Returns its URL: `http://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    pub fn port(&self) -> u16 {
        self.port.number()
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Starts it again, on the same port, with the data in its folder, and waits until it answers.
    #[track_caller]
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "InfluxDB at {} runs already", self.port());
        let folder = self.scratch.path().display();
        let configuration = format!(
            "bind-address = \"127.0.0.1:{}\"\n\
             [meta]\ndir = \"{folder}/data/meta\"\n\
             [data]\ndir = \"{folder}/data/data\"\nwal-dir = \"{folder}/data/wal\"\nquery-log-enabled = false\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"{}\"\nlog-enabled = false\n\
             [logging]\nlevel = \"warn\"\n",
            self.backup_port.number(),
            self.address(),
        );
        let file = self.scratch.path().join("influxdb.conf");
        fs::write(&file, configuration).expect("write InfluxDB's configuration");
        let mut command = parent_death_command("influxd");
        command.arg("run").arg("-config").arg(&file);
        // Its usage reports would leave the machine.
        command.env("INFLUXDB_REPORTING_DISABLED", "true");
        let process = Process::spawn(command).called(format!("InfluxDB at {}", self.port()), SHOWN);
        let process = self.process.insert(process);
        let address = format!("127.0.0.1:{}", self.port.number());
        eventually("InfluxDB starts", TIMEOUT, || {
            assert!(process.is_running(), "InfluxDB ended while it started");
            http::get(&address, "/ping", &[]).ok().filter(|answer| answer.status == 204)
        });
    }

    /// Creates a database. `options`: such as ` WITH DURATION 1h`.
    #[track_caller]
    pub fn create_database(&self, name: &str, options: &str) {
        self.query("", &format!("CREATE DATABASE {name}{options}"));
    }

    /// Runs a query in a database. Returns its series, an empty array if there are none.
    #[track_caller]
    pub fn query(&self, database: &str, query: &str) -> Value {
        match self.try_query(database, query) {
            Ok(series) => series,
            Err(error) => panic!("InfluxDB refuses {query}: {error}"),
        }
    }

    /// Runs a query like [`query`](Self::query), in a server that may be away, or may not have the database.
    pub fn try_query(&self, database: &str, query: &str) -> Result<Value, String> {
        let escape = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let target = format!("/query?db={}&epoch=ms&q={}", escape(database), escape(query));
        let answer = http::get(&self.address(), &target, &[])?;
        let mut body: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
        let result = body["results"][0].take();
        match result["error"].as_str().or(body["error"].as_str()) {
            Some(error) => Err(error.to_owned()),
            None => Ok(match &result["series"] {
                Value::Array(series) => Value::Array(series.clone()),
                _ => Value::Array(Vec::new()),
            }),
        }
    }

    /// Returns true if it runs: it may end by itself.
    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(Process::is_running)
    }

    /// Sends SIGKILL, and waits until it is gone. Does nothing if it does not run.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Removes all data, as if its disk had been replaced. It must not run.
    #[track_caller]
    pub fn lose_all(&mut self) {
        assert!(self.process.is_none(), "InfluxDB at {} runs", self.port());
        fs::remove_dir_all(self.scratch.path().join("data")).expect("remove InfluxDB's folder");
    }

    /// Sends SIGSTOP: the server is frozen, its connections stay open, and the kernel accepts new ones.
    #[track_caller]
    pub fn stop_process(&mut self) {
        self.process.as_mut().expect("a killed InfluxDB cannot be stopped").stop();
    }

    /// Sends SIGCONT: the server continues.
    #[track_caller]
    pub fn continue_process(&self) {
        self.process.as_ref().expect("a killed InfluxDB cannot go on").cont();
    }
}
