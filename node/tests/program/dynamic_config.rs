//! Dynamic configuration: keys below `/config` in ZooKeeper apply at once to the whole fleet or to one node. Invalid
//! values are refused, and a deleted key restores the start value.
#![cfg(unix)]

use std::time::Instant;

use atalaya_testbed::{Api, Kazoo, Process, Scratch, ZkProbe, eventually};

use crate::common::outputs::assert_refused;
use crate::common::{DEADLINE, Fleet, from, goes_on_publishing, wait_until};

on_both!(
    new_period_is_applied_by_all_nodes_and_by_the_leader,
    new_api_url_is_used_until_it_is_deleted,
    keys_of_one_node_override_keys_of_the_fleet,
    invalid_value_is_refused_with_one_line_and_the_last_valid_value_stays,
    value_that_is_invalid_from_the_start_counts_as_not_set,
    node_that_starts_later_applies_the_configuration_from_its_first_report,
    values_written_by_kazoo_are_applied,
    fleet_enters_and_leaves_lock_step,
    log_filter_is_applied,
    dynamic_values_override_values_reloaded_at_sighup,
    configuration_is_applied_after_a_lost_connection,
    config_init_writes_both_keys_and_refuses_invalid_values,
);

on_secured!(
    new_period_is_applied_by_all_nodes_and_by_the_leader,
    keys_of_one_node_override_keys_of_the_fleet,
    configuration_is_applied_after_a_lost_connection,
    config_init_writes_both_keys_and_refuses_invalid_values,
);

/// Longer than any test, so a node that measures twice follows another period.
const NEVER: &[&str] = &["--sampling-period", "1d"];

#[track_caller]
fn set(fleet: &Fleet, path: &str, value: &str) {
    fleet.succeeds(&["config", "set", path, value]);
}

/// Writes a value that `atalaya config set` would refuse.
fn write(probe: &ZkProbe, path: &str, data: &[u8]) {
    match probe.exists(path) {
        None => probe.create(path, data, false).unwrap(),
        Some(_) => probe.set(path, data).unwrap(),
    }
}

/// Waits for reports of `id` to `path` after `since`.
fn reports_to(api: &Api, id: &str, path: &str, since: Instant) {
    api.wait_for(&format!("reports of {id} to {path}"), DEADLINE, |all| {
        all.iter().filter(|r| from(r, id) && r.path == path && r.at > since).count() >= 2
    });
}

fn new_period_is_applied_by_all_nodes_and_by_the_leader(fleet: Fleet) {
    let nodes = [fleet.leader("1", NEVER), fleet.follower("2", NEVER), fleet.follower("3", NEVER)];
    let since = Instant::now();
    set(&fleet, "/config/sampling_period", "200ms");
    for node in &nodes {
        node.wait_for_line("follows /config/sampling_period: 200ms", DEADLINE);
    }
    let probe = fleet.probe();
    for id in ["1", "2", "3"] {
        goes_on_publishing(&probe, id, 3);
    }
    reports_to(&fleet.api, "1", "/nuevo", since);

    // The key is deleted or empty: the period is a day, as at the start.
    probe.delete("/config/sampling_period").unwrap();
    for node in &nodes {
        node.wait_for_line("/config/sampling_period is no longer set; the node's own setting", DEADLINE);
    }
    set(&fleet, "/config/sampling_period", "0.3");
    for node in &nodes {
        node.wait_for_line("follows /config/sampling_period: 300ms", DEADLINE);
    }
    let since = Instant::now();
    set(&fleet, "/config/sampling_period", "");
    for node in &nodes {
        node.wait_for_line_since(since, "/config/sampling_period is no longer set", DEADLINE);
    }
}

fn new_api_url_is_used_until_it_is_deleted(fleet: Fleet) {
    let (_one, other) = (fleet.leader("1", &[]), Api::start());
    reports_to(&fleet.api, "1", "/nuevo", Instant::now());
    set(&fleet, "/config/api_url", &other.base_url());
    reports_to(&other, "1", "/nuevo", Instant::now());
    fleet.probe().delete("/config/api_url").unwrap();
    reports_to(&fleet.api, "1", "/nuevo", Instant::now());
}

fn keys_of_one_node_override_keys_of_the_fleet(fleet: Fleet) {
    let (one, two) = (fleet.leader("1", NEVER), fleet.follower("2", NEVER));
    let probe = fleet.probe();
    set(&fleet, "/config/nodes/2/sampling_period", "200ms");
    two.wait_for_line("follows /config/nodes/2/sampling_period: 200ms", DEADLINE);
    goes_on_publishing(&probe, "2", 3);
    set(&fleet, "/config/sampling_period", "12h");
    one.wait_for_line("follows /config/sampling_period: 43200s", DEADLINE);
    two.wait_for_line(
        "/config/sampling_period is 43200s, but /config/nodes/2/sampling_period takes precedence: 200ms",
        DEADLINE,
    );
    goes_on_publishing(&probe, "2", 3);
    probe.delete("/config/nodes/2/sampling_period").unwrap();
    two.wait_for_line("no longer set; follows /config/sampling_period: 43200s", DEADLINE);
    assert!(one.log().iter().all(|line| !line.text.contains("/config/nodes/")), "it is not meant for node 1");
}

fn invalid_value_is_refused_with_one_line_and_the_last_valid_value_stays(fleet: Fleet) {
    let node = fleet.leader("1", NEVER);
    let probe = fleet.probe();
    set(&fleet, "/config/sampling_period", "200ms");
    node.wait_for_line("follows /config/sampling_period", DEADLINE);
    let huge = vec![b'7'; 1_000_000];
    for (value, says) in [
        (&b"soon"[..], "\"soon\" is not a duration; expected a duration such as 5s"),
        (b"1ms", "out of bounds; expected a duration from 100ms to 31d"),
        (b"5\xff\xfe", "is not UTF-8; expected text"),
        (&huge, "1000000 bytes are too many; expected at most 4096"),
    ] {
        let since = Instant::now();
        write(&probe, "/config/sampling_period", value);
        let line = node
            .wait_for_line_since(since, "/config/sampling_period is rejected, keeping 200ms", DEADLINE)
            .text;
        assert!(line.contains(says) && line.len() < 400, "{line}");
        goes_on_publishing(&probe, "1", 2);
    }
    write(&probe, "/config/sync", b"kazoo");
    node.wait_for_line(
        "/config/sync is rejected, treating it as not set: unknown mode \"kazoo\"; expected free or barrier",
        DEADLINE,
    );
    write(&probe, "/config/api_url", b"ftp://h/");
    node.wait_for_line("/config/api_url is rejected", DEADLINE);
    reports_to(&fleet.api, "1", "/nuevo", Instant::now());
    let refusals = node.log().iter().filter(|line| line.text.contains("is rejected")).count();
    assert_eq!(refusals, 6, "one line for each: {:?}", node.log());
}

fn value_that_is_invalid_from_the_start_counts_as_not_set(fleet: Fleet) {
    let probe = fleet.probe();
    write(&probe, "/config/sampling_period", b"soon");
    write(&probe, "/config/nodes/1/sampling_period", b"later");
    let node = fleet.leader("1", &["--sampling-period", "200ms"]);
    node.wait_for_line("/config/sampling_period is rejected, treating it as not set", DEADLINE);
    node.wait_for_line("/config/nodes/1/sampling_period is rejected, treating it as not set", DEADLINE);
    goes_on_publishing(&probe, "1", 3);
    write(&probe, "/config/sampling_period", b"1d");
    node.wait_for_line("follows /config/sampling_period: 86400s", DEADLINE);
}

fn node_that_starts_later_applies_the_configuration_from_its_first_report(fleet: Fleet) {
    let other = Api::start();
    set(&fleet, "/config/sampling_period", "200ms");
    set(&fleet, "/config/api_url", &other.url());
    let _one = fleet.leader("1", NEVER);
    reports_to(&other, "1", "/nuevo", Instant::now());
    goes_on_publishing(&fleet.probe(), "1", 3);
    assert!(fleet.api.requests().is_empty(), "it knew where to report before it led");
}

fn values_written_by_kazoo_are_applied(fleet: Fleet) {
    let node = fleet.leader("1", NEVER);
    let kazoo = Kazoo::ready();
    let other = Api::start();
    let mut init = kazoo.script("init_config.py", &[&fleet.hosts, "0.5", &other.base_url()]);
    assert!(init.wait_exit(DEADLINE).success(), "{:?}", init.log());
    node.wait_for_line("follows /config/sampling_period: 500ms", DEADLINE);
    reports_to(&other, "1", "/nuevo", Instant::now());
    let mut init = kazoo.script("init_config.py", &[&fleet.hosts, "5", &other.base_url()]);
    assert!(init.wait_exit(DEADLINE).success(), "{:?}", init.log());
    node.wait_for_line("follows /config/sampling_period: 5s", DEADLINE);
}

fn fleet_enters_and_leaves_lock_step(fleet: Fleet) {
    let nodes = [fleet.leader("1", &[]), fleet.follower("2", &[])];
    let probe = fleet.probe();
    assert!(probe.exists("/barrier").is_none());
    for (mode, closed) in [("barrier", true), ("free", false)] {
        set(&fleet, "/config/sync", mode);
        for node in &nodes {
            node.wait_for_line(&format!("follows /config/sync: {mode}"), DEADLINE);
        }
        wait_until(&format!("a fleet that is {mode}"), || probe.exists("/barrier").is_some() == closed);
        goes_on_publishing(&probe, "1", 2);
        goes_on_publishing(&probe, "2", 2);
    }
}

fn log_filter_is_applied(fleet: Fleet) {
    let node = fleet.leader("1", &[]);
    let debug = |node: &Process, since| {
        node.log().iter().any(|l| l.at > since && l.text.contains("measured measurement="))
    };
    set(&fleet, "/config/nodes/1/log", "debug");
    node.wait_for_line("measured measurement=", DEADLINE);
    set(&fleet, "/config/nodes/1/log", "warn,atalaya::dynamic_config=info");
    let told = node.wait_for_line("follows /config/nodes/1/log: warn,", DEADLINE).at;
    goes_on_publishing(&fleet.probe(), "1", 2);
    let after = |line: &&atalaya_testbed::Line| line.at > told && line.text.contains("average");
    assert_eq!(node.log().iter().filter(after).count(), 0, "{:?}", node.log());
    fleet.probe().delete("/config/nodes/1/log").unwrap();
    let told = node.wait_for_line("/config/nodes/1/log is no longer set", DEADLINE).at;
    node.wait_for_line_since(told, "average", DEADLINE);
    assert!(!debug(&node, told), "as it was started: info");
}

fn dynamic_values_override_values_reloaded_at_sighup(fleet: Fleet) {
    let scratch = Scratch::new("live");
    let file = scratch.path().join("boards.toml");
    let describe = |period: &str| {
        let text = format!(
            "[fleet]\nsampling_period = \"{period}\"\n[boards.b]\nbackend = \"sim\"\nsensors = [{{ name = \"s\", chip = \"random\" }}]\n"
        );
        std::fs::write(scratch.path().join("half"), text).unwrap();
        std::fs::rename(scratch.path().join("half"), &file).unwrap();
    };
    describe("1d");
    let mut command = atalaya_testbed::node_command(env!("CARGO_BIN_EXE_atalaya"), "1", &fleet.hosts);
    command.args(["--session-timeout", "4s", "--boards"]).arg(&file);
    let node = Process::start(command, " leading epoch=", DEADLINE);
    let probe = fleet.probe();
    set(&fleet, "/config/sampling_period", "200ms");
    goes_on_publishing(&probe, "1", 3);
    describe("2d");
    node.hup();
    let line = node.wait_for_line("applied the new settings", DEADLINE).text;
    assert!(line.contains("period=200ms"), "{line}");
    goes_on_publishing(&probe, "1", 3);
    describe("300ms");
    let since = Instant::now();
    node.hup();
    node.wait_for_line_since(since, "configuration reloaded", DEADLINE);
    probe.delete("/config/sampling_period").unwrap();
    node.wait_for_line("the node's own setting applies again", DEADLINE);
    goes_on_publishing(&probe, "1", 3);
}

fn configuration_is_applied_after_a_lost_connection(mut fleet: Fleet) {
    let node = fleet.leader("1", NEVER);
    set(&fleet, "/config/sampling_period", "12h");
    node.wait_for_line("follows /config/sampling_period: 43200s", DEADLINE);
    fleet.server.vanish();
    node.wait_for_line("suspended", DEADLINE);
    fleet.server.come_back();
    set(&fleet, "/config/sampling_period", "200ms");
    set(&fleet, "/config/nodes/1/sync", "free");
    node.wait_for_line("follows /config/sampling_period: 200ms", DEADLINE);
    node.wait_for_line("follows /config/nodes/1/sync: free", DEADLINE);
    goes_on_publishing(&fleet.probe(), "1", 3);
}

fn config_init_writes_both_keys_and_refuses_invalid_values(fleet: Fleet) {
    let node = fleet.leader("1", NEVER);
    let other = Api::start();
    for words in [["init", "soon", "http://h/"], ["init", "5s", "ftp://h/"], ["init", "1ms", "http://h/"]] {
        let output = fleet.run(&[&["config"], &words[..]].concat());
        assert_refused(&output, 64, "expected");
    }
    let probe = fleet.probe();
    assert!(probe.exists("/config").is_none(), "nothing was written");
    fleet.succeeds(&["config", "init", "500ms", &other.base_url()]);
    assert_eq!(probe.text("/config/sampling_period").as_deref(), Some("0.5"), "as Kazoo's programs read it");
    assert_eq!(probe.text("/config/api_url"), Some(other.base_url()));
    node.wait_for_line("follows /config/sampling_period: 500ms", DEADLINE);
    reports_to(&other, "1", "/nuevo", Instant::now());
    let output = fleet.run(&["config", "set", "/config/nodes/1/log", "very=loud"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    eventually("what all nodes follow", DEADLINE, || probe.exists("/config"));
}
