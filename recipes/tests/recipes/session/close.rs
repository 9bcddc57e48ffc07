use std::time::{Duration, Instant};

use atalaya_recipes::Phase;

use crate::support::election::{DEADLINE, SLACK, TestBed};

#[test]
fn close_removes_ephemeral_znodes_before_it_returns() {
    let bed = TestBed::apache();
    let observer = bed.connection();
    for path in ["/a", "/b", "/c"] {
        let session = bed.session();
        let connection = bed.wait(session.connection());
        bed.wait(connection.create_ephemeral(path, b"")).unwrap();
        assert!(bed.wait(session.close(DEADLINE)));
        // A single server has no lag, so its answer is current.
        assert!(bed.wait(observer.stat(path)).unwrap().is_none(), "{path} is still there");
        assert_eq!(session.state().phase, Phase::Closed);
        assert!(bed.wait(connection.stat(path)).is_err());
        assert!(bed.wait(session.close(DEADLINE)), "a second close returns true");
    }
}

#[test]
fn close_returns_false_when_the_end_is_not_confirmed() {
    let (bed, proxy) = TestBed::behind_proxy();
    let session = bed.session_to(&proxy.connect_string());
    bed.wait(session.connection());
    proxy.freeze(true);
    let timeout = Duration::from_millis(300);
    let asked = Instant::now();
    assert!(!bed.wait(session.close(timeout)));
    assert!(asked.elapsed() < timeout + SLACK);

    let never = bed.session_to(&proxy.connect_string());
    assert!(bed.wait(never.close(DEADLINE)), "no session was established");
}
