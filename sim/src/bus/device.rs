//! What a chip is to the pretend bus; for authors of models.

use std::time::Duration;

/// A chip on the pretend bus, as its registers look from outside.
///
/// For authors of models: the bus calls `start` at each (repeated) start, then hands over bytes. The time is that of the
/// last start, counted from the start of the bus's clock. Never panic; what the datasheet leaves undefined may be
/// anything else.
pub trait Device: Send {
    /// The chip lost its power, and has it again since `now`. A new model is a chip that has been powered for long.
    fn power_up(&mut self, now: Duration);

    /// A start or repeated start addressed to this chip.
    fn start(&mut self, direction: Direction, now: Duration) -> Answer;

    /// The controller writes one byte. False if the chip does not acknowledge it.
    fn write(&mut self, byte: u8) -> bool;

    /// The controller reads one byte.
    fn read(&mut self) -> u8;
}

impl Device for Box<dyn Device> {
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

/// What the controller is going to do after a start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// It writes bytes.
    Write,
    /// It reads bytes.
    Read,
}

/// What a chip does about its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It takes part.
    Acknowledge,
    /// It does not answer now: it is busy or asleep.
    Refuse,
    /// It holds the clock for so long, and then takes part.
    Stretch(Duration),
}
