//! Malformed requests on the wire: they are refused with the right status, and nothing of them is stored.

use std::sync::Arc;

use atalaya_collector::{MemoryStore, Options, Tokens};
use serde_json::Value;

use crate::common::{Running, WRITER, open_to_all, refused, run, started};

const JSON: &str = "Content-Type: application/json\r\n";
const REPORT: &str = "{\"dato\":12}";

/// Returns a request whose connection ends after the answer.
fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
}

fn post(headers: &str, body: &str) -> Vec<u8> {
    format!("POST /nuevo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n{body}").into_bytes()
}

fn with_length(headers: &str, body: &str) -> Vec<u8> {
    post(&format!("{headers}Content-Length: {}\r\n", body.len()), body)
}

fn chunk(body: &str) -> String {
    format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len())
}

/// Sends the request unchanged. The answer must have this `status`, and a problem as its body unless the request is not
/// HTTP.
async fn answered(collector: &Running, request: &[u8], status: u16) -> String {
    let answer = collector.raw(request).await;
    let shown = String::from_utf8_lossy(&request[..request.len().min(200)]).into_owned();
    let line = answer.lines().next().unwrap_or_default();
    let found = line.split(' ').nth(1).unwrap_or_default();
    assert_eq!(found, status.to_string(), "{shown:?} is answered {answer:?}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has headers");
    if status >= 400 && !body.is_empty() {
        assert!(head.contains("content-type: application/problem+json"), "{shown:?}: {answer}");
        let problem: Value = serde_json::from_str(body).expect("a problem is JSON");
        assert_eq!(problem["status"], status, "{shown:?}");
    }
    answer
}

/// Checks that all requests are refused, each on its own connection, and that the collector continues to work.
async fn all_refused(requests: Vec<(Vec<u8>, u16)>) {
    let collector = started().await;
    for (request, status) in requests {
        answered(&collector, &request, status).await;
    }
    assert!(collector.means().await.is_empty(), "nothing is recorded");
    collector.stop().await;
}

#[tokio::test]
async fn invalid_http_is_refused() {
    let line = |line: &str| format!("{line}\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes();
    let header = |header: &[u8]| {
        [b"GET /nuevo?dato=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n", header, b"\r\n\r\n"].concat()
    };
    all_refused(vec![
        (b"GET /nuevo?dato=1\r\n".to_vec(), 400),
        (line("GET /nuevo?dato=1 HTTP/2.0"), 400),
        (line("GET /nuevo?dato=1 HTTP/1.1 HTTP/1.1"), 400),
        (line("GET  /nuevo?dato=1 HTTP/1.1"), 400),
        (line("GET nuevo?dato=1 HTTP/1.1"), 400),
        (line("G@T /nuevo?dato=1 HTTP/1.1"), 400),
        ((0..=255).collect(), 400),
        (header(b"X: a\r\n b"), 400),
        (header(b"X : a"), 400),
        (header(b"X: a\0b"), 400),
        (header(b"X: a\rb"), 400),
        (header("X: y\r\n".repeat(100_000).as_bytes()), 431),
        (header(format!("X: {}", "y".repeat(300_000)).as_bytes()), 431),
        (get(&format!("/nuevo?dato={}", "1".repeat(300_000))), 431),
        // RFC 9112 forbids these: a proxy in between may take one request for another.
        (b"GET /nuevo?dato=1 HTTP/1.1\r\nConnection: close\r\n\r\n".to_vec(), 400),
        (header(b"Host: y"), 400),
    ])
    .await;
}

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let method = |method: &str, target: &str| {
        format!("{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").into_bytes()
    };
    let unknown = "/../nuevo?dato=1 /%2e%2e/nuevo?dato=1 /api/v1/../../nuevo?dato=1 //nuevo?dato=1 /nuevo//?dato=1 /nuevo%00?dato=1 \
                   /nuevo%2f?dato=1 /nuevo;x?dato=1 /\\nuevo?dato=1 /nuevo%0d%0a?dato=1 http://elsewhere/etc?dato=1";
    let long = format!("/{}", "a".repeat(30_000));
    let mut requests: Vec<_> = unknown.split(' ').chain([&*long]).map(|path| (get(path), 404)).collect();
    for no_path in ["/nuevo\0?dato=1", "/nuevo ?dato=1"] {
        requests.push((get(no_path), 400));
    }
    requests.push((b"GET /\xff?dato=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), 400));
    requests
        .push((b"GET /nuevo?dato=1&\xff=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_vec(), 400));
    for name in ["BREW", "TRACE", "OPTIONS", "PATCH", "nuevo", &"A".repeat(5_000)] {
        requests.push((method(name, "/nuevo?dato=1"), 405));
    }
    requests.push((method("CONNECT", "elsewhere:443"), 404));
    requests.push((method("OPTIONS", "*"), 404));
    all_refused(requests).await;
}

/// Two lengths may hide a second request from a proxy; incomplete bodies are not stored.
#[tokio::test]
async fn ambiguous_framing_of_a_body_is_refused() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let typed = |headers: &str| format!("{JSON}{headers}");
    let cut = |request: Vec<u8>| request[..request.len() - 4].to_vec();
    let collector = started().await;
    for (request, status) in [
        (post(&typed("Content-Length: 11\r\nContent-Length: 5\r\n"), REPORT), 400),
        (post(&typed("Content-Length: -1\r\n"), REPORT), 400),
        (post(&typed("Content-Length: +11\r\n"), REPORT), 400),
        (post(&typed("Content-Length: 11, 11\r\n"), REPORT), 400),
        (post(&typed("Content-Length: 99999999999999999999999\r\n"), REPORT), 400),
        (post(&typed("Transfer-Encoding: identity\r\n"), REPORT), 400),
        (post(&typed("Transfer-Encoding: xchunked\r\n"), &chunk(REPORT)), 400),
        (post(&typed("Transfer-Encoding: chunked, gzip\r\n"), &chunk(REPORT)), 400),
        (post(&typed("Transfer-Encoding: gzip, chunked\r\n"), &chunk(REPORT)), 501),
        (post(&typed("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"), &chunk(REPORT)), 501),
        (post(&typed(chunked), "zz\r\n{\"dato\":12}\r\n0\r\n\r\n"), 400),
        (post(&typed(chunked), "ffffffffffffffffff\r\n{\"dato\":12}\r\n0\r\n\r\n"), 400),
        (post(&typed(chunked), "b\r\n{\"dato\":12}XX0\r\n\r\n"), 400),
        (
            String::from_utf8(post(&typed(chunked), &chunk(REPORT)))
                .unwrap()
                .replace("/1.1", "/1.0")
                .into_bytes(),
            400,
        ),
    ] {
        answered(&collector, &request, status).await;
    }
    // Nothing of a truncated request is stored, even if only its end is missing.
    for whole in [with_length(JSON, &format!("{REPORT}    ")), post(&typed(chunked), &chunk(REPORT))] {
        let broken = collector.raw_and_end(cut(whole)).await;
        assert!(broken.is_empty() || broken.starts_with("HTTP/1.1 400"), "{broken}");
    }
    assert!(collector.means().await.is_empty(), "nothing is recorded");

    // Chunked encoding takes precedence over a length: the bytes after the chunks are a separate request.
    let second = String::from_utf8(get("/nuevo?dato=2")).unwrap();
    for lengths in [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n",
    ] {
        let first = format!("POST /nuevo HTTP/1.1\r\nHost: x\r\n{JSON}{lengths}\r\n{}", chunk(REPORT));
        let answers = collector.raw(format!("{first}{second}")).await;
        let count = answers.matches("HTTP/1.1").count();
        assert!(!answers.contains("200 OK") || answers.matches("\"recorded\"").count() == count, "{answers}");
        // The body of a `GET` is not a request.
        let hidden = format!(
            "GET /nuevo?dato=3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{second}",
            second.len()
        );
        assert_eq!(collector.raw(hidden).await.matches("HTTP/1.1 ").count(), 1);
    }
    let means = collector.means().await;
    assert_eq!(means.iter().filter(|mean| **mean == 3.0).count(), 2);
    assert!(means.iter().all(|mean| [2.0, 3.0, 12.0].contains(mean)), "{means:?}");
    collector.stop().await;
}

#[tokio::test]
async fn unsupported_encodings_of_a_body_are_refused() {
    let kind = |kind: &str| format!("Content-Type: {kind}\r\n");
    let requests = [
        format!("{JSON}Content-Encoding: gzip\r\n"),
        format!("{JSON}Content-Encoding: identity\r\nContent-Encoding: br\r\n"),
        kind("application/json; charset=utf-16"),
        kind("application/json; charset=\"iso-8859-1\""),
        kind("application/json\r\nContent-Type: text/plain"),
        kind("application/json, text/plain"),
        kind("\u{fc}"),
        String::new(),
    ];
    let refused = requests.iter().map(|headers| (with_length(headers, REPORT), 415)).collect();
    all_refused(refused).await;
    let collector = started().await;
    for taken in ["application/json; charset=UTF-8", "application/json;charset=\"utf-8\"", "Application/JSON"]
    {
        answered(&collector, &with_length(&kind(taken), REPORT), 200).await;
    }
    answered(&collector, &with_length(&format!("{JSON}Content-Encoding: identity\r\n"), REPORT), 200).await;
    assert_eq!(collector.means().await.len(), 4);
}

#[tokio::test]
async fn json_with_duplicate_fields_or_deep_nesting_is_refused() {
    let nested = format!("{{\"mean\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    let deep = format!("{}1{}", "{\"mean\":".repeat(10_000), "}".repeat(10_000));
    let requests = [
        r#"{"mean":1,"mean":1}"#,
        r#"{"mean":1,"dato":2}"#,
        r#"{"mean":1,"epoch":1,"epoch":2,"cycle":1}"#,
        r#"{"mean":1,"epoch":-5,"cycle":1}"#,
        r#"{"mean":1,"epoch":9223372036854775808,"cycle":1}"#,
        r#"{"mean":1,"epoch":1.5,"cycle":1}"#,
        r#"{"mean":1,"epoch":1e300,"cycle":1}"#,
        r#"{"mean":1,"epoch":"1","cycle":1}"#,
        r#"{"mean":1e999}"#,
        r#"{"mean":-1e999}"#,
        r#"{"mean":Infinity}"#,
        r#"{"mean":0x10}"#,
        r#"{"mean":01}"#,
        "\u{feff}{\"mean\":1}",
        "{\"mean\":1}{\"mean\":2}",
        &nested,
        &deep,
    ];
    all_refused(requests.iter().map(|body| (with_length(JSON, body), 400)).collect()).await;
    let collector = started().await;
    // A number with many digits is valid.
    let digits = format!("{{\"mean\":0.{}}}", "3".repeat(100_000));
    answered(&collector, &with_length(JSON, &digits), 200).await;
    answered(&collector, &get(&format!("/nuevo?dato=0.{}", "3".repeat(10_000))), 200).await;
    let third = 1.0 / 3.0;
    // Unknown fields are ignored and do not consume stack.
    let unknown = format!("{{\"mean\":1,\"x\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
    answered(&collector, &with_length(JSON, &unknown), 200).await;
    answered(&collector, &with_length(JSON, r#"{"mean":2,"epoch":1.0,"cycle":1e3}"#), 200).await;
    assert_eq!(collector.means().await, [third, third, 1.0, 2.0]);
    assert_eq!(collector.json("/api/v1/fleet").await["epochs"][0]["last_cycle"], 1000);
}

/// A client that sends `Expect: 100-continue` gets an answer before it sends the body.
#[tokio::test]
async fn expect_100_continue_is_answered_before_the_body() {
    let collector = started().await;
    let expecting =
        |length: usize| post(&format!("{JSON}Expect: 100-continue\r\nContent-Length: {length}\r\n"), "");
    answered(&collector, &expecting(10 << 20), 413).await;
    let unwanted = String::from_utf8(expecting(11)).unwrap().replace("application/json", "text/csv");
    let refused = collector.raw(unwanted + REPORT).await;
    assert!(refused.contains("HTTP/1.1 415"), "{refused}");
    let accepted = collector.raw(String::from_utf8(expecting(11)).unwrap() + REPORT).await;
    assert!(accepted.contains("HTTP/1.1 200"), "{accepted}");
    assert_eq!(collector.means().await, [12.0]);
}

#[tokio::test]
async fn requests_of_old_and_unusual_clients_are_accepted() {
    let collector = started().await;
    for request in [
        &b"GET /nuevo?dato=1 HTTP/1.0\r\n\r\n"[..],
        b"GET /nuevo?dato=1 HTTP/1.1\nHost: x\nConnection: close\n\n",
        b"GET http://elsewhere/nuevo?dato=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        b"GET /nuevo?%64ato=1 HTTP/1.1\r\nHost: x\r\nX: \xff\r\nConnection: close\r\n\r\n",
        b"POST /nuevo HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: 10\r\n\r\n{\"dato\":1}",
    ] {
        answered(&collector, request, 200).await;
    }
    assert_eq!(collector.means().await, [1.0; 5]);
}

/// With two tokens, a proxy that checks the first would let the second one pass.
#[tokio::test]
async fn token_that_occurs_twice_is_refused() {
    let tokens = Tokens::parse(&format!("write {WRITER}")).unwrap();
    let collector = run(Arc::new(MemoryStore::new()), Options { tokens, ..open_to_all() }).await;
    let write = || collector.get("/nuevo?dato=1");
    let right = format!("Bearer {WRITER}");
    for other in [&right, "Bearer wrong-0123456789", "Basic eDp5"] {
        refused(write().header("authorization", &right).header("authorization", other), 401).await;
    }
    for wrong in ["", "Bearer", "Bearer ", WRITER, &format!("Basic {WRITER}"), &format!("Bearer {WRITER}x")] {
        refused(write().header("authorization", wrong), 401).await;
    }
    refused(collector.get(&format!("/nuevo?dato=1&token={WRITER}&token={WRITER}")), 401).await;
    refused(collector.get("/nuevo?dato=1&token="), 401).await;
    assert_eq!(write().header("authorization", right).send().await.unwrap().status(), 200);
}
