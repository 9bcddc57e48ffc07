//! A killed follower disappears, and the next average does not contain it.

use std::time::{Duration, Instant};

use atalaya_testbed::eventually;

use crate::common::{Fleet, mean_reported};

on_both!(its_znode_goes_with_its_session_and_the_next_average_is_without_it);

fn its_znode_goes_with_its_session_and_the_next_average_is_without_it(fleet: Fleet) {
    let _one = fleet.leader("1", &["--board", "v70"]);
    let mut two = fleet.follower("2", &["--board", "v90"]);
    mean_reported(&fleet.api, 80.0, Instant::now());
    let probe = fleet.probe();
    two.kill9();
    eventually("the killed follower's znode to go", fleet.pace.session + Duration::from_secs(1), || {
        probe.exists("/mediciones/2").is_none().then_some(())
    });
    let gone = Instant::now();
    let requests = fleet
        .api
        .wait_for("the next average", crate::common::DEADLINE, |all| all.iter().any(|r| r.at > gone));
    let next = requests.iter().find(|request| request.at > gone).unwrap();
    assert_eq!(next.dato(), Some(70.0));
}
