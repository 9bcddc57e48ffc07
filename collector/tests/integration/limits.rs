//! Tests of authentication, timeouts, limits and shutdown.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::{Limits, MemoryStore, Options, SqliteOptions, SqliteStore, Tokens};

use crate::common::{
    READER, Running, WRITER, damage, full, open_to_all, refused, run, started, started_with_file,
    started_with_tokens,
};

async fn limited(limits: Limits) -> Running {
    run(Arc::new(MemoryStore::new()), Options { limits, ..Options::default() }).await
}

#[tokio::test]
async fn writers_write_and_readers_read() {
    let collector = started_with_tokens().await;
    let write = || collector.post("/api/v1/reports").json(&full(7, 1, 1.0));
    let read = || collector.get("/api/v1/latest");
    for request in [write(), read(), write().bearer_auth("wrong-0123456789"), collector.get("/nuevo?dato=1")]
    {
        let response = request.try_clone().unwrap().send().await.unwrap();
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        refused(request, 401).await;
    }
    refused(write().bearer_auth(READER), 403).await;
    refused(read().bearer_auth(WRITER), 403).await;
    refused(collector.get(&format!("/api/v1/latest?token={READER}")), 401).await;
    refused(collector.get(&format!("/nuevo?dato=1&token={READER}")), 403).await;
    for path in
        ["/listar", "/metrics", "/api/v1/stream", "/api/v1/reports", "/api/v1/series", "/api/v1/fleet"]
    {
        refused(collector.get(path), 401).await;
    }
    for path in ["/healthz", "/readyz", "/api/v1/openapi.json"] {
        assert_eq!(collector.get(path).send().await.unwrap().status(), 200);
    }
    let list = collector.get("/listar").bearer_auth(READER);
    assert_eq!(list.try_clone().unwrap().send().await.unwrap().text().await.unwrap(), "");
    // A Kazoo leader whose `api_url` contains the token.
    let kazoo = collector.get(&format!("/nuevo?token={WRITER}&dato=78.4")).send().await.unwrap();
    assert_eq!(kazoo.status(), 200);
    assert_eq!(write().bearer_auth(WRITER).send().await.unwrap().status(), 201);
    assert_eq!(list.send().await.unwrap().text().await.unwrap().lines().count(), 2);
}

#[tokio::test]
async fn requests_above_the_rate_are_refused_except_health_checks() {
    let collector = limited(Limits { rate: 0.001, burst: 3.0, ..Limits::default() }).await;
    for _ in 0..3 {
        assert_eq!(collector.get("/nuevo?dato=1").send().await.unwrap().status(), 200);
    }
    refused(collector.get("/nuevo?dato=1"), 429).await;
    refused(collector.get("/no/such/path"), 429).await;
    assert_eq!(collector.get("/healthz").send().await.unwrap().status(), 200);
}

/// Many clients may share one address: those with a token are distinguished from those without, and those behind a
/// trusted proxy from each other.
#[tokio::test]
async fn clients_behind_one_address_have_separate_rates() {
    let limits = || Limits { rate: 0.001, burst: 3.0, ..Limits::default() };
    let tokens = Tokens::parse(&format!("write {WRITER}\nread {READER}")).unwrap();
    let options = Options { tokens, limits: limits(), ..Options::default() };
    let collector = run(Arc::new(MemoryStore::new()), options).await;
    let write = || collector.get("/nuevo?dato=1");
    for _ in 0..3 {
        refused(write().bearer_auth("guessed-0123456789"), 401).await;
    }
    refused(write().bearer_auth("guessed-9876543210"), 429).await;
    refused(collector.get("/nuevo?dato=1&token=guessed-0123456789"), 429).await;
    for _ in 0..3 {
        assert_eq!(write().bearer_auth(WRITER).send().await.unwrap().status(), 200);
    }
    refused(write().bearer_auth(WRITER), 429).await;
    refused(collector.get(&format!("/nuevo?dato=1&token={WRITER}")), 429).await;
    assert_eq!(collector.get("/listar").bearer_auth(READER).send().await.unwrap().status(), 200);

    let proxies = "127.0.0.1".parse().unwrap();
    let options = Options { proxies, limits: limits(), ..Options::default() };
    let collector = run(Arc::new(MemoryStore::new()), options).await;
    let of = |client: &'static str| collector.get("/nuevo?dato=1").header("x-forwarded-for", client);
    for client in ["192.0.2.1", "192.0.2.2"] {
        for _ in 0..3 {
            assert_eq!(of(client).send().await.unwrap().status(), 200);
        }
        refused(of(client), 429).await;
    }
    refused(of("198.51.100.7, 192.0.2.1"), 429).await;
    // The header of a proxy that is not trusted is ignored.
    let collector = limited(limits()).await;
    let of = |client: &'static str| collector.get("/nuevo?dato=1").header("x-forwarded-for", client);
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(of(client).send().await.unwrap().status(), 200);
    }
    refused(of("192.0.2.4"), 429).await;
}

/// A client that sends headers or a body very slowly is disconnected, and others are served in the meantime.
#[tokio::test]
async fn slow_client_is_disconnected() {
    let soon = Duration::from_secs(2);
    let collector = limited(Limits { headers: soon, receive: soon, ..Limits::default() }).await;
    let starts = [
        "GET /nuevo?dato=1 HTTP/1.1\r\nHost: x\r\n",
        "",
        "POST /nuevo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"dato\"",
    ];
    let lorises = starts.map(|start| {
        let address = collector.address;
        tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(start.as_bytes()).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let mut answer = String::new();
            // Reads until the connection is closed.
            stream.read_to_string(&mut answer).map(|_| answer)
        })
    });
    assert_eq!(collector.get("/healthz").send().await.unwrap().status(), 200);
    let [headers, nothing, body] = lorises;
    for (what, loris) in [("headers", headers), ("nothing", nothing)] {
        let answer = loris.await.unwrap().expect(what);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408"), "{what}: {answer}");
    }
    assert!(body.await.unwrap().unwrap().starts_with("HTTP/1.1 408"));
    assert!(collector.means().await.is_empty());
}

/// A client that sends requests and never reads does not keep its slot.
#[tokio::test]
async fn client_that_does_not_read_is_disconnected() {
    let limits = Limits { connections: 1, send: Duration::from_millis(200), ..Limits::default() };
    let collector = limited(limits).await;
    let batch: Vec<_> = (0..1000).map(|cycle| full(1, cycle, 1.0)).collect();
    assert_eq!(collector.post("/api/v1/reports").json(&batch).send().await.unwrap().status(), 200);
    let address = collector.address;
    let stream = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        let request = "GET /api/v1/reports?limit=5000 HTTP/1.1\r\nHost: x\r\n\r\n";
        // Far more answers than the buffers of both sides can hold.
        let _ = stream.write_all(request.repeat(200).as_bytes());
        stream
    });
    let _unread = stream.await.unwrap();
    // There is only one slot.
    assert_eq!(collector.get("/healthz").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn accepted_requests_are_answered_before_the_shutdown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let patient = SqliteOptions { lock_timeout: Duration::from_secs(60), ..SqliteOptions::new(&path) };
    let collector = started_with_file(patient).await;
    assert_eq!(collector.get("/readyz").send().await.unwrap().status(), 200);
    // The file is locked, so requests wait for it.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let waiting: Vec<_> = (0..20)
        .map(|cycle| tokio::spawn(collector.post("/api/v1/reports").json(&full(7, cycle, 1.0)).send()))
        .collect();
    let busy = Instant::now();
    loop {
        let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
        let open =
            metrics.lines().find_map(|line| line.strip_prefix("atalaya_collector_connections ")).unwrap();
        if open.parse::<u32>().unwrap() >= 20 {
            break;
        }
        assert!(busy.elapsed() < Duration::from_secs(20), "{metrics}");
        tokio::task::yield_now().await;
    }
    let address = collector.address;
    collector.stop.cancel();
    // The collector accepts no further connections.
    let refused = Instant::now();
    while TcpStream::connect(address).is_ok() {
        assert!(refused.elapsed() < Duration::from_secs(20));
        tokio::task::yield_now().await;
    }
    assert!(!collector.done.is_finished());
    other.execute_batch("COMMIT").unwrap();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().status(), 201);
    }
    collector.done.await.unwrap();
    let kept = other.query_row("SELECT count(*) FROM reports", [], |row| row.get::<_, i64>(0));
    assert_eq!(kept, Ok(20));
}

#[tokio::test]
async fn idle_connection_does_not_delay_the_shutdown() {
    let collector = started().await;
    let address = collector.address;
    let mut idle = tokio::task::spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            let mut bytes = [0; 256];
            let count = stream.read(&mut bytes).unwrap();
            assert!(count > 0, "it is closed");
            answer.extend_from_slice(&bytes[..count]);
        }
        stream
    })
    .await
    .unwrap();
    collector.stop().await;
    assert_eq!(idle.read(&mut [0]).unwrap(), 0, "an orderly shutdown");
}

#[tokio::test]
async fn failing_store_is_reported_and_works_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let options = SqliteOptions { lock_timeout: Duration::from_millis(10), ..SqliteOptions::new(&path) };
    let collector = started_with_file(options).await;
    let write = |cycle| collector.post("/api/v1/reports").json(&full(7, cycle, 1.0));
    assert_eq!(write(1).send().await.unwrap().status(), 201);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let problem = refused(write(2), 503).await;
    assert_eq!(problem["type"], "urn:problem-type:atalaya:unavailable");
    refused(collector.get("/readyz"), 503).await;
    assert_eq!(collector.get("/healthz").send().await.unwrap().status(), 200);
    assert_eq!(collector.means().await, [1.0]);
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(collector.get("/readyz").send().await.unwrap().status(), 200);
    assert_eq!(write(2).send().await.unwrap().status(), 201, "the first attempt recorded nothing");
    drop(other);
    damage(folder.path());
    refused(write(3), 503).await;
    refused(collector.get("/api/v1/latest"), 503).await;
    std::fs::remove_file(&path).unwrap();
    assert_eq!(write(3).send().await.unwrap().status(), 201);
}

/// Reports past the retention are replaced by sums, and their keys stay known.
#[tokio::test]
async fn reports_past_the_retention_are_summed_up() {
    let options = Options { keep_reports: Some(Duration::from_secs(60)), ..open_to_all() };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let send = |collector: &Running, report: &serde_json::Value| {
        collector.post("/api/v1/reports").json(report).send()
    };
    let collector = started_with_file(SqliteOptions::new(&path)).await;
    let mut old = full(7, 1, 1.0);
    old["time"] = "2020-01-01T00:10:00Z".into();
    assert_eq!(send(&collector, &old).await.unwrap().status(), 201);
    collector.stop().await;
    let store = SqliteStore::open(SqliteOptions::new(&path)).unwrap();
    let collector = run(Arc::new(store), options).await;
    let start = Instant::now();
    while !collector.means().await.is_empty() {
        assert!(start.elapsed() < Duration::from_secs(20));
    }
    assert_eq!(send(&collector, &old).await.unwrap().status(), 200, "its key is still known");
    let series =
        collector.json("/api/v1/series?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z&step=1h").await;
    assert_eq!(series["points"][0]["time"], "2020-01-01T00:00:00Z");
    assert_eq!(series["points"][0]["reports"], 1);
}
