//! Sends random requests of three clients to both servers: the output to the clients must be equal, field by field,
//! except session ids and times.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};

use crate::random_requests::{RandomRequest, random_request, without_watch_conflicts};
use crate::raw::{Packet, Raw, op};
use crate::target::Target;
use crate::wire::Fields;

/// Time limit; the test runs as many cases as fit.
const TIME_LIMIT: Duration = Duration::from_secs(15);
const CLIENTS: usize = 3;

/// A server and its clients.
struct Side {
    target: Target,
    clients: Vec<Raw>,
    sessions: Vec<i64>,
    /// The transaction that the case began with.
    base: i64,
    root: String,
}

impl Side {
    fn begin(target: Target) -> Self {
        Self { target, clients: Vec::new(), sessions: Vec::new(), base: 0, root: String::new() }
    }

    /// Starts a new case: with clients and a znode that no other case had.
    fn case(&mut self, number: u32) {
        for client in self.clients.drain(..) {
            client.close();
        }
        self.root = self.target.path(&format!("/{number}"));
        let hosts = self.target.hosts();
        self.clients = (0..CLIENTS).map(|_| Raw::connect(&hosts)).collect();
        self.sessions = self.clients.iter().map(|client| client.session).collect();
        let root = self.root.clone();
        self.clients[0].create(&root, b"", 0).unwrap();
        // A quota counts the znodes below /a.
        let folder = format!("/zookeeper/quota{root}/a");
        for (end, _) in folder.match_indices('/').skip(3) {
            // The first one exists since the first case.
            let _ = self.clients[0].create(&folder[..end], b"", 0);
        }
        for (name, data) in [("", ""), ("/zookeeper_limits", "count=2,bytes=9"), ("/zookeeper_stats", "")] {
            self.clients[0].create(&format!("{folder}{name}"), data.as_bytes(), 0).unwrap();
        }
        self.base = self.clients[0].exists(&root, false).unwrap().czxid;
    }

    /// Sends a request of one client; returns the output to all clients.
    fn exchange(&mut self, client: usize, request: &RandomRequest) -> Vec<String> {
        let (operation, body) = request.encode(&self.root);
        let number = self.clients[client].send(operation, &body);
        let mut actual = Vec::new();
        loop {
            let packet = self.clients[client].next();
            let done =
                matches!(&packet, Packet::Reply { xid, .. } if *xid == number) || packet == Packet::Closed;
            actual.push(format!("{client}: {}", self.show(&packet, request)));
            if done {
                break;
            }
        }
        if let RandomRequest::Reconnect = request {
            self.clients[client] = Raw::connect(&self.target.hosts());
            self.sessions.push(self.clients[client].session);
        }
        for other in 0..CLIENTS {
            let packets = self.clients[other].received();
            actual.extend(packets.iter().map(|packet| format!("{other}: {}", self.show(packet, request))));
        }
        actual
    }

    fn show(&self, packet: &Packet, request: &RandomRequest) -> String {
        match packet {
            Packet::Event { kind, state, path } => format!("event {kind} {state} {}", self.short(path)),
            Packet::Closed => "closed".to_owned(),
            Packet::Reply { zxid, error, body, .. } => {
                let zxid = if *zxid > 0 { zxid - self.base } else { *zxid };
                format!("at {zxid} error {error} {}", self.body(request, &mut Fields(body)))
            }
        }
    }

    fn short<'a>(&self, path: &'a str) -> &'a str {
        path.strip_prefix(&*self.root).unwrap_or(path)
    }

    fn body(&self, request: &RandomRequest, fields: &mut Fields<'_>) -> String {
        if fields.is_empty() {
            return "nothing".to_owned();
        }
        let text = match request {
            RandomRequest::Write(write) => self.written(write.operation(), fields),
            RandomRequest::Multi(_) | RandomRequest::MultiRead(_) => self.results(fields),
            RandomRequest::Exists(..) => self.stat(fields),
            RandomRequest::Get(..) | RandomRequest::Quota => self.written(op::GET_DATA, fields),
            RandomRequest::Children(..) | RandomRequest::Ephemerals(_) => {
                self.written(op::GET_CHILDREN, fields)
            }
            RandomRequest::Children2(..) => format!("{:?} {}", fields.names(), self.stat(fields)),
            RandomRequest::GetAcl(_) => {
                let mut acl = fields.acl();
                acl.sort();
                format!("{acl:?} {}", self.stat(fields))
            }
            RandomRequest::Sync(_) => self.short(&fields.string()).to_owned(),
            RandomRequest::Count(_) | RandomRequest::Watch(..) => fields.int().to_string(),
            RandomRequest::WhoAmI => {
                let mut users = fields.vector(|fields| (fields.string(), fields.string()));
                users.sort();
                format!("{users:?}")
            }
            _ => format!("{:?}", fields.0),
        };
        assert!(
            fields.is_empty() || text.starts_with('['),
            "{request:?}: more than expected: {:?}",
            fields.0
        );
        text
    }

    fn written(&self, operation: i32, fields: &mut Fields<'_>) -> String {
        match operation {
            op::CREATE => self.short(&fields.string()).to_owned(),
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                format!("{} {}", self.short(&fields.string()), self.stat(fields))
            }
            op::SET_DATA | op::SET_ACL => self.stat(fields),
            op::GET_DATA => format!("{:?} {}", fields.bytes(), self.stat(fields)),
            op::GET_CHILDREN => {
                format!("{:?}", fields.names().iter().map(|path| self.short(path)).collect::<Vec<_>>())
            }
            -1 => format!("error {}", fields.int()),
            _ => String::new(),
        }
    }

    fn results(&self, fields: &mut Fields<'_>) -> String {
        let mut results = String::new();
        loop {
            let (operation, done, error) = (fields.int(), fields.bool(), fields.int());
            results += &format!("[{operation} {done} {error} ");
            if done {
                return results + "]";
            }
            results += &(self.written(operation, fields) + "] ");
        }
    }

    /// Formats a `Stat`: times are omitted, transactions are counted from the case's beginning, sessions are identified
    /// by their number.
    fn stat(&self, fields: &mut Fields<'_>) -> String {
        let stat = fields.stat();
        let since = |zxid: i64| if zxid > 0 { zxid - self.base } else { zxid };
        let owner = match self.sessions.iter().position(|session| *session == stat.ephemeral_owner) {
            Some(session) => format!("session {session}"),
            None => stat.ephemeral_owner.to_string(),
        };
        let zxids = [stat.czxid, stat.mzxid, stat.pzxid].map(since);
        let versions = [stat.version, stat.cversion, stat.aversion];
        format!("{zxids:?} {versions:?} {owner} {} {}", stat.data_length, stat.num_children)
    }
}

#[test]
fn both_servers_answer_random_requests_the_same() {
    let start = Instant::now();
    let sides = RefCell::new((Side::begin(Target::memory()), Side::begin(Target::apache_alone())));
    let number = Cell::new(0);
    let step = (0..CLIENTS, random_request())
        .prop_map(|(client, request)| (client, without_watch_conflicts(client, request)));
    let cases = prop::collection::vec(step, 1..40);
    let config =
        ProptestConfig { cases: 20, failure_persistence: None, max_shrink_time: 60_000, ..<_>::default() };
    let case = |steps: Vec<(usize, RandomRequest)>| {
        number.set(number.get() + 1);
        let (memory, apache) = &mut *sides.borrow_mut();
        memory.case(number.get());
        apache.case(number.get());
        for (client, request) in &steps {
            let expected = apache.exchange(*client, request);
            let actual = memory.exchange(*client, request);
            prop_assert_eq!(
                actual,
                expected,
                "client {} asks {:?}; left is ours, right is Apache's",
                client,
                request
            );
        }
        Ok(())
    };
    while start.elapsed() < TIME_LIMIT {
        match TestRunner::new(config.clone()).run(&cases, case) {
            Ok(()) => {}
            Err(TestError::Fail(why, steps)) => panic!("{why}\nafter {steps:#?}"),
            Err(why) => panic!("{why}"),
        }
    }
    println!("{} cases", number.get());
}
