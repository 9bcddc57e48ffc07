//! Tests of a Redis with TLS, users and passwords, as it is operated across machines.

use std::path::PathBuf;
use std::sync::Arc;

use atalaya_collector::store::open_store_with;
use atalaya_collector::{Outcome, RedisAccess, Report, Store, StoreError};
use atalaya_testbed::{Port, Redis, Scratch, make_certificate};

struct Secured {
    port: Port,
    certificate: PathBuf,
    key: PathBuf,
    _redis: Redis,
    _folder: Scratch,
}

impl Secured {
    /// Starts the server. `more`: additional lines of its configuration.
    fn start(more: &str) -> Secured {
        let folder = Scratch::new("redis-tls");
        let (certificate, key) = make_certificate(folder.path(), "127.0.0.1");
        let port = Port::reserve();
        let number = port.number();
        let (shown, hidden) = (certificate.display(), key.display());
        let redis = Redis::with(&format!(
            "appendonly yes\nappendfsync always\ntls-port {number}\ntls-cert-file {shown}\ntls-key-file {hidden}\n\
             tls-ca-cert-file {shown}\n{more}"
        ));
        Secured { port, certificate, key, _redis: redis, _folder: folder }
    }

    fn access(&self) -> RedisAccess {
        RedisAccess { ca: Some(std::fs::read(&self.certificate).unwrap()), ..RedisAccess::default() }
    }

    fn shown(&self) -> (Vec<u8>, Vec<u8>) {
        (std::fs::read(&self.certificate).unwrap(), std::fs::read(&self.key).unwrap())
    }

    fn open(&self, user: &str, access: &RedisAccess) -> Arc<dyn Store> {
        open_store_with(&format!("rediss://{user}127.0.0.1:{}/0", self.port.number()), Some(access)).unwrap()
    }
}

fn report() -> Vec<Report> {
    let time = jiff::Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_hours(500_000);
    vec![Report { epoch: Some(7), cycle: Some(1), ..Report::bare(21.5, time) }]
}

fn unavailable_because<T: std::fmt::Debug>(outcome: &Result<T, StoreError>, why: &str) {
    assert!(matches!(outcome, Err(StoreError::Unavailable(reason)) if reason.contains(why)), "{outcome:?}");
}

#[tokio::test]
async fn redis_with_tls_keeps_reports_if_its_certificate_is_trusted() {
    let server = Secured::start("tls-auth-clients no");
    let store = server.open("", &server.access());
    store.check().await.unwrap();
    assert!(matches!(store.record(report()).await.unwrap()[..], [Outcome::Recorded(1)]));
    // The system does not trust the certificate.
    unavailable_because(&server.open("", &RedisAccess::default()).check().await, "certificate");
    let other = Scratch::new("redis-tls-other");
    let (other, _) = make_certificate(other.path(), "127.0.0.1");
    let access = RedisAccess { ca: Some(std::fs::read(other).unwrap()), ..RedisAccess::default() };
    unavailable_because(&server.open("", &access).check().await, "certificate");
}

#[tokio::test]
async fn redis_with_tls_takes_user_password_and_certificate() {
    let server =
        Secured::start("tls-auth-clients yes\nuser default off\nuser collector on >open-sesame ~* &* +@all");
    let access = RedisAccess {
        password: Some("open-sesame".to_owned()),
        certificate: Some(server.shown()),
        ..server.access()
    };
    server.open("collector@", &access).check().await.unwrap();
    let wrong = RedisAccess { password: Some("wrong".to_owned()), ..access.clone() };
    unavailable_because(&server.open("collector@", &wrong).check().await, "password or rights");
    let without = RedisAccess { certificate: None, ..access };
    assert!(server.open("collector@", &without).check().await.is_err());
}
