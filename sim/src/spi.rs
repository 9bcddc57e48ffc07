//! A simulated chip select of an SPI bus, with its chip. Used by [`crate::simulator`].
//!
//! SPI has no acknowledge: an unplugged chip reads as ones.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atalaya_hal::error::SpiError;
use atalaya_hal::{BusError, Cause};
use embedded_hal::spi::{self, ErrorKind, Operation, SpiDevice};

use crate::bus::SimError;
use crate::clock::Clock;
use crate::faults::{BusFault, FaultSchedule};

/// A chip on SPI, seen through its registers; for authors of models.
pub trait SpiChip: Send {
    /// Resets the chip after a power loss; it has had power again since `now`.
    fn power_up(&mut self, now: Duration);

    /// Handles the selection of the chip by the controller.
    fn select(&mut self, now: Duration);

    /// Exchanges one byte in each direction.
    fn transfer(&mut self, byte: u8) -> u8;
}

impl SpiChip for Box<dyn SpiChip> {
    fn power_up(&mut self, now: Duration) {
        (**self).power_up(now);
    }

    fn select(&mut self, now: Duration) {
        (**self).select(now);
    }

    fn transfer(&mut self, byte: u8) -> u8 {
        (**self).transfer(byte)
    }
}

/// Duration of a byte at 1 MHz; a manual clock advances by it.
const BYTE: Duration = Duration::from_micros(8);

/// A simulated chip select. Clones are handles to the same one.
#[derive(Clone)]
pub struct SimSpi {
    name: String,
    clock: Clock,
    slot: Arc<Mutex<Slot>>,
}

struct Slot {
    chip: Box<dyn SpiChip>,
    fault: Option<BusFault>,
    schedule: FaultSchedule,
    /// Time at which [`SimSpi::set_fault`] last plugged the chip in again.
    plugged_in: Option<Duration>,
    /// Time of the last power-up that the model knows of; None for a chip that was powered up long ago.
    powered: Option<Duration>,
}

impl SimSpi {
    /// Creates a chip select with `chip`, which takes its time from `clock`.
    pub fn new(name: impl Into<String>, clock: Clock, chip: impl SpiChip + 'static) -> SimSpi {
        let slot = Slot {
            chip: Box::new(chip),
            fault: None,
            schedule: FaultSchedule::default(),
            plugged_in: None,
            powered: None,
        };
        SimSpi { name: name.into(), clock, slot: Arc::new(Mutex::new(slot)) }
    }

    /// Returns the clock of the chip.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Injects `fault` from now on; None clears it. Takes precedence over scheduled faults.
    pub fn set_fault(&self, fault: Option<BusFault>) {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.fault == Some(BusFault::NoAcknowledge) {
            slot.plugged_in = Some(self.clock.now());
        }
        slot.fault = fault;
    }

    /// Replaces the scheduled faults by those of `schedule`.
    pub fn set_schedule(&self, schedule: FaultSchedule) {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner).schedule = schedule;
    }
}

impl Slot {
    /// Resets the model to its power-up values if the chip was unplugged and plugged in again.
    fn power(&mut self, now: Duration) {
        let since = self.schedule.plugged_in(now).max(self.plugged_in);
        if let Some(since) = since.filter(|_| since > self.powered) {
            self.chip.power_up(since);
            self.powered = Some(since);
        }
    }
}

impl fmt::Display for SimSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated {}", self.name)
    }
}

impl fmt::Debug for SimSpi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimSpi").field("name", &self.name).finish_non_exhaustive()
    }
}

impl spi::Error for SimError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}

impl SpiError for SimError {
    fn cause(&self) -> Cause {
        BusError::cause(self)
    }

    fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(self)
    }
}

impl spi::ErrorType for SimSpi {
    type Error = SimError;
}

impl SpiDevice for SimSpi {
    fn transaction(&mut self, operations: &mut [Operation<'_, u8>]) -> Result<(), SimError> {
        let mut slot = self.slot.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let fault = slot.fault.or_else(|| slot.schedule.bus_fault(now));
        let absent = match fault {
            Some(fault @ (BusFault::Bus | BusFault::Timeout | BusFault::Busy)) => {
                return Err(SimError::Fault(fault));
            }
            Some(BusFault::NoAcknowledge) => true,
            Some(BusFault::Checksum) | None => false,
        };
        if !absent {
            slot.power(now);
            slot.chip.select(now);
        }
        let mut exchange = |byte| {
            self.clock.advance(BYTE);
            if absent { 0xff } else { slot.chip.transfer(byte) }
        };
        for operation in operations {
            match operation {
                Operation::Read(bytes) => bytes.iter_mut().for_each(|byte| *byte = exchange(0)),
                Operation::Write(bytes) => bytes.iter().for_each(|byte| {
                    exchange(*byte);
                }),
                Operation::Transfer(read, write) => {
                    for index in 0..read.len().max(write.len()) {
                        let byte = exchange(write.get(index).copied().unwrap_or(0));
                        if let Some(place) = read.get_mut(index) {
                            *place = byte;
                        }
                    }
                }
                Operation::TransferInPlace(bytes) => {
                    bytes.iter_mut().for_each(|byte| *byte = exchange(*byte))
                }
                Operation::DelayNs(ns) => self.clock.sleep(Duration::from_nanos(u64::from(*ns))),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds one to every byte; counts its power-ups in the first.
    struct Adder(u8);

    impl SpiChip for Adder {
        fn power_up(&mut self, _: Duration) {
            self.0 += 10;
        }

        fn select(&mut self, _: Duration) {}

        fn transfer(&mut self, byte: u8) -> u8 {
            byte.wrapping_add(self.0)
        }
    }

    #[test]
    fn bytes_go_both_ways_in_every_operation() {
        let mut spi = SimSpi::new("spi-0.0", Clock::manual(), Adder(1));
        let (mut read, mut both, mut place) = ([0; 2], [0; 3], [7, 8]);
        spi.transaction(&mut [
            Operation::Write(&[1]),
            Operation::Read(&mut read),
            Operation::Transfer(&mut both, &[4]),
            Operation::TransferInPlace(&mut place),
            Operation::DelayNs(1_000_000),
        ])
        .unwrap();
        assert_eq!((read, both, place), ([1, 1], [5, 1, 1], [8, 9]));
        assert_eq!(spi.clock().now(), Duration::from_micros(1_000 + 8 * 8));
    }

    #[test]
    fn an_unplugged_chip_reads_as_ones_and_comes_back_as_at_power_up() {
        let mut spi = SimSpi::new("spi-0.0", Clock::manual(), Adder(1));
        let mut byte = [0];
        spi.set_fault(Some(BusFault::NoAcknowledge));
        spi.read(&mut byte).unwrap();
        assert_eq!(byte, [0xff]);
        spi.set_fault(Some(BusFault::Bus));
        assert_eq!(spi.read(&mut byte), Err(SimError::Fault(BusFault::Bus)));
        spi.set_fault(None);
        spi.read(&mut byte).unwrap();
        assert_eq!(byte, [11]);
    }
}
