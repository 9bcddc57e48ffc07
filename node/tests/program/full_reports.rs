//! Leaders that are configured with GET send full reports once they know that the API is a collector of Atalaya.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use atalaya_testbed::{ApiMode, Collector, Process, StoredReport, eventually};
use serde_json::Value;

use crate::collector::holds;
use crate::common::{DEADLINE, Fleet, wait_until};

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");

fn is_full(report: &StoredReport) -> bool {
    report.min.is_some() && report.max.is_some() && report.count.is_some()
}

/// Asserts that every cycle since the first one was recorded once.
#[track_caller]
fn each_cycle_once(held: &[StoredReport]) {
    let mut cycles: Vec<u64> = held.iter().map(|held| held.cycle.expect("reports have a key")).collect();
    cycles.sort_unstable();
    assert_eq!(cycles, (1..=cycles.len() as u64).collect::<Vec<_>>(), "{held:#?}");
}

fn node(fleet: &Fleet, url: &str, id: &str, args: &[&str]) -> Process {
    Process::spawn(fleet.command(id, &[&["--api-url", url], args].concat()))
}

/// Starts a proxy that serves the collector at `address` below `/site/a`. Returns its address for averages. While
/// `posts` is false, it answers every POST with 405.
fn proxy_before(address: String, posts: Arc<AtomicBool>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/site/a/nuevo", listener.local_addr().expect("it listens"));
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let (address, posts) = (address.clone(), Arc::clone(&posts));
            std::thread::spawn(move || forward(client, &address, &posts));
        }
    });
    url
}

/// Forwards one request, and closes the connection after its response.
fn forward(mut client: TcpStream, address: &str, posts: &AtomicBool) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut byte = [0];
    while !request.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&request).into_owned();
    let length = head
        .lines()
        .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    client.read_exact(&mut body)?;
    if head.starts_with("POST") && !posts.load(Ordering::Relaxed) {
        return client.write_all(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    }
    let head = head.replacen(" /site/a/", " /", 1).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let mut collector = TcpStream::connect(address)?;
    collector.write_all(head.as_bytes())?;
    collector.write_all(&body)?;
    std::io::copy(&mut collector, &mut client).map(drop)
}

/// The receiver is restarted and the leader killed meanwhile: nothing is lost or recorded twice over the switch.
#[test]
fn leader_sends_full_reports_to_a_collector() {
    let fleet = Fleet::apache();
    let mut collector = Collector::start(BINARY, &[]);
    let url = collector.url();
    let mut one = node(&fleet, &url, "1", &[]);
    one.wait_for_line("full reports are sent to /api/v1/reports", DEADLINE);
    let two = node(&fleet, &url, "2", &[]);
    two.wait_for_line("following: waiting", DEADLINE);
    let held =
        holds(&collector, None, "full reports", |held| held.iter().filter(|held| is_full(held)).count() >= 3);
    assert!(!is_full(&held[0]), "the first one is sent before the API is known: {held:#?}");
    collector.process().kill9();
    let waiting = || fleet.probe().ls("/atalaya/reports").len();
    wait_until("reports that wait", || waiting() >= 3);
    one.kill9();
    collector.restart();
    two.wait_for_line("full reports are sent to /api/v1/reports", DEADLINE);
    let before = collector.reports().len();
    holds(&collector, None, "more full reports", |held| held.len() >= before + 3);
    eventually("the status of the fleet", DEADLINE, || {
        let fleet: Value = serde_json::from_str(&collector.get("/api/v1/fleet").body).ok()?;
        fleet["status"]["leader"].is_string().then_some(())
    });
    let mut two = two;
    two.shut_down(DEADLINE);
    let held = collector.reports();
    each_cycle_once(&held);
    assert!(held.iter().filter(|held| !is_full(held)).count() <= held.len() / 2, "{held:#?}");
    assert!(fleet.probe().ls("/atalaya/aside").is_empty());
    assert_eq!(collector.became("conflict", DEADLINE), Ok(0));
}

#[test]
fn leader_behind_a_proxy_without_post_stays_with_get() {
    let fleet = Fleet::memory();
    let collector = Collector::start(BINARY, &[]);
    let posts = Arc::new(AtomicBool::new(true));
    let url = proxy_before(collector.address(), Arc::clone(&posts));
    let one = node(&fleet, &url, "1", &[]);
    one.wait_for_line("full reports are sent to /site/a/api/v1/reports", DEADLINE);
    holds(&collector, None, "full reports through the proxy", |held| held.iter().any(is_full));
    posts.store(false, Ordering::Relaxed);
    let line = one.wait_for_line("does not accept full reports at /site/a/api/v1/reports", DEADLINE);
    assert!(line.text.contains("it answers 405"), "{line:?}");
    let before = collector.reports().len();
    let held = holds(&collector, None, "more reports", |held| held.len() >= before + 5);
    each_cycle_once(&held);
    assert!(!is_full(held.last().expect("there are some")));
    let logged = one.log().iter().filter(|line| line.text.contains("does not accept full reports")).count();
    assert_eq!(logged, 1, "said once");
    assert!(!one.log().iter().any(|line| line.text.contains("the API does not accept reports")));
}

/// Any other API receives the requests of earlier versions, and so does a collector if GET is configured.
#[test]
fn leader_stays_with_get_at_a_plain_api_and_if_it_is_configured() {
    let fleet = Fleet::memory();
    let requests = |what: &str, count: usize| fleet.api.wait_for(what, DEADLINE, |all| all.len() >= count);
    let mut one = fleet.leader("1", &[]);
    let all = requests("reports", 5);
    assert!(all.iter().all(|request| request.method == "GET" && request.path == "/nuevo"), "{all:?}");
    assert!(all.iter().all(|request| request.query.len() == 1 && request.query[0].0 == "dato"), "{all:?}");
    one.shut_down(DEADLINE);
    fleet.api.set(ApiMode::Collector(Duration::ZERO));
    let before = fleet.api.requests().len();
    let _two = fleet.leader("2", &["--api-method", "get"]);
    let all = requests("further reports", before + 6);
    let reports = all[before..].iter().filter(|request| request.path != "/api/v1/fleet");
    assert!(reports.clone().count() >= 2);
    assert!(
        reports.into_iter().all(|request| request.method == "GET" && request.path == "/nuevo"),
        "{all:?}"
    );
}

/// Both fleets count their cycles from 1.
#[test]
fn two_fleets_report_to_one_collector_under_their_names() {
    let (home, office) = (Fleet::memory(), Fleet::memory());
    let collector = Collector::start(BINARY, &[]);
    let url = collector.url();
    let _one = node(&home, &url, "1", &["--fleet-name", "home"]);
    let _two = node(&office, &url, "1", &[]);
    let cycles = |fleet: &str| -> Vec<u64> {
        let path = format!("/api/v1/reports?limit=1000&fleet={fleet}");
        let told: Value = serde_json::from_str(&collector.get(&path).body).expect("it is JSON");
        told["reports"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|report| report["cycle"].as_u64())
            .collect()
    };
    let [first, second] = ["home", "default"].map(|fleet| {
        eventually("reports of both fleets", DEADLINE, || {
            Some(cycles(fleet)).filter(|cycles| cycles.len() >= 4)
        })
    });
    for mut cycles in [first, second] {
        // The list is sorted by time. The first report is sent with GET, so its time is that of its arrival, which is
        // after the second cycle if the machine is busy.
        cycles.sort_unstable();
        assert_eq!(cycles, (1..=cycles.len() as u64).collect::<Vec<_>>());
    }
    for name in ["home", "default"] {
        eventually("its status", DEADLINE, || {
            let body = collector.get(&format!("/api/v1/fleet?fleet={name}")).body;
            let told: Value = serde_json::from_str(&body).ok()?;
            (told["status"]["leader"] == "1" && told["warning"].is_null()).then_some(())
        });
    }
    assert_eq!(collector.became("stale", DEADLINE), Ok(0));
}

#[test]
fn two_fleets_under_one_name_are_recognised() {
    let (home, office) = (Fleet::memory(), Fleet::memory());
    let mut collector = Collector::start(BINARY, &[]);
    let url = collector.url();
    let _nodes = [&home, &office].map(|fleet| node(fleet, &url, "1", &[]));
    let line = collector.process().wait_for_line("two fleets report under the name", DEADLINE);
    assert!(line.text.contains("fleet_name"), "{line:?}");
}
