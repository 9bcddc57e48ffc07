//! TLS: a session over it, and the reasons of failed handshakes, which the client library does not report.

use atalaya_recipes::session::{Tls, TlsFailure, TlsPem};
use atalaya_recipes::{ConnectError, Phase, Session, SessionOptions};
use atalaya_testbed as testbed;
use atalaya_testbed::{Scratch, make_certificate};

use crate::limits::{TOO_LONG, start_hostile};
use crate::support::memory::{TIMEOUT, TestBed, soon};

/// Returns options that trust only the certificate of `proxy`.
fn trusting(proxy: &testbed::Tls) -> Tls {
    Tls::new(&TlsPem { ca: String::from_utf8(proxy.certificate().to_vec()).unwrap(), identity: None })
        .unwrap()
}

fn proxy_of(bed: &TestBed) -> testbed::Tls {
    let port = bed.connect_string().rsplit_once(':').unwrap().1.parse().unwrap();
    testbed::Tls::before(port, "127.0.0.1")
}

fn other_certificate() -> String {
    let folder = Scratch::new("tls-other");
    std::fs::read_to_string(make_certificate(folder.path(), "127.0.0.1").0).unwrap()
}

/// Returns the first reason why no session can be started.
async fn failure(servers: &str, tls: Tls) -> TlsFailure {
    let session = Session::start(SessionOptions::new(servers.parse().unwrap(), TIMEOUT).with_tls(tls));
    let mut errors = session.connect_error();
    let error = soon("an error", errors.wait_for(Option::is_some)).await.unwrap().clone();
    match error {
        Some(ConnectError::Tls { server, failure }) if server == servers => failure,
        error => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn session_connects_over_tls_after_its_ca_was_corrected() {
    let bed = TestBed::start().await;
    let proxy = proxy_of(&bed);
    let servers = format!("127.0.0.1:{}", proxy.port());
    let tls = Tls::new(&TlsPem { ca: other_certificate(), identity: None }).unwrap();
    let options = SessionOptions::new(servers.parse().unwrap(), TIMEOUT).with_tls(tls.clone());
    let session = Session::start(options);
    let mut errors = session.connect_error();
    let failure = TlsFailure::UnknownIssuer;
    let error = Some(ConnectError::Tls { server: servers, failure });
    soon("an unknown issuer", errors.wait_for(|found| *found == error)).await.unwrap();
    let ca = String::from_utf8(proxy.certificate().to_vec()).unwrap();
    tls.reload(&TlsPem { ca, identity: None }).unwrap();
    soon("a connection", session.connection()).await.ensure("/a").await.unwrap();
    assert_eq!(*errors.borrow_and_update(), None);
    // The observer may have lost its connection while openssl blocked the runtime.
    let observer = bed.session().await.connection().await;
    assert!(observer.stat("/a").await.unwrap().is_some());
}

#[tokio::test]
async fn failed_handshake_of_a_reconnect_is_reported_and_the_session_continues_after_its_correction() {
    let bed = TestBed::start().await;
    let proxy = proxy_of(&bed);
    let servers = format!("127.0.0.1:{}", proxy.port());
    let tls = trusting(&proxy);
    let other_ca = other_certificate();
    let options = SessionOptions::new(servers.parse().unwrap(), TIMEOUT * 2).with_tls(tls.clone());
    let session = Session::start(options);
    let connection = soon("a connection", session.connection()).await;
    tls.reload(&TlsPem { ca: other_ca, identity: None }).unwrap();
    bed.faults.disconnect(connection.session_id()).await;
    let mut errors = session.connect_error();
    let error = Some(ConnectError::Tls { server: servers, failure: TlsFailure::UnknownIssuer });
    soon("an unknown issuer", errors.wait_for(|found| *found == error)).await.unwrap();
    assert_eq!(session.state().phase, Phase::Suspended);
    let ca = String::from_utf8(proxy.certificate().to_vec()).unwrap();
    tls.reload(&TlsPem { ca, identity: None }).unwrap();
    let again = soon("a connection", session.connection_after(connection.number())).await;
    assert_eq!(again.session_id(), connection.session_id());
    soon("no error", errors.wait_for(Option::is_none)).await.unwrap();
}

#[tokio::test]
async fn responses_over_tls_are_limited() {
    let (hostile, _) = start_hostile(TOO_LONG.to_owned());
    let proxy = testbed::Tls::before(hostile.rsplit_once(':').unwrap().1.parse().unwrap(), "127.0.0.1");
    let servers = format!("127.0.0.1:{}", proxy.port());
    let options = SessionOptions::new(servers.parse().unwrap(), TIMEOUT).with_tls(trusting(&proxy));
    let session = Session::start(options);
    let mut errors = session.connect_error();
    let error = soon("an error", errors.wait_for(Option::is_some)).await.unwrap().clone();
    assert!(matches!(error, Some(ConnectError::BadResponse { server, .. }) if server == servers));
}

#[tokio::test]
async fn connect_error_says_that_the_certificate_is_for_another_host() {
    let bed = TestBed::start().await;
    let proxy = proxy_of(&bed);
    let found = failure(&format!("localhost:{}", proxy.port()), trusting(&proxy)).await;
    assert_eq!(found, TlsFailure::WrongHostName);
}

#[tokio::test]
async fn connect_error_says_that_the_server_has_no_tls() {
    let bed = TestBed::start().await;
    let tls = Tls::new(&TlsPem { ca: other_certificate(), identity: None }).unwrap();
    assert_eq!(failure(&bed.connect_string(), tls).await, TlsFailure::NotTls);
}

#[test]
fn unusable_certificates_are_refused() {
    let ca = other_certificate();
    for pem in [
        TlsPem { ca: String::new(), identity: None },
        TlsPem { ca: ca.clone(), identity: Some((String::new(), "".into())) },
        TlsPem { ca: ca.clone(), identity: Some((ca, "".into())) },
    ] {
        let error = Tls::new(&pem).unwrap_err();
        assert!(matches!(error, ConnectError::TlsOptions(_)), "{error:?}");
    }
}

#[test]
fn key_of_another_certificate_is_refused() {
    let folders = [Scratch::new("tls-one"), Scratch::new("tls-two")];
    let read = |folder: &Scratch| -> (String, String) {
        let (certificate, key) = make_certificate(folder.path(), "127.0.0.1");
        (std::fs::read_to_string(certificate).unwrap(), std::fs::read_to_string(key).unwrap())
    };
    let [(certificate, key), (_, other_key)] = folders.each_ref().map(read);
    let pem =
        |key: &str| TlsPem { ca: certificate.clone(), identity: Some((certificate.clone(), key.into())) };
    Tls::new(&pem(&key)).unwrap();
    let error = Tls::new(&pem(&other_key)).unwrap_err();
    assert!(error.to_string().contains("client key"), "{error}");
}
