//! Failures of ZooKeeper, or of the way to it, at moments that only the server in memory can be told to choose: a fleet
//! has one contender a node, one leader, and whoever was deposed is silent.

use std::time::{Duration, Instant};

use atalaya_sim::zookeeper::{AtRequest, Cut, Operation};
use atalaya_testbed::{ApiMode, Probe, Process, eventually};

use crate::common::{
    Fleet, PATIENCE, bodies, exactly_one_leads, from, goes_on_publishing, mean_reported, report_from, sent_by,
};

/// A create of a path that contains this.
fn create_of(part_of_path: &str) -> AtRequest {
    AtRequest::next().of_kind(Operation::Create2).about(part_of_path)
}

fn session_of(probe: &Probe, id: &str) -> i64 {
    probe.exists(&format!("/mediciones/{id}")).unwrap().ephemeral_owner
}

/// How many children were ever made, if none was deleted: a znode that was made twice does not go unnoticed.
fn children_ever_made(probe: &Probe, path: &str) -> i32 {
    probe.exists(path).unwrap().cversion
}

fn the_first_contenders_connection_is_cut_at_its_create(cut: Cut) {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    // Else the first create has no parent, and no effect.
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
fn cut_before_its_create_took_effect_the_first_node_stands_in_line_once_and_leads() {
    the_first_contenders_connection_is_cut_at_its_create(Cut::BeforeEffect);
}

#[test]
fn cut_before_the_reply_to_its_create_the_first_node_stands_in_line_once_and_leads() {
    the_first_contenders_connection_is_cut_at_its_create(Cut::BeforeReply);
}

#[test]
fn cut_before_the_reply_to_its_create_a_follower_stands_in_line_once_and_holds_nobody_up() {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let mut one = fleet.leader("1", &[]);
    let loss = fleet.server.hand().cut(Cut::BeforeReply, create_of("/election/"));
    let _two = fleet.follower("2", &[]);
    loss.has_happened();
    let _three = fleet.follower("3", &[]);
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["1", "2", "3"], "after the cut"), "1");
    assert_eq!(children_ever_made(&probe, "/election"), 3);
    one.term();
    assert!(one.wait_exit(PATIENCE).success());
    // A znode of 2 that 2 does not know of would stand before everyone now, for ever.
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["2", "3"], "after the first has left"), "2");
}

fn the_connection_is_cut_at_the_create_of_a_measurement(cut: Cut) {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let _one = fleet.leader("1", &["--board", "v70"]);
    let loss = fleet.server.hand().cut(cut, create_of("/mediciones/2"));
    let mut two = fleet.follower("2", &["--board", "v90"]);
    loss.has_happened();
    mean_reported(&fleet.api, 80.0, Instant::now());
    goes_on_publishing(&probe, "2", 2);
    assert_eq!(children_ever_made(&probe, "/mediciones"), 2, "its own znode is no stranger's");
    assert_eq!(exactly_one_leads(&probe, &fleet.api, &["1", "2"], "after the cut"), "1");
    assert!(two.is_running());
}

#[test]
fn cut_before_its_create_took_effect_a_measurement_is_published_and_averaged() {
    the_connection_is_cut_at_the_create_of_a_measurement(Cut::BeforeEffect);
}

#[test]
fn cut_before_the_reply_to_its_create_a_measurement_is_published_and_averaged() {
    the_connection_is_cut_at_the_create_of_a_measurement(Cut::BeforeReply);
}

#[test]
fn cut_while_it_reads_the_measurements_the_leader_leads_on_in_its_term_and_skips_no_number() {
    let fleet = Fleet::memory();
    let one = fleet.leader("1", &["--api-method", "post"]);
    let _two = fleet.follower("2", &["--api-method", "post"]);
    report_from(&fleet.api, "1", Instant::now(), PATIENCE);
    let probe = fleet.probe();
    let at = AtRequest::next().of_session(session_of(&probe, "1")).of_kind(Operation::MultiRead);
    // The line may be there before this thread runs again after the cut.
    let armed = Instant::now();
    fleet.server.hand().cut(Cut::BeforeReply, at.about("/mediciones/")).has_happened();
    let cut = Instant::now();
    one.wait_for_line_since(armed, "leading again", PATIENCE);
    let requests = fleet.api.wait_for("three more reports", PATIENCE, |all| {
        all.iter().filter(|request| request.at > cut).count() >= 3
    });
    assert_eq!(sent_by(&requests, "1").len(), requests.len(), "somebody else reports");
    let mut numbers: Vec<_> = bodies(&requests)
        .iter()
        .map(|body| (body["epoch"].as_i64().unwrap(), body["cycle"].as_u64().unwrap()))
        .collect();
    // What was under way at the cut is sent again, under the same number.
    numbers.dedup();
    let epoch = numbers[0].0;
    assert_eq!(numbers, (1..=numbers.len() as u64).map(|cycle| (epoch, cycle)).collect::<Vec<_>>());
    assert_eq!(probe.contenders("/election"), ["1", "2"]);
}

#[test]
fn a_leader_whose_session_is_expired_is_silent_once_another_reports_and_goes_back_in_line() {
    let fleet = Fleet::memory();
    let nodes = [("1", fleet.leader("1", &[])), ("2", fleet.follower("2", &[]))];
    let probe = fleet.probe();
    for ((leader, deposed), (successor, _)) in [(&nodes[0], &nodes[1]), (&nodes[1], &nodes[0])] {
        let session = session_of(&probe, leader);
        // Just after a report, so that none is on its way: this end of a session is sooner than any lease's.
        let before = report_from(&fleet.api, leader, Instant::now(), PATIENCE);
        fleet.server.hand().expire(session);
        let succeeded = report_from(&fleet.api, successor, before, PATIENCE);
        deposed.wait_for_line_since(before, "the ZooKeeper session is over", PATIENCE);
        assert_eq!(
            exactly_one_leads(&probe, &fleet.api, &["1", "2"], "after the session's end"),
            *successor,
            "who comes back stands at the end of the line"
        );
        goes_on_publishing(&probe, leader, 2);
        assert_ne!(session_of(&probe, leader), session);
        let stale: Vec<_> =
            fleet.api.requests().into_iter().filter(|r| r.at > succeeded && from(r, leader)).collect();
        assert!(stale.is_empty(), "reports of a deposed leader: {stale:?}");
    }
}

#[test]
fn a_leader_that_is_told_nothing_is_silent_before_its_session_is_over_and_then_exactly_one_leads() {
    let fleet = Fleet::memory();
    let mut nodes = [fleet.leader("1", &[]), fleet.follower("2", &[])];
    let session = session_of(&fleet.probe(), "1");
    // Without measurements it has nothing new to report: it is what the API did not take that it would go on sending.
    fleet.api.set(ApiMode::Status(500));
    nodes[0].wait_for_line("does not take reports", PATIENCE);
    let hand = fleet.server.hand();
    hand.freeze_replies(true);
    let frozen = Instant::now();
    // The server hears the client knock until the client gives the session up: it is over a session timeout later.
    eventually("the leader's session to be over", PATIENCE, || {
        (!hand.sessions().contains(&session)).then_some(())
    });
    assert!(frozen.elapsed() > fleet.pace.session, "it was over while its client could be heard");
    let lease = fleet.pace.session / 2;
    let silent = frozen + lease + Duration::from_millis(300);
    let late: Vec<_> = fleet.api.requests().into_iter().filter(|request| request.at > silent).collect();
    assert!(late.is_empty(), "reports without a lease: {late:?}");

    fleet.api.set(ApiMode::Accept);
    hand.freeze_replies(false);
    exactly_one_leads(&fleet.probe(), &fleet.api, &["1", "2"], "after the server speaks again");
    assert!(nodes.iter_mut().all(Process::is_running));
}
