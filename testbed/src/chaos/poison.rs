//! Data that another client writes to paths that the fleet reads: reports that must not be delivered, and measurements
//! that must not stop a leader. Pure.

use std::fmt;

use super::rng::Rng;

/// Size of the largest data, in bytes. ZooKeeper refuses requests of 1 MiB.
const LARGEST: usize = 900_000;

/// An entry in the outbox that no leader has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`ALL` describes each")]
pub enum PoisonedReport {
    EpochAhead,
    LargestEpoch,
    EpochSlightlyAhead,
    UnitWithLineBreak,
    InvalidUtf8,
    LargeGarbage,
    OtherShape,
    Empty,
    NoAverages,
    OtherCycle,
    LaterCycle,
    LargestCycle,
    NameWithZeros,
    NameWithSign,
    NameWithLetters,
}

impl PoisonedReport {
    /// All entries, with their descriptions.
    pub(super) const ALL: [(PoisonedReport, &str); 15] = [
        (PoisonedReport::EpochAhead, "an epoch 300 days ahead"),
        (PoisonedReport::LargestEpoch, "the largest epoch"),
        (PoisonedReport::EpochSlightlyAhead, "an epoch 1000 ahead"),
        (PoisonedReport::UnitWithLineBreak, "a line break in the unit"),
        (PoisonedReport::InvalidUtf8, "invalid UTF-8"),
        (PoisonedReport::LargeGarbage, "900 kB of garbage"),
        (PoisonedReport::OtherShape, "JSON of another shape"),
        (PoisonedReport::Empty, "no data"),
        (PoisonedReport::NoAverages, "no averages"),
        (PoisonedReport::OtherCycle, "the number of another cycle"),
        (PoisonedReport::LaterCycle, "garbage, at a cycle that is still to come"),
        (PoisonedReport::LargestCycle, "garbage, at the largest cycle"),
        (PoisonedReport::NameWithZeros, "leading zeros in its name"),
        (PoisonedReport::NameWithSign, "a sign in its name"),
        (PoisonedReport::NameWithLetters, "expected in its name"),
    ];

    /// Returns the name below `/atalaya/reports`: cycle 0 for `first`, otherwise a cycle that the fleet does not
    /// reach, made unique by `fault`. `cycle` is the newest cycle of the fleet.
    pub(super) fn name(self, first: bool, act: usize, cycle: u64) -> String {
        match self {
            // Some cycles later, so that the entry exists before the cycle.
            PoisonedReport::LaterCycle => cycle.saturating_add(8).to_string(),
            PoisonedReport::LargestCycle => u64::MAX.to_string(),
            PoisonedReport::NameWithZeros => format!("00900{act:03}"),
            PoisonedReport::NameWithSign => format!("+9000{act:03}"),
            PoisonedReport::NameWithLetters => format!("report-{act:03}"),
            _ if first => "0".to_owned(),
            _ => (9_000_000 + act).to_string(),
        }
    }

    /// Returns the data. `now` is in seconds since 1970, `epoch` is the current one, or 0 before the first leader.
    pub(super) fn data(self, name: &str, now: i64, epoch: i64) -> Vec<u8> {
        // Epochs start at the time in seconds. Before the first leader, a lower one looks like the epoch of a deleted
        // fence.
        let epoch = if epoch == 0 { now } else { epoch };
        const DAYS_300: i64 = 300 * 24 * 60 * 60;
        let cycle = name.parse::<u64>().unwrap_or(1);
        let report = |epoch: i64, cycle: u64, unit: &str| {
            let average = r#""mean":666.5,"min":666.0,"max":667.0,"stddev":0.5,"count":2"#;
            format!(
                r#"{{"epoch":{epoch},"cycle":{cycle},"time":"2026-01-01T00:00:00Z","excluded":0,"averages":[{{{unit}{average}}}]}}"#
            )
            .into_bytes()
        };
        match self {
            PoisonedReport::EpochAhead => report(now + DAYS_300, cycle, ""),
            PoisonedReport::LargestEpoch => report(i64::MAX, cycle, ""),
            PoisonedReport::EpochSlightlyAhead => report(epoch.saturating_add(1_000), cycle, ""),
            PoisonedReport::UnitWithLineBreak => report(1, cycle, r#""unit":"Cel\r\nX-Injected: 1","#),
            PoisonedReport::InvalidUtf8 => b"{\"epoch\":1,\"cycle\":\xff\xfe\x80\x00}".to_vec(),
            PoisonedReport::LargeGarbage => vec![b'{'; LARGEST],
            PoisonedReport::OtherShape => br#"{"averages":{"mean":[1]},"epoch":"one"}"#.to_vec(),
            PoisonedReport::Empty => Vec::new(),
            PoisonedReport::NoAverages => format!(
                r#"{{"epoch":1,"cycle":{cycle},"time":"2026-01-01T00:00:00Z","excluded":0,"averages":[]}}"#
            )
            .into_bytes(),
            PoisonedReport::OtherCycle => report(1, cycle.wrapping_add(1), ""),
            PoisonedReport::LaterCycle
            | PoisonedReport::LargestCycle
            | PoisonedReport::NameWithZeros
            | PoisonedReport::NameWithSign
            | PoisonedReport::NameWithLetters => b"not a report".to_vec(),
        }
    }
}

impl fmt::Display for PoisonedReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = Self::ALL.iter().find(|(poison, _)| poison == self);
        f.write_str(row.map_or("", |(_, description)| description))
    }
}

/// Data of a measurement that another client writes. Some of it is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "`ALL` describes each")]
pub enum PoisonedMeasurement {
    Nan,
    Infinity,
    Huge,
    NegativeZero,
    Number,
    LargeNumber,
    ControlCharacters,
    Binary,
    Empty,
    NewerSenml,
    Senml,
    SenmlUnitWithLineBreak,
    ManyReadings,
    DeepJson,
}

impl PoisonedMeasurement {
    /// All entries, with their descriptions.
    pub(super) const ALL: [(PoisonedMeasurement, &str); 14] = [
        (PoisonedMeasurement::Nan, "NaN"),
        (PoisonedMeasurement::Infinity, "-infinity"),
        (PoisonedMeasurement::Huge, "1e308"),
        (PoisonedMeasurement::NegativeZero, "-0"),
        (PoisonedMeasurement::Number, "a valid number"),
        (PoisonedMeasurement::LargeNumber, "900 kB of digits"),
        (PoisonedMeasurement::ControlCharacters, "control characters"),
        (PoisonedMeasurement::Binary, "binary data"),
        (PoisonedMeasurement::Empty, "no data"),
        (PoisonedMeasurement::NewerSenml, "SenML of version 11"),
        (PoisonedMeasurement::Senml, "valid SenML"),
        (PoisonedMeasurement::SenmlUnitWithLineBreak, "SenML with a line break in the unit"),
        (PoisonedMeasurement::ManyReadings, "SenML with 10000 readings"),
        (PoisonedMeasurement::DeepJson, "JSON 60000 levels deep"),
    ];

    /// Returns the data of the znode.
    pub(super) fn data(self, seed: u64) -> Vec<u8> {
        match self {
            PoisonedMeasurement::Nan => b"NaN".to_vec(),
            PoisonedMeasurement::Infinity => b"-infinity".to_vec(),
            PoisonedMeasurement::Huge => b"1e308".to_vec(),
            PoisonedMeasurement::NegativeZero => b"-0".to_vec(),
            PoisonedMeasurement::Number => b" 2000000000007.25\n".to_vec(),
            PoisonedMeasurement::LargeNumber => vec![b'7'; LARGEST],
            PoisonedMeasurement::ControlCharacters => b"\x1b]0;title\x07\x1b[2J\r\n\x00\x0842\n7".to_vec(),
            PoisonedMeasurement::Binary => {
                let mut rng = Rng::of(seed);
                // A first byte that cannot begin a UTF-8 sequence.
                let bytes = (0..300).flat_map(|_| rng.next().to_be_bytes());
                std::iter::once(0xff).chain(bytes).collect()
            }
            PoisonedMeasurement::Empty => Vec::new(),
            PoisonedMeasurement::NewerSenml => {
                br#"[{"bver":11,"bn":"x/","n":"t","u":"Cel","v":999}]"#.to_vec()
            }
            PoisonedMeasurement::Senml => {
                br#"[{"bn":"x/","n":"t","u":"Cel","v":21.5},{"n":"h","u":"%RH","v":40},{"n":"s","vs":"on"}]"#
                    .to_vec()
            }
            PoisonedMeasurement::SenmlUnitWithLineBreak => {
                br#"[{"u":"Cel\r\nX-Injected: 1","v":1}]"#.to_vec()
            }
            PoisonedMeasurement::ManyReadings => {
                format!("[{}]", vec![r#"{"u":"V","v":1}"#; 10_000].join(",")).into_bytes()
            }
            PoisonedMeasurement::DeepJson => vec![b'['; 60_000],
        }
    }
}

impl fmt::Display for PoisonedMeasurement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = Self::ALL.iter().find(|(poison, _)| poison == self);
        f.write_str(row.map_or("", |(_, description)| description))
    }
}
