//! Bad data in the outbox and the fence, and misleading answers to reports, lose no average: each one is delivered,
//! waits, or is rejected with the reason.
#![cfg(unix)]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime};

use atalaya_testbed::{Collector, Process, Recorded, ZkProbe, eventually, node_command};
use serde_json::{Value, json};

use crate::common::metrics_client::MetricsClient;
use crate::common::{DEADLINE, Fleet, report_from, wait_for_requests, wait_until};

on_both!(
    leader_delivers_only_reports_up_to_its_own_epoch,
    leader_delivers_what_is_behind_reports_that_can_never_be_sent,
    leader_does_not_believe_a_fence_far_ahead_of_the_clock,
    leader_skips_a_cycle_whose_path_another_znode_keeps,
    leader_sets_a_report_aside_although_the_oldest_of_too_many_has_children,
    leader_logs_once_for_all_reports_that_it_may_not_set_aside,
    leader_logs_each_child_of_the_outbox_that_is_not_a_report_once,
);

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
const DAY: i64 = 86_400;

fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

fn create(probe: &ZkProbe, path: &str, data: &[u8]) {
    probe.create(path, data, false).unwrap();
}

fn report(epoch: i64, cycle: u64, unit: Option<&str>) -> Vec<u8> {
    let mut average = json!({"mean": 1.0, "min": 1.0, "max": 1.0, "count": 1});
    if let Some(unit) = unit {
        average["unit"] = unit.into();
    }
    let report = json!({"epoch": epoch, "cycle": cycle, "time": "2026-01-01T00:00:00Z", "excluded": 0, "averages": [average]});
    report.to_string().into_bytes()
}

/// Returns the epoch and cycle of a request. A unit may follow them in its key.
fn key(request: &Recorded) -> (i64, u64) {
    let key = request.header("Idempotency-Key").unwrap();
    let mut parts = key.split('-');
    (parts.next().unwrap().parse().unwrap(), parts.next().unwrap().parse().unwrap())
}

fn lines(node: &Process, words: &str) -> usize {
    node.log().iter().filter(|line| line.text.contains(words)).count()
}

fn aside(probe: &ZkProbe, cycle: u64) -> String {
    eventually(&format!("cycle {cycle} aside"), DEADLINE, || probe.text(&format!("/atalaya/aside/{cycle}")))
}

fn leader_delivers_only_reports_up_to_its_own_epoch(fleet: Fleet) {
    let probe = fleet.probe();
    let future = now() + 300 * DAY;
    create(&probe, "/atalaya/reports/0", &report(future, 0, None));
    let one = fleet.leader("1", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    assert!(aside(&probe, 0).contains("that of the leader"));
    // A znode at the path of a coming cycle, created while the node leads.
    let (epoch, cycle) = fleet.api.requests().last().map(key).unwrap();
    create(&probe, &format!("/atalaya/reports/{}", cycle + 20), &report(epoch, cycle + 20, None));
    create(&probe, &format!("/atalaya/reports/{}", u64::MAX), &report(epoch, u64::MAX, None));
    let _ = probe.set("/atalaya/reports", b"");
    assert!(aside(&probe, cycle + 20).contains("newest of the fleet"));
    let is_later = |request: &Recorded| key(request).1 > cycle + 3;
    let delivered = wait_for_requests(&fleet.api, "the cycles after it", 1, is_later);
    assert!(
        delivered.iter().map(key).all(|(epoch, _)| epoch < now() + DAY),
        "nothing of the future is reported"
    );
    assert_eq!(lines(&one, "does not accept reports"), 0);
    let listed = fleet.succeeds(&["reports", "list"]);
    assert!(listed.contains("rejected") && listed.contains("that of the leader"), "{listed}");
    assert_eq!(fleet.status()["aside"], 2);
}

fn leader_delivers_what_is_behind_reports_that_can_never_be_sent(fleet: Fleet) {
    let probe = fleet.probe();
    let epoch = now() - DAY;
    let many = json!({"epoch": epoch, "cycle": 3, "time": "2026-01-01T00:00:00Z", "excluded": 0, "averages":
        (0..6_000).map(|n| json!({"unit": format!("u{n}"), "mean": 1.0, "min": 1.0, "max": 1.0, "count": 1})).collect::<Vec<_>>()});
    let large = vec![b' '; 900_000];
    create(&probe, "/atalaya/reports/0", &report(epoch, 0, Some("Cel\r\nX-Evil: 1")));
    create(&probe, "/atalaya/reports/1", b"what is this");
    create(&probe, "/atalaya/reports/2", &large);
    create(&probe, "/atalaya/reports/3", many.to_string().as_bytes());
    create(&probe, "/atalaya/reports/4", &report(epoch, 4, Some("Cel")));
    let one = fleet.leader("1", &[]);
    let requests = fleet.api.wait_for("the good one and two more", DEADLINE, |all| all.len() >= 3);
    assert_eq!(key(&requests[0]), (epoch, 4), "it is the first that is sent");
    for (cycle, reason) in [(0, "unit"), (1, "what is this"), (2, "900000 bytes"), (3, "bytes")] {
        let data = aside(&probe, cycle);
        assert!(data.contains(reason) || cycle == 0, "{data}");
        assert!(data.len() < 1_000, "{}", data.len());
    }
    let listed = fleet.succeeds(&["reports", "list"]);
    assert!(listed.contains("it has a unit that is") && listed.contains("it has 900000 bytes"), "{listed}");
    assert_eq!(
        lines(&one, "can never be delivered and moves to the rejected reports"),
        1,
        "one line for all of them"
    );
    assert_eq!(lines(&one, "does not accept reports"), 0);
}

fn leader_sets_a_report_aside_although_the_oldest_of_too_many_has_children(fleet: Fleet) {
    const MOST_ASIDE: u64 = 1_000;
    let probe = fleet.probe();
    create(&probe, "/atalaya/aside/1", b"");
    (2..=MOST_ASIDE).for_each(|cycle| probe.create(&format!("/atalaya/aside/{cycle}"), b"", false).unwrap());
    probe.create("/atalaya/aside/1/child", b"", false).unwrap();
    create(&probe, "/atalaya/reports/0", b"what is this");
    let _one = fleet.leader("1", &[]);
    assert!(aside(&probe, 0).contains("what is this"));
    assert!(probe.text("/atalaya/aside/1").is_some(), "it cannot be deleted");
    assert!(probe.text("/atalaya/aside/2").is_none(), "the next one made room");
}

fn leader_logs_once_for_all_reports_that_it_may_not_set_aside(fleet: Fleet) {
    let probe = fleet.probe();
    create(&probe, "/atalaya/aside/9", b"");
    probe.restrict("/atalaya/aside").unwrap();
    create(&probe, "/atalaya/reports/0", b"what is this");
    let one = fleet.leader("1", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let occupied = eventually("a cycle that is still to come", DEADLINE, || {
        let (_, last) = fleet.api.requests().last().map(key)?;
        let occupied = last + 4;
        probe
            .create(&format!("/atalaya/reports/{occupied}"), b"what is this", false)
            .is_ok()
            .then_some(occupied)
    });
    wait_for_requests(&fleet.api, "the cycles after it", 1, |request| key(request).1 > occupied);
    assert_eq!(lines(&one, "is skipped"), 1);
    // Both reports may have been tried by now, and the reason is the same.
    assert_eq!(lines(&one, "cannot be removed"), 1);
}

fn leader_logs_each_child_of_the_outbox_that_is_not_a_report_once(fleet: Fleet) {
    let probe = fleet.probe();
    create(&probe, "/atalaya/reports/first", b"");
    let one = fleet.leader("1", &[]);
    one.wait_for_line("children that are not reports and are ignored: first;", DEADLINE);
    // Clients write the parent after they have changed its children.
    let add = |name: &str, expected: usize| {
        create(&probe, &format!("/atalaya/reports/{name}"), b"");
        probe.set("/atalaya/reports", b"").unwrap();
        wait_until("the child is logged", || lines(&one, &format!("ignored: {name};")) == expected);
    };
    add("second", 1);
    probe.delete("/atalaya/reports/first").unwrap();
    add("third", 1);
    add("first", 2);
    assert_eq!(lines(&one, "children that are not reports"), 4);
}

fn leader_does_not_believe_a_fence_far_ahead_of_the_clock(fleet: Fleet) {
    let probe = fleet.probe();
    for (epoch, cycle) in [(now() + 300 * DAY, 7), (i64::MAX - 1, 7), (now(), u64::MAX)] {
        let _ = probe.delete("/atalaya/term");
        create(&probe, "/atalaya/term", json!({"epoch": epoch, "cycle": cycle}).to_string().as_bytes());
        let since = Instant::now();
        let mut one = fleet.leader("1", &[]);
        let requests = wait_for_requests(&fleet.api, "a report", 1, |request| request.at > since);
        let (epoch, cycle) = requests.last().map(key).unwrap();
        assert!(epoch < now() + DAY && cycle < 1 << 52, "{epoch} {cycle}");
        one.wait_for_line("does not hold what a leader writes", DEADLINE);
        one.shut_down(DEADLINE);
    }
}

fn leader_skips_a_cycle_whose_path_another_znode_keeps(fleet: Fleet) {
    let probe = fleet.probe();
    let one = fleet.leader("1", &[]);
    report_from(&fleet.api, "1", Instant::now(), DEADLINE);
    let (epoch, cycle) = fleet.api.requests().last().map(key).unwrap();
    let taken = cycle + 4;
    create(&probe, &format!("/atalaya/reports/{taken}/child"), b"");
    let is_later = |request: &Recorded| key(request).1 >= taken + 2;
    let all = wait_for_requests(&fleet.api, "two cycles after it", 1, is_later);
    let cycles: Vec<u64> = all.iter().map(|request| key(request).1).collect();
    assert_eq!(cycles, (1..taken).chain(taken + 1..=cycles[cycles.len() - 1]).collect::<Vec<_>>());
    assert!(all.iter().map(key).all(|(same, _)| same == epoch), "the epoch stays");
    one.wait_for_line("cannot be removed from the outbox", DEADLINE);
    assert_eq!(lines(&one, &format!("cycle {taken} is skipped")), 1);
}

#[test]
fn leader_takes_over_above_an_epoch_that_the_collector_has_from_elsewhere() {
    let fleet = Fleet::memory();
    let collector = Collector::start(BINARY, &[]);
    let url = collector.url();
    let one = fleet.leader("1", &["--api-url", &url]);
    let held = |what: &str, wanted: &dyn Fn(&[atalaya_testbed::StoredReport]) -> bool| {
        eventually(what, DEADLINE, || collector.try_reports(None).ok().filter(|held| wanted(held)))
    };
    let own = held("a report", &|held| !held.is_empty())[0].epoch.unwrap();
    let foreign = own + 1_000;
    let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build();
    let request = ureq::Agent::new_with_config(config).get(format!("{url}?dato=666"));
    let answer = request.header("idempotency-key", format!("{foreign}-0")).call().unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    one.wait_for_line("an epoch that no leader of this fleet had", DEADLINE);
    let all = held("three reports of a higher epoch", &|held| {
        held.iter().filter(|held| held.epoch > Some(foreign)).count() >= 3
    });
    let mut cycles: Vec<i64> = all
        .iter()
        .filter(|held| held.epoch != Some(foreign))
        .map(|held| i64::try_from(held.cycle.unwrap()).unwrap())
        .collect();
    cycles.sort_unstable();
    let newest = i64::try_from(cycles.len()).unwrap();
    assert_eq!(cycles, (1..=newest).collect::<Vec<_>>(), "every average is recorded, once");
    assert!(all.iter().all(|held| held.epoch.is_none_or(|epoch| epoch <= foreign + 1)), "one takeover");
    let probe = fleet.probe();
    assert!(probe.ls("/atalaya").iter().all(|name| name != "aside") || probe.ls("/atalaya/aside").is_empty());
    assert_eq!(lines(&one, "an epoch that no leader of this fleet had"), 1, "said once");
    assert_eq!(fleet.status()["outranked"], Value::Null);
}

/// An API whose answer is a function of the request's first line and headers, in lower case.
struct Answering {
    url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

fn answering(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Answering {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/nuevo", listener.local_addr().unwrap());
    let heads: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut head = String::new();
            let mut input = BufReader::new(&stream);
            while input.read_line(&mut head).is_ok_and(|read| read > 2) {}
            let head = head.to_ascii_lowercase();
            let answer = answer(&head);
            noted.lock().unwrap().push(head);
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    Answering { url, heads }
}

fn whole(status: &str, kind: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

#[test]
fn leader_keeps_reports_while_a_collectors_epoch_is_too_far_ahead_to_rise_above() {
    let fleet = Fleet::memory();
    let foreign = now() + 30 * DAY;
    let stale =
        json!({"type": "urn:problem-type:atalaya:stale", "status": 409, "epoch": foreign, "first_cycle": 0});
    let api = answering(move |_| whole("409 Conflict", "application/problem+json", &stale.to_string()));
    let one = fleet.leader("1", &["--api-url", &api.url, "--metrics-listen", "127.0.0.1:0"]);
    one.wait_for_line("more than a day ahead of ZooKeeper's clock", DEADLINE);
    let probe = fleet.probe();
    wait_until("three reports wait", || probe.ls("/atalaya/reports").len() >= 3);
    assert!(probe.exists("/atalaya/aside").is_none_or(|_| probe.ls("/atalaya/aside").is_empty()));
    let seen = eventually("the status says so", DEADLINE, || {
        let seen = fleet.status();
        (seen["outranked"] == foreign).then_some(seen)
    });
    assert!(seen["epoch"].as_i64().unwrap() < now() + DAY, "it does not rise");
    assert!(fleet.succeeds(&["status"]).contains("the collector has reports of the later epoch"));
    assert!(MetricsClient::of(&one).figure("atalaya_reports_outranked_total").unwrap() >= 1.0);
    assert_eq!(lines(&one, "an epoch that no leader of this fleet had"), 1, "said once");
}

#[test]
fn leader_delivers_the_others_when_an_api_forbids_particular_reports() {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let api = answering(|head| match head.contains("unit=%25rh") {
        true => whole("403 Forbidden", "text/plain", "not this one"),
        false => whole("200 OK", "text/plain", "ok"),
    });
    let _one = fleet.leader("1", &["--api-url", &api.url]);
    create(&probe, "/mediciones/x", br#"[{"u":"%RH","v":40},{"u":"Cel","v":21}]"#);
    let set =
        |probe: &ZkProbe| probe.set("/mediciones/x", br#"[{"u":"%RH","v":40},{"u":"Cel","v":21}]"#).unwrap();
    let delivered = || {
        let heads = api.heads.lock().unwrap();
        let mut keys: Vec<String> = heads
            .iter()
            .filter(|head| head.contains("unit=cel"))
            .filter_map(|head| head.lines().find_map(|line| line.strip_prefix("idempotency-key: ")))
            .map(str::to_owned)
            .collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    };
    eventually("five of the other unit are delivered", DEADLINE, || {
        set(&probe);
        (delivered() >= 5).then_some(())
    });
    let set_aside = eventually("the forbidden ones are set aside", DEADLINE, || {
        let names = probe.exists("/atalaya/aside").map(|_| probe.ls("/atalaya/aside"))?;
        let text = probe.text(&format!("/atalaya/aside/{}", names.first()?))?;
        serde_json::from_str::<Value>(&text).ok()
    });
    assert!(set_aside["reason"].as_str().unwrap().contains("403"), "{set_aside}");
    assert_eq!(set_aside["averages"].as_array().unwrap().len(), 1, "the rest was accepted");
}

#[test]
fn leader_keeps_reports_that_are_redirected_to_a_login_page() {
    let fleet = Fleet::memory();
    let api = answering(|head| match head.starts_with("get /nuevo") {
        true => "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            .to_owned(),
        false => whole("200 OK", "text/html", "<!doctype html><title>Sign in</title>"),
    });
    let one = fleet.leader("1", &["--api-url", &api.url]);
    one.wait_for_line("a page of HTML: the report is not recorded", DEADLINE);
    let probe = fleet.probe();
    wait_until("three reports wait", || probe.ls("/atalaya/reports").len() >= 3);
}

#[test]
fn token_is_not_sent_to_an_api_that_only_zookeeper_names() {
    let fleet = Fleet::memory();
    let probe = fleet.probe();
    let api = answering(|_| whole("200 OK", "text/plain", "ok"));
    create(&probe, "/config/api_url", api.url.as_bytes());
    let node = |id: &str, more: &[(&str, &str)]| {
        let mut command = node_command(BINARY, id, &fleet.hosts);
        command.args(["--sampling-period", "500ms", "--session-timeout", "2s"]);
        command.env("ATALAYA_API_TOKEN", "0123456789abcdef-secret").envs(more.iter().copied());
        Process::spawn(command)
    };
    let saw = |wanted: bool| {
        let heads = api.heads.lock().unwrap();
        heads.iter().any(|head| head.contains("authorization: bearer") == wanted)
    };
    let mut one = node("1", &[]);
    wait_until("two reports", || api.heads.lock().unwrap().len() >= 2);
    assert!(!saw(true), "the token is sent");
    assert_eq!(lines(&one, "is not sent to the API: it is bound to no origin"), 1);
    assert_eq!(lines(&one, "the API has changed"), 1);
    one.shut_down(DEADLINE);
    let origin = api.url.trim_end_matches("/nuevo").to_owned();
    let _two = node("2", &[("ATALAYA_API_TOKEN_ORIGIN", &origin)]);
    wait_until("a report with the token", || saw(true));
}
