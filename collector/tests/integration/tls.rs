//! Tests of TLS: incorrect handshakes are refused, a certificate is replaced at run time, and the shutdown is orderly.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use atalaya_collector::{Limits, MemoryStore, Options, SqliteOptions, SqliteStore, Store, Tls};
use atalaya_testbed::{Scratch, eventually, make_certificate};
use reqwest::{Client, tls};
use tokio::task::spawn_blocking;

use crate::common::{Running, full, run};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Beginning of a handshake: a record of 200 bytes, the rest of which is never sent.
const GREETING: &[u8] = &[0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3];

struct Secured {
    running: Running,
    tls: Tls,
    certificate: PathBuf,
    key: PathBuf,
    folder: Scratch,
}

async fn secured(store: Arc<dyn Store>, limits: Limits) -> Secured {
    let folder = Scratch::new("collector-tls");
    let (certificate, key) = make_certificate(folder.path(), "127.0.0.1");
    let tls = Tls::load(&certificate, &key).unwrap();
    let options = Options { tls: Some(tls.clone()), limits, ..Options::default() };
    Secured { running: run(store, options).await, tls, certificate, key, folder }
}

/// Creates a client that trusts the certificate that is in the file now.
fn client(certificate: &Path) -> Client {
    let trusted = tls::Certificate::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
    let client = crate::common::client().timeout(TIMEOUT).pool_max_idle_per_host(0);
    client.tls_certs_only([trusted]).build().unwrap()
}

impl Secured {
    fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.running.address)
    }

    async fn lives(&self) {
        let answer = client(&self.certificate).get(self.url("/healthz")).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

/// Sends `bytes` unchanged, and returns the answer until the other side closes the connection.
async fn raw(address: SocketAddr, bytes: &'static [u8]) -> Vec<u8> {
    spawn_blocking(move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.write_all(bytes).unwrap();
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("it stays open"),
            _ => answer,
        }
    })
    .await
    .unwrap()
}

#[tokio::test]
async fn client_without_a_handshake_is_disconnected() {
    let limits = Limits { headers: Duration::from_secs(3), ..Limits::default() };
    let secured = secured(Arc::new(MemoryStore::new()), limits).await;
    let address = secured.running.address;
    for wrong in [
        &b"GET /nuevo?dato=1 HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0xff; 4096],
        &[0x16, 3, 1, 0xff, 0xff, 0xff],
    ] {
        let answer = raw(address, wrong).await;
        assert!(!answer.starts_with(b"HTTP"), "no answer in plain text");
    }
    // These two handshakes never finish.
    for silent in [b"", GREETING] {
        raw(address, silent).await;
    }
    secured.lives().await;
    let list = client(&secured.certificate).get(secured.url("/listar"));
    assert_eq!(list.send().await.unwrap().text().await.unwrap(), "");
}

#[tokio::test]
async fn old_versions_of_tls_are_refused() {
    let secured = secured(Arc::new(MemoryStore::new()), Limits::default()).await;
    // The minimum version of OpenSSL is lowered, so that the collector is the side that refuses.
    let handshake = |version: &'static str| {
        let address = secured.running.address.to_string();
        spawn_blocking(move || {
            let mut command = std::process::Command::new("openssl");
            command.args(["s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", &address]);
            let output = command.stdin(std::process::Stdio::null()).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            (output.status.success(), String::from_utf8_lossy(&text).into_owned())
        })
    };
    for version in ["-tls1", "-tls1_1"] {
        let (greeted, output) = handshake(version).await.unwrap();
        let is_refused = !greeted && output.contains("alert") && output.contains("no peer certificate");
        assert!(is_refused, "{version}: {output}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let (greeted, output) = handshake(version).await.unwrap();
        assert!(greeted && output.contains("BEGIN CERTIFICATE"), "{version}: {output}");
    }
}

#[tokio::test]
async fn certificate_is_replaced_at_run_time() {
    let secured = secured(Arc::new(MemoryStore::new()), Limits::default()).await;
    let before = client(&secured.certificate);
    let report = |client: &Client| client.get(secured.url("/nuevo?dato=1")).send();
    assert_eq!(report(&before).await.unwrap().status(), 200);

    std::fs::write(&secured.key, "no key").unwrap();
    assert!(secured.tls.reload().is_err());
    assert_eq!(report(&before).await.unwrap().status(), 200, "an invalid key changes nothing");

    let (other, _) = make_certificate(secured.folder.path(), "127.0.0.1");
    secured.tls.reload().unwrap();
    assert!(report(&before).await.is_err(), "the old certificate is replaced");
    assert_eq!(report(&client(&other)).await.unwrap().status(), 200);
}

/// A handshake that never finishes does not delay the shutdown; a request does until it is answered.
#[tokio::test]
async fn shutdown_with_tls_is_orderly() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let patient = SqliteOptions { lock_timeout: Duration::from_secs(600), ..SqliteOptions::new(&path) };
    let never = Duration::from_secs(600);
    let limits = Limits { headers: never, answer: never, stop: never, ..Limits::default() };
    let secured = secured(Arc::new(SqliteStore::open(patient).unwrap()), limits).await;
    let client = client(&secured.certificate);
    let report = client.post(secured.url("/api/v1/reports")).json(&full(7, 1, 1.0));
    assert_eq!(report.try_clone().unwrap().send().await.unwrap().status(), 201);
    let mut half = TcpStream::connect(secured.running.address).unwrap();
    half.write_all(GREETING).unwrap();

    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let request = client.post(secured.url("/api/v1/reports")).json(&full(7, 2, 2.0)).send();
    let waiting = tokio::spawn(request);
    let metrics = async || client.get(secured.url("/metrics")).send().await.unwrap().text().await.unwrap();
    // The unfinished handshake, the waiting request, and the request for the metrics.
    while !metrics().await.contains("atalaya_collector_connections 3") {
        tokio::task::yield_now().await;
    }
    let Secured { running, .. } = secured;
    running.stop.cancel();
    let address = running.address;
    spawn_blocking(move || {
        eventually("the collector accepts no more connections", TIMEOUT, || {
            TcpStream::connect(address).is_err().then_some(())
        });
    })
    .await
    .unwrap();
    assert!(!running.done.is_finished(), "a request is still waiting");
    other.execute_batch("COMMIT").unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().status(), 201);
    tokio::time::timeout(TIMEOUT, running.done).await.expect("it ends").unwrap();
}
