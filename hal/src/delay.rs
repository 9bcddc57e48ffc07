//! Delay with which a driver waits for a chip. Used by the backends; tests pass a delay that does not wait.

use std::time::Duration;

use embedded_hal::delay::DelayNs;

/// Delay that puts the thread to sleep.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sleep;

impl DelayNs for Sleep {
    fn delay_ns(&mut self, ns: u32) {
        std::thread::sleep(Duration::from_nanos(ns.into()));
    }

    // The default implementations sleep in many short pieces.
    fn delay_us(&mut self, us: u32) {
        std::thread::sleep(Duration::from_micros(us.into()));
    }

    fn delay_ms(&mut self, ms: u32) {
        std::thread::sleep(Duration::from_millis(ms.into()));
    }
}
