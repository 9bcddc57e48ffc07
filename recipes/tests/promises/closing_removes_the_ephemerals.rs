use std::time::{Duration, Instant};

use atalaya_recipes::Phase;

use crate::support::{Bed, SLACK, SOON};

#[test]
fn before_it_returns_three_times_of_three() {
    let bed = Bed::start();
    let witness = bed.connection();
    for path in ["/a", "/b", "/c"] {
        let session = bed.session(&bed.zookeeper.connect_string());
        let connection = bed.wait(session.connection());
        bed.wait(connection.create_ephemeral(path, b"")).unwrap();
        assert!(bed.wait(session.close(SOON)));
        // A single server has no lag: what it answers now is how it is.
        assert!(bed.wait(witness.stat(path)).unwrap().is_none(), "{path} is still there");
        assert_eq!(session.state().phase, Phase::Closed);
        assert!(bed.wait(connection.stat(path)).is_err());
        assert!(bed.wait(session.close(SOON)), "closing twice is no harm");
    }
}

#[test]
fn or_says_that_it_cannot_know() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    let session = bed.session(&proxy.connect_string());
    bed.wait(session.connection());
    proxy.freeze(true);
    let patience = Duration::from_millis(300);
    let asked = Instant::now();
    assert!(!bed.wait(session.close(patience)));
    assert!(asked.elapsed() < patience + SLACK);

    let never = bed.session(&proxy.connect_string());
    assert!(bed.wait(never.close(SOON)), "there is no session to end");
}
