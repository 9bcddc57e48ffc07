use std::time::Instant;

use crate::support::{Bed, SLACK, SYNC, TIMEOUT};

#[test]
fn on_a_frozen_network() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    let link = bed.wait(bed.session(&proxy.connect_string()).link());
    bed.wait(link.create_ephemeral("/mine", b"")).unwrap();
    proxy.freeze(true);
    let asked = Instant::now();
    let (sync, get, set, children, many) = bed.wait(async {
        tokio::join!(
            link.sync(),
            link.get("/mine"),
            link.set("/mine", b"new", None),
            link.children_and_watch("/"),
            link.get_many(&["/mine", "/other"])
        )
    });
    let took = asked.elapsed();
    assert!(took < TIMEOUT + SLACK, "{took:?}");
    for error in [sync.err(), get.err(), set.err(), children.err(), many.err()] {
        let error = error.expect("nobody can have answered");
        assert!(error.is_link_trouble() && error.outcome_unknown(), "{error}");
    }
}

#[test]
fn when_only_this_one_answer_does_not_come() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    let link = bed.wait(bed.session(&proxy.connect_string()).link());
    proxy.mute(Some(SYNC));
    let asked = Instant::now();
    let error = bed.wait(link.sync()).unwrap_err();
    let took = asked.elapsed();
    assert!(matches!(error, atalaya_recipes::Error::Timeout { .. }), "{error}");
    assert!((TIMEOUT..TIMEOUT + SLACK).contains(&took), "{took:?}");
    assert!(link.is_current(), "the pings were answered");
    assert!(bed.wait(link.stat("/")).unwrap().is_some());
}
