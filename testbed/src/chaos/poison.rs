//! Data that another client writes to paths that the fleet reads: reports that must not be delivered, and measurements
//! that must not stop a leader. Pure.

use super::rng::Rng;

/// Size of the largest data, in bytes. ZooKeeper refuses requests of 1 MiB.
const LARGEST: usize = 900_000;
const DAYS_300: i64 = 300 * 24 * 60 * 60;

/// State of the fleet when an entry is put into the outbox.
#[derive(Clone, Copy)]
pub(super) struct Outbox {
    /// True if the entry precedes all others.
    pub(super) first: bool,
    /// Number of the fault, which makes names unique.
    pub(super) fault: usize,
    /// Newest cycle of the fleet.
    pub(super) cycle: u64,
    /// Time in seconds since 1970.
    pub(super) now: i64,
    /// Current epoch, or 0 before the first leader.
    pub(super) epoch: i64,
}

/// Entry in the outbox that no leader has written: its description, its name below `/atalaya/reports`, and its data. The
/// data contains the cycle that its name says.
type Report = (&'static str, fn(Outbox) -> String, fn(Outbox, u64) -> Vec<u8>);

pub(super) const REPORTS: [Report; 15] = [
    ("an epoch 300 days ahead", unused_cycle, |it, cycle| report(it.now + DAYS_300, cycle, "")),
    ("the largest epoch", unused_cycle, |_, cycle| report(i64::MAX, cycle, "")),
    ("an epoch 1000 ahead", unused_cycle, |it, cycle| {
        // Epochs start at the time in seconds. Before the first leader, a lower one looks like the epoch of a deleted
        // fence.
        let epoch = if it.epoch == 0 { it.now } else { it.epoch };
        report(epoch.saturating_add(1_000), cycle, "")
    }),
    ("a line break in the unit", unused_cycle, |_, cycle| {
        report(1, cycle, r#""unit":"Cel\r\nX-Injected: 1","#)
    }),
    ("invalid UTF-8", unused_cycle, |_, _| b"{\"epoch\":1,\"cycle\":\xff\xfe\x80\x00}".to_vec()),
    ("900 kB of garbage", unused_cycle, |_, _| vec![b'{'; LARGEST]),
    ("JSON of another shape", unused_cycle, |_, _| br#"{"averages":{"mean":[1]},"epoch":"one"}"#.to_vec()),
    ("no data", unused_cycle, |_, _| Vec::new()),
    ("no averages", unused_cycle, |_, cycle| with_averages(1, cycle, "")),
    ("the number of another cycle", unused_cycle, |_, cycle| report(1, cycle.wrapping_add(1), "")),
    // Some cycles later, so that the entry exists before the cycle.
    ("garbage, at a cycle that is still to come", |it| it.cycle.saturating_add(8).to_string(), garbage),
    ("garbage, at the largest cycle", |_| u64::MAX.to_string(), garbage),
    ("leading zeros in its name", |it| format!("00900{:03}", it.fault), garbage),
    ("a sign in its name", |it| format!("+9000{:03}", it.fault), garbage),
    ("expected in its name", |it| format!("report-{:03}", it.fault), garbage),
];

/// Returns the name of cycle 0 for the first entry, otherwise of a cycle that the fleet does not reach.
fn unused_cycle(it: Outbox) -> String {
    if it.first { "0".to_owned() } else { (9_000_000 + it.fault).to_string() }
}

fn garbage(_: Outbox, _: u64) -> Vec<u8> {
    b"not a report".to_vec()
}

fn report(epoch: i64, cycle: u64, unit: &str) -> Vec<u8> {
    let average = r#""mean":666.5,"min":666.0,"max":667.0,"stddev":0.5,"count":2"#;
    with_averages(epoch, cycle, &format!("{{{unit}{average}}}"))
}

fn with_averages(epoch: i64, cycle: u64, averages: &str) -> Vec<u8> {
    let head = format!(r#""epoch":{epoch},"cycle":{cycle},"time":"2026-01-01T00:00:00Z","excluded":0"#);
    format!(r#"{{{head},"averages":[{averages}]}}"#).into_bytes()
}

/// Measurement that another client writes: its description, and its data, random ones decided by a seed.
type Measurement = (&'static str, fn(u64) -> Vec<u8>);

/// All poisoned measurements. Some of them are valid.
pub(super) const MEASUREMENTS: [Measurement; 14] = [
    ("NaN", |_| b"NaN".to_vec()),
    ("-infinity", |_| b"-infinity".to_vec()),
    ("1e308", |_| b"1e308".to_vec()),
    ("-0", |_| b"-0".to_vec()),
    ("a valid number", |_| b" 2000000000007.25\n".to_vec()),
    ("900 kB of digits", |_| vec![b'7'; LARGEST]),
    ("control characters", |_| b"\x1b]0;title\x07\x1b[2J\r\n\x00\x0842\n7".to_vec()),
    ("binary data", |seed| {
        let mut rng = Rng::of(seed);
        let bytes = (0..300).flat_map(|_| rng.next().to_be_bytes());
        // The first byte cannot begin a UTF-8 sequence.
        std::iter::once(0xff).chain(bytes).collect()
    }),
    ("no data", |_| Vec::new()),
    ("SenML of version 11", |_| br#"[{"bver":11,"bn":"x/","n":"t","u":"Cel","v":999}]"#.to_vec()),
    ("valid SenML", |_| {
        br#"[{"bn":"x/","n":"t","u":"Cel","v":21.5},{"n":"h","u":"%RH","v":40},{"n":"s","vs":"on"}]"#.to_vec()
    }),
    ("SenML with a line break in the unit", |_| br#"[{"u":"Cel\r\nX-Injected: 1","v":1}]"#.to_vec()),
    ("SenML with 10000 readings", |_| {
        format!("[{}]", vec![r#"{"u":"V","v":1}"#; 10_000].join(",")).into_bytes()
    }),
    ("JSON 60000 levels deep", |_| vec![b'['; 60_000]),
];
