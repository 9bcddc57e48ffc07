//! Tests of fault injection in the in-memory server, and of its answers to unsupported connections.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use atalaya_zookeeper::{AtRequest, Cut, Faults, Operation, Server};
use atalaya_testbed::eventually;
use tokio::runtime::Runtime;
use zookeeper_client::{Acls, Client, CreateMode, Error};

use crate::raw::{Hello, Packet, Raw, op};
use crate::wire::{self, Body};

const TICK: Duration = Duration::from_millis(500);
const SOON: Duration = Duration::from_secs(20);

struct Bench {
    server: Server,
    faults: Faults,
    runtime: Runtime,
    hosts: String,
}

/// Starts a server in its own thread.
fn bench() -> Bench {
    let server = Server::builder().tick(TICK).start_thread().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    Bench { faults: server.faults(), hosts: server.connect_string(), server, runtime }
}

impl Bench {
    fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    fn zxid(&self) -> i64 {
        let mut stream = TcpStream::connect(&self.hosts).unwrap();
        stream.write_all(b"srvr").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let zxid = answer.lines().find_map(|line| line.strip_prefix("Zxid: 0x")).unwrap();
        i64::from_str_radix(zxid, 16).unwrap()
    }
}

#[test]
fn a_session_is_expired() {
    let bench = bench();
    let mut watcher = Raw::connect(&bench.hosts);
    let mut raw = Raw::connect(&bench.hosts);
    raw.create("/e", b"", 1).unwrap();
    watcher.exists("/e", true).unwrap();
    assert!(bench.run(bench.faults.sessions()).contains(&raw.session));
    assert!(bench.run(bench.faults.expire(raw.session)));
    assert_eq!(watcher.next(), Packet::Event { kind: 2, state: 3, path: "/e".to_owned() });
    assert_eq!(raw.next(), Packet::Closed);
    assert_eq!(Raw::hello(&bench.hosts, &raw.again()).unwrap().session, 0);
    assert!(!bench.run(bench.faults.expire(raw.session)));
}

#[test]
fn a_connection_is_lost_and_its_session_goes_on() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    raw.create("/e", b"", 1).unwrap();
    assert!(bench.run(bench.faults.disconnect(raw.session)));
    assert_eq!(raw.next(), Packet::Closed);
    assert!(!bench.run(bench.faults.disconnect(raw.session)));
    let mut again = Raw::hello(&bench.hosts, &raw.again()).unwrap();
    assert_eq!(again.exists("/e", false).unwrap().ephemeral_owner, raw.session);
}

#[test]
fn a_connection_is_lost_before_or_after_a_request_takes_effect() {
    let bench = bench();
    for (cut, path, takes_effect) in
        [(Cut::BeforeEffect, "/before", false), (Cut::BeforeReply, "/after", true)]
    {
        let mut raw = Raw::connect(&bench.hosts);
        let at = AtRequest::next().of_session(raw.session).of_kind(Operation::Create2).about(path);
        let armed = bench.run(bench.faults.cut(cut, at));
        // Other requests take effect and are answered.
        assert_eq!(raw.told(), []);
        raw.create("/other", b"", 3).unwrap();
        let sync = raw.send(op::SYNC, &Body::new().string("/"));
        raw.send(op::CREATE2, &wire::create(path, b"", &wire::open(), 0));
        assert!(matches!(raw.next(), Packet::Reply { xid, .. } if xid == sync));
        assert_eq!(raw.next(), Packet::Closed);
        bench.run(armed.happened()).unwrap();
        let mut again = Raw::hello(&bench.hosts, &raw.again()).unwrap();
        assert_eq!(again.exists(path, false).is_ok(), takes_effect);
        again.create(&format!("{path}2"), b"", 0).unwrap();
    }
    let armed = bench.run(bench.faults.cut(Cut::BeforeReply, AtRequest::next()));
    bench.run(bench.faults.clear());
    assert!(bench.run(armed.happened()).is_err());
}

#[test]
fn a_client_library_sees_the_loss_and_comes_back() {
    let bench = bench();
    bench.run(async {
        let client = Client::connect(&bench.hosts).await.unwrap();
        let armed = bench.faults.cut(Cut::BeforeReply, AtRequest::next().of_kind(Operation::Create2)).await;
        let options = CreateMode::Persistent.with_acls(Acls::anyone_all());
        assert_eq!(client.create("/lost", b"", &options).await, Err(Error::ConnectionLoss));
        armed.happened().await.unwrap();
        let found = tokio::time::timeout(SOON, client.check_stat("/lost")).await.unwrap();
        assert!(found.unwrap().is_some());
    });
}

#[test]
fn new_connections_are_refused() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    bench.faults.refuse_connections(true);
    assert!(Raw::hello(&bench.hosts, &Hello::default()).is_none());
    raw.create("/a", b"", 0).unwrap();
    bench.faults.refuse_connections(false);
    Raw::connect(&bench.hosts).close();
}

#[test]
fn replies_are_frozen_while_requests_take_effect() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    let before = bench.zxid();
    bench.run(bench.faults.freeze_replies(true));
    let sent = raw.send(op::CREATE2, &wire::create("/a", b"", &wire::open(), 0));
    eventually("the create takes effect", SOON, || (bench.zxid() > before).then_some(()));
    assert!(!raw.has_mail());
    bench.run(bench.faults.freeze_replies(false));
    assert!(matches!(raw.next(), Packet::Reply { xid, error: 0, .. } if xid == sent));
}

#[test]
fn replies_are_delayed_in_their_order() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    let delay = Duration::from_millis(60);
    bench.run(bench.faults.delay_replies(delay));
    let start = Instant::now();
    let first = raw.send(op::SYNC, &Body::new().string("/"));
    let mut second = 0;
    bench.run(async {
        second = raw.send(op::SYNC, &Body::new().string("/"));
        bench.faults.delay_replies(Duration::ZERO).await;
    });
    let third = raw.send(op::SYNC, &Body::new().string("/"));
    for expected in [first, second, third] {
        assert!(matches!(raw.next(), Packet::Reply { xid, .. } if xid == expected));
    }
    bench.run(bench.faults.delay_replies(delay));
    let start = if start.elapsed() < delay { Instant::now() } else { start };
    raw.get("/", false).unwrap();
    assert!(start.elapsed() >= delay);
}

#[test]
fn a_paused_server_does_nothing_and_time_goes_by() {
    let bench = bench();
    let mut raw = Raw::hello(&bench.hosts, &Hello { timeout: 1_000, ..Hello::default() }).unwrap();
    raw.create("/e", b"", 1).unwrap();
    bench.run(bench.faults.pause());
    let mut other = Raw::open(&bench.hosts);
    other.bytes(b"ruok");
    raw.send(op::PING, &Body::new());
    bench.run(bench.faults.advance_clock(TICK * 4));
    assert!(!other.has_mail());
    bench.run(bench.faults.resume());
    assert_eq!(raw.next(), Packet::Closed);
    let mut later = Raw::connect(&bench.hosts);
    assert_eq!(later.exists("/e", false), Err(-101));
}

#[test]
fn a_stopped_server_closes_every_connection_and_takes_none() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    raw.exists("/", true).unwrap();
    let mut silent = Raw::open(&bench.hosts);
    let mut begun = Raw::open(&bench.hosts);
    begun.bytes(&[0, 0]);
    // A stop discards withheld replies, and frozen replies do not keep a connection open.
    bench.run(bench.faults.freeze_replies(true));
    let before = bench.zxid();
    raw.send(op::CREATE2, &wire::create("/a", b"", &wire::open(), 0));
    eventually("the create takes effect", SOON, || (bench.zxid() > before).then_some(()));
    bench.run(bench.faults.stop());
    for closed in [&mut raw, &mut silent, &mut begun] {
        assert_eq!(closed.next(), Packet::Closed);
    }
    assert!(Raw::hello(&bench.hosts, &Hello::default()).is_none());
    let stopped = bench.run(bench.faults.figures()).unwrap();
    assert!(stopped.stopped);
    assert_eq!((stopped.sessions, stopped.connections, stopped.watches), (1, 0, 0));
    bench.run(bench.faults.stop());
    bench.run(bench.faults.clear());
    assert!(Raw::hello(&bench.hosts, &Hello::default()).is_none(), "a stop stays");
    bench.run(bench.faults.start_again());
    let mut again = Raw::hello(&bench.hosts, &raw.again()).unwrap();
    assert_eq!(again.session, raw.session);
    assert!(again.exists("/a", false).is_ok());
    // Starting a running server has no effect.
    bench.run(bench.faults.start_again());
    assert_eq!(again.told(), []);
}

#[test]
fn a_session_has_its_whole_timeout_again_after_a_stop() {
    let bench = bench();
    let mut watcher = Raw::hello(&bench.hosts, &Hello { timeout: 10_000, ..Hello::default() }).unwrap();
    let mut raw = Raw::hello(&bench.hosts, &Hello { timeout: 5_000, ..Hello::default() }).unwrap();
    raw.create("/e", b"", 1).unwrap();
    bench.run(bench.faults.advance_clock(Duration::from_secs(4)));
    bench.run(bench.faults.stop());
    bench.run(bench.faults.advance_clock(Duration::from_secs(3600)));
    assert_eq!(bench.run(bench.faults.sessions()).len(), 2);
    bench.run(bench.faults.start_again());
    bench.run(bench.faults.advance_clock(Duration::from_secs(4)));
    watcher = Raw::hello(&bench.hosts, &watcher.again()).unwrap();
    watcher.exists("/e", true).unwrap();
    assert!(bench.run(bench.faults.sessions()).contains(&raw.session));
    // The session expires after its full timeout, and not later.
    bench.run(bench.faults.advance_clock(Duration::from_millis(1_500)));
    assert_eq!(watcher.next(), Packet::Event { kind: 2, state: 3, path: "/e".to_owned() });
    assert_eq!(bench.run(bench.faults.sessions()), [watcher.session]);
}

#[test]
fn a_stopped_server_still_obeys() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    raw.create("/e", b"", 1).unwrap();
    let mut other = Raw::connect(&bench.hosts);
    bench.run(bench.faults.pause());
    bench.run(bench.faults.stop());
    // Pause and resume have no effect on a stopped server.
    bench.run(bench.faults.pause());
    bench.run(bench.faults.resume());
    assert!(!bench.run(bench.faults.disconnect(raw.session)));
    assert!(bench.run(bench.faults.expire(raw.session)));
    let armed = bench.run(bench.faults.cut(Cut::BeforeReply, AtRequest::next().about("/lost")));
    bench.run(bench.faults.start_again());
    assert_eq!(Raw::hello(&bench.hosts, &raw.again()).unwrap().session, 0);
    other = Raw::hello(&bench.hosts, &other.again()).unwrap();
    assert_eq!(other.exists("/e", false), Err(-101));
    other.send(op::CREATE2, &wire::create("/lost", b"", &wire::open(), 0));
    assert_eq!(other.next(), Packet::Closed);
    bench.run(armed.happened()).unwrap();
}

#[test]
fn figures_are_those_of_the_moment() {
    let bench = bench();
    let empty = bench.run(bench.faults.figures()).unwrap();
    assert_eq!(
        (empty.sessions, empty.connections, empty.watches, empty.requests, empty.zxid),
        (0, 0, 0, 0, 0)
    );
    let mut raw = Raw::connect(&bench.hosts);
    let gone = Raw::connect(&bench.hosts);
    raw.create("/a", b"", 0).unwrap();
    raw.exists("/a", true).unwrap();
    raw.children("/a", true).unwrap();
    raw.children("/", true).unwrap();
    bench.run(bench.faults.disconnect(gone.session));
    let now = bench.run(bench.faults.figures()).unwrap();
    assert_eq!((now.sessions, now.connections, now.znodes), (2, 1, empty.znodes + 1));
    assert_eq!((now.watches, now.requests, now.zxid, now.stopped), (2, 6, bench.zxid(), false));
}

#[test]
fn containers_and_ttls_end_when_the_clock_jumps() {
    let bench = bench();
    let mut raw = Raw::hello(&bench.hosts, &Hello { timeout: 10_000, ..Hello::default() }).unwrap();
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
        bench.run(bench.faults.advance_clock(Duration::from_secs(1)));
        for packet in raw.told() {
            let Packet::Event { kind: 2, path, .. } = packet else { panic!("{packet:?}") };
            gone.retain(|expected| *expected != path);
        }
    }
    assert_eq!(gone, [""; 0]);
    assert!(raw.exists("/new", false).is_ok() && raw.exists("/long", false).is_ok());
}

#[test]
fn a_server_that_was_shut_down_leaves_port_and_connections_closed() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    bench.runtime.block_on(bench.server.shutdown());
    assert_eq!(raw.next(), Packet::Closed);
    assert!(TcpStream::connect(&bench.hosts).is_err());
    let again = Server::builder().listen(&bench.hosts).start_thread().unwrap();
    Raw::connect(&again.connect_string()).close();
    // After the server has stopped, no call hangs.
    assert!(!bench.runtime.block_on(bench.faults.expire(1)));
}

#[test]
fn a_port_that_is_taken_is_an_error() {
    let bench = bench();
    assert!(Server::builder().listen(&bench.hosts).start_thread().is_err());
}

#[test]
fn sasl_without_users_is_refused_and_ends_the_connection() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    assert_eq!(raw.call(102, &Body::new().bytes(b"")), Err(-115));
    assert_eq!(raw.next(), Packet::Closed);
}

#[test]
fn tls_handshake_is_refused_at_once() {
    let bench = bench();
    let mut stream = TcpStream::connect(&bench.hosts).unwrap();
    // The header of a record with a ClientHello; the rest is never sent.
    stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]).unwrap();
    let mut answer = Vec::new();
    // The server may reset the connection, because of the byte that it has not read.
    let ended = stream.read_to_end(&mut answer);
    assert!(ended.is_ok() || ended.is_err_and(|error| error.kind() == std::io::ErrorKind::ConnectionReset));
    assert_eq!(answer, b"");
}

#[test]
fn a_short_request_for_a_reply_beyond_measure_is_refused() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    raw.create("/a", &vec![0; 1_000_000], 0).unwrap();
    let read = wire::multi_header(op::GET_DATA).string("/a").bool(false);
    let reads = (0..300).fold(Body::new(), |reads, _| reads.with(read.clone())).with(wire::multi_end());
    assert_eq!(raw.call(op::MULTI_READ, &reads), Err(-5));
    raw.get("/a", false).unwrap();
}

#[test]
fn clock_that_is_advanced_by_the_longest_duration_ends_sessions_and_nothing_else() {
    let bench = bench();
    let mut raw = Raw::connect(&bench.hosts);
    raw.create("/container", b"", 4).unwrap();
    bench.run(bench.faults.advance_clock(Duration::MAX));
    assert_eq!(raw.next(), Packet::Closed);
    // The clock does not advance further.
    bench.run(bench.faults.advance_clock(Duration::MAX));
    raw = Raw::connect(&bench.hosts);
    assert_eq!(raw.create("/ephemeral", b"", 1), Ok("/ephemeral".to_owned()));
}
