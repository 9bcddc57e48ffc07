//! The thread that owns the ring: takes samples from the buffer into the file, syncs it, and replaces a damaged one.
//!
//! Several consumers read samples, each in its order and at its pace: it reads a batch, sends it, and reads the next one
//! when the keeper knows the outcome. A sample is deleted when all consumers have it.
//!
//! While the file cannot be used, samples stay in the buffer, and a consumer reads them there once it has those of the
//! file. The keeper tries the file again every few seconds. If it then finds samples of an earlier process there, which a
//! consumer does not have, that consumer gets samples of the buffer again, after those, with the same keys.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use atalaya_recipes::node_names::ContenderId;
use tokio::sync::{oneshot, watch};
use tracing::{debug, error, info, warn};

use super::buffer::{Buffer, position_after};
use super::clock::{self, Clock, ClockReading};
use super::consumer::{BatchEnd, Consumer, InFlight};
use super::ring::{Dropped, Limits, Ring, is_damage, set_aside};
use super::sync_schedule::SyncSchedule;
use crate::metrics::{DropReason, HistoryMetrics};
use crate::model::sample::{Batch, ClockState, StoredSample};

/// Delay before a file that cannot be used is tried again, and before the clock is checked again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Delay without anything to do.
const IDLE: Duration = Duration::from_secs(3600);
/// Time for which samples that were taken before the clock was set wait until it is.
const MAX_HOLD: Duration = Duration::from_secs(600);

pub(super) enum Command {
    /// There are samples in the buffer.
    Recorded,
    /// Return the oldest samples that a consumer does not have, at most `max`. `Done` follows.
    Read { consumer: usize, max: usize, reply: oneshot::Sender<Option<Batch>> },
    /// The batch of a consumer was sent.
    Done { consumer: usize, end: BatchEnd },
    /// Store and sync everything, and end.
    Close(oneshot::Sender<()>),
}

pub(super) struct Keeper {
    /// Path of the ring. `None`: memory only.
    path: Option<PathBuf>,
    limits: Limits,
    buffer: Arc<Buffer>,
    clock: Clock,
    /// Notified when there may be samples to send.
    changed: watch::Sender<()>,
    metrics: HistoryMetrics,
    /// Names of the consumers in the file.
    names: Vec<String>,
    consumers: Vec<Consumer>,
    /// Name of this run.
    boot: String,
    /// Beginning of the names of all runs since the start of the machine.
    machine: String,
    ring: Option<Ring>,
    next_id: i64,
    syncs: SyncSchedule,
    sync_failed: bool,
    /// True if the file could not be used.
    failed: bool,
    /// Time of the last attempt to store samples.
    stored: Instant,
    /// True if there may be samples that were taken before the clock was set.
    may_correct: bool,
    hold_until: Instant,
}

impl Keeper {
    pub(super) fn new(
        (path, limits): (Option<PathBuf>, Limits),
        names: Vec<String>,
        buffer: Arc<Buffer>,
        clock: Clock,
        changed: watch::Sender<()>,
        metrics: HistoryMetrics,
    ) -> Keeper {
        let random = ContenderId::random().to_hex();
        // Without the machine's id, only the own samples can be corrected.
        let machine = clock::machine_start().unwrap_or_else(|| format!("{}-", &random[..16]));
        Keeper {
            path,
            syncs: SyncSchedule::new(limits.sync),
            limits,
            buffer,
            clock,
            changed,
            metrics,
            consumers: names.iter().map(|_| Consumer::default()).collect(),
            names,
            boot: format!("{machine}{}", &random[..16]),
            machine,
            ring: None,
            next_id: 1,
            sync_failed: false,
            failed: false,
            stored: Instant::now(),
            may_correct: true,
            hold_until: Instant::now() + MAX_HOLD,
        }
    }

    /// Executes commands until [`Command::Close`], or until all senders are dropped.
    pub(super) fn run(mut self, commands: &mpsc::Receiver<Command>) {
        self.store();
        loop {
            self.record_stats();
            match commands.recv_timeout(self.delay()) {
                // A file that failed is tried again later, with all samples.
                Ok(Command::Recorded) if self.failed => {}
                Ok(Command::Recorded) => {
                    self.store();
                    self.changed.send_replace(());
                }
                Ok(Command::Read { consumer, max, reply }) => {
                    let batch = self.read(consumer, max);
                    // An error means that the node stops.
                    let _ = reply.send(batch);
                }
                Ok(Command::Done { consumer, end }) => self.done(consumer, &end),
                Ok(Command::Close(reply)) => {
                    self.close();
                    let _ = reply.send(());
                    return;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.close(),
            }
            if self.delay().is_zero() {
                self.do_due();
            }
        }
    }

    /// Returns the time until [`Self::do_due`] has something to do.
    fn delay(&self) -> Duration {
        let must_store = self.failed || self.is_holding();
        let store = must_store.then(|| RETRY_INTERVAL.saturating_sub(self.stored.elapsed()));
        let sync = self.syncs.delay(Instant::now());
        store.into_iter().chain(sync).min().unwrap_or(IDLE)
    }

    fn do_due(&mut self) {
        if self.syncs.delay(Instant::now()).is_some_and(|delay| delay.is_zero()) {
            self.sync();
        }
        if (self.failed || self.is_holding()) && self.stored.elapsed() >= RETRY_INTERVAL {
            self.store();
            self.changed.send_replace(());
        }
    }

    fn is_holding(&self) -> bool {
        self.may_correct && Instant::now() < self.hold_until
    }

    fn close(&mut self) {
        self.store();
        if self.syncs.is_needed() {
            self.sync();
        }
    }

    /// Moves the samples of the buffer into the file, and corrects their times once the clock is set.
    fn store(&mut self) {
        self.stored = Instant::now();
        let now = (self.clock)();
        let (mut samples, oldest) = {
            let mut buffered = self.buffer.lock();
            buffered.is_signalled = false;
            let oldest = buffered.oldest_seq();
            (std::mem::take(&mut buffered.samples), oldest)
        };
        self.on_buffer_dropped(oldest);
        if now.is_synchronised {
            samples.iter_mut().for_each(|sample| sample.correct(now.offset_ms()));
        }
        self.may_correct |= samples.iter().any(|sample| sample.clock == ClockState::Unsynchronised);
        let delivered: Vec<usize> =
            self.consumers.iter().map(|consumer| position_after(&samples, consumer.seq)).collect();
        match self.with_ring(|ring, boot| ring.append(boot, &samples, &delivered, now)) {
            Some(dropped) => {
                self.on_appended(&samples, &dropped);
                if let Some(oldest) = samples.front() {
                    debug!(samples = samples.len(), "stored");
                    let age_ms = now.since_boot_ms.saturating_sub(oldest.since_boot_ms);
                    self.on_written(Duration::from_millis(age_ms.try_into().unwrap_or_default()));
                }
            }
            None => {
                let mut buffered = self.buffer.lock();
                samples.append(&mut buffered.samples);
                buffered.samples = samples;
            }
        }
        if now.is_synchronised && self.may_correct {
            self.correct(now);
        }
    }

    /// Counts samples that the recorder has dropped from the buffer, of which `oldest` is the first one now.
    fn on_buffer_dropped(&mut self, oldest: i64) {
        for (number, consumer) in self.consumers.iter_mut().enumerate() {
            let dropped = consumer.on_buffer_dropped(oldest);
            self.metrics.drop_samples(number, DropReason::Memory, dropped);
        }
    }

    /// Records that the file has samples that were in the buffer, and the samples that the bounds have dropped, by
    /// consumer.
    fn on_appended(&mut self, samples: &VecDeque<StoredSample>, dropped: &[Dropped]) {
        let Some(ring) = &self.ring else { return };
        let begin = ring.next_id().saturating_sub_unsigned(samples.len() as u64);
        for (number, (consumer, dropped)) in self.consumers.iter_mut().zip(dropped).enumerate() {
            let position = ring.cursor(number).saturating_sub_unsigned(dropped.by_age + dropped.by_size);
            let dropped = consumer.on_appended(samples, (begin, position), *dropped);
            self.metrics.drop_samples(number, DropReason::Age, dropped.by_age);
            self.metrics.drop_samples(number, DropReason::Size, dropped.by_size);
        }
    }

    /// Records that the file can be written. A read does not show that, nor does a transaction without a change. `age`:
    /// that of the oldest sample of the transaction.
    fn on_written(&mut self, age: Duration) {
        self.failed = false;
        if !self.sync_failed {
            self.report(None);
        }
        let now = Instant::now();
        self.syncs.on_written(now.checked_sub(age).unwrap_or(now));
    }

    fn correct(&mut self, now: ClockReading) {
        let (machine, offset_ms) = (self.machine.clone(), now.offset_ms());
        let corrected = self.with_ring(|ring, _| ring.correct(&machine, offset_ms));
        // Also without a file: the buffer is corrected by now.
        self.may_correct = corrected.is_none() && self.path.is_some();
        if let Some(corrected @ 1..) = corrected {
            info!(corrected, "the clock is set; the times of samples that were taken before are corrected");
        }
    }

    /// Returns the oldest samples that a consumer does not have: those of the file, or those of the buffer if it has all
    /// of the file.
    fn read(&mut self, number: usize, max: usize) -> Option<Batch> {
        let (now, machine) = ((self.clock)(), self.machine.clone());
        if now.is_synchronised && self.may_correct {
            // The clock was set after samples were stored last: their times are corrected before they are sent.
            self.store();
        }
        let holds = !now.is_synchronised && Instant::now() < self.hold_until;
        let is_held = |boot: &str, sample: &StoredSample| {
            holds && sample.clock == ClockState::Unsynchronised && boot.starts_with(&machine)
        };
        if self.ring.as_ref().is_some_and(|ring| ring.depth(number) > 0) {
            let (batch, end) = self.with_ring(|ring, _| ring.read(number, max, is_held))??;
            self.consumers[number].in_flight = Some(InFlight::File { end, dropped: Dropped::default() });
            return Some(batch);
        }
        let (buffered, consumer) = (self.buffer.lock(), &mut self.consumers[number]);
        let waiting = buffered.samples.range(position_after(&buffered.samples, consumer.seq)..);
        let samples = waiting.clone().take_while(|sample| !is_held(&self.boot, sample));
        let samples: Vec<StoredSample> = samples.take(max).cloned().collect();
        consumer.in_flight = Some(InFlight::Buffer(samples.last()?.seq));
        let has_more = waiting.len() > samples.len();
        Some(Batch { boot: self.boot.clone(), samples, has_more })
    }

    fn done(&mut self, number: usize, end: &BatchEnd) {
        let oldest = self.buffer.lock().oldest_seq();
        self.on_buffer_dropped(oldest);
        let consumer = &mut self.consumers[number];
        match (consumer.in_flight.take(), end) {
            (Some(InFlight::File { end, .. }), BatchEnd::Delivered(refused)) => {
                self.with_ring(|ring, _| ring.advance(number, end, refused));
            }
            (Some(InFlight::File { dropped, .. }), BatchEnd::Kept) => {
                self.metrics.drop_samples(number, DropReason::Age, dropped.by_age);
                self.metrics.drop_samples(number, DropReason::Size, dropped.by_size);
            }
            (Some(InFlight::Buffer(seq)), BatchEnd::Delivered(_)) => {
                consumer.seq = consumer.seq.max(seq);
                let by_all = self.consumers.iter().map(|consumer| consumer.seq).min().unwrap_or_default();
                let mut buffered = self.buffer.lock();
                let end = position_after(&buffered.samples, by_all);
                buffered.samples.drain(..end);
            }
            (Some(InFlight::Buffer(_)), BatchEnd::Kept) | (None, _) => {}
        }
    }

    fn sync(&mut self) {
        let begin = Instant::now();
        let synced = self.ring.as_ref().map_or(Ok(()), Ring::sync);
        self.syncs.on_synced(begin, Instant::now(), synced.is_ok());
        self.sync_failed = synced.is_err();
        match synced {
            Ok(()) => debug!("synced"),
            Err(error) => {
                self.metrics.update(|stats| stats.sync_failures += 1);
                self.report(Some(format!("its file cannot be synced: {error}")));
            }
        }
    }

    /// Calls `action` with the ring and the name of this run. Opens the file first if it is not open, and replaces a
    /// damaged one. Returns `None` if the file cannot be used.
    fn with_ring<T>(&mut self, action: impl FnOnce(&mut Ring, &str) -> rusqlite::Result<T>) -> Option<T> {
        let path = self.path.clone()?;
        let result = match &mut self.ring {
            Some(ring) => action(ring, &self.boot),
            None => Ring::open(&path, self.limits, self.next_id, &self.names).and_then(|ring| {
                self.next_id = ring.next_id();
                action(self.ring.insert(ring), &self.boot)
            }),
        };
        match result {
            Ok(result) => {
                self.next_id = self.ring.as_ref().map_or(self.next_id, Ring::next_id);
                Some(result)
            }
            Err(error) => {
                self.failed = true;
                self.metrics.update(|stats| stats.sync_failures += 1);
                if is_damage(&error) {
                    self.replace_file(&path, &error);
                } else {
                    self.report(Some(format!("its file cannot be used: {error}")));
                }
                None
            }
        }
    }

    /// Sets a damaged file aside. The next attempt creates another.
    fn replace_file(&mut self, path: &Path, damage: &rusqlite::Error) {
        let (ring, mut lost) = (self.ring.take(), 0);
        for number in 0..self.consumers.len() {
            let waiting = ring.as_ref().map_or(0, |ring| ring.depth(number));
            self.metrics.drop_samples(number, DropReason::Damage, waiting);
            lost = lost.max(waiting);
        }
        match set_aside(path) {
            Ok(aside) => {
                let aside = aside.display();
                error!(lost, "the file with the samples is damaged: {damage}; it is set aside as {aside}");
            }
            Err(error) => {
                self.report(Some(format!("its file is damaged ({damage}) and cannot be set aside: {error}")));
            }
        }
    }

    /// Records the state of the file, and logs a change.
    fn report(&self, problem: Option<String>) {
        let known = self.metrics.update(|stats| std::mem::replace(&mut stats.file_problem, problem.clone()));
        match &problem {
            _ if known == problem => {}
            Some(problem) => warn!("samples are not safe from a restart: {problem}"),
            None => info!("samples are stored in their file again"),
        }
    }

    fn record_stats(&self) {
        let (ring, now) = (self.ring.as_ref(), (self.clock)());
        let waiting = |(number, consumer): (usize, &Consumer)| {
            let (in_memory, oldest) = {
                let buffered = self.buffer.lock();
                let mut waiting = buffered.samples.range(position_after(&buffered.samples, consumer.seq)..);
                (waiting.len() as u64, waiting.next().map(|sample| now.since_boot_ms - sample.since_boot_ms))
            };
            let oldest = Duration::from_millis(oldest.unwrap_or(0).max(0).unsigned_abs());
            let age = ring.and_then(|ring| ring.oldest_age(number, now).ok()).unwrap_or_default();
            (ring.map_or(0, |ring| ring.depth(number)) + in_memory, age.max(oldest))
        };
        // Before the lock of the metrics is taken: the disk may hang.
        let waiting: Vec<_> = self.consumers.iter().enumerate().map(waiting).collect();
        let size = ring.and_then(|ring| ring.size().ok()).unwrap_or(0);
        self.metrics.update(|stats| {
            stats.size = size;
            for (stats, (samples, age)) in stats.consumers.iter_mut().zip(waiting) {
                stats.samples = samples;
                stats.set_oldest_age(age);
            }
        });
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
