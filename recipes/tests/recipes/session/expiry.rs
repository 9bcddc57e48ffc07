use atalaya_recipes::clock::BootInstant;

use crate::support::election::{TestBed, until_another_session, wait_until};

#[test]
fn session_is_replaced_after_it_expired_on_a_frozen_network() {
    let bed = TestBed::apache();
    let observer = bed.connection();
    let proxy = bed.proxy();
    let session = bed.session_to(&proxy.connect_string());
    let old = bed.wait(session.connection());
    bed.wait(old.create_ephemeral("/mine", b"")).unwrap();
    proxy.freeze(true);
    bed.wait(old.lost());
    assert!(session.lease_remaining(BootInstant::now()).is_zero());
    wait_until("the server gives the session up", || bed.wait(observer.stat("/mine")).unwrap().is_none());
    proxy.freeze(false);
    until_another_session(&session, old.session_id());
    let new = bed.wait(session.connection());
    assert_ne!(new.session_id(), old.session_id());
    assert!(new.number() > old.number());
    assert!(session.is_previous_session(old.session_id()));
    assert!(!session.is_previous_session(new.session_id()));
    assert!(!session.is_previous_session(observer.session_id()));
    bed.wait(new.create_ephemeral("/mine", b"")).unwrap();
}
