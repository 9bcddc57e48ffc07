//! Samples on their way to a collector and to outputs, of which one is away: the others get each sample within seconds,
//! and the one that was away gets all of them afterwards. The nodes of these tests never reach ZooKeeper.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use atalaya_testbed::{Api, ApiMode, Process, Recorded, Scratch, node_command};
use serde_json::Value;

use crate::common::metrics_client::MetricsClient;
use crate::common::samples::{InFile, LOG_FILTER, boards, count, wait_for_samples};
use crate::common::{DEADLINE, NO_ZOOKEEPER, is_nightly};
use crate::history::wait_for_note;

const BINARY: &str = env!("CARGO_BIN_EXE_atalaya");
/// Number of sensors: 200 samples a second, as many in 18 s as one sensor takes in an hour at one sample a second.
const SENSORS: usize = 20;
const HOUR: usize = 3_600;
/// Time after which a request that is not answered fails. A consumer that waited for another would be later than this.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// A collector, and two outputs.
struct Site {
    collector: Api,
    near: Api,
    away: Api,
    folder: Scratch,
}

impl Site {
    fn new() -> Site {
        let [collector, near, away] = [(); 3].map(|()| Api::start());
        Site { collector, near, away, folder: Scratch::new("history") }
    }

    fn start(&self) -> Process {
        self.start_with(&[("near", &self.near), ("away", &self.away)])
    }

    /// Starts the node with these outputs, besides the collector.
    fn start_with(&self, outputs: &[(&str, &Api)]) -> Process {
        let mut text = "[fleet]\nfleet_name = \"home\"\n".to_owned();
        for (name, api) in outputs {
            let url = format!("{}samples", api.base_url());
            writeln!(
                text,
                "[[fleet.outputs]]\ntype = \"webhook\"\nname = \"{name}\"\nsend = \"measurements\""
            )
            .unwrap();
            writeln!(text, "url = \"{url}\"").unwrap();
        }
        let path = self.folder.path().join("boards.toml");
        fs::write(&path, text + &boards(SENSORS)).unwrap();
        Process::spawn(command(&path, &self.folder.path().join("state"), &self.collector.base_url()))
    }
}

fn command(boards: &Path, state: &Path, url: &str) -> std::process::Command {
    let mut command = node_command(BINARY, "1", NO_ZOOKEEPER);
    command.args([
        "--boards",
        &boards.display().to_string(),
        "--board",
        "many",
        "--sampling-period",
        "100ms",
    ]);
    command.args(["--log", LOG_FILTER, "--metrics-listen", "127.0.0.1:0", "--measurements-url", url]);
    command.env("ATALAYA_STATE_DIR", state);
    command
}

/// A sample as a receiver got it: run, sequence number, sensor and value.
type Received = (String, u64, String, String);

/// Returns the samples that a receiver has kept, in order of arrival. Checks that a repeat is equal to the first one, and
/// that no sample is missing before another.
fn received(requests: &[Recorded]) -> Vec<Received> {
    let mut received: Vec<Received> = Vec::new();
    let mut known = BTreeSet::new();
    for request in requests.iter().filter(|request| request.kept) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!((&body["node"], &body["fleet"]), (&"1".into(), &"home".into()));
        for sample in body["samples"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let seq = sample["seq"].as_u64().unwrap();
            let sample = (text(&body["boot"]), seq, text(&sample["sensor"]), sample["value"].to_string());
            if known.contains(&sample) {
                continue;
            }
            let is_next = match received.last() {
                Some((boot, last, ..)) if *boot == sample.0 => seq == last + 1,
                _ => seq == 1,
            };
            assert!(is_next, "{sample:?} comes after {:?}", received.last());
            known.insert(sample.clone());
            received.push(sample);
        }
    }
    received
}

/// Waits until a receiver has this number of samples.
fn wait_for(receiver: &Api, samples: usize, deadline: Duration) -> Vec<Received> {
    let has_them = |requests: &[Recorded]| received(requests).len() >= samples;
    received(&receiver.wait_for(&format!("{samples} samples"), deadline, has_them))
}

/// Returns the longest time from a sample to its arrival.
fn longest_delay(requests: &[Recorded]) -> Duration {
    let delays = requests.iter().filter(|request| request.kept).map(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let oldest = body["samples"][0]["time_ms"].as_u64().unwrap();
        let taken = UNIX_EPOCH + Duration::from_millis(oldest);
        request.wall.duration_since(taken).unwrap_or_default()
    });
    delays.max().unwrap_or_default()
}

fn waiting(output: &str) -> String {
    format!("atalaya_history_output_samples{{output=\"{output}\"}}")
}

#[test]
fn output_that_is_away_for_an_hour_delays_no_other_and_gets_everything_afterwards() {
    let site = Site::new();
    let modes = [ApiMode::Hang, ApiMode::Refuse, ApiMode::Status(503), ApiMode::KeepAndCut];
    site.away.set(modes[0]);
    let mut first = site.start();
    let total = if is_nightly() { 10 * HOUR } else { HOUR };
    for (number, mode) in modes.into_iter().enumerate() {
        site.away.set(mode);
        // Half of the time is that of the second process.
        wait_for_samples(&first, (number + 1) * total / 2 / modes.len(), 4 * DEADLINE);
    }
    let metrics = MetricsClient::of(&first);
    metrics.wait_for("atalaya_history_output_failing{output=\"away\"}", |failing| failing == 1.0);
    assert!(metrics.figure(&waiting("away")).unwrap() >= (total / 2 - total / 8) as f64);
    assert_eq!(metrics.figure("atalaya_history_output_failing{output=\"near\"}"), Some(0.0));
    let note = "samples wait for the output away, which does not accept them";
    wait_for_note(&metrics, note);
    site.away.set(ApiMode::Hang);
    first.kill9();
    let stored = InFile::of(&first).stored;

    let second = site.start();
    wait_for_samples(&second, total / 2, 4 * DEADLINE);
    let all = stored + count(&second);
    for receiver in [&site.collector, &site.near] {
        wait_for(receiver, all, DEADLINE);
    }
    for (name, receiver) in [("collector", &site.collector), ("near", &site.near)] {
        let delay = longest_delay(&receiver.requests());
        println!("{name}: the longest delay of a sample was {delay:?}");
        assert!(delay < REQUEST_TIMEOUT, "{name}: {delay:?}");
    }
    site.away.set(ApiMode::Accept);
    let complete = wait_for(&site.away, all, 2 * DEADLINE);
    let near = wait_for(&site.near, complete.len(), DEADLINE);
    let collector = wait_for(&site.collector, complete.len(), DEADLINE);
    assert_eq!(near[..complete.len()], complete[..]);
    assert_eq!(collector[..complete.len()], complete[..]);
    second.wait_for_line("the output away accepts samples again", DEADLINE);
    let metrics = MetricsClient::of(&second);
    metrics.wait_for(&waiting("away"), |samples| samples < 1_000.0);
    for reason in ["age", "size", "memory", "damage"] {
        let name = format!("atalaya_history_output_dropped_total{{output=\"away\",reason=\"{reason}\"}}");
        assert_eq!(metrics.figure(&name), Some(0.0));
    }
}

#[test]
fn output_that_is_added_gets_new_samples_and_one_that_is_removed_holds_none() {
    let site = Site::new();
    site.away.set(ApiMode::Refuse);
    let mut first = site.start_with(&[("away", &site.away)]);
    wait_for_samples(&first, 10 * SENSORS, DEADLINE);
    wait_for(&site.collector, 5 * SENSORS, DEADLINE);
    first.kill9();
    let second = site.start_with(&[("near", &site.near)]);
    second.wait_for_line("no samples are kept any more for a consumer that was removed", DEADLINE);
    let near = wait_for(&site.near, 5 * SENSORS, DEADLINE);
    let boots: BTreeSet<&str> = near.iter().map(|(boot, ..)| boot.as_str()).collect();
    assert_eq!(boots.len(), 1, "samples of the earlier process are not for it");
    let collector = wait_for(&site.collector, InFile::of(&first).stored + 5 * SENSORS, DEADLINE);
    assert!(collector.iter().any(|sample| *sample == near[0]));
    let metrics = MetricsClient::of(&second);
    metrics.wait_for("atalaya_history_output_delivered_total{output=\"near\"}", |samples| samples > 0.0);
    assert!(!metrics.text().contains("output=\"away\""));
}
