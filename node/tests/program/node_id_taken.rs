//! Node ids are unique: a second holder exits, and a node that restarts after a crash waits for its own old session.

use std::time::{Duration, Instant};

use atalaya_testbed::eventually;

use crate::common::{DEADLINE, Fleet, goes_on_publishing, report_from, wait_until};

on_both!(
    second_process_with_an_id_exits_73_and_the_first_continues,
    node_restarted_after_a_kill_publishes_once_its_old_session_is_gone,
    persistent_measurement_znode_is_reported,
    measurement_deleted_by_hand_is_published_again,
    leader_whose_election_znode_is_deleted_steps_down_and_contends_again
);

fn second_process_with_an_id_exits_73_and_the_first_continues(fleet: Fleet) {
    let mut first = fleet.leader("1", &["--board", "v70"]);
    let probe = fleet.probe();
    let before = probe.exists("/mediciones/1").unwrap();
    let begin = Instant::now();
    // Without a shared state directory, as on another machine: on the same one it would exit at once.
    let mut second = fleet.node("1", &["--board", "v90", "--state-dir", "elsewhere"]);
    let status = second.wait_exit(fleet.pace.session * 2 + Duration::from_secs(2));
    assert_eq!(status.code(), Some(73));
    assert!(begin.elapsed() >= fleet.pace.session, "it waits one session timeout first");
    let said = second.wait_for_line("the node id 1 is in use", Duration::ZERO).text;
    assert!(said.contains(&format!("{:#x}", before.ephemeral_owner)), "names the session: {said}");
    assert!(
        said.contains(&format!("process {}", first.pid())) && said.contains("host"),
        "names the host: {said}"
    );

    assert!(first.is_running());
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let (data, after) = probe.get("/mediciones/1").unwrap();
    assert_eq!((after.czxid, after.ephemeral_owner), (before.czxid, before.ephemeral_owner));
    assert_eq!(data, b"70");
    assert!(fleet.api.requests().iter().all(|request| request.dato() == Some(70.0)), "90 was never averaged");
    assert_eq!(probe.contenders("/election"), ["1"]);
}

fn node_restarted_after_a_kill_publishes_once_its_old_session_is_gone(fleet: Fleet) {
    let mut first = fleet.leader("1", &[]);
    let probe = fleet.probe();
    let old = probe.exists("/mediciones/1").unwrap().ephemeral_owner;
    let killed = Instant::now();
    first.kill9();
    wait_until("half a second", || killed.elapsed() >= Duration::from_millis(500));
    let mut second = fleet.node("1", &[]);
    let new = eventually("the new session's znode", fleet.pace.session + Duration::from_secs(2), || {
        probe.exists("/mediciones/1").filter(|stat| stat.ephemeral_owner != old)
    });
    // The same znode exists after the time at which the old session could have removed it.
    goes_on_publishing(&probe, "1", 6);
    let later = probe.exists("/mediciones/1").unwrap();
    assert_eq!((later.czxid, later.ephemeral_owner), (new.czxid, new.ephemeral_owner), "there was a gap");
    assert!(second.is_running());
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
}

fn persistent_measurement_znode_is_reported(fleet: Fleet) {
    let probe = fleet.probe();
    probe.create("/mediciones/1", b"7", false).unwrap();
    let mut node = fleet.node("1", &[]);
    assert_eq!(node.wait_exit(DEADLINE).code(), Some(73));
    node.wait_for_line("persistent znode", Duration::ZERO);
    assert_eq!(probe.text("/mediciones/1").as_deref(), Some("7"));
}

fn measurement_deleted_by_hand_is_published_again(fleet: Fleet) {
    let _one = fleet.leader("1", &[]);
    let probe = fleet.probe();
    probe.delete("/mediciones/1").unwrap();
    eventually("the measurement to be back", DEADLINE, || probe.exists("/mediciones/1"));
}

fn leader_whose_election_znode_is_deleted_steps_down_and_contends_again(fleet: Fleet) {
    let one = fleet.leader("1", &[]);
    let _two = fleet.follower("2", &[]);
    let probe = fleet.probe();
    let head =
        probe.ls("/election").into_iter().min_by_key(|name| name[name.len() - 10..].to_owned()).unwrap();
    probe.delete(&format!("/election/{head}")).unwrap();
    one.wait_for_line("own election znode was deleted", DEADLINE);
    wait_until("the line to be 2, 1", || probe.contenders("/election") == ["2", "1"]);
    report_from(&fleet.api, "2", Instant::now(), DEADLINE);
}
