use atalaya_recipes::Phase;
use atalaya_recipes::clock::BootInstant;

use crate::support::election::{TestBed, wait_until};

#[test]
fn session_starts_when_zookeeper_becomes_reachable() {
    let mut bed = TestBed::apache();
    bed.zookeeper().kill();
    let session = bed.session();
    let refused = bed.proxy();
    refused.refuse(true);
    let closed_upon = bed.session_to(&refused.connect_string());
    for session in [&session, &closed_upon] {
        let view = session.state();
        assert_eq!((view.phase, view.connection, view.session), (Phase::Connecting, 0, 0));
        assert!(session.lease_remaining(BootInstant::now()).is_zero());
    }

    bed.zookeeper().restart();
    let connection = bed.wait(session.connection());
    assert_eq!((connection.number(), connection.session_id()), (1, session.state().session));
    bed.wait(connection.create_ephemeral("/here", b"")).unwrap();
    assert!(!session.lease_remaining(BootInstant::now()).is_zero());

    assert_eq!(closed_upon.state().phase, Phase::Connecting);
    refused.refuse(false);
    wait_until("the other begins as well", || closed_upon.state().phase == Phase::Connected);
}
