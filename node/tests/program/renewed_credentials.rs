//! Certificates and accounts of a secured ZooKeeper that are replaced, or expire, while a fleet runs.
#![cfg(unix)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_testbed::{Issue, Line, Process, Recorded, Security, ZooKeeper, eventually};

use crate::common::metrics_client::MetricsClient;
use crate::common::server::Server;
use crate::common::{DEADLINE, Fleet, from, report_from, wait_until};

const EXPIRED: &str = "the server's certificate has expired";

fn security(fleet: &Fleet) -> Arc<Security> {
    fleet.security.clone().expect("the fleet is secured")
}

fn server(fleet: &Fleet) -> &ZooKeeper {
    match &fleet.server {
        Server::Apache(server) => server,
        Server::Memory(_) => panic!("only Apache ZooKeeper is secured"),
    }
}

fn restart_server(fleet: &mut Fleet) {
    fleet.server.vanish();
    fleet.server.come_back();
}

#[test]
fn replaced_certificates_are_used_by_the_next_connection_of_the_same_session() {
    let mut fleet = Fleet::secured();
    // Longer than a restart of the server on a busy machine.
    fleet.around.pace.session = Duration::from_secs(30);
    let one = fleet.leader("1", &[]);
    server(&fleet).process().wait_for_line("Authenticated Id 'CN=client'", DEADLINE);
    let probe = fleet.probe();
    let measurement = eventually("a measurement", DEADLINE, || probe.exists("/mediciones/1"));
    security(&fleet).issue_client_certificate(Issue::Valid, "renewed");
    security(&fleet).issue_server_certificate(Issue::Valid);
    one.hup();
    one.wait_for_line("the certificates for ZooKeeper have changed", DEADLINE);
    restart_server(&mut fleet);
    one.wait_for_line("reconnected to ZooKeeper in the same session", DEADLINE);
    server(&fleet).process().wait_for_line("Authenticated Id 'CN=renewed'", DEADLINE);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let renewed = probe.exists("/mediciones/1").unwrap();
    assert_eq!(renewed.ephemeral_owner, measurement.ephemeral_owner, "the same session");
    assert_eq!(renewed.czxid, measurement.czxid);
    let epochs = one.log().iter().filter(|line| line.text.contains(" leading epoch=")).count();
    assert_eq!(epochs, 1, "it has led all the time");
}

#[test]
fn expired_server_certificate_is_named_and_the_node_recovers_once_it_is_replaced() {
    let mut fleet = Fleet::secured();
    let mut one =
        fleet.leader("1", &["--metrics-listen", "127.0.0.1:0", "--log", "info,atalaya_recipes=debug"]);
    let metrics = MetricsClient::of(&one);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    security(&fleet).issue_server_certificate(Issue::Expired);
    restart_server(&mut fleet);
    one.wait_for_line(EXPIRED, DEADLINE);
    eventually("the reason in /readyz", DEADLINE, || {
        let answer = metrics.ask("/readyz");
        (answer.status == 503 && answer.body.contains(EXPIRED)).then_some(())
    });
    // The outage outlasts the session and two attempts to start another.
    one.wait_for_line("ZooKeeper session ended", DEADLINE);
    let attempts = |log: &[Line]| {
        let after = log.iter().skip_while(|line| !line.text.contains("ZooKeeper session ended"));
        after
            .filter(|line| line.text.contains("cannot reach ZooKeeper") && line.text.contains(EXPIRED))
            .count()
    };
    wait_until("attempts to start a session", || attempts(&one.log()) >= 2);
    security(&fleet).issue_server_certificate(Issue::Valid);
    let replaced = Instant::now();
    restart_server(&mut fleet);
    report_from(&fleet.api, "1", replaced, DEADLINE);
    metrics.wait_for_status("/readyz", 200);
    assert!(one.is_running(), "it was not restarted");
    let named =
        one.log().iter().filter(|line| line.text.contains(" WARN ") && line.text.contains(EXPIRED)).count();
    assert_eq!(named, 1, "one line for one cause");
}

fn node_with_account(fleet: &Fleet, id: &str, account: &str, acl_fleet: &str) -> Process {
    let mut command = fleet.command(id, &[]);
    command.envs(fleet.identity(account)).env("ATALAYA_ACL_FLEET", acl_fleet);
    Process::start(command, "connected to ZooKeeper", DEADLINE)
}

fn apply_acl(fleet: &Fleet, acl_fleet: &str) {
    let mut command = fleet.tool();
    command.args(["acl", "apply", "--zookeeper", &fleet.hosts]).env("ATALAYA_ACL_FLEET", acl_fleet);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Returns the cycles of the accepted reports, in order of arrival; `nodes` have the ids 1, 2, 3 in this order. A leader
/// that stops between the API's answer and the removal of a report leaves it to its successor, which sends it again first
/// of all: then it has the same key as the report before it, comes from another process or from one that leads again, and
/// counts once, as in the API.
fn accepted_cycles(fleet: &Fleet, nodes: &[Process]) -> Vec<u64> {
    let requests = fleet.api.requests();
    let leads_again = |reporter: &Recorded| {
        let is_reporter = |(_, id): &(&Process, &str)| from(reporter, id);
        let node = nodes.iter().zip(["1", "2", "3"]).find(is_reporter);
        node.is_some_and(|(node, _)| {
            node.log().iter().any(|line| line.at > reporter.at && line.text.contains(" leading epoch="))
        })
    };
    let mut cycles = Vec::new();
    let mut last: Option<(&str, &Recorded)> = None;
    for request in requests.iter().filter(|request| request.answered == Some(200)) {
        let Some(key) = request.header("Idempotency-Key") else { continue };
        let is_sent_again = last.is_some_and(|(last_key, last)| {
            last_key == key && (last.agent() != request.agent() || leads_again(last))
        });
        if !is_sent_again {
            cycles.push(key.split_once('-').unwrap().1.parse().unwrap());
        }
        last = Some((key, request));
    }
    cycles
}

/// The steps of the documentation, see "Changing an identity".
#[test]
fn account_is_rotated_node_by_node_and_no_cycle_is_missing_or_twice() {
    const IDS: [&str; 3] = ["1", "2", "3"];
    let mut fleet = Fleet::secured();
    let mut nodes = IDS.map(|id| node_with_account(&fleet, id, "fleet-a", "sasl:fleet-a"));
    let probe = fleet.probe();
    let all_contend = || {
        eventually("all nodes in line", DEADLINE, || {
            let mut found = probe.contenders("/election");
            found.sort();
            (found == IDS).then_some(())
        });
    };
    all_contend();
    for (account, acl_fleet) in [
        ("fleet-a", "sasl:fleet-a,sasl:fleet-b"),
        ("fleet-b", "sasl:fleet-a,sasl:fleet-b"),
        ("fleet-b", "sasl:fleet-b"),
    ] {
        for (index, id) in IDS.into_iter().enumerate() {
            let cycles = accepted_cycles(&fleet, &nodes).len();
            wait_until("a report", || accepted_cycles(&fleet, &nodes).len() > cycles);
            let node = &mut nodes[index];
            node.shut_down(DEADLINE);
            *node = node_with_account(&fleet, id, account, acl_fleet);
            all_contend();
        }
        apply_acl(&fleet, acl_fleet);
    }
    // No node uses the first account any more.
    server(&fleet).set_sasl_users(&[("fleet-b", "password-b"), ("admin", "admin-password")]);
    restart_server(&mut fleet);
    three_more_reports(&fleet, &nodes);
    all_contend();
    assert_each_cycle_once(&fleet, &nodes);
}

fn three_more_reports(fleet: &Fleet, nodes: &[Process]) {
    let count = || accepted_cycles(fleet, nodes).len();
    let before = count();
    wait_until("three more reports", || count() >= before + 3);
}

#[track_caller]
fn assert_each_cycle_once(fleet: &Fleet, nodes: &[Process]) {
    let cycles = accepted_cycles(fleet, nodes);
    assert_eq!(cycles, (1..=cycles.len() as u64).collect::<Vec<_>>());
}

/// The servers know one password of an account at a time, so the session ends at the reconnect.
#[test]
fn replaced_password_of_an_account_costs_one_session_and_no_cycle() {
    let mut fleet = Fleet::secured();
    let mut nodes = [fleet.leader("1", &[]), fleet.follower("2", &[])];
    three_more_reports(&fleet, &nodes);
    std::fs::write(security(&fleet).password_file("fleet"), "new-password").unwrap();
    for node in &nodes {
        node.hup();
        node.wait_for_line("the password for ZooKeeper has changed", DEADLINE);
    }
    server(&fleet).set_sasl_users(&[("fleet", "new-password"), ("admin", "admin-password")]);
    let since = Instant::now();
    restart_server(&mut fleet);
    for node in &nodes {
        node.wait_for_line_since(since, "connected to ZooKeeper session=", DEADLINE);
    }
    three_more_reports(&fleet, &nodes);
    assert_each_cycle_once(&fleet, &nodes);
    assert!(nodes.iter_mut().all(Process::is_running));
}
