//! Interface between a chip model and the simulated bus; for authors of models.

use std::time::Duration;

/// A chip on the simulated bus, seen through its registers.
///
/// For authors of models: the bus calls `start` at each (repeated) start, then transfers bytes. `now` is the time of
/// the last start, counted from the start of the bus's clock. Implementations must never panic; behaviour that the
/// datasheet leaves undefined is free.
pub trait Device: Send {
    /// Sets the address of the chip when it is attached to a bus; for chips whose checksum contains the address.
    fn set_address(&mut self, _address: u8) {}

    /// Resets the chip after a power loss; it has had power again since `now`. A new model represents a chip that was
    /// powered up long ago.
    fn power_up(&mut self, now: Duration);

    /// Handles a start or repeated start addressed to this chip.
    fn start(&mut self, direction: Direction, now: Duration) -> Answer;

    /// Handles a byte written by the controller. Returns false if the chip does not acknowledge it.
    fn write(&mut self, byte: u8) -> bool;

    /// Returns the next byte that the controller reads.
    fn read(&mut self) -> u8;
}

impl Device for Box<dyn Device> {
    fn set_address(&mut self, address: u8) {
        (**self).set_address(address);
    }

    fn power_up(&mut self, now: Duration) {
        (**self).power_up(now);
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (**self).start(direction, now)
    }

    fn write(&mut self, byte: u8) -> bool {
        (**self).write(byte)
    }

    fn read(&mut self) -> u8 {
        (**self).read()
    }
}

/// Direction of the transfer after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// The controller writes bytes.
    Write,
    /// The controller reads bytes.
    Read,
}

/// Response of a chip to its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The chip acknowledges.
    Acknowledge,
    /// The chip does not acknowledge: it is busy or asleep.
    Refuse,
    /// The chip stretches the clock for this time, and then acknowledges.
    Stretch(Duration),
}
