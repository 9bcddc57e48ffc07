//! Helpers for the tests of the models.

use embedded_hal::i2c::I2c as _;

use crate::bus::{Device, SimBus};
use crate::clock::Clock;

/// Address of the chip on the bus of a test.
pub(super) const ADDRESS: u8 = 0x40;

/// Returns a bus in manual time with `device` at `address`.
pub(super) fn bus_with(address: u8, device: impl Device + 'static) -> SimBus {
    let bus = SimBus::with_clock("i2c-1", Clock::manual());
    bus.attach(address, device);
    bus
}

/// Reads a register of 16 bits, most significant byte first.
pub(super) fn register(bus: &mut SimBus, pointer: u8) -> u16 {
    let mut bytes = [0; 2];
    bus.write_read(ADDRESS, &[pointer], &mut bytes).unwrap();
    u16::from_be_bytes(bytes)
}
