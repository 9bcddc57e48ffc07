//! Null, negative, excessive and empty lengths in each field of each request. Both servers must send the same reply,
//! agree on whether the connection is closed, and have the same znodes and watches afterwards.

mod fields;
mod requests;

use std::fmt::Write as _;

use fields::Length;
use requests::Request;

use crate::raw::{Hello, Packet, Raw, op};
use crate::target::Target;
use crate::wire::{self, Body, Fields};

/// Bytes of an encoded `Stat`.
const STAT: usize = 68;

/// A server, a client that sends the requests, and a client that observes the outcome.
struct Side {
    target: Target,
    witness: Raw,
}

impl Side {
    fn new(target: Target) -> Self {
        let mut witness = Raw::connect(&target.hosts());
        // Requests on the empty path list the root, which must have the same children on both servers.
        witness.delete(&target.path("")).unwrap();
        Self { target, witness }
    }

    /// Sends one request from a new client that has added an identity. Returns all observable outcomes.
    fn outcome(&mut self, root: &str, operation: i32, body: &Body) -> String {
        self.witness.create(root, b"root", 0).unwrap();
        self.witness.create(&format!("{root}/child"), b"child", 0).unwrap();
        let mut client = Raw::connect(&self.target.hosts());
        client.call(op::AUTH, &Body::new().int(0).string("digest").string("bob:secret")).unwrap();
        client.call(op::ADD_WATCH, &Body::new().string(&format!("{root}/mark")).int(0)).unwrap();
        let base = self.witness.set(root, b"base").unwrap().mzxid;
        let mut outcome = String::new();
        let sent = client.send(operation, body);
        let replied = read_until(&mut client, sent, operation, base, &mut outcome);
        if replied && operation != op::PING {
            let sent = client.send(op::PING, &Body::new());
            read_until(&mut client, sent, op::PING, base, &mut outcome);
        }
        self.show_tree(root, base, &mut outcome);
        self.poke(root, base, &mut outcome);
        if !outcome.contains("closed") {
            let sent = client.send(op::PING, &Body::new());
            read_until(&mut client, sent, op::PING, base, &mut outcome);
            client.close();
        }
        outcome
    }

    /// Appends the znodes at and below a path to the outcome.
    fn show_tree(&mut self, path: &str, base: i64, outcome: &mut String) {
        let (data, stat) = match self.witness.get(path, false) {
            Ok(found) => found,
            Err(code) => return writeln!(outcome, "{path}: error {code}").unwrap(),
        };
        let acl = self.witness.call(op::GET_ACL, &Body::new().string(path)).map(|body| Fields(&body).acl());
        let since = |zxid: i64| zxid - base;
        writeln!(
            outcome,
            "{path}: {data:?} {acl:?} versions {} {} {} ephemeral {} zxids {} {} {}",
            stat.version,
            stat.cversion,
            stat.aversion,
            stat.ephemeral_owner != 0,
            since(stat.czxid),
            since(stat.mzxid),
            since(stat.pzxid),
        )
        .unwrap();
        for name in self.witness.children(path, false).unwrap_or_default() {
            self.show_tree(&format!("{path}/{name}"), base, outcome);
        }
    }

    /// Changes the znodes that requests use, so that watches fire and partial changes become visible.
    fn poke(&mut self, root: &str, base: i64, outcome: &mut String) {
        let at = |path: &str| format!("{root}{path}");
        let version = |path: &str| Body::new().string(&at(path)).bytes(b"poked").int(-1);
        let create = |path: &str| wire::create(&at(path), b"", &wire::open(), 0);
        for (operation, body) in [
            (op::SET_DATA, version("")),
            (op::SET_DATA, version("/child")),
            (op::CREATE, create("/new")),
            (op::CREATE, create("/none")),
            (op::CREATE, create("/seq-")),
            (op::DELETE, Body::new().string(&at("/child")).int(-1)),
        ] {
            let sent = self.witness.send(operation, &body);
            read_until(&mut self.witness, sent, operation, base, outcome);
        }
    }
}

/// Appends the client's input up to the reply to `sent`. Returns false if the connection was closed first.
fn read_until(client: &mut Raw, sent: i32, operation: i32, base: i64, outcome: &mut String) -> bool {
    loop {
        match client.next() {
            Packet::Closed => {
                writeln!(outcome, "closed").unwrap();
                return false;
            }
            Packet::Event { kind, state, path } => {
                writeln!(outcome, "event {kind} {state} {path}").unwrap();
            }
            Packet::Reply { xid, zxid, error, body } => {
                // Clients ignore the rest of an error, where Apache may send the part of the reply that was ready by
                // then. The next write shows whether the request consumed a transaction.
                let result = match error {
                    0 if operation == op::PING => String::new(),
                    0 => format!("at {} {}", zxid - base, show_body(operation, &body)),
                    code => format!("error {code}"),
                };
                writeln!(outcome, "reply {result}").unwrap();
                if xid == sent {
                    return true;
                }
            }
        }
    }
}

/// Formats a reply's body without the parts that differ between runs.
fn show_body(operation: i32, body: &[u8]) -> String {
    match operation {
        op::MULTI | op::MULTI_READ if !body.is_empty() => show_results(body),
        op::GET_CHILDREN => format!("{:?}", Fields(body).names()),
        op::GET_CHILDREN2 => {
            let mut fields = Fields(body);
            format!("{:?} {}", fields.names(), fields.stat().num_children)
        }
        op::WHO_AM_I => {
            let mut users = Fields(body).vector(|fields| (fields.string(), fields.string()));
            users.sort();
            format!("{users:?}")
        }
        op::CREATE2
        | op::CREATE_CONTAINER
        | op::CREATE_TTL
        | op::EXISTS
        | op::GET_DATA
        | op::SET_DATA
        | op::GET_ACL
        | op::SET_ACL => match body.split_last_chunk::<STAT>() {
            Some((before, _)) => format!("{before:?} and a stat"),
            None => format!("{body:?}"),
        },
        _ => format!("{body:?}"),
    }
}

fn show_results(body: &[u8]) -> String {
    let (mut fields, mut results) = (Fields(body), String::new());
    loop {
        let (operation, done, error) = (fields.int(), fields.bool(), fields.int());
        write!(results, "[{operation} {done} {error} ").unwrap();
        if done {
            return results + "]";
        }
        let result = match operation {
            op::CREATE => fields.string(),
            op::CREATE2 | op::CREATE_CONTAINER | op::CREATE_TTL => {
                // 3.8.0 answers with an empty stat (ZOOKEEPER-4026).
                let path = fields.string();
                fields.stat();
                path
            }
            op::SET_DATA => format!("version {}", fields.stat().version),
            op::GET_DATA => format!("{:?} version {}", fields.bytes(), fields.stat().version),
            op::GET_CHILDREN => format!("{:?}", fields.names()),
            -1 => fields.int().to_string(),
            _ => String::new(),
        };
        results += &(result + "] ");
    }
}

/// Returns the code with which the in-memory server refuses a request that would harm Apache ZooKeeper 3.8.0.
fn harmful(name: &str, change: Option<(usize, Length)>) -> Option<i32> {
    match (name, change) {
        // Apache never replies to a `check` outside a `multi` that succeeds.
        ("check", None) => Some(0),
        // Apache watches a null path, and then fails to close the connection.
        ("addWatch", Some((0, Length::Null))) => Some(-5),
        ("setWatches2", Some((9 | 11 | 12, Length::Null))) => Some(-5),
        _ => None,
    }
}

#[test]
fn both_servers_treat_lengths_that_do_not_fit_the_same() {
    let (mut memory, mut apache) = (Side::new(Target::memory()), Side::new(Target::apache_alone()));
    let (mut cases, mut differences) = (0, Vec::new());
    for (at, request) in requests::all("").iter().enumerate() {
        let changes = (0..fields::count(&request.fields))
            .flat_map(|field| Length::ALL.map(|length| Some((field, length))));
        for change in std::iter::once(None).chain(changes) {
            if harmful(&request.name, change).is_some() {
                continue;
            }
            cases += 1;
            let root = format!("/case{cases}");
            let Request { name, operation, fields } = requests::all(&root).swap_remove(at);
            let body = fields::encode(&fields, change);
            let (ours, theirs) =
                (memory.outcome(&root, operation, &body), apache.outcome(&root, operation, &body));
            if ours != theirs {
                differences.push(format!("{name}, {change:?}\n-- memory:\n{ours}-- Apache:\n{theirs}"));
            }
        }
    }
    println!("{cases} cases");
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn server_in_memory_refuses_what_harms_apache_and_stays_usable() {
    let target = Target::memory();
    let root = target.path("");
    Raw::connect(&target.hosts()).create(&format!("{root}/child"), b"", 0).unwrap();
    let mut cases = 0;
    for Request { name, operation, fields } in requests::all(&root) {
        let changes = (0..fields::count(&fields)).map(|field| Some((field, Length::Null)));
        for change in std::iter::once(None).chain(changes) {
            let Some(code) = harmful(&name, change) else { continue };
            let mut raw = Raw::connect(&target.hosts());
            let (_, reply) = raw.exchange(operation, &fields::encode(&fields, change));
            assert_eq!(reply.err().unwrap_or(0), code, "{name}, {change:?}");
            raw.close();
            cases += 1;
        }
    }
    assert_eq!(cases, 9);
}

/// Returns the answer to a first frame, and whether the session works.
fn greeting(target: &Target, body: &[u8]) -> String {
    let mut raw = Raw::open(&target.hosts());
    raw.frame(body);
    match raw.receive() {
        None => "closed".to_owned(),
        Some(answer) => {
            let mut fields = Fields(&answer);
            let (version, timeout, session) = (fields.int(), fields.int(), fields.long());
            let (password, rest) = (fields.bytes().map(|password| password.len()), fields.0);
            let works = session != 0 && raw.call(op::EXISTS, &Body::new().string("/").bool(false)).is_ok();
            format!("{version} {timeout} {} {password:?} {rest:?} works {works}", session != 0)
        }
    }
}

#[test]
fn both_servers_treat_lengths_in_the_first_frame_the_same() {
    let (memory, apache) = (Target::memory(), Target::apache());
    let hello = |session: i64, password: fields::Field, read_only: bool| {
        let mut fields = vec![fields::Field::Int(0), fields::Field::Long(0), fields::Field::Int(10_000)];
        fields.extend([fields::Field::Long(session), password]);
        if read_only {
            fields.push(fields::Field::Bool(false));
        }
        fields
    };
    let mut differences = Vec::new();
    for session in ["none", "another's", "a lost one"] {
        for read_only in [false, true] {
            for change in std::iter::once(None).chain(Length::ALL.map(|length| Some((0, length)))) {
                let answers = [&memory, &apache].map(|target| {
                    let other = Raw::hello(&target.hosts(), &Hello::default()).unwrap();
                    let id = match session {
                        "none" => 0,
                        "another's" => other.session,
                        _ => 12_345,
                    };
                    let password = fields::Field::Buffer(other.password.clone());
                    greeting(target, &fields::encode(&hello(id, password, read_only), change).0)
                });
                if answers[0] != answers[1] {
                    differences.push(format!(
                        "session {session}, {read_only}, {change:?}: {} / {}",
                        answers[0], answers[1]
                    ));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
