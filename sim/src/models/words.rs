//! The bus side of chips with a pointer and 16-bit registers, most or least significant byte first: TMP102, TMP117,
//! MCP9808, ADS1115, INA219, INA226, VEML7700. The models behind it see whole registers only.

use std::time::Duration;

use crate::bus::{Answer, Device, Direction};

/// A chip as 16-bit registers.
pub trait Words: Send {
    /// Whether the low byte of a register comes first.
    const LOW_BYTE_FIRST: bool = false;

    /// The bits of the first byte written that select a register; the chip ignores the others.
    const POINTER_BITS: u8;

    /// Power was lost and came back at `now`.
    fn power_up(&mut self, now: Duration);

    /// What the register holds for a read that starts at `now`.
    fn read(&mut self, register: u8, now: Duration) -> u16;

    /// A whole register was written, at `now`.
    fn write(&mut self, register: u8, value: u16, now: Duration);

    /// The first byte of a register was written; of interest to registers that have one byte only.
    fn write_byte(&mut self, _register: u8, _value: u8, _now: Duration) {}
}

/// Puts [`Words`] on a bus.
///
/// Left open by the datasheets, and so here: one byte of a register written alone changes nothing; bytes behind a
/// register are ignored when written, and repeat it when read.
#[derive(Debug)]
pub struct Registers<C> {
    chip: C,
    /// Which register the next byte read comes from, or written goes to.
    pointer: u8,
    /// Bytes since the last start.
    position: usize,
    /// When the last start was.
    now: Duration,
    /// The first byte of a register that is being written.
    first: u8,
    /// What a read in progress sends: a conversion that ends in its middle must not mix two values.
    latched: [u8; 2],
}

impl<C: Words> Registers<C> {
    pub(super) fn of(chip: C) -> Registers<C> {
        Registers { chip, pointer: 0, position: 0, now: Duration::ZERO, first: 0, latched: [0; 2] }
    }
}

impl<C: Words> Device for Registers<C> {
    fn power_up(&mut self, now: Duration) {
        self.pointer = 0;
        self.chip.power_up(now);
    }

    fn start(&mut self, _: Direction, now: Duration) -> Answer {
        self.position = 0;
        self.now = now;
        Answer::Acknowledge
    }

    fn write(&mut self, byte: u8) -> bool {
        match self.position {
            0 => self.pointer = byte & C::POINTER_BITS,
            1 => {
                self.first = byte;
                self.chip.write_byte(self.pointer, byte, self.now);
            }
            2 => {
                let bytes = [self.first, byte];
                let value =
                    if C::LOW_BYTE_FIRST { u16::from_le_bytes(bytes) } else { u16::from_be_bytes(bytes) };
                self.chip.write(self.pointer, value, self.now);
            }
            _ => {}
        }
        self.position = self.position.saturating_add(1);
        true
    }

    fn read(&mut self) -> u8 {
        if self.position == 0 {
            let value = self.chip.read(self.pointer, self.now);
            self.latched = if C::LOW_BYTE_FIRST { value.to_le_bytes() } else { value.to_be_bytes() };
        }
        let byte = self.latched[self.position % 2];
        self.position = self.position.saturating_add(1);
        byte
    }
}
