use std::time::Instant;

use atalaya_recipes::{Error, Phase};

use crate::support::election::{SLACK, TestBed, until_phase};

#[test]
fn session_survives_a_disconnect_and_numbers_its_connections() {
    let (bed, proxy) = TestBed::behind_proxy();
    let session = bed.session_to(&proxy.connect_string());
    let first = bed.wait(session.connection());
    bed.wait(first.create_ephemeral("/mine", b"")).unwrap();
    proxy.cut();
    bed.wait(first.lost());
    let second = bed.wait(session.connection_after(first.number()));
    assert_eq!(second.number(), first.number() + 1);
    assert_eq!(second.session_id(), first.session_id());
    assert!(!session.is_previous_session(first.session_id()), "it is the current session");
    assert!(second.is_current() && !first.is_current());
    let stat = bed.wait(second.stat("/mine")).unwrap().unwrap();
    assert_eq!(stat.ephemeral_owner, second.session_id());
    let error = bed.wait(first.get("/mine")).unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }), "{error}");
}

#[test]
fn calls_fail_at_once_while_disconnected() {
    let (bed, proxy) = TestBed::behind_proxy();
    let session = bed.session_to(&proxy.connect_string());
    let connection = bed.wait(session.connection());
    proxy.refuse(true);
    proxy.cut();
    until_phase(&session, Phase::Suspended);
    let asked = Instant::now();
    let error = bed.wait(connection.create_ephemeral("/never", b"")).unwrap_err();
    assert!(matches!(error, Error::NotConnected { .. }) && !error.outcome_unknown(), "{error}");
    assert!(bed.wait(connection.sync()).is_err());
    assert!(asked.elapsed() < SLACK, "{:?}", asked.elapsed());
    proxy.refuse(false);
    let again = bed.wait(session.connection());
    assert_eq!(again.session_id(), connection.session_id());
    assert!(
        bed.wait(again.stat("/never")).unwrap().is_none(),
        "a call that failed at once was sent after all"
    );
}
