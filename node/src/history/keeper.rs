//! The thread that owns the ring: takes samples from the buffer into the file, syncs it, and replaces a damaged one.
//!
//! While the file cannot be used, samples stay in the buffer, and are read from there once the file has none. The keeper
//! tries the file again every few seconds.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use atalaya_recipes::node_names::ContenderId;
use tokio::sync::{Notify, oneshot};
use tracing::{debug, error, info, warn};

use super::buffer::Buffer;
use super::clock::{self, Clock, ClockReading};
use super::ring::{Dropped, Limits, Ring, is_damage, set_aside};
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
    /// Return the oldest samples, at most this number. `Done` follows.
    Read(usize, oneshot::Sender<Option<Batch>>),
    /// The batch was sent. True: delete its samples.
    Done(bool),
    /// Store and sync everything, and end.
    Close(oneshot::Sender<()>),
}

/// Samples that are being sent.
#[derive(Clone, Copy, Debug)]
enum InFlight {
    /// Those of the file before the id `end`, of which the bounds have `dropped` some since.
    File { end: i64, dropped: Dropped },
    /// Those of the buffer up to this sequence number. They stay there until they are delivered.
    Buffer(i64),
}

pub(super) struct Keeper {
    /// Path of the ring. `None`: memory only.
    path: Option<PathBuf>,
    limits: Limits,
    buffer: Arc<Buffer>,
    clock: Clock,
    changed: Arc<Notify>,
    metrics: HistoryMetrics,
    /// Name of this run.
    boot: String,
    /// Beginning of the names of all runs since the start of the machine.
    machine: String,
    ring: Option<Ring>,
    next_id: i64,
    in_flight: Option<InFlight>,
    /// Time of the first transaction that is not synced.
    unsynced: Option<Instant>,
    /// True if the last sync failed.
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
        path: Option<PathBuf>,
        limits: Limits,
        buffer: Arc<Buffer>,
        clock: Clock,
        changed: Arc<Notify>,
        metrics: HistoryMetrics,
    ) -> Keeper {
        let random = ContenderId::random().to_hex();
        // Without the machine's id, only the own samples can be corrected.
        let machine = clock::machine_start().unwrap_or_else(|| format!("{}-", &random[..16]));
        Keeper {
            path,
            limits,
            buffer,
            clock,
            changed,
            metrics,
            boot: format!("{machine}{}", &random[..16]),
            machine,
            ring: None,
            next_id: 1,
            in_flight: None,
            unsynced: None,
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
                Ok(Command::Recorded) => self.store(),
                Ok(Command::Read(max, reply)) => {
                    let batch = self.read(max);
                    // An error means that the node stops.
                    let _ = reply.send(batch);
                }
                Ok(Command::Done(is_delivered)) => self.done(is_delivered),
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
        let sync = self.unsynced.map(|since| self.limits.sync.saturating_sub(since.elapsed()));
        store.into_iter().chain(sync).min().unwrap_or(IDLE)
    }

    fn do_due(&mut self) {
        if self.unsynced.is_some_and(|since| since.elapsed() >= self.limits.sync) {
            self.sync();
        }
        if (self.failed || self.is_holding()) && self.stored.elapsed() >= RETRY_INTERVAL {
            self.store();
        }
    }

    fn is_holding(&self) -> bool {
        self.may_correct && Instant::now() < self.hold_until
    }

    fn close(&mut self) {
        self.in_flight = None;
        self.store();
        if self.unsynced.is_some() {
            self.sync();
        }
    }

    /// Moves the samples of the buffer into the file, and corrects their times once the clock is set.
    fn store(&mut self) {
        self.stored = Instant::now();
        let now = (self.clock)();
        // Samples that are being sent from the buffer stay there.
        if !matches!(self.in_flight, Some(InFlight::Buffer(_))) {
            let mut samples = {
                let mut buffered = self.buffer.lock();
                buffered.is_signalled = false;
                std::mem::take(&mut buffered.samples)
            };
            if now.is_synchronised {
                samples.iter_mut().for_each(|sample| sample.correct(now.offset_ms()));
            }
            self.may_correct |= samples.iter().any(|sample| sample.clock == ClockState::Unsynchronised);
            match self.with_ring(|ring, boot| Ok((ring.first_id(), ring.append(boot, &samples, now)?))) {
                Some((first, dropped)) => {
                    self.on_dropped(first, dropped);
                    if !samples.is_empty() {
                        debug!(samples = samples.len(), "stored");
                        self.on_written();
                    }
                }
                None => {
                    let mut buffered = self.buffer.lock();
                    samples.append(&mut buffered.samples);
                    buffered.samples = samples;
                }
            }
        }
        if now.is_synchronised && self.may_correct {
            self.correct(now);
        }
        self.changed.notify_one();
    }

    /// Counts samples that the bounds have dropped, from the id `first` on. Those that are being sent are counted when
    /// it is known that they were not delivered.
    fn on_dropped(&mut self, first: i64, Dropped { mut by_age, mut by_size }: Dropped) {
        if let Some(InFlight::File { end, dropped }) = &mut self.in_flight {
            let mut sent = u64::try_from(*end - first).unwrap_or(0);
            for (now, later) in [(&mut by_age, &mut dropped.by_age), (&mut by_size, &mut dropped.by_size)] {
                let both = sent.min(*now);
                (*now, *later, sent) = (*now - both, *later + both, sent - both);
            }
        }
        self.metrics.drop_samples(DropReason::Age, by_age);
        self.metrics.drop_samples(DropReason::Size, by_size);
    }

    /// Records that the file can be written. A read does not show that, nor does a transaction without a change.
    fn on_written(&mut self) {
        self.failed = false;
        if !self.sync_failed {
            self.report(None);
        }
        if !self.limits.sync.is_zero() {
            self.unsynced.get_or_insert_with(Instant::now);
        }
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

    /// Returns the oldest samples: those of the file, or those of the buffer if the file has none.
    fn read(&mut self, max: usize) -> Option<Batch> {
        let (now, machine) = ((self.clock)(), self.machine.clone());
        if now.is_synchronised && self.may_correct {
            // The clock was set after samples were stored last: their times are corrected before they are sent.
            self.store();
        }
        let holds = !now.is_synchronised && Instant::now() < self.hold_until;
        let is_held = |boot: &str, sample: &StoredSample| {
            holds && sample.clock == ClockState::Unsynchronised && boot.starts_with(&machine)
        };
        if self.ring.as_ref().is_some_and(|ring| ring.depth() > 0) {
            let (batch, end) = self.with_ring(|ring, _| ring.read(max, is_held))??;
            self.in_flight = Some(InFlight::File { end, dropped: Dropped::default() });
            return Some(batch);
        }
        let buffered = self.buffer.lock();
        let samples = buffered.samples.iter().take_while(|sample| !is_held(&self.boot, sample));
        let samples: Vec<StoredSample> = samples.take(max).cloned().collect();
        self.in_flight = Some(InFlight::Buffer(samples.last()?.seq));
        let has_more = buffered.samples.len() > samples.len();
        Some(Batch { boot: self.boot.clone(), samples, has_more })
    }

    fn done(&mut self, is_delivered: bool) {
        match self.in_flight.take() {
            Some(InFlight::File { end, .. }) if is_delivered => {
                self.with_ring(|ring, _| ring.delete_before(end));
            }
            Some(InFlight::File { dropped, .. }) => {
                self.metrics.drop_samples(DropReason::Age, dropped.by_age);
                self.metrics.drop_samples(DropReason::Size, dropped.by_size);
            }
            Some(InFlight::Buffer(seq)) => {
                if is_delivered {
                    self.buffer.lock().samples.retain(|sample| sample.seq > seq);
                }
                // Those that were recorded during the request.
                if !self.failed {
                    self.store();
                }
            }
            _ => {}
        }
    }

    fn sync(&mut self) {
        let synced = self.ring.as_ref().map_or(Ok(()), Ring::sync);
        // After a failure the next attempt comes one interval later.
        self.unsynced = synced.is_err().then(Instant::now);
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
            None => Ring::open(&path, self.limits, self.next_id).and_then(|ring| {
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
        let lost = self.ring.take().map_or(0, |ring| ring.depth());
        self.metrics.drop_samples(DropReason::Damage, lost);
        match set_aside(path) {
            Ok(aside) => {
                let aside = aside.display();
                error!(
                    lost,
                    "the file with the samples for the collector is damaged: {damage}; it is set aside as {aside}"
                );
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
            Some(problem) => warn!("samples for the collector are not safe from a restart: {problem}"),
            None => info!("samples for the collector are stored in their file again"),
        }
    }

    fn record_stats(&self) {
        let (ring, now) = (self.ring.as_ref(), (self.clock)());
        let (in_memory, oldest) = {
            let buffered = self.buffer.lock();
            let oldest = buffered.samples.front().map(|sample| now.since_boot_ms - sample.since_boot_ms);
            (buffered.samples.len() as u64, Duration::from_millis(oldest.unwrap_or(0).max(0).unsigned_abs()))
        };
        // Before the lock of the metrics is taken: the disk may hang.
        let size = ring.and_then(|ring| ring.size().ok()).unwrap_or(0);
        let age = ring.and_then(|ring| ring.oldest_age(now).ok()).unwrap_or_default();
        self.metrics.update(|stats| {
            stats.samples = ring.map_or(0, Ring::depth) + in_memory;
            stats.size = size;
            stats.set_oldest_age(age.max(oldest));
        });
    }
}

#[cfg(test)]
#[path = "keeper_tests.rs"]
mod tests;
