//! A pretend I²C bus: chips are register-level models at addresses, and drivers cannot tell it from a real one. Used by
//! [`crate::simulator`] for the node, and by tests, which can also break it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use atalaya_hal::{BusError, Cause};
use embedded_hal::i2c::{self, ErrorKind, I2c, NoAcknowledgeSource, Operation};

/// A chip on the pretend bus, as its registers look from outside.
///
/// For authors of models: the bus calls `start` at each (repeated) start, then hands over bytes. Never panic; what the
/// datasheet leaves undefined may be anything else.
pub trait Device: Send {
    /// A start or repeated start addressed to this chip.
    fn start(&mut self) {}

    /// The controller writes one byte. False if the chip does not acknowledge it.
    fn write(&mut self, byte: u8) -> bool;

    /// The controller reads one byte.
    fn read(&mut self) -> u8;
}

/// What a test can make an address answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// As if the chip were unplugged.
    NoAcknowledge,
    /// As if the wire were disturbed.
    Bus,
    /// As if the chip held the clock for too long.
    Timeout,
    /// As if a kernel driver owned the address.
    Busy,
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
            SimError::Fault(Fault::Timeout | Fault::Busy) => ErrorKind::Other,
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
        }
    }

    fn into_source(self) -> Box<dyn std::error::Error + Send + Sync> {
        Box::new(self)
    }
}

/// A pretend I²C bus. Clones are handles on the same bus, one per driver.
#[derive(Clone)]
pub struct SimBus {
    name: String,
    slots: Arc<Mutex<BTreeMap<u8, Slot>>>,
}

/// An address: the chip there, if any, and the fault that hides it, if any.
#[derive(Default)]
struct Slot {
    device: Option<Box<dyn Device>>,
    fault: Option<Fault>,
}

impl SimBus {
    /// An empty bus.
    pub fn new(name: impl Into<String>) -> SimBus {
        SimBus { name: name.into(), slots: Arc::default() }
    }

    /// Puts a chip at `address`, in the place of one that may be there.
    pub fn attach(&self, address: u8, device: impl Device + 'static) {
        self.slot(address, |slot| slot.device = Some(Box::new(device)));
    }

    /// Makes `address` answer with `fault` from now on; None repairs it.
    pub fn set_fault(&self, address: u8, fault: Option<Fault>) {
        self.slot(address, |slot| slot.fault = fault);
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
        self.slot(address, |slot| {
            if let Some(fault) = slot.fault {
                return Err(SimError::Fault(fault));
            }
            let device = slot.device.as_mut().ok_or(SimError::NoAcknowledge)?;
            // Operations of one direction in a row are one message, without a start in between.
            let mut reading = None;
            for operation in operations {
                let direction = Some(matches!(operation, Operation::Read(_)));
                if reading != direction {
                    device.start();
                    reading = direction;
                }
                match operation {
                    Operation::Read(buffer) => buffer.iter_mut().for_each(|byte| *byte = device.read()),
                    Operation::Write(bytes) => {
                        if !bytes.iter().all(|&byte| device.write(byte)) {
                            return Err(SimError::Refused);
                        }
                    }
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers what it saw: `S` for a start, `w` and `r` for bytes. Refuses 0xff.
    struct Log(Arc<Mutex<String>>);

    impl Device for Log {
        fn start(&mut self) {
            self.0.lock().unwrap().push('S');
        }

        fn write(&mut self, byte: u8) -> bool {
            self.0.lock().unwrap().push('w');
            byte != 0xff
        }

        fn read(&mut self) -> u8 {
            self.0.lock().unwrap().push('r');
            7
        }
    }

    fn logged() -> (SimBus, Arc<Mutex<String>>) {
        let (bus, log) = (SimBus::new("i2c-1"), Arc::default());
        bus.attach(0x48, Log(Arc::clone(&log)));
        (bus, log)
    }

    #[test]
    fn absent_addresses_do_not_acknowledge() {
        let (mut bus, _) = logged();
        let error = bus.write(0x49, &[0]).unwrap_err();
        assert_eq!(i2c::Error::kind(&error), ErrorKind::NoAcknowledge(NoAcknowledgeSource::Address));
        assert_eq!(BusError::cause(&error), Cause::NotPresent);
    }

    #[test]
    fn one_start_per_change_of_direction() {
        let (mut bus, log) = logged();
        let (mut one, mut two) = ([0], [0; 2]);
        let mut operations = [
            Operation::Write(&[1]),
            Operation::Write(&[2, 3]),
            Operation::Read(&mut one),
            Operation::Read(&mut two),
        ];
        bus.transaction(0x48, &mut operations).unwrap();
        assert_eq!(*log.lock().unwrap(), "SwwwSrrr");
        assert_eq!((one, two), ([7], [7; 2]));
    }

    #[test]
    fn a_refused_byte_ends_the_transaction() {
        let (mut bus, log) = logged();
        assert_eq!(bus.write(0x48, &[1, 0xff, 2]), Err(SimError::Refused));
        assert_eq!(*log.lock().unwrap(), "Sww");
    }

    #[test]
    fn faults_can_be_switched_on_and_off_through_any_handle() {
        let (bus, _) = logged();
        let mut driver = bus.clone();
        let table = [
            (Fault::NoAcknowledge, Cause::NotPresent),
            (Fault::Bus, Cause::Bus),
            (Fault::Timeout, Cause::Timeout),
            (Fault::Busy, Cause::Busy),
        ];
        for (fault, cause) in table {
            bus.set_fault(0x48, Some(fault));
            assert_eq!(BusError::cause(&driver.write(0x48, &[0]).unwrap_err()), cause);
            bus.set_fault(0x48, None);
            assert_eq!(driver.write(0x48, &[0]), Ok(()));
        }
    }
}
