//! Tests of fault injection in the in-memory server, and of its answers to unsupported connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use atalaya_testbed::eventually;
use atalaya_zookeeper::{Disconnect, Faults, Operation, RequestFilter, Server};
use tokio::runtime::Runtime;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::four_letter;
use crate::raw::{Hello, Packet, Raw, op};
use crate::target::TICK;
use crate::wire::{self, Body};

const TIMEOUT: Duration = Duration::from_secs(20);

struct TestServer {
    server: Server,
    faults: Faults,
    runtime: Runtime,
    hosts: String,
}

/// Starts a server in its own thread.
fn test_server() -> TestServer {
    let server = Server::builder().tick(TICK).start_thread().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    TestServer { faults: server.faults(), hosts: server.connect_string(), server, runtime }
}

/// Starts a server with a client.
fn connected() -> (TestServer, Raw) {
    let server = test_server();
    let raw = Raw::connect(&server.hosts);
    (server, raw)
}

impl TestServer {
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn zxid(&self) -> i64 {
        let answer = four_letter::answer(&self.hosts, "srvr");
        let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
        i64::from_str_radix(zxid, 16).unwrap()
    }
}

#[test]
fn a_session_is_expired() {
    let server = test_server();
    let mut watcher = Raw::connect(&server.hosts);
    let mut raw = Raw::connect(&server.hosts);
    raw.create("/e", b"", 1).unwrap();
    watcher.exists("/e", true).unwrap();
    assert!(server.run(server.faults.sessions()).contains(&raw.session));
    assert!(server.run(server.faults.expire(raw.session)));
    assert_eq!(watcher.next(), Packet::Event { kind: 2, state: 3, path: "/e".to_owned() });
    assert_eq!(raw.next(), Packet::Closed);
    assert_eq!(Raw::hello(&server.hosts, &raw.reconnect()).unwrap().session, 0);
    assert!(!server.run(server.faults.expire(raw.session)));
}

#[test]
fn connection_is_lost_and_its_session_continues() {
    let (server, mut raw) = connected();
    raw.create("/e", b"", 1).unwrap();
    assert!(server.run(server.faults.disconnect(raw.session)));
    assert_eq!(raw.next(), Packet::Closed);
    assert!(!server.run(server.faults.disconnect(raw.session)));
    let mut again = Raw::hello(&server.hosts, &raw.reconnect()).unwrap();
    assert_eq!(again.exists("/e", false).unwrap().ephemeral_owner, raw.session);
}

#[test]
fn a_connection_is_lost_before_or_after_a_request_takes_effect() {
    let server = test_server();
    for (cut, path, takes_effect) in
        [(Disconnect::BeforeEffect, "/before", false), (Disconnect::BeforeReply, "/after", true)]
    {
        let mut raw = Raw::connect(&server.hosts);
        let at = RequestFilter::any().session(raw.session).operation(Operation::Create2).path_contains(path);
        let pending = server.run(server.faults.disconnect_at(cut, at));
        // Other requests take effect and are answered.
        assert_eq!(raw.received(), []);
        raw.create("/other", b"", 3).unwrap();
        let sync = raw.send(op::SYNC, &Body::new().string("/"));
        raw.send(op::CREATE2, &wire::create(path, b"", &wire::open(), 0));
        assert!(matches!(raw.next(), Packet::Reply { xid, .. } if xid == sync));
        assert_eq!(raw.next(), Packet::Closed);
        server.run(pending.happened()).unwrap();
        let mut again = Raw::hello(&server.hosts, &raw.reconnect()).unwrap();
        assert_eq!(again.exists(path, false).is_ok(), takes_effect);
        again.create(&format!("{path}2"), b"", 0).unwrap();
    }
    let pending = server.run(server.faults.disconnect_at(Disconnect::BeforeReply, RequestFilter::any()));
    server.run(server.faults.clear());
    assert!(server.run(pending.happened()).is_err());
}

#[test]
fn client_library_reports_the_loss_and_reconnects() {
    let server = test_server();
    server.run(async {
        let client = Client::connect(&server.hosts).await.unwrap();
        let pending = server
            .faults
            .disconnect_at(Disconnect::BeforeReply, RequestFilter::any().operation(Operation::Create2))
            .await;
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        assert_eq!(client.create("/lost", b"", &options).await, Err(Error::ConnectionLoss));
        pending.happened().await.unwrap();
        let found = tokio::time::timeout(TIMEOUT, client.check_stat("/lost")).await.unwrap();
        assert!(found.unwrap().is_some());
    });
}

#[test]
fn new_connections_are_refused() {
    let (server, mut raw) = connected();
    server.faults.refuse_connections(true);
    assert!(Raw::hello(&server.hosts, &Hello::default()).is_none());
    raw.create("/a", b"", 0).unwrap();
    server.faults.refuse_connections(false);
    Raw::connect(&server.hosts).close();
}

#[test]
fn replies_are_frozen_while_requests_take_effect() {
    let (server, mut raw) = connected();
    let before = server.zxid();
    server.run(server.faults.freeze_replies(true));
    let sent = raw.send(op::CREATE2, &wire::create("/a", b"", &wire::open(), 0));
    eventually("the create takes effect", TIMEOUT, || (server.zxid() > before).then_some(()));
    assert!(!raw.has_unread_data());
    server.run(server.faults.freeze_replies(false));
    assert!(matches!(raw.next(), Packet::Reply { xid, error: 0, .. } if xid == sent));
}

#[test]
fn replies_are_delayed_in_their_order() {
    let (server, mut raw) = connected();
    let delay = Duration::from_millis(60);
    server.run(server.faults.delay_replies(delay));
    let start = Instant::now();
    let first = raw.send(op::SYNC, &Body::new().string("/"));
    let mut second = 0;
    server.run(async {
        second = raw.send(op::SYNC, &Body::new().string("/"));
        server.faults.delay_replies(Duration::ZERO).await;
    });
    let third = raw.send(op::SYNC, &Body::new().string("/"));
    for expected in [first, second, third] {
        assert!(matches!(raw.next(), Packet::Reply { xid, .. } if xid == expected));
    }
    server.run(server.faults.delay_replies(delay));
    let start = if start.elapsed() < delay { Instant::now() } else { start };
    raw.get("/", false).unwrap();
    assert!(start.elapsed() >= delay);
}

#[test]
fn paused_server_does_nothing_and_time_continues() {
    let server = test_server();
    let mut raw = Raw::hello(&server.hosts, &Hello { timeout: 1_000, ..Hello::default() }).unwrap();
    raw.create("/e", b"", 1).unwrap();
    server.run(server.faults.pause());
    let mut other = Raw::open(&server.hosts);
    other.bytes(b"ruok");
    raw.send(op::PING, &Body::new());
    server.run(server.faults.advance_clock(TICK * 4));
    assert!(!other.has_unread_data());
    server.run(server.faults.resume());
    assert_eq!(raw.next(), Packet::Closed);
    let mut later = Raw::connect(&server.hosts);
    assert_eq!(later.exists("/e", false), Err(-101));
}

#[test]
fn stopped_server_closes_every_connection_and_accepts_none() {
    let (server, mut raw) = connected();
    raw.exists("/", true).unwrap();
    let mut silent = Raw::open(&server.hosts);
    let mut begun = Raw::open(&server.hosts);
    begun.bytes(&[0, 0]);
    // A stop discards withheld replies, and frozen replies do not keep a connection open.
    server.run(server.faults.freeze_replies(true));
    let before = server.zxid();
    raw.send(op::CREATE2, &wire::create("/a", b"", &wire::open(), 0));
    eventually("the create takes effect", TIMEOUT, || (server.zxid() > before).then_some(()));
    server.run(server.faults.stop());
    for closed in [&mut raw, &mut silent, &mut begun] {
        assert_eq!(closed.next(), Packet::Closed);
    }
    assert!(Raw::hello(&server.hosts, &Hello::default()).is_none());
    let stopped = server.run(server.faults.stats()).unwrap();
    assert!(stopped.stopped);
    assert_eq!((stopped.sessions, stopped.connections, stopped.watches), (1, 0, 0));
    server.run(server.faults.stop());
    server.run(server.faults.clear());
    assert!(Raw::hello(&server.hosts, &Hello::default()).is_none(), "a stop stays");
    server.run(server.faults.restart());
    let mut again = Raw::hello(&server.hosts, &raw.reconnect()).unwrap();
    assert_eq!(again.session, raw.session);
    assert!(again.exists("/a", false).is_ok());
    // Starting a running server has no effect.
    server.run(server.faults.restart());
    assert_eq!(again.received(), []);
}

#[test]
fn session_timeout_restarts_after_a_stop() {
    let server = test_server();
    let mut watcher = Raw::hello(&server.hosts, &Hello { timeout: 10_000, ..Hello::default() }).unwrap();
    let mut raw = Raw::hello(&server.hosts, &Hello { timeout: 5_000, ..Hello::default() }).unwrap();
    raw.create("/e", b"", 1).unwrap();
    server.run(server.faults.advance_clock(Duration::from_secs(4)));
    server.run(server.faults.stop());
    server.run(server.faults.advance_clock(Duration::from_secs(3600)));
    assert_eq!(server.run(server.faults.sessions()).len(), 2);
    server.run(server.faults.restart());
    server.run(server.faults.advance_clock(Duration::from_secs(4)));
    watcher = Raw::hello(&server.hosts, &watcher.reconnect()).unwrap();
    watcher.exists("/e", true).unwrap();
    assert!(server.run(server.faults.sessions()).contains(&raw.session));
    // The session expires after its full timeout, and not later.
    server.run(server.faults.advance_clock(Duration::from_millis(1_500)));
    assert_eq!(watcher.next(), Packet::Event { kind: 2, state: 3, path: "/e".to_owned() });
    assert_eq!(server.run(server.faults.sessions()), [watcher.session]);
}

#[test]
fn stopped_server_still_executes_commands() {
    let (server, mut raw) = connected();
    raw.create("/e", b"", 1).unwrap();
    let mut other = Raw::connect(&server.hosts);
    server.run(server.faults.pause());
    server.run(server.faults.stop());
    // Pause and resume have no effect on a stopped server.
    server.run(server.faults.pause());
    server.run(server.faults.resume());
    assert!(!server.run(server.faults.disconnect(raw.session)));
    assert!(server.run(server.faults.expire(raw.session)));
    let pending = server.run(
        server.faults.disconnect_at(Disconnect::BeforeReply, RequestFilter::any().path_contains("/lost")),
    );
    server.run(server.faults.restart());
    assert_eq!(Raw::hello(&server.hosts, &raw.reconnect()).unwrap().session, 0);
    other = Raw::hello(&server.hosts, &other.reconnect()).unwrap();
    assert_eq!(other.exists("/e", false), Err(-101));
    other.send(op::CREATE2, &wire::create("/lost", b"", &wire::open(), 0));
    assert_eq!(other.next(), Packet::Closed);
    server.run(pending.happened()).unwrap();
}

#[test]
fn stats_are_current() {
    let server = test_server();
    let empty = server.run(server.faults.stats()).unwrap();
    assert_eq!(
        (empty.sessions, empty.connections, empty.watches, empty.requests, empty.zxid),
        (0, 0, 0, 0, 0)
    );
    let mut raw = Raw::connect(&server.hosts);
    let gone = Raw::connect(&server.hosts);
    raw.create("/a", b"", 0).unwrap();
    raw.exists("/a", true).unwrap();
    raw.children("/a", true).unwrap();
    raw.children("/", true).unwrap();
    server.run(server.faults.disconnect(gone.session));
    let now = server.run(server.faults.stats()).unwrap();
    assert_eq!((now.sessions, now.connections, now.znodes), (2, 1, empty.znodes + 1));
    assert_eq!((now.watches, now.requests, now.zxid, now.stopped), (2, 6, server.zxid(), false));
}

#[test]
fn containers_and_ttls_end_when_the_clock_jumps() {
    let server = test_server();
    let mut raw = Raw::hello(&server.hosts, &Hello { timeout: 10_000, ..Hello::default() }).unwrap();
    raw.call(op::CREATE_CONTAINER, &wire::create("/used", b"", &wire::open(), 4)).unwrap();
    raw.call(op::CREATE_CONTAINER, &wire::create("/new", b"", &wire::open(), 4)).unwrap();
    raw.call(op::CREATE_TTL, &wire::create("/brief", b"", &wire::open(), 5).long(50_000)).unwrap();
    raw.call(op::CREATE_TTL, &wire::create("/long", b"", &wire::open(), 5).long(500_000)).unwrap();
    raw.create("/used/child", b"", 0).unwrap();
    raw.delete("/used/child").unwrap();
    let mut gone = vec!["/used", "/brief"];
    for path in &gone {
        raw.exists(path, true).unwrap();
    }
    for _ in 0..61 {
        server.run(server.faults.advance_clock(Duration::from_secs(1)));
        for packet in raw.received() {
            let Packet::Event { kind: 2, path, .. } = packet else { panic!("{packet:?}") };
            gone.retain(|expected| *expected != path);
        }
    }
    assert_eq!(gone, [""; 0]);
    assert!(raw.exists("/new", false).is_ok() && raw.exists("/long", false).is_ok());
}

#[test]
fn a_server_that_was_shut_down_leaves_port_and_connections_closed() {
    let (server, mut raw) = connected();
    server.runtime.block_on(server.server.shutdown());
    assert_eq!(raw.next(), Packet::Closed);
    assert!(TcpStream::connect(&server.hosts).is_err());
    let again = Server::builder().listen(&server.hosts).start_thread().unwrap();
    Raw::connect(&again.connect_string()).close();
    // After the server has stopped, no call hangs.
    assert!(!server.runtime.block_on(server.faults.expire(1)));
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let server = test_server();
    assert!(Server::builder().listen(&server.hosts).start_thread().is_err());
}

#[test]
fn sasl_without_users_is_refused_and_ends_the_connection() {
    let (_server, mut raw) = connected();
    assert_eq!(raw.call(102, &Body::new().bytes(b"")), Err(-115));
    assert_eq!(raw.next(), Packet::Closed);
}

#[test]
fn tls_handshake_is_refused_at_once() {
    let server = test_server();
    let mut stream = TcpStream::connect(&server.hosts).unwrap();
    // The header of a record with a ClientHello; the rest is never sent.
    stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).unwrap();
    let mut answer = Vec::new();
    // The server may reset the connection, because of the byte that it has not read.
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert_eq!(answer, b"");
}

#[test]
fn short_request_with_an_excessive_reply_is_refused() {
    let (_server, mut raw) = connected();
    raw.create("/a", &vec![0; 1_000_000], 0).unwrap();
    let read = wire::multi_header(op::GET_DATA).string("/a").bool(false);
    let reads = (0..300).fold(Body::new(), |reads, _| reads.with(read.clone())).with(wire::multi_end());
    assert_eq!(raw.call(op::MULTI_READ, &reads), Err(-5));
    raw.get("/a", false).unwrap();
}

#[test]
fn clock_that_is_advanced_by_the_longest_duration_ends_sessions_and_nothing_else() {
    let (server, mut raw) = connected();
    raw.create("/container", b"", 4).unwrap();
    server.run(server.faults.advance_clock(Duration::MAX));
    assert_eq!(raw.next(), Packet::Closed);
    // The clock does not advance further.
    server.run(server.faults.advance_clock(Duration::MAX));
    raw = Raw::connect(&server.hosts);
    assert_eq!(raw.create("/ephemeral", b"", 1), Ok("/ephemeral".to_owned()));
}
