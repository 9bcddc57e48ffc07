//! Cuts the power of the Pi while its node stores samples on an SD card. With power again the ring opens, and the collector
//! receives each sample that was synced, once and in order. `cargo xtask pi --power-cut` runs it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use atalaya_testbed::pi::{Clock, HOST, Image, Parts, Pi, THERMOMETERS};
use atalaya_testbed::sample_log::{InFile, LOG_FILTER, measured};
use atalaya_testbed::{Api, ApiMode, Process, Recorded, Scratch, eventually, make_ext4};

use super::site::{BOARDS, BOARDS_PATH, ID, TIMEOUT, port};

const CUTS: usize = 5;
const PERIOD: Duration = Duration::from_millis(100);
/// `measurements_sync` of the node.
const SYNC: Duration = Duration::from_secs(6);
/// Maximum number of lost samples: those of the time of `SYNC`.
const MAX_LOST: usize = (SYNC.as_millis() / PERIOD.as_millis()) as usize;
const CARD: u64 = 64 << 20;
/// Range of the temperature, in °C.
const TEMPERATURES: std::ops::Range<f64> = -40.0..125.0;

struct Run {
    /// The emulator, for its log.
    pi: Process,
    cut: Instant,
}

/// Values of a run that have arrived, in the order of their sequence numbers, which begin with 1.
type Arrived = Vec<f64>;

/// Runs the check. `program` is the node for the Pi.
pub(super) fn run(mut parts: Parts, program: &[u8]) -> anyhow::Result<ExitCode> {
    let start = Instant::now();
    let folder = Scratch::new("pi-card");
    let card = folder.path().join("card");
    make_ext4(&card, CARD);
    parts.card = Some(card);
    let mut image = Image::new(&parts);
    image.folder("card");
    image.file(&BOARDS_PATH[1..], BOARDS.as_bytes());
    image.program("bin/atalaya", program);
    let api = Api::start();
    let url = format!("http://{HOST}:{}/", port(&api)?);
    // The node needs no ZooKeeper to store samples.
    let command = format!(
        "NO_COLOR=1 ATALAYA_STATE_DIR=/card/state atalaya run {ID} --board pi --boards {BOARDS_PATH} --log {LOG_FILTER} \
         --zookeeper 127.0.0.1:9 --api-url {url} --sampling-period {}ms --measurements-url {url} \
         --measurements-sync {}s",
        PERIOD.as_millis(),
        SYNC.as_secs()
    );
    let mut last: Option<Run> = None;
    for number in 0..=CUTS {
        let begin = Instant::now();
        api.set(ApiMode::Accept);
        let mut pi = Pi::boot(&parts, &image, Clock::Set, &[]);
        let mount = "mount -t ext4 -o noatime /dev/mmcblk0 /card";
        pi.console().must(&format!("until [ -b /dev/mmcblk0 ]; do usleep 50000; done; {mount}"));
        pi.console().start(&command);
        let has_run = |all: &[Recorded]| arrived(all).map_or(true, |runs| runs.len() > number);
        let runs = arrived(&api.wait_for("samples after power-on", TIMEOUT, has_run))?;
        if let Some(last) = &last {
            let is_damaged = pi.console().process().log().iter().any(|line| line.text.contains("is damaged"));
            ensure!(!is_damaged, "the ring does not open again");
            let seen = check(last, &runs[number - 1])?;
            println!(
                "  holds   {:6.1} s   power cut {number} of {CUTS}: {seen}",
                begin.elapsed().as_secs_f64()
            );
        }
        if number < CUTS {
            store_samples(&mut pi, &api)?;
            last = Some(Run { cut: Instant::now(), pi: pi.cut_power() });
        }
    }
    println!("all hold after {:.0} s", start.elapsed().as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// Waits while the node stores samples and cannot deliver them, until a random number of samples.
fn store_samples(pi: &mut Pi, api: &Api) -> anyhow::Result<()> {
    // The node has the answers to earlier requests when it sends another one. A later sync includes their deletions, so
    // that no sample is sent again after the power cut.
    api.set(ApiMode::Status(503));
    let since = Instant::now();
    let is_refused =
        |all: &[Recorded]| all.iter().any(|request| request.at > since && request.answered == Some(503));
    api.wait_for("a request that is refused", TIMEOUT, is_refused);
    api.set(ApiMode::Refuse);
    let before = measured(pi.console().process()).len();
    measure_until(pi, "another sync", |pi| InFile::of(pi).synced > before)?;
    let random = usize::try_from(RandomState::new().build_hasher().finish() % MAX_LOST as u64)?;
    let count = measured(pi.console().process()).len() + random;
    measure_until(pi, "samples", |pi| measured(pi).len() >= count)
}

/// Changes the temperature, so that the samples differ, until a condition of the log is true.
fn measure_until(pi: &mut Pi, what: &str, is_true: impl Fn(&Process) -> bool) -> anyhow::Result<()> {
    let mut celsius = TEMPERATURES.start;
    eventually(what, TIMEOUT, || {
        celsius = if celsius < TEMPERATURES.end { celsius + 0.5 } else { TEMPERATURES.start };
        match pi.qmp().set_temperature(THERMOMETERS[0].id, celsius) {
            Ok(()) => is_true(pi.console().process()).then_some(Ok(())),
            Err(error) => Some(Err(error)),
        }
    })
}

/// Returns the values that the collector has received, by run. Fails unless the runs come one after the other, each with
/// its first sample and every further one, in order. A request that is repeated, because its answer was late, has the
/// same keys and values: the collector keeps each sample once.
fn arrived(requests: &[Recorded]) -> anyhow::Result<Vec<Arrived>> {
    let mut runs: Vec<(String, Arrived)> = Vec::new();
    for request in requests.iter().filter(|request| request.kept) {
        let body: serde_json::Value = serde_json::from_slice(&request.body)?;
        let boot = body["boot"].as_str().context("samples without a run")?;
        if runs.iter().all(|(known, _)| known != boot) {
            runs.push((boot.to_owned(), Vec::new()));
        }
        let (_, values) = runs.last_mut().filter(|(last, _)| last == boot).context("an earlier run again")?;
        for sample in body["samples"].as_array().into_iter().flatten() {
            let seq = sample["seq"].as_u64().and_then(|seq| usize::try_from(seq).ok());
            let seq = seq.context("a sample without a number")?;
            let value = sample["value"].as_f64().context("a sample without a value")?;
            if seq == values.len() + 1 {
                values.push(value);
            }
            let kept = values.get(seq.wrapping_sub(1)).context("samples are missing before another")?;
            ensure!(*kept == value, "sample {seq} of run {boot} was repeated with another value");
        }
    }
    Ok(runs.into_iter().map(|(_, values)| values).collect())
}

/// Checks the samples of a run that have arrived after the power cut. Returns the observations.
fn check(run: &Run, arrived: &Arrived) -> anyhow::Result<String> {
    let (taken, synced) = (measured(&run.pi), InFile::of(&run.pi).synced);
    // The power cut may have cut the last line of the log.
    let both = arrived.len().min(taken.len() - 1);
    ensure!(arrived[..both] == taken[..both], "other values: {arrived:?} arrived of {taken:?}");
    ensure!(arrived.len() >= synced, "{} samples arrived of {synced} that were synced", arrived.len());
    let (count, lost) = (taken.len(), taken.len().saturating_sub(arrived.len()));
    ensure!(
        lost <= MAX_LOST,
        "{lost} samples are lost, with {PERIOD:?} between two and `measurements_sync` of {SYNC:?}"
    );
    let log = run.pi.log();
    let mut lines = log.iter().filter(|line| line.text.contains("measured measurement="));
    let oldest_lost = lines.nth(arrived.len());
    let age = oldest_lost.map_or(Duration::ZERO, |line| run.cut.saturating_duration_since(line.at));
    Ok(format!(
        "{count} samples, {synced} of them synced; {lost} are lost, those of the last {:.1} s",
        age.as_secs_f64()
    ))
}
