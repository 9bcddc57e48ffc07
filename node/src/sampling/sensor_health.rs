//! How a sensor is, and when it is asked again. Pure: what was read and what time it is come from outside.
//!
//! A passing fault is tried again at once, within the same sample. A sensor that fails several samples in a row is
//! probed at intervals that grow to a minute, so that a dead one does not slow the others on its bus, and one that is
//! plugged in later is found. A driver that panics is left alone longer from the first time on.

use std::time::{Duration, Instant};

use atalaya_hal::{Cause, ReadError};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::text::is_unsafe;

/// Failed samples in a row after which a sensor is probed less often.
pub const PATIENT: u32 = 3;
/// Longest interval between two probes of a failing sensor, unless the sampling period is longer.
pub const SLOWEST_PROBE: Duration = Duration::from_secs(60);
/// How long a driver is left alone after its first panic, at least; two sampling periods if those are longer.
const AFTER_PANIC: Duration = Duration::from_secs(1);
/// Pauses before a passing fault is tried again, within one sample.
const RETRIES: [Duration; 2] = [Duration::from_millis(20), Duration::from_millis(60)];
/// Most characters of an error that are kept: it stands in a znode and in logs.
pub const LONGEST_ERROR: usize = 300;

/// How a failed read is to be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Noise on the wire, a late answer, a wrong checksum: the next try may succeed.
    Passing,
    /// Nobody is at the address; there is no such device or file.
    Absent,
    /// Trying at once again would not help.
    Lasting,
    /// The driver panicked.
    Panic,
    /// A read has not returned yet. It is not waited for, so nobody is spared by asking less often.
    Silent,
}

/// Why a sensor gave nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What follows from it.
    pub kind: Kind,
    /// For people, in one line of at most [`LONGEST_ERROR`] characters.
    pub text: String,
}

impl Fault {
    /// One of `kind`.
    pub fn new(kind: Kind, text: &str) -> Fault {
        let line = |c: char| if is_unsafe(c) { ' ' } else { c };
        Fault { kind, text: text.chars().take(LONGEST_ERROR).map(line).collect() }
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Fault {
        let kind = match error.cause() {
            Cause::Bus | Cause::Timeout | Cause::Checksum => Kind::Passing,
            Cause::NotPresent => Kind::Absent,
            _ => Kind::Lasting,
        };
        Fault::new(kind, &error.to_string())
    }
}

/// How long to wait before trying again within the same sample, after `tries` tries; `None`: not at all.
pub fn retry(fault: &Fault, tries: usize) -> Option<Duration> {
    let pause = RETRIES.get(tries.checked_sub(1)?)?;
    (fault.kind == Kind::Passing).then_some(*pause)
}

/// What a sensor is, in one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not asked yet.
    #[default]
    Unread,
    /// The last read succeeded.
    Ok,
    /// The last read failed.
    Failing,
    /// The last read failed, because nobody answered at its address, or its device or file was not there.
    Absent,
    /// What a later version says.
    #[serde(other)]
    Unknown,
}

impl State {
    /// As JSON and tables write it.
    pub const fn name(self) -> &'static str {
        match self {
            State::Unread => "unread",
            State::Ok => "ok",
            State::Failing => "failing",
            State::Absent => "absent",
            State::Unknown => "unknown",
        }
    }
}

/// What is told of a sensor's health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Condition {
    /// In one word.
    #[serde(default)]
    pub state: State,
    /// Since when it works, or does not, by the node's own clock.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub since: Option<Timestamp>,
    /// What was wrong at the last read.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub error: Option<String>,
    /// Samples in which it has failed since then; those in which it was left alone do not count.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub count: u64,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What is worth a log line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It began to fail, or fails in another way.
    Failing(String),
    /// It works again.
    Recovered,
}

/// The health of one sensor.
#[derive(Clone, Debug, Default)]
pub struct Health {
    condition: Condition,
    /// Failed samples in a row.
    failures: u32,
    /// Panics since the last reading.
    panics: u32,
    /// When it may be asked again; `None`: whenever.
    not_before: Option<Instant>,
}

impl Health {
    /// What is told of it.
    pub fn condition(&self) -> &Condition {
        &self.condition
    }

    /// Whether it is to be asked in a sample that begins at `now`.
    pub fn is_due(&self, now: Instant) -> bool {
        self.not_before.is_none_or(|moment| now >= moment)
    }

    /// Whether a passing fault is tried again within the sample: a sensor that has failed for long is asked once.
    pub fn is_trusted(&self) -> bool {
        self.failures < PATIENT
    }

    /// It was read.
    pub fn read(&mut self, time: Timestamp) -> Option<News> {
        let before = std::mem::take(self);
        let was = before.condition.state;
        let since = if was == State::Ok { before.condition.since } else { Some(time) };
        self.condition = Condition { state: State::Ok, since, ..Condition::default() };
        matches!(was, State::Failing | State::Absent).then_some(News::Recovered)
    }

    /// It failed in a sample that began at `asked`. `period` is how often samples are taken, `time` the clock on the
    /// wall.
    pub fn failed(
        &mut self,
        fault: &Fault,
        asked: Instant,
        period: Duration,
        time: Timestamp,
    ) -> Option<News> {
        if fault.kind != Kind::Silent {
            self.failures = self.failures.saturating_add(1);
            self.panics = self.panics.saturating_add(u32::from(fault.kind == Kind::Panic));
            let pause = pause(self.failures, self.panics, period);
            // Half a period earlier: samples are not taken to the microsecond.
            self.not_before = asked.checked_add(pause.saturating_sub(period / 2));
        }
        let known = &self.condition;
        let again = matches!(known.state, State::Failing | State::Absent);
        let news = !again || known.error.as_deref() != Some(&fault.text);
        self.condition = Condition {
            state: if fault.kind == Kind::Absent { State::Absent } else { State::Failing },
            since: if again { known.since } else { Some(time) },
            error: Some(fault.text.clone()),
            count: if again { known.count.saturating_add(1) } else { 1 },
        };
        news.then(|| News::Failing(fault.text.clone()))
    }
}

/// How long a sensor is left alone.
fn pause(failures: u32, panics: u32, period: Duration) -> Duration {
    let doubled = |first: Duration, times: u32| first.saturating_mul(2u32.saturating_pow(times));
    let failing = failures.checked_sub(PATIENT).map_or(Duration::ZERO, |times| doubled(period, times));
    let first = AFTER_PANIC.max(period.saturating_mul(2));
    let panicked = panics.checked_sub(1).map_or(Duration::ZERO, |times| doubled(first, times));
    failing.max(panicked).min(SLOWEST_PROBE)
}

#[cfg(test)]
#[path = "sensor_health_tests.rs"]
mod tests;
