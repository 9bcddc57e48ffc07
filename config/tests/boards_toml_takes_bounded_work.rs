//! Checks that reading a boards.toml within the size limit takes bounded time and memory, for any content.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::time::Duration;

use atalaya_config::{Boards, MAX_SIZE};
use proptest::prelude::*;

/// Time limit for one file, in a debug build. Most take some milliseconds.
const LIMIT: Duration = Duration::from_secs(10);
/// Maximum memory for the largest file, in KiB.
#[cfg(target_os = "linux")]
const MEMORY: u64 = 400 * 1024;

/// Returns the processor time of this thread, on systems that provide it; it does not depend on the load of the
/// machine.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match stat.split_ascii_whitespace().next().and_then(|nanoseconds| nanoseconds.parse().ok()) {
        Some(nanoseconds) => Duration::from_nanos(nanoseconds),
        None => std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default(),
    }
}

/// Returns `head`, as many pieces as fit into the size limit, and `tail`.
fn fill(head: &str, piece: impl Fn(usize) -> String, tail: &str) -> String {
    let mut text = head.to_owned();
    for number in 0.. {
        let piece = piece(number);
        if text.len() + piece.len() + tail.len() > MAX_SIZE {
            break;
        }
        text.push_str(&piece);
    }
    text + tail
}

fn repeat(head: &str, piece: &str, tail: &str) -> String {
    fill(head, |_| piece.to_owned(), tail)
}

const BOARD: &str = "[boards.b]\nbackend = \"sim\"\n";
const SENSOR: &str = "[boards.b]\nbackend = \"sim\"\n[[boards.b.sensors]]\nname = \"s\"\nchip = \"random\"\n";

/// Returns files at the size limit, each with a large number of some element.
fn large() -> Vec<(&'static str, String)> {
    let sensor = |number: usize| format!("{{name=\"s{number}\",chip=\"random\"}},");
    let headed = |number: usize| {
        format!(
            "[[boards.b.sensors]]\nname = \"s{number}\"\nchip = \"file\"\npath = \"/x\"\nquantity = \"count\"\n"
        )
    };
    let on_a_bus = |number: usize| {
        format!(
            "{{name=\"s{number}\",chip=\"ads1115\",bus=\"i2c-1\",address=72,channel=\"a{}\"}},",
            number % 4
        )
    };
    let apart =
        |number: usize| format!("{{name=\"s{number}\",chip=\"lm75\",bus=\"i2c-{number}\",address=72}},");
    let board = |number: usize| {
        format!("[boards.b{number}]\nbackend=\"sim\"\nsensors=[{{name=\"s\",chip=\"random\"}}]\n")
    };
    vec![
        ("sensors in one line", fill(&format!("{BOARD}sensors=["), sensor, "]")),
        (
            "sensors in one line, then a mistake",
            fill(&format!("{BOARD}sensors=["), sensor, "{name=\"s1\",chip=\"random\"}]"),
        ),
        ("sensors below headers", fill(BOARD, headed, "")),
        ("sensors on one address", fill(&format!("{BOARD}sensors=["), on_a_bus, "]")),
        ("sensors on many buses", fill(&format!("{BOARD}sensors=["), apart, "]")),
        ("boards", fill("", board, "")),
        ("boards of one name", repeat("", "[boards.b]\n", "")),
        ("filters", repeat(&format!("{SENSOR}filters=["), "{median=5},", "]")),
        ("faults", repeat(&format!("{SENSOR}sim={{faults=["), "{fault=\"bus\"},", "]}")),
        ("quantities", repeat(&format!("{SENSOR}quantity=["), "\"count\",", "]")),
        ("words of a command", repeat(&format!("{SENSOR}command=["), "\"\",", "]")),
        ("nested lists", repeat("x=", "[", "")),
        ("nested lists in a sensor", repeat(&format!("{SENSOR}filters="), "[", "")),
        ("nested tables", repeat("x=", "{a=", "")),
        ("nested tables below a board", repeat(&format!("{BOARD}sensors="), "{name=", "")),
        ("a dotted key", repeat("a", ".a", "=1")),
        ("a dotted key of a sensor", repeat(&format!("{SENSOR}sim"), ".a", "=1")),
        ("a dotted header", repeat("[a", ".a", "]")),
        ("headers that go deeper", fill("", |n| format!("[{}]\n", vec!["a"; n % 100 + 1].join(".")), "")),
        ("unknown keys", fill("[fleet]\n", |n| format!("k{n}=1\n"), "")),
        ("a long unknown key", repeat("[fleet]\n", "k", "=1")),
        ("a long quoted key", repeat("[fleet]\n\"", "é", "\"=1")),
        ("a long name", repeat(&format!("{BOARD}[[boards.b.sensors]]\nname=\""), "s", "\"\nchip=\"random\"")),
        ("a long chip", repeat(&format!("{BOARD}[[boards.b.sensors]]\nname=\"s\"\nchip=\""), "lm75", "\"")),
        ("a long duration", repeat("[fleet]\nsampling_period=\"", "1h ", "\"")),
        ("a long number", repeat("[fleet]\nsampling_period=", "9", "")),
        ("a long fraction", repeat("[fleet]\nsampling_period=0.", "1", "")),
        ("a long string without an end", repeat("[fleet]\nzookeeper=\"\"\"", "a\n", "")),
        ("a long connect string", repeat("[fleet]\nzookeeper=\"", "a:1,", "\"")),
        ("a long path", repeat("[fleet]\nelection=\"", "/a", "\"")),
        ("a long URL", repeat("[fleet]\napi_url=\"http://", "a.", "\"")),
        ("a long file of a replay", repeat(&format!("{SENSOR}sim={{count={{replay=\""), "../", "\"}}")),
        ("escapes", repeat("[fleet]\nzookeeper=\"", "\\u00e1", "\"")),
        ("comments", repeat("", "#\n", "")),
        ("line ends", repeat("", "\r\n", "x")),
        ("zeros", "\0".repeat(MAX_SIZE)),
        ("quotes", repeat("", "\"", "")),
        ("brackets", repeat("", "[[", "")),
        ("equal signs", repeat("", "=", "")),
        ("combining characters", repeat("[fleet]\nname=\"{id}", "\u{301}", "\"")),
    ]
}

#[test]
fn no_file_within_the_size_limit_takes_long_or_much_memory() {
    let mut slow = Vec::new();
    for (what, text) in large() {
        assert!(text.len() <= MAX_SIZE && text.len() > MAX_SIZE - 1000, "{what}: {}", text.len());
        let begun = processor_time();
        let result = Boards::parse(&text, "b").map(|boards| boards.boards.len());
        let took = processor_time() - begun;
        println!(
            "{:7} ms: {what}: {}",
            took.as_millis(),
            match &result {
                Ok(boards) => format!("{boards} boards"),
                Err(error) => error.problem().chars().take(60).collect(),
            }
        );
        if let Err(error) = result {
            assert!(error.to_string().chars().count() < 3000, "{what}: a message too long for a log");
        }
        if took > LIMIT {
            slow.push((what, took));
        }
    }
    assert!(slow.is_empty(), "{slow:?}");
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        println!("{peak} KiB at most");
        assert!(peak < MEMORY, "{peak} KiB");
    }
}

#[test]
fn ten_thousand_sensors_are_read_with_their_places() {
    let mut text = BOARD.to_owned();
    for number in 0..10_000 {
        text.push_str(&format!("[[boards.b.sensors]]\nname = \"s{number}\"\nchip = \"random\"\n"));
    }
    let begun = processor_time();
    let boards = Boards::parse(&text, "b").unwrap();
    assert!(processor_time() - begun < LIMIT);
    let sensors = &boards.boards["b"].sensors;
    assert_eq!(sensors.len(), 10_000);
    assert_eq!((sensors[9_999].at.line, sensors[9_999].at.column), (3 + 3 * 9_999 + 1, 8));
}

/// Change of the example that keeps most of its structure.
#[derive(Clone, Debug)]
enum Mutation {
    Repeat(prop::sample::Index, usize),
    Delete(prop::sample::Index),
    Swap(prop::sample::Index, prop::sample::Index),
    Value(prop::sample::Index, String),
    Key(prop::sample::Index, String),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let line = any::<prop::sample::Index>;
    let value = prop_oneof![
        Just("[]".to_owned()),
        Just("{}".to_owned()),
        Just("-0.0".to_owned()),
        Just("nan".to_owned()),
        Just("1e308".to_owned()),
        Just("9223372036854775807".to_owned()),
        Just("1979-05-27T07:32:00Z".to_owned()),
        Just("true".to_owned()),
        Just(format!("\"{}\"", "x".repeat(5_000))),
        Just(format!("{}1{}", "[".repeat(60), "]".repeat(60))),
        Just(format!("[{}]", "{ median = 3 },".repeat(2_000))),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<f64>().prop_map(|number| format!("{number:?}")),
        "\"[^\"\\\\\n]{0,20}\"",
    ];
    prop_oneof![
        (line(), 1_usize..300).prop_map(|(at, times)| Mutation::Repeat(at, times)),
        line().prop_map(Mutation::Delete),
        (line(), line()).prop_map(|(one, other)| Mutation::Swap(one, other)),
        (line(), value).prop_map(|(at, value)| Mutation::Value(at, value)),
        (line(), "[a-z_.]{1,12}").prop_map(|(at, key)| Mutation::Key(at, key)),
    ]
}

fn mutate(lines: &mut Vec<String>, mutation: &Mutation) {
    if lines.is_empty() {
        return;
    }
    match mutation {
        Mutation::Repeat(at, times) => {
            let at = at.index(lines.len());
            let line = lines[at].clone();
            lines.splice(at..at, std::iter::repeat_n(line, *times));
        }
        Mutation::Delete(at) => {
            lines.remove(at.index(lines.len()));
        }
        Mutation::Swap(one, other) => {
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
        }
        Mutation::Value(at, value) => {
            let at = at.index(lines.len());
            if let Some((key, _)) = lines[at].split_once('=') {
                lines[at] = format!("{key}= {value}");
            }
        }
        Mutation::Key(at, key) => {
            let at = at.index(lines.len());
            if let Some((_, value)) = lines[at].split_once('=') {
                lines[at] = format!("{key} ={value}");
            }
        }
    }
}

proptest! {
    #[test]
    fn mutations_of_the_example_are_read_or_refused_at_a_place(
        mutations in prop::collection::vec(mutation(), 1..6),
    ) {
        let mut lines: Vec<String> =
            include_str!("../../boards.toml").lines().map(|line| line.trim_start_matches("# ").to_owned()).collect();
        for mutation in &mutations {
            mutate(&mut lines, mutation);
        }
        let text = lines.join("\n");
        let begun = processor_time();
        match Boards::parse(&text, "b") {
            Ok(boards) => prop_assert!(!boards.boards.is_empty()),
            Err(error) => prop_assert!(error.to_string().chars().count() < 3000),
        }
        prop_assert!(processor_time() - begun < LIMIT);
    }

    #[test]
    fn any_bytes_in_the_file_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        if let Err(error) = Boards::load(file.path()) {
            let message = error.to_string();
            prop_assert!(!message.contains(char::from(27)), "an escape");
        }
    }
}
