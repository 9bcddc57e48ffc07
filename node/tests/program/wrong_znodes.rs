//! Znodes that refuse requests of a node, by their ACL or because of their type. The node logs this once with the
//! remedy, retries with growing pauses, and continues after an operator has repaired it.
#![cfg(unix)]

use std::time::Duration;

use atalaya_testbed::{Process, eventually};
use serde_json::Value;
use zookeeper_client as zk;

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet};

on_both!(
    node_without_permission_on_mediciones_logs_it_once_and_retries_ever_more_seldom,
    node_without_permission_on_election_logs_it_once_and_retries_ever_more_seldom,
    node_without_permission_on_atalaya_logs_it_once_and_retries_ever_more_seldom,
    waiting_node_reports_a_persistent_contender,
    lock_step_leader_names_the_barrier_whose_children_keep_it_closed,
    leader_counts_nothing_and_reports_while_the_counter_refuses_writes,
);

const SQUATTER: &str = "/election/0123456789abcdef0123456789abcdef__lock__0000000000";
const DEBUG: [&str; 2] = ["--log", "info,atalaya_recipes=debug"];

/// Sets the permissions of all clients for a znode, which is created if missing.
fn set_acl(fleet: &Fleet, path: &str, permission: zk::Permission) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = zk::Client::connect(&fleet.hosts).await.unwrap();
        client.mkdir(path, &zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all())).await.unwrap();
        client.set_acl(path, &[zk::Acl::new(permission, zk::AuthId::anyone())], None).await.unwrap();
    });
}

/// Permission to read, and to change the ACL again.
fn readable() -> zk::Permission {
    zk::Permission::READ | zk::Permission::ADMIN
}

fn lines(node: &Process, text: &str) -> Vec<String> {
    node.log().into_iter().map(|line| line.text).filter(|line| line.contains(text)).collect()
}

/// Minimum time of eight pauses that double from 50 ms. At a constant rate of 13 a second, eight took 0.6 s.
const EIGHT_PAUSES: Duration = Duration::from_secs(6);

fn node_without_permission_on_mediciones_logs_it_once_and_retries_ever_more_seldom(mut fleet: Fleet) {
    let node = refused_at(&mut fleet, "/mediciones", EIGHT_PAUSES);
    node.wait_for_line("published the first measurement", DEADLINE);
}

fn node_without_permission_on_election_logs_it_once_and_retries_ever_more_seldom(mut fleet: Fleet) {
    let node = refused_at(&mut fleet, "/election", EIGHT_PAUSES);
    node.wait_for_line("leading epoch=", DEADLINE);
}

fn node_without_permission_on_atalaya_logs_it_once_and_retries_ever_more_seldom(mut fleet: Fleet) {
    // Two tasks are refused: the publisher of the node info and the leader. Each has four pauses.
    let node = refused_at(&mut fleet, "/atalaya", EIGHT_PAUSES / 16);
    node.wait_for_line("leading epoch=", DEADLINE);
}

/// Runs a node that may not create znodes below `path` until it has been refused eight times, which takes at least
/// `time`. Then repairs the ACL.
fn refused_at(fleet: &mut Fleet, path: &str, time: Duration) -> Process {
    // A lost connection, which a busy machine may cause, starts the pauses from 50 ms again.
    fleet.around.pace.session = Duration::from_secs(30);
    set_acl(fleet, path, readable());
    let node = fleet.node("1", &DEBUG);
    let begun = std::time::Instant::now();
    eventually(&format!("eight refusals at {path}"), DEADLINE * 2, || {
        (lines(&node, "retrying").len() >= 8).then_some(())
    });
    let missing = format!("lacks the CREATE permission on {path};");
    let below = format!("CREATE permission on the nearest existing parent of {path}/");
    let log = lines(&node, " WARN ");
    let refusals = log.iter().filter(|line| line.contains(&missing) || line.contains(&below));
    let mut refusals: Vec<&str> =
        refusals.filter_map(|line| line.split_once(" WARN ")).map(|(_, text)| text).collect();
    assert!(!refusals.is_empty(), "{log:#?}");
    let all = refusals.len();
    refusals.sort_unstable();
    refusals.dedup();
    assert_eq!(refusals.len(), all, "a reason was logged twice: {log:#?}");
    assert!(begun.elapsed() >= time, "{:?}: {log:#?}", begun.elapsed());
    set_acl(fleet, path, zk::Permission::ALL);
    node
}

fn waiting_node_reports_a_persistent_contender(fleet: Fleet) {
    let probe = fleet.probe();
    probe.create(SQUATTER, b"1", false).unwrap();
    let node = fleet.follower("1", &["--metrics-listen", "127.0.0.1:0"]);
    let line = node.wait_for_line("znode of the wrong type", DEADLINE).text;
    assert!(line.contains(&format!("zkCli.sh deleteall {SQUATTER}")), "{line}");
    let watch = MetricsClient::of(&node);
    watch.wait_for("atalaya_znodes_wrong_type", |count| count == 1.0);
    let named = format!("atalaya_znode_wrong_type{{path=\"{SQUATTER}\",problem=\"not_ephemeral\"}}");
    assert_eq!(watch.figure(&named), Some(1.0));
    let seen = fleet.status();
    assert_eq!((&seen["leader"], &seen["in_line"]), (&Value::Null, &2.into()));
    assert_eq!(seen["wrong_znodes"][0]["path"], SQUATTER);
    assert_eq!(seen["wrong_znodes"][0]["problem"], "not_ephemeral");
    let text = fleet.succeeds(&["status", "--session-timeout", "4s"]);
    assert!(text.contains(&format!("deleteall {SQUATTER}")), "{text}");
    assert!(probe.exists(SQUATTER).is_some(), "it may belong to another program");
    // Writes to the znode make the node read it again; it does not log again.
    for number in 0..5 {
        probe.set(SQUATTER, number.to_string().as_bytes()).unwrap();
    }
    probe.delete(SQUATTER).unwrap();
    node.wait_for_line("leading epoch=", DEADLINE);
    watch.wait_for("atalaya_znodes_wrong_type", |count| count == 0.0);
    assert_eq!(watch.figure(&named), None);
    assert_eq!(lines(&node, "znode of the wrong type:").len(), 1);
}

fn lock_step_leader_names_the_barrier_whose_children_keep_it_closed(fleet: Fleet) {
    let probe = fleet.probe();
    let node = fleet.leader("1", &["--sync", "barrier", "--metrics-listen", "127.0.0.1:0"]);
    eventually("the barrier is closed", DEADLINE, || probe.exists("/barrier"));
    // The leader may open the barrier at any moment, which deletes it while it has no child.
    eventually("a child", DEADLINE, || probe.create("/barrier/child", b"", false).ok());
    let line = node.wait_for_line("znode of the wrong type: /barrier has children", DEADLINE).text;
    assert!(line.contains("atalaya inspect /barrier"), "{line}");
    let watch = MetricsClient::of(&node);
    watch.wait_for("atalaya_znode_wrong_type{path=\"/barrier\",problem=\"has_children\"}", |is| is == 1.0);
    let seen = fleet.status();
    assert_eq!(seen["wrong_znodes"][0]["problem"], "has_children");
    assert!(lines(&node, "this cycle is not committed").is_empty(), "the leader is not to blame");
    probe.delete("/barrier/child").unwrap();
    let closed = probe.exists("/barrier").unwrap().czxid;
    eventually("the next generation", DEADLINE, || {
        probe.exists("/barrier").filter(|stat| stat.czxid > closed)
    });
    watch.wait_for("atalaya_znodes_wrong_type", |count| count == 0.0);
    assert_eq!(lines(&node, "znode of the wrong type: /barrier").len(), 1);
}

fn leader_counts_nothing_and_reports_while_the_counter_refuses_writes(fleet: Fleet) {
    set_acl(&fleet, "/counter", readable());
    let node = fleet.leader("1", &["--board", "v70", "--sync", "barrier", "--counter", "per-cycle"]);
    let line = node.wait_for_line("cycles are not counted", DEADLINE).text;
    assert!(line.contains("lacks the WRITE permission on /counter"), "{line}");
    fleet.api.wait_for("reports", DEADLINE, |all| all.len() >= 3);
    assert_eq!(lines(&node, "cycles are not counted").len(), 1);
    assert_eq!(fleet.probe().text("/counter").unwrap(), "");
}
