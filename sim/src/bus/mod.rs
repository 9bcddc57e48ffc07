//! A simulated I²C bus: chips are register-level models at addresses, and drivers cannot distinguish it from a real
//! bus. Used by [`crate::simulator`] for the node, and by tests, which can also inject faults.

mod device;

pub use device::{Answer, Device, Direction};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atalaya_hal::{BusError, Cause};
use embedded_hal::i2c::{self, ErrorKind, I2c, NoAcknowledgeSource, Operation};

use crate::clock::Clock;
use crate::faults::{BusFault, FaultSchedule};

/// Error of the simulated bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// No chip at this address.
    #[error("no acknowledge of the address")]
    NoAcknowledge,
    /// The chip refused a byte.
    #[error("no acknowledge of a byte")]
    Refused,
    /// An injected fault.
    #[error("the simulated fault {0:?}")]
    Fault(BusFault),
}

impl i2c::Error for SimError {
    fn kind(&self) -> ErrorKind {
        match self {
            SimError::NoAcknowledge | SimError::Fault(BusFault::NoAcknowledge) => {
                ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)
            }
            SimError::Refused => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            SimError::Fault(BusFault::Bus) => ErrorKind::Bus,
            SimError::Fault(BusFault::Timeout | BusFault::Busy | BusFault::Checksum) => ErrorKind::Other,
        }
    }
}

impl BusError for SimError {
    fn cause(&self) -> Cause {
        match self {
            SimError::NoAcknowledge | SimError::Fault(BusFault::NoAcknowledge) => Cause::NotPresent,
            SimError::Refused | SimError::Fault(BusFault::Bus) => Cause::Bus,
            SimError::Fault(BusFault::Timeout) => Cause::Timeout,
            SimError::Fault(BusFault::Busy) => Cause::Busy,
            // The bus delivers the wrong bytes; a driver that verifies the checksum detects them.
            SimError::Fault(BusFault::Checksum) => Cause::Checksum,
        }
    }

    fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(self)
    }
}

/// Duration of a byte with its acknowledge at 100 kHz; a manual clock advances by it.
const BYTE: Duration = Duration::from_micros(90);

/// A simulated I²C bus. Clones are handles to the same bus, one per driver.
#[derive(Clone)]
pub struct SimBus {
    name: String,
    clock: Clock,
    slots: Arc<Mutex<BTreeMap<u8, Slot>>>,
}

/// An address: its chip, if any, and the active faults, if any.
#[derive(Default)]
struct Slot {
    device: Option<Box<dyn Device>>,
    fault: Option<BusFault>,
    schedules: Vec<FaultSchedule>,
    /// Time at which [`SimBus::set_fault`] last plugged the chip in again.
    plugged_in: Option<Duration>,
    /// Time of the last power-up that the model knows of; None for a chip that was powered up long ago.
    powered: Option<Duration>,
}

impl Slot {
    fn fault(&self, now: Duration) -> Option<BusFault> {
        self.fault.or_else(|| self.schedules.iter().find_map(|schedule| schedule.bus_fault(now)))
    }

    /// Resets the model to its power-up values if the chip was unplugged and plugged in again.
    fn power(&mut self, now: Duration) {
        let by_schedule = self.schedules.iter().filter_map(|schedule| schedule.plugged_in(now)).max();
        let since = by_schedule.max(self.plugged_in);
        if let (Some(since), Some(device)) = (since.filter(|_| since > self.powered), &mut self.device) {
            device.power_up(since);
            self.powered = Some(since);
        }
    }
}

impl SimBus {
    /// Creates an empty bus, in real time.
    pub fn new(name: impl Into<String>) -> SimBus {
        SimBus::with_clock(name, Clock::real())
    }

    /// Creates an empty bus whose chips take their time from `clock`.
    pub fn with_clock(name: impl Into<String>, clock: Clock) -> SimBus {
        SimBus { name: name.into(), clock, slots: Arc::default() }
    }

    /// Returns the clock of the chips.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Attaches a chip at `address`, and replaces any chip that is already there.
    pub fn attach(&self, address: u8, mut device: impl Device + 'static) {
        device.set_address(address);
        self.slot(address, |slot| slot.device = Some(Box::new(device)));
    }

    /// Injects `fault` at `address` from now on; None clears it. Takes precedence over scheduled faults.
    pub fn set_fault(&self, address: u8, fault: Option<BusFault>) {
        self.slot(address, |slot| {
            if slot.fault == Some(BusFault::NoAcknowledge) {
                slot.plugged_in = Some(self.clock.now());
            }
            slot.fault = fault;
        });
    }

    /// Adds the faults of `schedule` at `address`, in addition to those of other schedules.
    pub fn add_schedule(&self, address: u8, schedule: FaultSchedule) {
        self.slot(address, |slot| slot.schedules.push(schedule));
    }

    fn slot<T>(&self, address: u8, change: impl FnOnce(&mut Slot) -> T) -> T {
        // A model that panicked in another thread left registers, not a broken invariant.
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        change(slots.entry(address).or_default())
    }
}

impl fmt::Display for SimBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated {}", self.name)
    }
}

impl fmt::Debug for SimBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimBus").field("name", &self.name).finish_non_exhaustive()
    }
}

impl i2c::ErrorType for SimBus {
    type Error = SimError;
}

impl I2c for SimBus {
    fn transaction(&mut self, address: u8, operations: &mut [Operation<'_>]) -> Result<(), SimError> {
        let clock = self.clock.clone();
        self.slot(address, |slot| {
            clock.advance(BYTE);
            let fault = slot.fault(clock.now());
            if let Some(
                fault @ (BusFault::NoAcknowledge | BusFault::Bus | BusFault::Timeout | BusFault::Busy),
            ) = fault
            {
                return Err(SimError::Fault(fault));
            }
            slot.power(clock.now());
            let device = slot.device.as_mut().ok_or(SimError::NoAcknowledge)?;
            transfer(device.as_mut(), operations, &clock)?;
            if fault == Some(BusFault::Checksum) {
                disturb(operations);
            }
            Ok(())
        })
    }
}

/// Runs the operations on `device`. Consecutive operations of one direction form one message, without a start in
/// between.
fn transfer(
    device: &mut dyn Device,
    operations: &mut [Operation<'_>],
    clock: &Clock,
) -> Result<(), SimError> {
    let mut last = None;
    for operation in operations {
        let direction = match operation {
            Operation::Read(_) => Direction::Read,
            Operation::Write(_) => Direction::Write,
        };
        if last != Some(direction) {
            match device.start(direction, clock.now()) {
                Answer::Acknowledge => {}
                Answer::Refuse => return Err(SimError::NoAcknowledge),
                Answer::Stretch(by) => clock.sleep(by),
            }
            last = Some(direction);
        }
        match operation {
            Operation::Read(buffer) => {
                for byte in buffer.iter_mut() {
                    clock.advance(BYTE);
                    *byte = device.read();
                }
            }
            Operation::Write(bytes) => {
                for &byte in bytes.iter() {
                    clock.advance(BYTE);
                    if !device.write(byte) {
                        return Err(SimError::Refused);
                    }
                }
            }
        }
    }
    Ok(())
}

/// Inverts one bit of the data read.
fn disturb(operations: &mut [Operation<'_>]) {
    for operation in operations {
        if let Operation::Read(buffer) = operation
            && let Some(last) = buffer.last_mut()
        {
            *last ^= 1;
        }
    }
}

#[cfg(test)]
mod tests;
