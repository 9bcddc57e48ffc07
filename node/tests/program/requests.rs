//! Requests to ZooKeeper, recorded in a proxy: a fleet without outputs, history and groups sends the requests that it sent
//! before these features existed, and an output adds one operation to the transaction of a cycle, and the deletion of
//! each average that it has accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use atalaya_testbed::{Scratch, eventually};

use crate::common::webhooks::Webhooks;
use crate::common::{DEADLINE, Fleet, TestEnv, Timing};

/// Number of cycles over which requests are counted.
const CYCLES: usize = 10;
/// Maximum deviation from that number. A further request in each cycle deviates by [`CYCLES`].
const TOLERANCE: usize = 4;

const COMMIT: &str = "multi [check /election/*, set /atalaya/term, create /atalaya/reports/*]";
const DELIVERED: &str = "multi [check /election/*, delete /atalaya/reports/*]";
const READ: &str = "multi-read [get /mediciones/1]";
const PUBLISH: &str = "set /mediciones/1";
/// Requests that do not depend on the cycles, but happen at most as often here: the lease, and the node info.
const BESIDE: [&str; 2] = ["sync /", "set /atalaya/nodes/1"];
/// Reads the groups of the nodes: every minute, and when a node has joined.
const GROUPS: &str = "multi-read [get /atalaya/nodes/1]";
/// Maximum number of requests of one kind that are sent while the node starts, and not again.
const MAX_AT_START: usize = 3;
const START: [&str; 22] = [
    GROUPS,
    "children /atalaya/aside",
    "children /atalaya/reports",
    "children /config",
    "children /config/nodes/1",
    "children /election",
    "children /mediciones",
    "create /atalaya",
    "create /atalaya/nodes",
    "create /atalaya/nodes/1",
    "create /atalaya/reports",
    "create /election",
    "create /election/*",
    "create /mediciones",
    "create /mediciones/1",
    "exists /atalaya/tasks",
    "exists /barrier",
    "exists /config",
    "exists /config/nodes/1",
    "exists /election/*",
    "get /atalaya/reports",
    "get /atalaya/term",
];
/// Requests of the line of nodes that wait to contend (`lead = "auto"`), when a node joins the election. Operation 18
/// removes a watch.
const STANDBY: [&str; 6] = [
    "create /atalaya/standby",
    "create /atalaya/standby/",
    "delete /atalaya/standby/0000000000",
    "exists /election",
    "multi-read [get /atalaya/standby/0000000000]",
    "op 18 /election",
];
const TAKEOVER: [&str; 3] = [
    "set /atalaya/reports",
    "multi [check /election/*, create /atalaya/term]",
    "multi [check /election/*, set /atalaya/term]",
];

type Counts = BTreeMap<String, usize>;

/// Returns a request with `*` in place of the names of election znodes and the numbers of cycles.
fn kind(request: &str) -> String {
    let path = |word: &str| {
        let (word, end) = word.split_at(word.trim_end_matches([',', ']']).len());
        let (parent, _) = word.rsplit_once('/').unwrap_or(("", word));
        let is_variable = parent == "/election" || parent.ends_with("/reports");
        if is_variable { format!("{parent}/*{end}") } else { format!("{word}{end}") }
    };
    request.split(' ').map(path).collect::<Vec<_>>().join(" ")
}

fn counts(requests: &[String]) -> Counts {
    let mut counts = Counts::new();
    requests.iter().for_each(|request| *counts.entry(request.clone()).or_default() += 1);
    counts
}

/// Returns the requests of a leader since its start, and those of [`CYCLES`] cycles. `commit` commits a cycle.
fn record(arguments: &[&str], commit: &str) -> (Counts, Counts) {
    let fleet = Fleet::memory();
    let proxy = fleet.server.proxy();
    proxy.record_requests();
    // A new connection would cause other requests.
    let pace = Timing { session: Duration::from_secs(30), ..fleet.pace };
    let env = TestEnv::of(proxy.connect_string(), pace);
    // An earlier test may have had a node 1 at the same port: its state would cause requests of a cleanup.
    let state = Scratch::new("requests");
    let own = ["--board", "v80", "--state-dir", state.path().to_str().unwrap()];
    let _leader = env.leader("1", &[&own, arguments].concat());
    eventually("cycles", DEADLINE, || {
        let requests: Vec<String> = proxy.recorded_requests().iter().map(|request| kind(request)).collect();
        let commits: Vec<usize> =
            requests.iter().enumerate().filter(|(_, kind)| *kind == commit).map(|(place, _)| place).collect();
        // The first cycles are those of the start.
        let [from, to] = [commits.get(4)?, commits.get(4 + CYCLES)?];
        Some((counts(&requests), counts(&requests[*from..*to])))
    })
}

#[track_caller]
fn assert_once_a_cycle(steady: &Counts, kinds: &[&str]) {
    for kind in kinds {
        let count = steady.get(*kind).copied().unwrap_or(0);
        assert!(count.abs_diff(CYCLES) <= TOLERANCE, "{count} times {kind} in {CYCLES} cycles: {steady:#?}");
    }
}

/// Checks that only these kinds, and those beside the cycles, are among the requests.
#[track_caller]
fn assert_kinds(requests: &Counts, kinds: &[&str]) {
    let known: BTreeSet<&str> = kinds.iter().chain(&BESIDE).copied().collect();
    let all: BTreeSet<&str> = requests.keys().map(String::as_str).collect();
    assert_eq!(all.difference(&known).collect::<Vec<_>>(), [&""; 0], "{requests:#?}");
}

#[test]
fn fleet_without_outputs_sends_the_same_requests_as_before_outputs_existed() {
    let (all, steady) = record(&[], COMMIT);
    let of_cycle = [COMMIT, DELIVERED, READ, PUBLISH];
    assert_once_a_cycle(&steady, &of_cycle);
    assert_eq!(steady[COMMIT], CYCLES);
    for kind in BESIDE {
        let count = steady.get(kind).copied().unwrap_or(0);
        assert!(count <= CYCLES + TOLERANCE, "{count} times {kind}: {steady:#?}");
    }
    assert_kinds(&steady, &of_cycle);
    assert_kinds(&all, &[&of_cycle[..], &START, &STANDBY, &TAKEOVER].concat());
    for kind in START.iter().chain(&STANDBY).chain(&TAKEOVER) {
        let count = all.get(*kind).copied().unwrap_or(0);
        assert!(count <= MAX_AT_START, "{count} times {kind}: {all:#?}");
    }
}

#[test]
fn output_adds_an_operation_to_each_cycle_and_the_deletion_of_its_averages() {
    let webhooks = Webhooks::start(1);
    let commit = COMMIT.replace(']', ", create /atalaya/outputs/w1/reports/*]");
    let delivered = DELIVERED.replace("/atalaya", "/atalaya/outputs/w1");
    let (all, steady) = record(&["--boards", &webhooks.file()], &commit);
    let of_cycle = [&commit, DELIVERED, &delivered, READ, PUBLISH];
    assert_once_a_cycle(&steady, &of_cycle);
    assert_kinds(&steady, &of_cycle);
    // The other additional requests are sent once, and only to its outbox.
    let known = [&of_cycle[..], &START, &STANDBY, &TAKEOVER, &BESIDE].concat();
    let others: Vec<(&String, &usize)> =
        all.iter().filter(|(kind, _)| !known.contains(&kind.as_str())).collect();
    assert!(!others.is_empty(), "{all:#?}");
    for (kind, count) in others {
        assert!(
            kind.contains(" /atalaya/outputs") && *count <= MAX_AT_START,
            "{count} times {kind}: {all:#?}"
        );
    }
    assert_eq!(all.get(COMMIT), None);
}
