//! An InfluxDB 1.x server.

use derive_more::{Deref, DerefMut};
use serde_json::Value;

use crate::install::Part;
use crate::ports::Port;
use crate::server::Server;

/// An InfluxDB server on loopback, with reserved ports and its own data.
#[derive(Deref, DerefMut)]
pub struct Influxdb {
    #[deref]
    #[deref_mut]
    server: Server,
    /// Port for backups, which the server always opens.
    _backup_port: Port,
}

impl Influxdb {
    /// Starts a server without a database, and waits until it answers.
    #[track_caller]
    pub fn start() -> Self {
        let answers = |server: &Server| server.get("/ping").is_ok_and(|answer| answer.status == 204);
        let server = Server::prepare("InfluxDB", &[Part::Influxdb], answers);
        let (backup_port, folder) = (Port::reserve(), server.folder().display());
        // Its usage reports would leave the machine.
        let configuration = format!(
            "reporting-disabled = true\nbind-address = \"127.0.0.1:{}\"\n\
             [meta]\ndir = \"{folder}/meta\"\n\
             [data]\ndir = \"{folder}/data\"\nwal-dir = \"{folder}/wal\"\nquery-log-enabled = false\n\
             [monitor]\nstore-enabled = false\n\
             [http]\nbind-address = \"{}\"\nlog-enabled = false\n\
             [logging]\nlevel = \"warn\"\n",
            backup_port.number(),
            server.address(),
        );
        let file = server.write("influxdb.conf", &configuration);
        Self { server: server.start(&["influxd", "run", "-config", &file]), _backup_port: backup_port }
    }

    /// Returns its URL: `http://127.0.0.1:15001`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
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
        let answer = self.get(&format!("/query?db={}&epoch=ms&q={}", escape(database), escape(query)))?;
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
}
