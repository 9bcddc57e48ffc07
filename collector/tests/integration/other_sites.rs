//! Web pages of other sites, and pages that point their own name at this machine, can neither write nor read.

use std::sync::Arc;

use atalaya_collector::{MemoryStore, Options};

use crate::common::{READER, WRITER, open_to_all, refused, run, started, started_with_tokens};

fn get_request(target: &str, headers: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[tokio::test]
async fn collector_records_nothing_that_a_page_of_another_site_requests() {
    let collector = started().await;
    let host = format!("Host: {}\r\n", collector.address);
    for headers in [
        // <img src="http://127.0.0.1:8000/nuevo?dato=666">
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        "Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image\r\n",
        // A link or a form.
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n",
        // Browsers without the headers above, and all browsers over HTTP to an address of the local network.
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Referer: http://evil.example/page\r\n",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0\r\nAccept-Language: es\r\n",
    ] {
        let answer = collector.raw(get_request("/nuevo?dato=666", &(host.clone() + headers))).await;
        assert_eq!(status(&answer), "403", "{headers}: {answer}");
        assert!(answer.contains("urn:problem-type:atalaya:cross-site"), "{answer}");
        let body = r#"{"dato": 666}"#;
        let post = format!(
            "POST /nuevo HTTP/1.1\r\n{host}{headers}Connection: close\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        assert_eq!(status(&collector.raw(post).await), "403", "{headers}");
    }
    for path in ["/api/v1/reports", "/api/v1/fleet", "/sign-in", "/sign-out"] {
        refused(collector.post(path).header("origin", "http://evil.example").body("{}"), 403).await;
    }
    assert!(collector.means().await.is_empty());
    // curl, Kazoo programs, a typed address, and the page itself.
    for headers in [
        "User-Agent: curl/8.5.0\r\nAccept: */*\r\n",
        "User-Agent: python-requests/2.32.3\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\n",
        "User-Agent: Python-urllib/3.11\r\n",
        "User-Agent: Mozilla/5.0\r\nAccept-Language: es\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n",
        &format!("Sec-Fetch-Site: same-origin\r\nOrigin: http://{}\r\n", collector.address),
        &format!("Origin: http://{}\r\n", collector.address),
    ] {
        let answer = collector.raw(get_request("/nuevo?dato=1", &(host.clone() + headers))).await;
        assert_eq!(status(&answer), "200", "{headers}: {answer}");
    }
    assert_eq!(collector.means().await, [1.0; 6]);
}

#[tokio::test]
async fn collector_is_read_by_links_of_other_sites_and_not_by_their_pages() {
    let collector = started().await;
    let host = format!("Host: {}\r\n", collector.address);
    let link = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n";
    assert_eq!(status(&collector.raw(get_request("/", &(host.clone() + link))).await), "200");
    for headers in [
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\n",
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: cors\r\nOrigin: http://evil.example\r\n",
        "Origin: http://evil.example\r\n",
    ] {
        for path in ["/", "/listar", "/api/v1/latest", "/api/v1/stream", "/metrics"] {
            let answer = collector.raw(get_request(path, &(host.clone() + headers))).await;
            assert_eq!(status(&answer), "403", "{path} {headers}");
        }
        assert_eq!(status(&collector.raw(get_request("/healthz", &(host.clone() + headers))).await), "200");
    }
}

#[tokio::test]
async fn collector_refuses_an_unknown_host() {
    let collector = started().await;
    for host in
        ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "a b", ""]
    {
        for path in ["/nuevo?dato=666", "/", "/listar", "/api/v1/latest", "/api/v1/stream", "/metrics"] {
            let answer = collector.raw(get_request(path, &format!("Host: {host}\r\n"))).await;
            assert_eq!(status(&answer), "421", "{host} {path}: {answer}");
            assert!(answer.contains("urn:problem-type:atalaya:host"), "{answer}");
            assert!(answer.contains("--allowed-host") && answer.contains("ATALAYA_ALLOWED_HOST"), "{answer}");
        }
        assert_eq!(
            status(&collector.raw(get_request("/healthz", &format!("Host: {host}\r\n"))).await),
            "200"
        );
    }
    let answer =
        collector.raw(get_request("http://evil.example/nuevo?dato=666", "Host: 127.0.0.1\r\n")).await;
    assert_eq!(status(&answer), "421", "{answer}");
    assert!(collector.means().await.is_empty());
    for host in ["127.0.0.1:1", "[::1]:8000", "localhost", "collector:8000"] {
        let answer = collector.raw(get_request("/nuevo?dato=1", &format!("Host: {host}\r\n"))).await;
        assert_eq!(status(&answer), "200", "{host}: {answer}");
    }
    assert_eq!(status(&collector.raw("GET /nuevo?dato=1 HTTP/1.0\r\n\r\n").await), "200", "before HTTP/1.1");
    let metrics = collector.get("/metrics").send().await.unwrap().text().await.unwrap();
    assert!(metrics.contains("atalaya_collector_requests_refused_total{reason=\"host\"} 37\n"), "{metrics}");
}

/// A page that points its own name at the collector has no token for it.
#[tokio::test]
async fn collector_answers_under_any_name_to_a_known_token() {
    let collector = started_with_tokens().await;
    let under = |token: &str| {
        collector
            .get("/nuevo?dato=1")
            .header("host", "reports.example.org")
            .header("authorization", format!("Bearer {token}"))
    };
    assert_eq!(under(WRITER).send().await.unwrap().status(), 200);
    refused(under("wrong-0123456789"), 421).await;
}

/// Only a trusted proxy determines the requested name, and that name must be known as well.
#[tokio::test]
async fn collector_checks_the_forwarded_host_of_a_trusted_proxy() {
    let proxies = "127.0.0.1".parse().unwrap();
    let collector = run(Arc::new(MemoryStore::new()), Options { proxies, ..open_to_all() }).await;
    let forwarded = |host: &'static str| collector.get("/nuevo?dato=1").header("x-forwarded-host", host);
    refused(forwarded("evil.example"), 421).await;
    refused(forwarded("localhost, evil.example"), 421).await;
    refused(forwarded("localhost").header("host", "evil.example"), 421).await;
    assert_eq!(forwarded("app.localhost").send().await.unwrap().status(), 200);
    let own = forwarded("app.localhost").header("origin", "https://app.localhost");
    assert_eq!(own.send().await.unwrap().status(), 200);
    refused(collector.get("/nuevo?dato=1").header("origin", "https://app.localhost"), 403).await;
    let collector = started().await;
    let forwarded = collector.get("/nuevo?dato=1").header("x-forwarded-host", "app.localhost");
    refused(forwarded.header("origin", "https://app.localhost"), 403).await;
}

#[tokio::test]
async fn collector_counts_requests_that_it_refuses_by_reason() {
    let collector = started_with_tokens().await;
    refused(collector.get("/nuevo?dato=1"), 401).await;
    refused(collector.get("/nuevo?dato=1").bearer_auth("wrong-0123456789"), 401).await;
    refused(collector.get("/nuevo?dato=1&token=wrong-0123456789"), 401).await;
    refused(collector.get("/nuevo?dato=1").bearer_auth(READER), 403).await;
    refused(collector.get("/nuevo?dato=1").header("origin", "null"), 403).await;
    let page = collector.get("/").header("cookie", "atalaya_token=wrong-0123456789").send().await.unwrap();
    assert_eq!(page.status(), 401);
    let form = collector.post("/sign-in").body("token=wrong-0123456789").send().await.unwrap();
    assert_eq!(form.status(), 401);
    let metrics = collector.get("/metrics").bearer_auth(READER).send().await.unwrap().text().await.unwrap();
    for (reason, count) in
        [("token_missing", 1), ("token_unknown", 4), ("token_role", 1), ("cross_site", 1), ("host", 0)]
    {
        let line = format!("atalaya_collector_requests_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}
