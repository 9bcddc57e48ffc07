//! Takes samples from the sampler into a bounded buffer in memory, from which the keeper stores them. Never waits.

use std::sync::{Arc, mpsc};

use atalaya_hal::Reading;

use super::buffer::Buffer;
use super::clock::Clock;
use super::keeper::Command;
use crate::model::sample::{ClockState, StoredSample};

#[derive(Clone)]
pub(crate) struct Recorder {
    buffer: Arc<Buffer>,
    commands: mpsc::Sender<Command>,
    clock: Clock,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    pub(super) fn new(buffer: Arc<Buffer>, commands: mpsc::Sender<Command>, clock: Clock) -> Recorder {
        Recorder { buffer, commands, clock }
    }

    /// Records readings that were taken now, with the names of their sensors.
    pub(crate) fn record(&self, readings: &[(&str, Reading)]) {
        if readings.is_empty() {
            return;
        }
        let now = (self.clock)();
        let clock = if now.is_synchronised { ClockState::Synchronised } else { ClockState::Unsynchronised };
        let is_signalled = {
            let mut buffered = self.buffer.lock();
            for (sensor, reading) in readings {
                buffered.last_seq += 1;
                let sample = StoredSample {
                    seq: buffered.last_seq,
                    sensor: (*sensor).to_owned(),
                    quantity: reading.quantity().name().to_owned(),
                    unit: reading.quantity().unit().to_owned(),
                    // Adding positive zero turns a negative zero into zero.
                    value: reading.value() + 0.0,
                    time_ms: now.time_ms,
                    since_boot_ms: now.since_boot_ms,
                    clock,
                };
                buffered.samples.push_back(sample);
            }
            let excess = buffered.samples.len().saturating_sub(self.buffer.max);
            buffered.samples.drain(..excess);
            std::mem::replace(&mut buffered.is_signalled, true)
        };
        if !is_signalled {
            // The thread ends before the recorder only at the shutdown.
            let _ = self.commands.send(Command::Recorded);
        }
    }
}
