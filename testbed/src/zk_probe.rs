//! Reads and writes ZooKeeper from outside, with Kazoo, so that a bug of our own client cannot hide itself.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::kazoo::Kazoo;
use crate::process::{Line, Process, Stream};

/// Timeout of a command; the script itself waits up to 30 s for a server.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Stat {
    /// Transaction that created it.
    pub czxid: i64,
    /// Transaction of the last change of its data.
    pub mzxid: i64,
    /// Creation time, in milliseconds since 1970.
    pub ctime: i64,
    /// Time of the last change of its data, in milliseconds since 1970.
    pub mtime: i64,
    /// Number of changes of its data.
    pub version: i32,
    pub cversion: i32,
    /// Session that owns an ephemeral znode; 0 for others.
    pub ephemeral_owner: i64,
    pub data_length: i32,
    pub num_children: i32,
}

/// A session of Kazoo that executes commands. Commands wait for a server for up to 30 s. Errors are the names of Kazoo's
/// exceptions, such as `NoNodeError`.
///
/// Its session timeout is 10 s. Its ephemeral znodes live as long as the session.
pub struct ZkProbe {
    script: Mutex<Script>,
}

struct Script {
    process: Process,
    /// Position in its log from which the next answer is searched.
    read: usize,
}

impl ZkProbe {
    /// Connects, and waits for a server.
    #[track_caller]
    pub fn connect(hosts: &str) -> Self {
        Self::connect_by(&Kazoo::ready(), hosts)
    }

    /// Connects like [`connect`](Self::connect), with the identity of `kazoo`.
    #[track_caller]
    pub fn connect_by(kazoo: &Kazoo, hosts: &str) -> Self {
        let process = kazoo.piped("probe.py", &[hosts]);
        // Kazoo may have logged errors to stderr before that line. The answers start after it.
        let is_greeting = |line: &Line| line.stream == Stream::Stdout && line.text == "connected";
        match process.find_from(0, ANSWER, is_greeting) {
            Ok((read, _)) => Self { script: Mutex::new(Script { process, read }) },
            Err(why) => panic!("probe.py did not connect: {why}"),
        }
    }

    #[track_caller]
    pub fn session_id(&self) -> i64 {
        integer(&self.done("session", &json!({})))
    }

    #[track_caller]
    pub(crate) fn try_session_id(&self) -> Result<i64, String> {
        self.call("session", &json!({})).map(|answer| integer(&answer))
    }

    /// Returns the names of the children, sorted; empty if there is no such znode.
    #[track_caller]
    pub fn ls(&self, path: &str) -> Vec<String> {
        strings(self.found("ls", path).unwrap_or_default())
    }

    /// Returns data and stat, or `None` if there is no such znode.
    #[track_caller]
    pub fn get(&self, path: &str) -> Option<(Vec<u8>, Stat)> {
        let found = self.found("get", path)?;
        let data = found["data"].as_str().expect("probe.py sends data as text");
        Some((BASE64.decode(data).expect("probe.py sends base64"), stat(&found["stat"])))
    }

    /// Returns the data as text, with replacement characters for invalid UTF-8; `None` if there is no such znode.
    #[track_caller]
    pub fn text(&self, path: &str) -> Option<String> {
        self.get(path).map(|(data, _)| String::from_utf8_lossy(&data).into_owned())
    }

    /// Returns the stat, or `None` if there is no such znode.
    #[track_caller]
    pub fn exists(&self, path: &str) -> Option<Stat> {
        self.found("exists", path).map(|found| stat(&found))
    }

    /// Creates a znode, and its missing parents.
    #[track_caller]
    pub fn create(&self, path: &str, data: &[u8], ephemeral: bool) -> Result<(), String> {
        let arguments = json!({"path": path, "data": BASE64.encode(data), "ephemeral": ephemeral});
        self.call("create", &arguments).map(drop)
    }

    /// Creates a znode below an existing parent.
    #[track_caller]
    pub fn create_below(&self, path: &str, data: &[u8], ephemeral: bool) -> Result<(), String> {
        let data = BASE64.encode(data);
        let arguments = json!({"path": path, "data": data, "ephemeral": ephemeral, "parents": false});
        self.call("create", &arguments).map(drop)
    }

    /// Authenticates the session, for [`restrict`](Self::restrict).
    #[track_caller]
    pub fn authenticate(&self) -> Result<(), String> {
        self.call("auth", &json!({})).map(drop)
    }

    /// Makes a znode read-only for all other clients (`world:anyone:r`).
    #[track_caller]
    pub fn restrict(&self, path: &str) -> Result<(), String> {
        self.call("acl", &json!({"path": path, "open": false})).map(drop)
    }

    /// Restores the ACL that znodes of this client have: by default, all clients have all permissions.
    #[track_caller]
    pub fn unrestrict(&self, path: &str) -> Result<(), String> {
        self.call("acl", &json!({"path": path, "open": true})).map(drop)
    }

    /// Sets the data, independent of the version.
    #[track_caller]
    pub fn set(&self, path: &str, data: &[u8]) -> Result<(), String> {
        self.call("set", &json!({"path": path, "data": BASE64.encode(data)})).map(drop)
    }

    /// Deletes a znode, independent of the version.
    #[track_caller]
    pub fn delete(&self, path: &str) -> Result<(), String> {
        self.call("delete", &json!({"path": path})).map(drop)
    }

    /// Returns the identifiers of an election's contenders in their order, as Kazoo's `Election.contenders()` returns
    /// them.
    #[track_caller]
    pub fn contenders(&self, path: &str) -> Vec<String> {
        strings(self.done("contenders", &json!({"path": path})))
    }

    #[track_caller]
    fn done(&self, command: &str, arguments: &Value) -> Value {
        match self.call(command, arguments) {
            Ok(answer) => answer,
            Err(error) => panic!("Kazoo: {command} {arguments}: {error}"),
        }
    }

    /// Executes a command about a znode; returns `None` if there is none.
    #[track_caller]
    fn found(&self, command: &str, path: &str) -> Option<Value> {
        match self.call(command, &json!({"path": path})) {
            Ok(answer) => Some(answer),
            Err(error) if error == "NoNodeError" => None,
            Err(error) => panic!("Kazoo: {command} {path}: {error}"),
        }
    }

    /// Executes a command. Returns its answer, or the name of Kazoo's exception.
    #[track_caller]
    fn call(&self, command: &str, arguments: &Value) -> Result<Value, String> {
        let mut request = arguments.clone();
        request["command"] = command.into();
        let mut script = self.script.lock();
        script.process.write_line(&request.to_string());
        let answered = script.process.find_from(script.read, ANSWER, |line| line.stream == Stream::Stdout);
        let (read, line) = match answered {
            Ok(answer) => answer,
            Err(why) => panic!("probe.py did not answer {command}: {why}"),
        };
        script.read = read;
        let mut answer: Value = serde_json::from_str(&line.text).expect("probe.py answers JSON");
        match answer["error"].as_str() {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer["ok"].take()),
        }
    }
}

fn strings(answer: Value) -> Vec<String> {
    let names: Option<Vec<String>> = serde_json::from_value(answer).ok();
    names.unwrap_or_default()
}

fn integer(answer: &Value) -> i64 {
    answer.as_i64().expect("probe.py sends an integer")
}

fn stat(answer: &Value) -> Stat {
    Stat::deserialize(answer).expect("probe.py sends a stat")
}
