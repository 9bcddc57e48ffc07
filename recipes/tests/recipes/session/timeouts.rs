use std::time::Instant;

use crate::support::election::{SLACK, SYNC, TIMEOUT, TestBed};

#[test]
fn calls_time_out_on_a_frozen_network() {
    let (bed, proxy) = TestBed::behind_proxy();
    let connection = bed.wait(bed.session_to(&proxy.connect_string()).connection());
    bed.wait(connection.create_ephemeral("/mine", b"")).unwrap();
    proxy.freeze(true);
    let asked = Instant::now();
    let (sync, get, set, children, many) = bed.wait(async {
        tokio::join!(
            connection.sync(),
            connection.get("/mine"),
            connection.set("/mine", b"new", None),
            connection.children_and_watch("/"),
            connection.get_many(&["/mine", "/other"])
        )
    });
    let took = asked.elapsed();
    assert!(took < TIMEOUT + SLACK, "{took:?}");
    for error in [sync.err(), get.err(), set.err(), children.err(), many.err()] {
        let error = error.expect("the network was frozen");
        assert!(error.is_connection_loss() && error.outcome_unknown(), "{error}");
    }
}

#[test]
fn call_times_out_when_only_its_reply_is_missing() {
    let (bed, proxy) = TestBed::behind_proxy();
    let connection = bed.wait(bed.session_to(&proxy.connect_string()).connection());
    proxy.mute(Some(SYNC));
    let asked = Instant::now();
    let error = bed.wait(connection.sync()).unwrap_err();
    let took = asked.elapsed();
    assert!(matches!(error, atalaya_recipes::Error::Timeout { .. }), "{error}");
    assert!((TIMEOUT..TIMEOUT + SLACK).contains(&took), "{took:?}");
    assert!(connection.is_current(), "the pings were answered");
    assert!(bed.wait(connection.stat("/")).unwrap().is_some());
}
