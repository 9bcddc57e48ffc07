//! Overload by many clients: every client gets an answer, other clients are still served, and memory is bounded.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use atalaya_collector::{Limits, Options};
use common::child::{self, Child};
use common::connect;
use reqwest::Client;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// More than the connections that `Limits::default` permits in total, and far more than it permits per address.
const CONNECTIONS: u32 = 500;
const REQUESTS: u32 = 20;
const OF_ONE: usize = 128;
/// Maximum memory of an unoptimized build, in MiB: all bodies and buffers of 256 connections at the same time, doubled.
const MAX_MEMORY: u64 = 160;
const TIMEOUT: Duration = Duration::from_secs(120);

/// Not a test: the entry point of the process that `start` spawns.
#[tokio::test]
async fn collector() {
    // With this rate even slow clients exceed the limit.
    let limits = Limits { rate: 1.0, ..Limits::default() };
    child::serve(Options { limits, ..Options::default() }).await;
}

struct Flooded {
    child: Child,
    address: SocketAddr,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Flooded {
    fn start() -> Flooded {
        let folder = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", folder.path().join("reports.db").display());
        let (child, address) = child::start(&store);
        let client = common::client().timeout(TIMEOUT).pool_max_idle_per_host(0).build().unwrap();
        Flooded { child, address: address.parse().unwrap(), client, _folder: folder }
    }

    /// Returns the maximum resident memory so far, in MiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() / 1024
    }

    /// Sends a request on a connection of its own.
    async fn get(&self, path: &str) -> String {
        let answer = self.client.get(format!("http://{}{path}", self.address)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        answer.text().await.unwrap()
    }
}

/// Reads one answer to its end and returns its status.
async fn status(stream: &mut TcpStream) -> u16 {
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return head.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
        let read = timeout(TIMEOUT, stream.read_buf(&mut answer)).await.expect("an answer").unwrap();
        assert!(read > 0, "no whole answer: {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_concurrent_requests_are_answered() {
    let flooded = Flooded::start();
    let to = flooded.address;
    let mut clients = JoinSet::new();
    for client in 0..CONNECTIONS {
        clients.spawn(async move {
            // Each address uses as many connections as it may have.
            let mut stream = connect(to, 2 + u8::try_from(client / 125).unwrap()).await;
            let mut found = BTreeMap::<u16, u32>::new();
            for _ in 0..REQUESTS {
                stream.write_all(b"GET /nuevo?dato=NaN HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
                *found.entry(status(&mut stream).await).or_default() += 1;
            }
            found
        });
    }
    let mut found = BTreeMap::<u16, u32>::new();
    let mut healthy = 0;
    // One request at a time: cancelled ones would occupy the slots of their address.
    let mut request = Box::pin(flooded.get("/healthz"));
    while !clients.is_empty() {
        tokio::select! {
            Some(client) = clients.join_next() => {
                for (status, count) in client.unwrap() {
                    *found.entry(status).or_default() += count;
                }
            }
            text = &mut request => {
                assert_eq!(text, "ok\n");
                healthy += 1;
                request = Box::pin(flooded.get("/healthz"));
            }
        }
    }
    assert_eq!(request.await, "ok\n");
    assert!(found.keys().all(|status| [400, 429].contains(status)), "{found:?}");
    assert_eq!(found.values().sum::<u32>(), CONNECTIONS * REQUESTS, "{found:?}");
    // Each address may send a burst, and little more.
    assert!(found[&400] >= 4_000 && found[&429] >= 4_000, "{found:?}");
    assert!(flooded.memory() < MAX_MEMORY, "{} MiB", flooded.memory());
    assert_eq!(flooded.get("/listar").await, "", "nothing is recorded");
    println!("{found:?}, {healthy} times healthy, {} MiB", flooded.memory());
}

/// A client that takes all slots it can get leaves some for others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_does_not_take_all_connections() {
    let flooded = Flooded::start();
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        held.push(connect(flooded.address, 9).await);
    }
    // Excess connections are closed, and the others are not closed before their timeout.
    let mut closing: JoinSet<_> = held
        .into_iter()
        .map(|mut stream| async move {
            let _ = stream.read(&mut [0; 16]).await;
        })
        .collect();
    for _ in OF_ONE..usize::try_from(CONNECTIONS).unwrap() {
        timeout(TIMEOUT, closing.join_next()).await.expect("it is closed").unwrap().unwrap();
    }
    let metrics = flooded.get("/metrics").await;
    let metric = |name: &str| metrics.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
    let away = metric("atalaya_collector_connections_turned_away_total ").unwrap();
    assert_eq!(away.parse::<usize>(), Ok(usize::try_from(CONNECTIONS).unwrap() - OF_ONE), "{metrics}");
}

/// Bodies that never end are held in memory, but only until the timeout.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_are_refused() {
    let flooded = Flooded::start();
    let to = flooded.address;
    let mut clients = JoinSet::new();
    for client in 0..200_u8 {
        clients.spawn(async move {
            let mut stream = connect(to, 10 + client % 2).await;
            let head = "POST /nuevo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 262144\r\n\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&[b' '; 262_000]).await.unwrap();
            status(&mut stream).await
        });
    }
    assert_eq!(flooded.get("/healthz").await, "ok\n");
    while let Some(status) = clients.join_next().await {
        assert_eq!(status.unwrap(), 408);
    }
    assert!(flooded.memory() < MAX_MEMORY, "{} MiB", flooded.memory());
    assert_eq!(flooded.get("/listar").await, "", "nothing is recorded");
}
