//! Faults of ZooKeeper, or of the network, at moments that only the in-memory server can select: a fleet has one
//! contender per node and one leader, and deposed leaders are silent.

use std::time::{Duration, Instant};

use atalaya_testbed::{ApiMode, Process, ZkProbe};
use atalaya_zookeeper::{Disconnect, Operation, RequestFilter};

use crate::common::{
    DEADLINE, Fleet, bodies, exactly_one_leads, from, goes_on_publishing, mean_reported, report_from,
    sent_by, wait_for_requests, wait_until,
};

/// Selects a create of a path that contains this text.
fn create_of(part_of_path: &str) -> RequestFilter {
    RequestFilter::any().operation(Operation::Create2).path_contains(part_of_path)
}

fn session_of(probe: &ZkProbe, id: &str) -> i64 {
    probe.exists(&format!("/mediciones/{id}")).unwrap().ephemeral_owner
}

/// Returns the number of children that were ever created, if none was deleted, so that a znode that was created twice
/// is noticed.
fn children_ever_made(probe: &ZkProbe, path: &str) -> i32 {
    probe.exists(path).unwrap().cversion
}

fn the_first_contenders_connection_is_cut_at_its_create(cut: Disconnect) {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    // Otherwise the first create has no parent and no effect.
    probe.create("/election", b"", false).unwrap();
    let loss = fleet.server.hand().cut(cut, create_of("/election/"));
    let _one = fleet.leader("1", &[]);
    loss.has_happened();
    assert_eq!(probe.contenders("/election"), ["1"]);
    assert_eq!(children_ever_made(&probe, "/election"), 1);
    let _two = fleet.follower("2", &[]);
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["1", "2"], "after the cut"), "1");
}

#[test]
fn first_node_contends_once_and_leads_after_a_lost_create_request() {
    the_first_contenders_connection_is_cut_at_its_create(Disconnect::BeforeEffect);
}

#[test]
fn first_node_contends_once_and_leads_after_a_lost_create_reply() {
    the_first_contenders_connection_is_cut_at_its_create(Disconnect::BeforeReply);
}

#[test]
fn follower_contends_once_after_a_lost_create_reply_and_blocks_no_other() {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let mut one = fleet.leader("1", &[]);
    let loss = fleet.server.hand().cut(Disconnect::BeforeReply, create_of("/election/"));
    let _two = fleet.follower("2", &[]);
    loss.has_happened();
    let _three = fleet.follower("3", &[]);
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["1", "2", "3"], "after the cut"), "1");
    assert_eq!(children_ever_made(&probe, "/election"), 3);
    one.shut_down(DEADLINE);
    // A znode of node 2 that node 2 does not recognise would now be the first contender indefinitely.
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["2", "3"], "after the first has left"), "2");
}

fn the_connection_is_cut_at_the_create_of_a_measurement(cut: Disconnect) {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let _one = fleet.leader("1", &["--board", "v70"]);
    let loss = fleet.server.hand().cut(cut, create_of("/mediciones/2"));
    let mut two = fleet.follower("2", &["--board", "v90"]);
    loss.has_happened();
    mean_reported(&fleet.api, 80.0, Instant::now());
    goes_on_publishing(&probe, "2", 2);
    assert_eq!(children_ever_made(&probe, "/mediciones"), 2, "its own znode is not taken for another");
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["1", "2"], "after the cut"), "1");
    assert!(two.is_running());
}

#[test]
fn measurement_is_published_and_averaged_after_a_lost_create_request() {
    the_connection_is_cut_at_the_create_of_a_measurement(Disconnect::BeforeEffect);
}

#[test]
fn measurement_is_published_and_averaged_after_a_lost_create_reply() {
    the_connection_is_cut_at_the_create_of_a_measurement(Disconnect::BeforeReply);
}

#[test]
fn leader_that_is_disconnected_while_reading_keeps_its_epoch_and_skips_no_cycle() {
    let fleet = Fleet::memory();
    let one = fleet.leader("1", &["--api-method", "post"]);
    let _two = fleet.follower("2", &["--api-method", "post"]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let probe = fleet.probe();
    let at = RequestFilter::any().session(session_of(&probe, "1")).operation(Operation::MultiRead);
    // The log line may exist before this thread runs again after the cut.
    let armed = Instant::now();
    fleet.server.hand().cut(Disconnect::BeforeReply, at.path_contains("/mediciones/")).has_happened();
    let cut = Instant::now();
    one.wait_for_line_since(armed, "leading again", DEADLINE);
    let requests = wait_for_requests(&fleet.api, "three more reports", 3, |request| request.at > cut);
    assert_eq!(sent_by(&requests, "1").len(), requests.len(), "another node reports");
    let mut numbers: Vec<_> = bodies(&requests)
        .iter()
        .map(|body| (body["epoch"].as_i64().unwrap(), body["cycle"].as_u64().unwrap()))
        .collect();
    // The request that was pending at the cut is sent again, with the same cycle number.
    numbers.dedup();
    let epoch = numbers[0].0;
    assert_eq!(numbers, (1..=numbers.len() as u64).map(|cycle| (epoch, cycle)).collect::<Vec<_>>());
    assert_eq!(probe.contenders("/election"), ["1", "2"]);
}

#[test]
fn leader_with_an_expired_session_sends_nothing_after_its_successor_and_contends_again() {
    let fleet = Fleet::memory();
    let nodes = [("1", fleet.leader("1", &[])), ("2", fleet.follower("2", &[]))];
    let probe = fleet.probe();
    for ((leader, deposed), (successor, _)) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        let session = session_of(&probe, leader);
        // Just after a report, so that none is under way: the session ends earlier than any lease.
        let before = report_from(&fleet.api, leader, Instant::now(), DEADLINE);
        fleet.server.hand().expire(session);
        let succeeded = report_from(&fleet.api, successor, before, DEADLINE);
        deposed.wait_for_line_since(before, "ZooKeeper session ended", DEADLINE);
        assert_eq!(
            exactly_one_leads(&probe, &fleet.api, &["1", "2"], "after the session's end"),
            *successor,
            "a contender that returns is at the end of the queue"
        );
        goes_on_publishing(&probe, leader, 2);
        assert_ne!(session_of(&probe, leader), session);
        let stale: Vec<_> =
            fleet.api.requests().into_iter().filter(|r| r.at > succeeded && from(r, leader)).collect();
        assert!(stale.is_empty(), "reports of a deposed leader: {stale:?}");
    }
}

#[test]
fn leader_without_replies_stops_before_its_session_expires_and_one_successor_leads() {
    let fleet = Fleet::memory();
    let mut nodes = [fleet.leader("1", &[]), fleet.follower("2", &[])];
    let session = session_of(&fleet.probe(), "1");
    // Without measurements it has nothing new to report: it would only send reports that the API did not accept.
    fleet.api.set(ApiMode::Status(500));
    nodes[0].wait_for_line("does not accept reports", DEADLINE);
    let hand = fleet.server.hand();
    hand.freeze_replies(true);
    let frozen = Instant::now();
    // The server receives requests until the client abandons the session, so the session ends a session timeout later.
    wait_until("the leader's session to be over", || !hand.sessions().contains(&session));
    assert!(
        frozen.elapsed() > fleet.pace.session,
        "the session expired while its client could send requests"
    );
    let lease = fleet.pace.session / 2;
    let silent = frozen + lease + Duration::from_millis(300);
    let late: Vec<_> = fleet.api.requests().into_iter().filter(|request| request.at > silent).collect();
    assert!(late.is_empty(), "reports without a lease: {late:?}");

    fleet.api.set(ApiMode::Accept);
    hand.freeze_replies(false);
    exactly_one_leads(&fleet.probe(), &fleet.api, &["1", "2"], "after the server speaks again");
    assert!(nodes.iter_mut().all(Process::is_running));
}
