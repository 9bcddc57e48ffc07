//! Fleets that report to a real `atalaya collect`: every cycle is recorded once, whichever node leads and whatever is
//! killed.
#![cfg(unix)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use atalaya_testbed::{
    Collector, Kazoo, Process, Scratch, StoredReport, clean_command, eventually, make_certificate,
};

use crate::common::{DEADLINE, Fleet, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
const TOKEN: &str = "0123456789abcdef-fleet";

fn node(fleet: &Fleet, collector: &Collector, id: &str, args: &[&str]) -> Command {
    let url = collector.url();
    fleet.command(id, &[&["--api-url", &url], args].concat())
}

fn leader(fleet: &Fleet, collector: &Collector, id: &str, args: &[&str]) -> Process {
    Process::start(node(fleet, collector, id, args), " leading epoch=", DEADLINE)
}

fn follower(fleet: &Fleet, collector: &Collector, id: &str, args: &[&str]) -> Process {
    Process::start(node(fleet, collector, id, args), "following: waiting", DEADLINE)
}

/// Waits until the recorded reports satisfy a condition, and returns them.
#[track_caller]
pub(crate) fn holds(
    collector: &Collector,
    token: Option<&str>,
    what: &str,
    wanted: impl Fn(&[StoredReport]) -> bool,
) -> Vec<StoredReport> {
    eventually(&format!("the collector to hold {what}"), DEADLINE, || {
        collector.try_reports(token).ok().filter(|held| wanted(held))
    })
}

fn newest_epoch(held: &[StoredReport]) -> i64 {
    held.iter().filter_map(|held| held.epoch).max().unwrap_or(0)
}

fn of_node<'a>(held: &'a [StoredReport], id: &str) -> Vec<&'a StoredReport> {
    let agent = format!("(node {id})");
    held.iter()
        .filter(|held| held.reporter.as_ref().is_some_and(|reporter| reporter.ends_with(&agent)))
        .collect()
}

/// Asserts that cycles start at 1 without a gap, each once, and that epochs increase with them.
#[track_caller]
fn each_cycle_once(held: &[StoredReport]) {
    let mut cycles: Vec<(u64, i64)> = held.iter().filter_map(|held| held.cycle.zip(held.epoch)).collect();
    cycles.sort_unstable();
    let expected: Vec<u64> = (1..=cycles.len() as u64).collect();
    assert_eq!(cycles.iter().map(|(cycle, _)| *cycle).collect::<Vec<_>>(), expected, "{held:#?}");
    assert!(cycles.is_sorted_by_key(|(_, epoch)| *epoch), "{held:#?}");
}

fn listed(collector: &Collector) -> Vec<f64> {
    collector.get("/listar").body.lines().map(|line| line.parse().unwrap()).collect()
}

fn by_time(mut held: Vec<StoredReport>) -> Vec<f64> {
    held.sort_by_key(|held| (held.time, held.id));
    held.iter().map(|held| held.mean).collect()
}

/// Returns the averages that a Kazoo leader printed as computed, and those that it printed as accepted.
fn printed(kazoo: &Process) -> (Vec<f64>, usize) {
    let log = kazoo.log();
    let mean = |line: &str| line.strip_prefix("average ")?.split(' ').next()?.parse::<f64>().ok();
    let means = log.iter().filter_map(|line| mean(&line.text)).collect();
    (means, log.iter().filter(|line| line.text == "sent 200").count())
}

#[test]
fn collector_records_a_kazoo_leader_and_then_atalaya() {
    let (fleet, kazoo) = (Fleet::apache(), Kazoo::ready());
    let mut collector = Collector::start(BINARY, &[]);
    let period = fleet.pace.period.as_secs_f64().to_string();
    let mut old =
        kazoo.script("leader.py", &["k", &fleet.hosts, &period, &collector.url(), "--cast", "float"]);
    old.wait_for_line("elected", DEADLINE);
    let nodes = ["1", "2"].map(|id| follower(&fleet, &collector, id, &[]));
    old.wait_for_line("of 3", DEADLINE);
    holds(&collector, None, "five of Kazoo's reports", |held| held.len() >= 5);
    assert!(collector.reports().iter().all(|held| held.epoch.is_none()), "no other node reports");

    old.kill9();
    holds(&collector, None, "an Atalaya leader's reports", |held| {
        held.iter().filter(|held| held.epoch.is_some()).count() >= 3
    });
    // No more reports arrive, and none is half recorded, so the records equal the list.
    drop(nodes);
    collector.restart_with(&[]);
    let held = collector.reports();
    let (bare, keyed): (Vec<StoredReport>, Vec<StoredReport>) =
        held.iter().cloned().partition(|held| held.epoch.is_none());
    let (means, sent) = printed(&old);
    let recorded: Vec<f64> = bare.iter().map(|held| held.mean).collect();
    assert!(recorded.len() >= sent && sent >= 4, "{sent} were accepted, {recorded:?} are there");
    assert_eq!(recorded, means[..recorded.len()], "in the order in which they were sent, to the last bit");
    let agent = |held: &StoredReport| {
        held.reporter.as_ref().is_some_and(|agent| agent.starts_with("python-requests"))
    };
    assert!(bare.iter().all(agent), "{bare:?}");
    each_cycle_once(&keyed);
    assert!(bare.last().unwrap().id < keyed[0].id, "{held:?}");
    assert_eq!(listed(&collector), by_time(held), "both histories are there");
}

/// Kills the leader, then the collector; then all processes stop in order.
fn a_fleet_of_three(method: &str) {
    let fleet = Fleet::apache();
    let mut collector = Collector::start(BINARY, &[]);
    let args = ["--api-method", method];
    let mut one = leader(&fleet, &collector, "1", &args);
    let two = follower(&fleet, &collector, "2", &args);
    let three = follower(&fleet, &collector, "3", &args);
    let before = holds(&collector, None, "three reports", |held| held.len() >= 3);
    one.kill9();
    let deposed = newest_epoch(&before);
    holds(&collector, None, "a successor's", |held| newest_epoch(held) > deposed);

    let since = Instant::now();
    collector.process().kill9();
    two.wait_for_line_since(since, "the API does not accept reports", DEADLINE);
    collector.restart();
    let back = collector.reports().len();
    two.wait_for_line_since(since, "the API accepts reports again", DEADLINE);
    holds(&collector, None, "what waited, and more", |held| held.len() > back + 3);

    for mut node in [three, two] {
        node.shut_down(DEADLINE);
    }
    let held = collector.reports();
    each_cycle_once(&held);
    let epochs: BTreeSet<i64> = held.iter().filter_map(|held| held.epoch).collect();
    assert_eq!(epochs.len(), 2, "{epochs:?}");
    assert!(!of_node(&held, "1").is_empty() && !of_node(&held, "2").is_empty());
    let told = method == "post";
    let complete = |held: &StoredReport| held.min.is_some() && held.max.is_some() && held.count.is_some();
    assert!(held.iter().all(|held| complete(held) == told), "{held:#?}");
    assert_eq!(listed(&collector), by_time(held));
    // Reports that the last leader could not deliver wait for the next one.
    assert!(fleet.probe().ls("/atalaya/aside").is_empty());
    assert!(collector.end().success());
}

#[test]
fn collector_records_a_fleet_that_reports_by_get() {
    a_fleet_of_three("get");
}

#[test]
fn collector_records_a_fleet_that_reports_by_post() {
    a_fleet_of_three("post");
}

/// A leader that was frozen for longer than its session: ours sends no uncommitted report; one without a fence is
/// refused.
#[test]
fn collector_refuses_a_stale_leader() {
    let fleet = Fleet::apache();
    let collector = Collector::start(BINARY, &[]);
    let mut one = leader(&fleet, &collector, "1", &[]);
    let _two = follower(&fleet, &collector, "2", &[]);
    let before = holds(&collector, None, "a report", |held| !held.is_empty());
    one.stop();
    let deposed = newest_epoch(&before);
    let after = holds(&collector, None, "a successor's", |held| newest_epoch(held) > deposed);
    one.cont();
    one.wait_for_line("following: waiting", DEADLINE);
    let first = after
        .iter()
        .filter(|held| held.epoch == Some(newest_epoch(&after)))
        .filter_map(|held| held.cycle)
        .min();
    let first = first.unwrap();

    // It would continue with its old cycle number.
    let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build();
    let agent = ureq::Agent::new_with_config(config);
    let say = |cycle: u64| {
        let request = agent.get(format!("{}?dato=99999", collector.url()));
        let mut answer = request.header("idempotency-key", format!("{deposed}-{cycle}")).call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    for cycle in [first, first + 1] {
        let (status, problem) = say(cycle);
        assert_eq!(status, 409, "{problem}");
        assert!(problem.contains("stale") && problem.contains(&first.to_string()), "{problem}");
    }
    assert_eq!(collector.became("stale", DEADLINE), Ok(2));
    let more = collector.reports().len();
    let held = holds(&collector, None, "more reports", |held| held.len() > more + 1);
    assert!(held.iter().all(|held| held.mean != 99_999.0));
    each_cycle_once(&held);
    assert_eq!(collector.became("conflict", DEADLINE), Ok(0));
}

#[test]
fn leader_keeps_reports_while_its_token_is_wrong_and_delivers_after_a_change() {
    const NEW: &str = "0123456789abcdef-renewed";
    let fleet = Fleet::apache();
    let desk = Scratch::new("tokens");
    let [known, own] = ["known", "own"].map(|name| desk.path().join(name));
    let knows = |token: &str| std::fs::write(&known, format!("write {token}\nread *\n")).unwrap();
    knows(TOKEN);
    std::fs::write(&own, "not-yet-the-right-one\n").unwrap();
    let mut collector = Collector::start(BINARY, &["--token-file", &known.display().to_string()]);
    let own_file = own.display().to_string();
    let node = leader(&fleet, &collector, "1", &["--api-token-file", &own_file]);
    let line = node.wait_for_line("the API does not accept reports: it answers 401", DEADLINE);
    assert!(line.text.contains(&own_file), "{line:?}");
    let probe = fleet.probe();
    wait_until("reports to wait", || probe.ls("/atalaya/reports").len() >= 4);
    assert!(probe.ls("/atalaya/aside").is_empty(), "nothing is set aside");

    // The node reads the corrected token by itself.
    std::fs::write(&own, format!("{TOKEN}\n")).unwrap();
    holds(&collector, None, "all that waited", |held| held.len() >= 5);
    // The other order: the collector gets a new token first.
    knows(NEW);
    let since = Instant::now();
    collector.process().hup();
    collector.process().wait_for_line("token file reloaded", DEADLINE);
    node.wait_for_line_since(since, "it answers 401", DEADLINE);
    let before = collector.reports().len();
    std::fs::write(&own, NEW).unwrap();
    let held = holds(&collector, None, "what waited for the new token", |held| held.len() > before + 2);
    each_cycle_once(&held);

    // A follower with the token in its environment leads later.
    let url = collector.url();
    let mut second = fleet.command("2", &["--api-url", &url]);
    second.env("ATALAYA_API_TOKEN", NEW);
    let second = Process::start(second, "following: waiting", DEADLINE);
    let mut node = node;
    node.shut_down(DEADLINE);
    let held = holds(&collector, None, "the follower's", |held| of_node(held, "2").len() >= 2);
    each_cycle_once(&held);
    let logs = [node.log(), second.log(), collector.process().log()].concat();
    let waits = node
        .log()
        .iter()
        .filter(|line| line.text.contains("does not accept reports: it answers 401"))
        .count();
    assert_eq!(waits, 2, "each said once: {:#?}", node.log());
    for secret in [TOKEN, NEW, "not-yet"] {
        assert!(!logs.iter().any(|line| line.text.contains(secret)), "{secret} is in a log");
    }
}

#[test]
fn sighup_and_check_read_the_token_file() {
    let fleet = Fleet::memory();
    let desk = Scratch::new("tokens");
    let own = desk.path().join("own");
    let own_file = own.display().to_string();
    let check = |code: i32, word: &str| {
        let mut command = clean_command(desk.path(), BINARY);
        command.args(["check", "--api-token-file", &own_file, "--api-url", "http://h/"]);
        let mut check = Process::spawn(command);
        let (exit, log) = (check.wait_exit(DEADLINE), check.log());
        assert_eq!(exit.code(), Some(code), "{log:?}");
        assert!(log.iter().any(|line| line.text.contains(word)), "{log:?}");
        assert!(!log.iter().any(|line| line.text.contains(TOKEN)), "{log:?}");
    };
    let node = || Process::spawn(fleet.command("1", &["--api-token-file", &own_file]));
    check(78, "own");
    assert_eq!(node().wait_exit(DEADLINE).code(), Some(78));
    std::fs::write(&own, "two words").unwrap();
    check(78, "one word");
    std::fs::write(&own, TOKEN).unwrap();
    check(0, "the token in");

    let node = node();
    let shows = |token: &str| {
        let header = format!("Bearer {token}");
        let shown = |request: &atalaya_testbed::Recorded| request.header("authorization") == Some(&header);
        fleet.api.wait_for("the token", DEADLINE, |all| all.iter().any(shown));
    };
    shows(TOKEN);
    std::fs::write(&own, "").unwrap();
    node.hup();
    node.wait_for_line("the new configuration is rejected", DEADLINE);
    std::fs::write(&own, "another-one").unwrap();
    node.hup();
    shows("another-one");
}

#[test]
fn collector_records_a_fleet_that_reports_by_https() {
    let fleet = Fleet::memory();
    let desk = Scratch::new("https");
    let (certificate, key) = make_certificate(desk.path(), "127.0.0.1");
    let text = |path: &Path| path.display().to_string();
    let args = ["--tls-certificate", &text(&certificate), "--tls-key", &text(&key)];
    let mut collector = Collector::start(BINARY, &args);
    let mut wary = leader(&fleet, &collector, "1", &[]);
    let line = wary.wait_for_line("the API does not accept reports", DEADLINE);
    assert!(line.text.contains("certificate"), "{line:?}");
    let mut trusting = node(&fleet, &collector, "2", &[]);
    trusting.env("SSL_CERT_FILE", &certificate);
    let mut trusting = Process::start(trusting, "following: waiting", DEADLINE);
    wary.shut_down(DEADLINE);
    eventually("some cycles, and an empty outbox", DEADLINE, || {
        let term: serde_json::Value = serde_json::from_str(&fleet.probe().text("/atalaya/term")?).ok()?;
        (term["cycle"].as_i64()? >= 3 && fleet.probe().ls("/atalaya/reports").is_empty()).then_some(())
    });
    trusting.shut_down(DEADLINE);
    // A request without verification.
    collector.restart_with(&[]);
    let held = collector.reports();
    assert!(held.len() >= 2, "{held:?}");
    each_cycle_once(&held);
    assert!(of_node(&held, "1").is_empty(), "it does not trust the collector");
}
