//! Input and time limits for property tests of parsers of untrusted input.

use std::time::Duration;

use atalaya_testbed::thread_time;
use proptest::prelude::*;

/// Maximum size of an input: the maximum size of a znode with ZooKeeper's default configuration.
const MAX_SIZE: usize = 1 << 20;

/// Generates inputs of up to 1 MiB: random bytes, almost valid JSON and text, deep nesting, huge numbers.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let repeated = ("[\\[{\"\\-0-9e.:,a-z\\]} ]{1,12}", 1usize..MAX_SIZE)
        .prop_map(|(piece, length)| piece.bytes().cycle().take(length).collect());
    let digits = (any::<bool>(), 1usize..5_000).prop_map(|(negative, length)| {
        let sign = if negative { "-" } else { "" };
        format!("{sign}{}", "9".repeat(length)).into_bytes()
    });
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..2_000),
        4 => "[\\[\\]{}\":,.a-zA-Z0-9eE+\\-\\\\ \n]{0,300}".prop_map(String::into_bytes),
        3 => json(),
        1 => repeated,
        1 => digits,
        1 => (1usize..MAX_SIZE).prop_map(|length| vec![b'['; length]),
    ]
}

/// Generates objects and arrays with the field names that this program parses, and values of any type.
fn json() -> impl Strategy<Value = Vec<u8>> {
    const NAMES: [&str; 22] = [
        "epoch", "cycle", "time", "excluded", "averages", "mean", "min", "max", "count", "stddev", "unit",
        "quantity", "reason", "bn", "bu", "bv", "bver", "u", "v", "host", "pid", "skipped",
    ];
    let number = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<u64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| format!("{n:e}")),
        Just("-0.0".to_owned()),
        Just("1e400".to_owned()),
    ];
    let leaf = prop_oneof![
        4 => number,
        1 => Just("null".to_owned()),
        1 => Just("\"1970-01-01T00:00:00Z\"".to_owned()),
        2 => any::<String>().prop_map(|text| serde_json::to_string(&text).unwrap_or_default()),
    ];
    let nested = leaf.prop_recursive(4, 64, 8, |inner| {
        let member = (prop::sample::select(&NAMES[..]), inner.clone())
            .prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..8).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..8).prop_map(|items| format!("{{{}}}", items.join(","))),
        ]
    });
    nested.prop_map(String::into_bytes)
}

/// Calls `parse`, and checks that its time is linear in the length of the input. The limit has a wide margin for debug
/// builds: quadratic parsing of 1 MiB takes hundreds of times as long.
#[track_caller]
pub(crate) fn in_time<T>(length: usize, parse: impl FnOnce() -> T) -> T {
    let begin = thread_time();
    let parsed = parse();
    let used = thread_time() - begin;
    let megabytes = u32::try_from(length >> 20).unwrap_or(u32::MAX);
    let limit = Duration::from_secs(2).saturating_mul(megabytes.saturating_add(1));
    assert!(used < limit, "{length} bytes took {used:?}");
    parsed
}
