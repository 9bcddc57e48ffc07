//! Tests of the four-letter words.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::raw::{Raw, op};
use crate::target::Target;
use crate::wire::Body;

on_both!(words_that_report_the_state, words_that_count, words_that_list_watches, a_dump_of_sessions);

fn ask(target: &Target, word: &str) -> String {
    answer(&target.hosts(), word)
}

/// Returns the answer of a server to a word.
pub(crate) fn answer(hosts: &str, word: &str) -> String {
    let mut stream = TcpStream::connect(hosts).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn words_that_report_the_state(target: &Target) {
    assert_eq!(ask(target, "ruok"), "imok");
    assert_eq!(ask(target, "isro"), "rw");
    let server = ask(target, "srvr");
    assert!(server.starts_with("Zookeeper version: 3.8."), "{server}");
    for begin in
        ["Latency min/avg/max: ", "Received: ", "Sent: ", "Connections: ", "Outstanding: ", "Zxid: 0x"]
    {
        assert!(server.lines().any(|line| line.starts_with(begin)), "{begin} in {server}");
    }
    assert!(server.lines().any(|line| line == "Mode: standalone"), "{server}");
    assert!(ask(target, "envi").contains("zookeeper.version=3.8."));
}

fn words_that_count(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    raw.create(&target.path("/e"), b"", 1).unwrap();
    raw.get(&target.path("/e"), true).unwrap();
    let monitor = ask(target, "mntr");
    let figure = |name: &str| {
        let line =
            monitor.lines().find_map(|line| line.strip_prefix(&format!("{name}\t"))).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{name} in {monitor}"))
    };
    assert_eq!(figure("zk_server_state"), "standalone");
    for name in ["zk_num_alive_connections", "zk_znode_count", "zk_watch_count", "zk_ephemerals_count"] {
        assert!(figure(name).parse::<u32>().unwrap() > 0, "{name}");
    }
    let session = format!("sid=0x{:x}", raw.session);
    let connections = ask(target, "cons");
    assert!(connections.contains(&session) && connections.contains("to=10000"), "{connections}");
    assert!(ask(target, "stat").contains("(queued="));
}

/// Returns the indented lines below a line.
fn below<'a>(answer: &'a str, line: &str) -> Vec<&'a str> {
    let mut lines = answer.lines().skip_while(|found| *found != line).skip(1);
    let mut below: Vec<_> = lines.by_ref().map_while(|line| line.strip_prefix('\t')).collect();
    below.sort_unstable();
    below
}

fn words_that_list_watches(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let mut other = Raw::connect(&target.hosts());
    let [once, twice, ever] = ["/once", "/twice", "/ever"].map(|path| target.path(path));
    raw.exists(&once, true).unwrap_err();
    raw.create(&twice, b"", 0).unwrap();
    // A watch on children alone is not listed.
    raw.children(&target.path(""), true).unwrap();
    for client in [&mut raw, &mut other] {
        client.get(&twice, true).unwrap();
    }
    raw.call(op::ADD_WATCH, &Body::new().string(&ever).int(1)).unwrap();
    let (one, two) = (format!("{:#x}", raw.session), format!("{:#x}", other.session));
    let by_session = ask(target, "wchc");
    assert_eq!(below(&by_session, &one), [&*ever, &once, &twice]);
    assert_eq!(below(&by_session, &two), [&*twice]);
    let by_path = ask(target, "wchp");
    assert_eq!(below(&by_path, &once), [&*one]);
    assert_eq!(below(&by_path, &ever), [&*one]);
    let mut both = [&*one, &two];
    both.sort_unstable();
    assert_eq!(below(&by_path, &twice), both);
    assert!(by_path.ends_with("\n\n"));
    let summary = ask(target, "wchs");
    let mut figures =
        summary.split(|c: char| !c.is_ascii_digit()).filter_map(|figure| figure.parse::<u32>().ok());
    assert!(
        summary.contains(" connections watching ") && summary.contains("paths\nTotal watches:"),
        "{summary}"
    );
    // Other tests may have watches on the same server.
    assert!(figures.next() >= Some(2) && figures.next() >= Some(3) && figures.next() >= Some(4), "{summary}");
}

fn a_dump_of_sessions(target: &Target) {
    let (mut raw, path) = target.raw("/e");
    raw.create(&path, b"", 1).unwrap();
    let session = format!("{:#x}", raw.session);
    let dump = ask(target, "dump");
    let parts = ["SessionTracker dump:\nSession Sets (", "ephemeral nodes dump:\nSessions with Ephemerals ("];
    for part in parts.into_iter().chain(["Connections dump:\nConnections Sets ("]) {
        assert!(dump.contains(part), "{part} in {dump}");
    }
    assert_eq!(below(&dump, &format!("{session}:")), [&*path]);
    assert!(dump.lines().any(|line| line == format!("\t{session}")), "{dump}");
    let connection = dump.lines().find(|line| line.ends_with(&format!(" sessionId: {session}"))).unwrap();
    assert!(connection.starts_with("\tip: /127.0.0.1:"), "{connection}");
    let date = dump.lines().find_map(|line| line.split_once(" expire at ")).unwrap().1;
    let (words, year) = date.strip_suffix(':').unwrap().rsplit_once(' ').unwrap();
    assert!(year.parse::<u32>().is_ok() && words.len() >= "Sat Nov 21 13:14:18 UTC".len(), "{date}");
}

fn keys(answer: &str) -> Vec<&str> {
    answer.lines().map(|line| line.split_once('=').unwrap().0).collect()
}

#[test]
fn the_configuration_has_the_same_keys() {
    let (memory, apache) = (Target::memory(), Target::apache());
    let (ours, theirs) = (ask(&memory, "conf"), ask(&apache, "conf"));
    assert_eq!(keys(&ours), keys(&theirs));
    for target in [&memory, &apache] {
        let port = target.hosts().replace("127.0.0.1:", "clientPort=");
        let answer = ask(target, "conf");
        for line in [&*port, "tickTime=500", "minSessionTimeout=1000", "maxSessionTimeout=40000"] {
            assert!(answer.lines().any(|found| found == line), "{line} in {answer}");
        }
    }
}

#[test]
fn counters_are_reset() {
    for target in [Target::memory(), Target::apache_alone()] {
        let mut raw = Raw::connect(&target.hosts());
        (0..50).for_each(|_| assert!(raw.exists("/", false).is_ok()));
        let session = format!("sid={:#x}", raw.session);
        let received = |word: &str, field: &str, line: &str| -> u32 {
            let answer = ask(&target, word);
            let line =
                answer.lines().find(|found| found.contains(line)).unwrap_or_else(|| panic!("{answer}"));
            let figure = line.split_once(field).unwrap().1;
            figure.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap()
        };
        assert!(received("srvr", "Received: ", "Received") >= 51);
        assert_eq!(received("cons", "recved=", &session), 51);
        assert_eq!(ask(&target, "srst"), "Server stats reset.\n");
        assert!(received("srvr", "Received: ", "Received") < 20);
        assert_eq!(ask(&target, "crst"), "Connection stats reset.\n");
        assert_eq!(received("cons", "recved=", &session), 0);
    }
}
