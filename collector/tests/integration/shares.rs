//! Slow clients and many streams of some addresses do not keep other addresses out.
#![cfg(target_os = "linux")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use atalaya_collector::{Limits, MemoryStore, Options, Tls, Tokens};
use atalaya_testbed::{Scratch, make_certificate};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{READER, WRITER, connect, full, open_to_all, run, started};

/// Much shorter than the timeout for headers, after which the slow connections would end anyway.
const SOON: Duration = Duration::from_secs(6);

/// Sends a request from this address, and returns the beginning of the answer.
async fn get(to: SocketAddr, from: u8, path: &str) -> Option<String> {
    let exchange = async {
        let mut stream = connect(to, from).await;
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = [0; 64];
        let read = stream.read(&mut answer).await.ok().filter(|read| *read > 0)?;
        Some(String::from_utf8_lossy(&answer[..read]).into_owned())
    };
    timeout(SOON, exchange).await.ok().flatten()
}

async fn slow(to: SocketAddr, from: u8, count: usize, begin: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let mut stream = connect(to, from).await;
        // The connection may be closed already.
        let _ = stream.write_all(begin).await;
        held.push(stream);
    }
    held
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_headers_from_two_addresses_do_not_keep_a_third_out() {
    let collector = started().await;
    let mut held = Vec::new();
    for from in [1, 2] {
        held.extend(slow(collector.address, from, 300, b"GET /healthz HTTP/1.1\r\n").await);
        for client in [1, 2, 3] {
            let answer = get(collector.address, client, "/healthz").await;
            assert!(
                answer.as_ref().is_some_and(|text| text.contains(" 200 ")),
                "127.0.0.{client}: {answer:?}"
            );
        }
    }
    let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
    let open = metrics.lines().find_map(|line| line.strip_prefix("atalaya_collector_connections ")).unwrap();
    assert!(open.parse::<usize>().unwrap() <= Limits::default().connections, "{open}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_bodies_from_two_addresses_do_not_keep_a_third_out() {
    let collector = started().await;
    let head =
        b"POST /nuevo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    let mut held = Vec::new();
    for from in [1, 2] {
        held.extend(slow(collector.address, from, 128, head).await);
    }
    let answer = get(collector.address, 3, "/healthz").await;
    assert!(answer.as_ref().is_some_and(|text| text.contains(" 200 ")), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_tls_handshakes_from_two_addresses_do_not_keep_a_third_out() {
    let folder = Scratch::new("collector-shares");
    let (certificate, key) = make_certificate(folder.path(), "127.0.0.1");
    let tls = Some(Tls::load(&certificate, &key).unwrap());
    let collector = run(Arc::new(MemoryStore::new()), Options { tls, ..open_to_all() }).await;
    let mut held = Vec::new();
    for from in [1, 2] {
        held.extend(slow(collector.address, from, 200, &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3]).await);
    }
    for from in [1, 3] {
        let trusted = reqwest::tls::Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
        let client = crate::common::client().tls_certs_only([trusted]).timeout(SOON);
        let client = client.local_address(std::net::IpAddr::from([127, 0, 0, from])).build().unwrap();
        let answer = client.get(format!("https://{}/healthz", collector.address)).send().await;
        assert_eq!(answer.expect("an answer in time").status(), 200, "127.0.0.{from}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_streams_of_two_addresses_leave_one_for_a_third() {
    let collector = started().await;
    let follow = b"GET /api/v1/stream HTTP/1.1\r\nHost: x\r\n\r\n";
    let mut held = Vec::new();
    for from in [1, 2] {
        for mut stream in slow(collector.address, from, 80, follow).await {
            // Answered, with 200 or 503.
            assert!(timeout(SOON, stream.read(&mut [0; 16])).await.unwrap().unwrap() > 0);
            held.push(stream);
        }
    }
    let answer = get(collector.address, 1, "/api/v1/stream").await;
    assert!(answer.as_ref().is_some_and(|text| text.contains(" 503 ")), "it has its share: {answer:?}");
    let answer = get(collector.address, 3, "/api/v1/stream").await;
    assert!(answer.as_ref().is_some_and(|text| text.contains(" 200 ")), "{answer:?}");
}

/// Reads until the stream ends, and returns true if it ended in time.
async fn ends(mut stream: TcpStream, mut seen: String) -> (bool, String) {
    let all = timeout(SOON, async {
        let mut bytes = Vec::new();
        while stream.read_buf(&mut bytes).await.is_ok_and(|read| read > 0) {}
        seen += &String::from_utf8_lossy(&bytes);
    });
    let in_time = all.await.is_ok();
    (in_time, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_stream_ends_when_its_token_is_revoked() {
    const OTHER: &str = "reader-9876543210";
    let file = |reader: &str| Tokens::parse(&format!("write {WRITER}\nread {reader}")).unwrap();
    let tokens = file(READER);
    let options = Options { tokens: tokens.clone(), ..open_to_all() };
    let collector = run(Arc::new(MemoryStore::new()), options).await;
    let follow = |token: &str| {
        let request = format!(
            "GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n\r\n"
        );
        async move {
            let mut stream = connect(collector.address, 1).await;
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = [0; 64];
            let read = timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
            let text = String::from_utf8_lossy(&answer[..read]).into_owned();
            assert!(text.contains(" 200 "), "{text}");
            (stream, text)
        }
    };
    let (stream, seen) = follow(READER).await;
    // The reloaded file still contains the token, so the stream continues.
    tokens.replace(&Tokens::parse(&format!("write {WRITER}\nread {READER}\nread {OTHER}")).unwrap());
    let (kept, _) = follow(OTHER).await;
    tokens.replace(&file(OTHER));
    let sent = collector.post("/api/v1/reports").bearer_auth(WRITER).json(&full(7, 1, 4711.5)).send().await;
    assert_eq!(sent.unwrap().status(), 201);
    let (ended, seen) = ends(stream, seen).await;
    assert!(ended, "it goes on: {seen}");
    assert!(!seen.contains("4711.5"), "a report after the token was revoked: {seen}");
    let mut kept = kept;
    let mut text = String::new();
    let follows = async {
        let mut bytes = Vec::new();
        while !text.contains("4711.5") {
            assert!(kept.read_buf(&mut bytes).await.unwrap() > 0, "it has ended");
            text = String::from_utf8_lossy(&bytes).into_owned();
        }
    };
    timeout(SOON, follows).await.expect("the other reader still follows");
}
