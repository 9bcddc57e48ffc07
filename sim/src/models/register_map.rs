//! Bus protocol of chips with a pointer and 16-bit registers, most or least significant byte first: TMP102, TMP117,
//! MCP9808, ADS1115, INA219, INA226, VEML7700. The models behind it handle whole registers only.

use std::time::Duration;

use crate::bus::{Answer, Device, Direction};

/// A chip as 16-bit registers.
pub trait RegisterMap: Send {
    /// True if the low byte of a register comes first.
    const LOW_BYTE_FIRST: bool = false;

    /// Bits of the first byte written that select a register; the chip ignores the others.
    const POINTER_BITS: u8;

    /// Resets the chip after a power loss that ended at `now`.
    fn power_up(&mut self, now: Duration);

    /// Returns the value of the register for a read that starts at `now`.
    fn read(&mut self, register: u8, now: Duration) -> u16;

    /// Handles a write of a whole register at `now`.
    fn write(&mut self, register: u8, value: u16, now: Duration);

    /// Handles the first byte of a register write; used by registers that have one byte only.
    fn write_byte(&mut self, _register: u8, _value: u8, _now: Duration) {}
}

/// Adapter from [`RegisterMap`] to a device on a bus.
///
/// Choices that the datasheets leave open: a single byte written to a two-byte register has no effect; bytes after a
/// register are ignored in writes, and repeat the register in reads.
#[derive(Debug)]
pub struct Registers<C> {
    chip: C,
    /// Register of the next byte read or written.
    pointer: u8,
    /// Bytes since the last start.
    position: usize,
    /// Time of the last start.
    now: Duration,
    /// First byte of the register being written.
    first: u8,
    /// Data of the read in progress: a conversion that ends during a read must not mix two values.
    latched: [u8; 2],
}

impl<C: RegisterMap> Registers<C> {
    pub(super) fn of(chip: C) -> Registers<C> {
        Registers { chip, pointer: 0, position: 0, now: Duration::ZERO, first: 0, latched: [0; 2] }
    }
}

impl<C: RegisterMap> Device for Registers<C> {
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
