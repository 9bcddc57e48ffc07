//! Outputs and records for the tests of receivers.

use std::ops::DerefMut;
use std::time::Duration;

use atalaya_config::{Located, Location, OutputConfig, OutputRecords, ReceiverConfig};
use atalaya_testbed::{Server, TcpFault, TcpProxy};
use jiff::Timestamp;

use super::{Outcome, Output, RefusedSample, Sender};
use crate::model::report::Report;
use crate::model::report::tests::cycle_report;
pub(super) use crate::model::sample::tests::sample;
use crate::model::sample::{Batch, StoredSample};

/// Timeout of a request that a server answers.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);
/// Timeout of a request that no server answers.
pub(super) const SHORT: Duration = Duration::from_millis(500);

/// Names that a protocol could confuse with its own characters.
pub(super) const HOSTILE: [&str; 14] = [
    "plain",
    "two words",
    " leading and trailing ",
    "comma,comma",
    "equals=equals",
    "quote\"quote'quote",
    "back\\slash",
    "back\\ slash\\,comma\\=equals",
    "#comment",
    "{label=\"x\"} # {}",
    "%2C%20",
    "µg/m³ °C 温度 🌡",
    "\u{202e}rtl",
    "0123456789012345678901234567890123456789012345678901234567890123",
];

pub(super) fn located(text: &str) -> Located<String> {
    Located { value: text.to_owned(), at: Location::default() }
}

pub(super) fn config(url: &str, receiver: ReceiverConfig) -> OutputConfig {
    OutputConfig {
        name: "receiver".to_owned(),
        send: OutputRecords::Both,
        url: located(url),
        user: None,
        password_file: None,
        token_file: None,
        ca: None,
        receiver,
    }
}

pub(super) fn sender(node: &str) -> Sender {
    Sender { fleet: "greenhouse, east".to_owned(), zone: None, node: node.parse().unwrap() }
}

pub(super) fn output(url: &str, receiver: ReceiverConfig, node: &str) -> Output {
    Output::new(config(url, receiver), &sender(node)).unwrap()
}

/// Returns an average of this time, with this mean.
pub(super) fn report(cycle: u64, time_ms: i64, mean: f64) -> Report {
    let mut report = cycle_report(7, cycle, Some("Cel")).reports().next().unwrap();
    report.time = Timestamp::from_millisecond(time_ms).unwrap();
    (report.average.min, report.average.mean, report.average.max) = (mean - 1.0, mean, mean + 1.0);
    report
}

/// Returns `count` samples of a sensor, one a second from `time_ms` on. Their values are their sequence numbers.
pub(super) fn series(first: i64, count: i64, sensor: &str, time_ms: i64) -> Vec<StoredSample> {
    (0..count).map(|n| sample(first + n, sensor, time_ms + n * 1000, (first + n) as f64)).collect()
}

pub(super) fn batch(samples: &[StoredSample]) -> Batch {
    Batch { boot: "boot".to_owned(), samples: samples.to_vec(), has_more: false }
}

/// Sends samples as the forwarder does: a refused batch is divided, a refused sample is set aside. Returns the refused
/// ones.
pub(super) async fn deliver(output: &Output, samples: &[StoredSample]) -> Vec<RefusedSample> {
    let (mut rest, mut size, mut refused) = (samples, samples.len(), Vec::new());
    while !rest.is_empty() {
        let part = &rest[..size.min(rest.len())];
        match output.send_samples(&batch(part), TIMEOUT).await {
            Outcome::Accepted(others) => {
                refused.extend(others);
                rest = &rest[part.len()..];
            }
            Outcome::Refused(reason) if part.len() == 1 => {
                refused.push(RefusedSample { seq: part[0].seq, reason });
                rest = &rest[1..];
            }
            Outcome::Refused(_) => size = part.len() / 2,
            Outcome::Failed(reason) | Outcome::Doubtful(reason) => panic!("{reason}"),
        }
    }
    refused
}

/// Sends batches of ten samples while the network of `proxied` fails, while the server hangs, and after it was killed.
/// `check` asserts that the server has this number of samples. At the end, the server has lost them.
pub(super) async fn send_through_faults<S: DerefMut<Target = Server>>(
    server: &mut S,
    (direct, proxied): (&Output, &Output),
    proxy: &TcpProxy,
    next: &mut impl FnMut() -> Batch,
    check: impl Fn(&S, i64),
) {
    accepted(proxied.send_samples(&next(), TIMEOUT).await);
    for fault in [TcpFault::Refuse, TcpFault::CutAnswers, TcpFault::DropAnswers] {
        let part = next();
        proxy.set(fault);
        for _ in 0..2 {
            failed(proxied.send_samples(&part, SHORT).await);
        }
        proxy.set(TcpFault::None);
        accepted(proxied.send_samples(&part, TIMEOUT).await);
    }
    let part = next();
    server.stop_process();
    assert_eq!(failed(direct.send_samples(&part, SHORT).await), "no answer within 500ms");
    server.continue_process();
    accepted(direct.send_samples(&part, TIMEOUT).await);
    check(server, 50);
    let part = next();
    server.kill();
    failed(direct.send_samples(&part, TIMEOUT).await);
    server.restart();
    accepted(direct.send_samples(&part, TIMEOUT).await);
    check(server, 60);
    server.kill();
    server.lose_all();
    server.restart();
}

#[track_caller]
pub(super) fn accepted(outcome: Outcome) {
    assert_eq!(outcome, Outcome::Accepted(Vec::new()));
}

/// Returns the reason of a request that must be sent again.
#[track_caller]
pub(super) fn failed(outcome: Outcome) -> String {
    match outcome {
        Outcome::Failed(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Returns the reason of a request that can never be accepted.
#[track_caller]
pub(super) fn refused(outcome: Outcome) -> String {
    match outcome {
        Outcome::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Returns the sequence numbers of refused samples, each of which has a reason with this text.
#[track_caller]
pub(super) fn refused_for(refused: &[RefusedSample], text: &str) -> Vec<i64> {
    assert!(refused.iter().all(|sample| sample.reason.contains(text)), "{text}: {refused:?}");
    let mut numbers: Vec<i64> = refused.iter().map(|sample| sample.seq).collect();
    numbers.sort_unstable();
    numbers
}
