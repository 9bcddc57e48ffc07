//! A pretend I²C bus: chips are register-level models at addresses, and drivers cannot tell it from a real one. Used by
//! [`crate::simulator`] for the node, and by tests, which can also break it.

mod device;

pub use device::{Answer, Device, Direction};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atalaya_hal::{BusError, Cause};
use embedded_hal::i2c::{self, ErrorKind, I2c, NoAcknowledgeSource, Operation};

use crate::clock::Clock;
use crate::script::Script;

/// What a test can make an address answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As if the chip were unplugged. When it comes back, it has lost its power: its registers are as at power-up.
    NoAcknowledge,
    /// As if the wire were disturbed.
    Bus,
    /// As if the chip held the clock for too long.
    Timeout,
    /// As if a kernel driver owned the address.
    Busy,
    /// As if one bit of every read were disturbed: the lowest of the last byte, which is a checksum in chips that have one.
    Checksum,
}

/// What the pretend bus answered instead of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SimError {
    /// Nobody at this address.
    #[error("no acknowledge of the address")]
    NoAcknowledge,
    /// The chip refused a byte.
    #[error("no acknowledge of a byte")]
    Refused,
    /// A fault that was switched on.
    #[error("the simulated fault {0:?}")]
    Fault(Fault),
}

impl i2c::Error for SimError {
    fn kind(&self) -> ErrorKind {
        match self {
            SimError::NoAcknowledge | SimError::Fault(Fault::NoAcknowledge) => {
                ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address)
            }
            SimError::Refused => ErrorKind::NoAcknowledge(NoAcknowledgeSource::Data),
            SimError::Fault(Fault::Bus) => ErrorKind::Bus,
            SimError::Fault(Fault::Timeout | Fault::Busy | Fault::Checksum) => ErrorKind::Other,
        }
    }
}

impl BusError for SimError {
    fn cause(&self) -> Cause {
        match self {
            SimError::NoAcknowledge | SimError::Fault(Fault::NoAcknowledge) => Cause::NotPresent,
            SimError::Refused | SimError::Fault(Fault::Bus) => Cause::Bus,
            SimError::Fault(Fault::Timeout) => Cause::Timeout,
            SimError::Fault(Fault::Busy) => Cause::Busy,
            // The bus delivers such bytes; whoever checks them finds out.
            SimError::Fault(Fault::Checksum) => Cause::Checksum,
        }
    }

    fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(self)
    }
}

/// How long a byte with its acknowledge takes at 100 kHz; a manual clock moves on by it.
const BYTE: Duration = Duration::from_micros(90);

/// A pretend I²C bus. Clones are handles on the same bus, one per driver.
#[derive(Clone)]
pub struct SimBus {
    name: String,
    clock: Clock,
    slots: Arc<Mutex<BTreeMap<u8, Slot>>>,
}

/// An address: the chip there, if any, and the faults that hide it, if any.
#[derive(Default)]
struct Slot {
    device: Option<Box<dyn Device>>,
    fault: Option<Fault>,
    scripts: Vec<Script>,
    /// When [`SimBus::set_fault`] last plugged it in again.
    plugged_in: Option<Duration>,
    /// Since when the model knows that it has power; None for long.
    powered: Option<Duration>,
}

impl Slot {
    fn fault(&self, now: Duration) -> Option<Fault> {
        self.fault.or_else(|| self.scripts.iter().find_map(|script| script.on_the_bus(now)))
    }

    /// A chip that was away comes back with its power-up values.
    fn power(&mut self, now: Duration) {
        let by_script = self.scripts.iter().filter_map(|script| script.plugged_in(now)).max();
        let since = by_script.max(self.plugged_in);
        if let (Some(since), Some(device)) = (since.filter(|_| since > self.powered), &mut self.device) {
            device.power_up(since);
            self.powered = Some(since);
        }
    }
}

impl SimBus {
    /// An empty bus, in real time.
    pub fn new(name: impl Into<String>) -> SimBus {
        SimBus::with_clock(name, Clock::real())
    }

    /// An empty bus whose chips live by `clock`.
    pub fn with_clock(name: impl Into<String>, clock: Clock) -> SimBus {
        SimBus { name: name.into(), clock, slots: Arc::default() }
    }

    /// The time of its chips.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Puts a chip at `address`, in the place of one that may be there.
    pub fn attach(&self, address: u8, device: impl Device + 'static) {
        self.slot(address, |slot| slot.device = Some(Box::new(device)));
    }

    /// Makes `address` answer with `fault` from now on; None repairs it. Goes before what a script says.
    pub fn set_fault(&self, address: u8, fault: Option<Fault>) {
        self.slot(address, |slot| {
            if slot.fault == Some(Fault::NoAcknowledge) {
                slot.plugged_in = Some(self.clock.now());
            }
            slot.fault = fault;
        });
    }

    /// Lets the faults of `script` happen at `address`, besides those of other scripts.
    pub fn add_script(&self, address: u8, script: Script) {
        self.slot(address, |slot| slot.scripts.push(script));
    }

    fn slot<T>(&self, address: u8, change: impl FnOnce(&mut Slot) -> T) -> T {
        // A model that panicked in another thread left registers, not an invariant.
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
            if let Some(fault @ (Fault::NoAcknowledge | Fault::Bus | Fault::Timeout | Fault::Busy)) = fault {
                return Err(SimError::Fault(fault));
            }
            slot.power(clock.now());
            let device = slot.device.as_mut().ok_or(SimError::NoAcknowledge)?;
            transfer(device.as_mut(), operations, &clock)?;
            if fault == Some(Fault::Checksum) {
                disturb(operations);
            }
            Ok(())
        })
    }
}

/// Operations of one direction in a row are one message, without a start in between.
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

/// One wrong bit in what was read.
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
