//! SCD40 and SCD41, on the published `scd4x` crate. Built by [`super::build`].
//!
//! The chip measures automatically every five seconds after it was started. The first read starts it; that read and the
//! reads of the next five seconds have no measurement yet. A read between two measurements returns the last one again.
//! Datasheet: Sensirion, "SCD4x", section 3.

use std::time::{Duration, Instant};

use embedded_hal::delay::DelayNs;
use embedded_hal::i2c::I2c;
use scd4x::Error;
use smallvec::smallvec;

use super::context::{HUMIDITY, decimal};
use super::driver::{Driver, ReadChip};
use crate::error::{BusError, Cause, ReadError};
use crate::reading::{Quantity, Readings};

/// Time without a new measurement after which the chip is considered stopped, by a loss of power.
const STALE: Duration = Duration::from_secs(12);

pub(super) type Scd4x<I, D> = Driver<State, I, D>;

#[derive(Default)]
pub(super) struct State {
    /// Time of the start or of the last new measurement; None if the chip must be started.
    heard: Option<Instant>,
    last: Option<Readings>,
}

impl<I: I2c<Error: BusError>, D: DelayNs> Scd4x<I, D> {
    fn ask(&mut self, now: Instant) -> Result<Readings, ReadError> {
        let context = &self.context;
        let fault = |error| match error {
            Error::I2c(error) => context.bus(error),
            Error::Crc => context.checksum(),
            other => context.error(Cause::Other, format!("the driver gave up: {}", Name(&other))),
        };
        let mut chip = scd4x::Scd4x::new(&mut self.bus, &mut self.delay);
        let heard = self.state.heard.take().filter(|heard| now.duration_since(*heard) < STALE);
        let Some(heard) = heard else {
            self.state.last = None;
            // The chip may already be running; it then accepts neither settings nor the start command.
            chip.stop_periodic_measurement().map_err(fault)?;
            // Without the setting, the chip uses its stored altitude.
            if let Some(metres) = context.settings().get("altitude") {
                // The setting is at most 3000, so the cast only drops decimals.
                chip.set_altitude(metres.round() as u16).map_err(fault)?;
            }
            chip.start_periodic_measurement().map_err(fault)?;
            self.state.heard = Some(now);
            return Err(context.error(Cause::Other, "just started: its first measurement takes five seconds"));
        };
        if !chip.data_ready_status().map_err(fault)? {
            self.state.heard = Some(heard);
            let early = || context.error(Cause::Other, "its first measurement is not ready yet");
            return self.state.last.clone().ok_or_else(early);
        }
        let measured = chip.measurement().map_err(fault)?;
        // From here on the chip works, regardless of the measured values.
        self.state.heard = Some(now);
        self.state.last = None;
        // Section 1.1: the output range ends at 40 000 ppm; 0 is the result of a measurement without CO₂ (3.10).
        match measured.co2 {
            0 => return Err(context.not_measured(Quantity::Concentration, 0)),
            40_000.. => {
                let value = format_args!("{} ppm", measured.co2);
                return Err(context.saturated(Quantity::Concentration, value, "air the room"));
            }
            _ => {}
        }
        let readings: Readings = smallvec![
            context.reading(Quantity::Concentration, f64::from(measured.co2), 1.0..=40_000.0)?,
            context.reading(Quantity::Temperature, decimal(measured.temperature), -10.0..=60.0)?,
            context.reading(Quantity::Humidity, decimal(measured.humidity), HUMIDITY)?,
        ];
        self.state.last = Some(readings.clone());
        Ok(readings)
    }
}

/// Other errors of the crate, which the commands used here cannot return.
struct Name<'a, E>(&'a Error<E>);

impl<E> std::fmt::Display for Name<'_, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Error::I2c(_) => "bus",
            Error::Crc => "checksum",
            Error::SelfTest => "self test",
            Error::NotAllowed => "not allowed while measuring",
            Error::Internal => "internal",
        })
    }
}

impl<I: I2c<Error: BusError>, D: DelayNs> ReadChip for Scd4x<I, D> {
    fn read_chip(&mut self) -> Result<Readings, ReadError> {
        self.ask(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::*;
    use super::*;

    fn word(word: u16) -> [u8; 3] {
        let [a, b] = word.to_be_bytes();
        [a, b, sensirion_i2c::crc8::calculate(&[a, b])]
    }

    fn start() -> [Transaction; 2] {
        [writes(0x62, [0x3f, 0x86]), writes(0x62, [0x21, 0xb1])]
    }

    fn ready(yes: bool) -> [Transaction; 2] {
        [writes(0x62, [0xe4, 0xb8]), gets(0x62, word(if yes { 0x8006 } else { 0x8000 }))]
    }

    fn measurement(co2: u16, temperature: u16, humidity: u16) -> [Transaction; 2] {
        let bytes = [word(co2), word(temperature), word(humidity)].concat();
        [writes(0x62, [0xec, 0x05]), Transaction::read(0x62, bytes)]
    }

    fn sensor(transactions: impl IntoIterator<Item = Transaction>) -> Scd4x<Strict, Now> {
        Scd4x::new(bus(transactions), Now, context("scd4x", 0x62))
    }

    fn five_seconds_later(now: &mut Instant) -> Instant {
        *now += Duration::from_secs(5);
        *now
    }

    #[test]
    fn is_started_by_the_first_read_and_has_measured_five_seconds_later() {
        // Example of read_measurement in the datasheet: 500 ppm, 25 °C, 37 %RH are 0x01f4, 0x6667, 0x5eb9.
        let all = start().into_iter().chain(ready(false)).chain(ready(true));
        let all = all.chain(measurement(0x01f4, 0x6667, 0x5eb9)).chain(ready(false));
        let mut sensor = sensor(all);
        let mut now = Instant::now();
        assert_eq!(sensor.ask(now).unwrap_err().cause(), Cause::Other);
        assert!(sensor.ask(now).unwrap_err().to_string().contains("not ready yet"));
        let got = values(sensor.ask(five_seconds_later(&mut now))).unwrap();
        assert_near(&got, &[500.0, 25.0, 37.0], 0.003);
        // Between two measurements the last one is returned.
        assert_eq!(values(sensor.ask(now + Duration::from_secs(1))).unwrap(), got);
    }

    #[test]
    fn the_altitude_is_set_before_the_start() {
        let altitude = word(650);
        let all = [
            writes(0x62, [0x3f, 0x86]),
            writes(0x62, [0x24, 0x27, altitude[0], altitude[1], altitude[2]]),
            writes(0x62, [0x21, 0xb1]),
        ];
        let mut sensor = Scd4x::new(bus(all), Now, context_with("scd4x", 0x62, &[("altitude", 650.0)]));
        assert!(sensor.read().is_err());
    }

    #[test]
    fn a_chip_that_stopped_is_started_again() {
        let all = start().into_iter().chain(ready(true)).chain(measurement(500, 0x6667, 0x5eb9));
        let all = all.chain(ready(false)).chain(ready(false)).chain(start());
        let mut sensor = sensor(all);
        let mut now = Instant::now();
        assert!(sensor.ask(now).is_err());
        for _ in 0..3 {
            assert!(sensor.ask(five_seconds_later(&mut now)).is_ok());
        }
        assert!(sensor.ask(five_seconds_later(&mut now)).unwrap_err().to_string().contains("just started"));
    }

    #[test]
    fn what_it_cannot_measure_is_refused_and_not_kept() {
        for (co2, temperature) in [(0, 0x6667), (40_000, 0x6667), (40_001, 0x6667), (500, 0), (500, 0xffff)] {
            let all = start().into_iter().chain(ready(true));
            let all = all.chain(measurement(co2, temperature, 0x5eb9)).chain(ready(false));
            let mut sensor = sensor(all);
            let mut now = Instant::now();
            assert!(sensor.ask(now).is_err());
            assert_eq!(sensor.ask(five_seconds_later(&mut now)).unwrap_err().cause(), Cause::OutOfRange);
            assert!(sensor.ask(now).is_err());
        }
    }

    #[test]
    fn errors_keep_their_cause_and_the_chip_is_started_again() {
        use embedded_hal::i2c::ErrorKind;
        let mut wrong = word(500);
        wrong[2] ^= 1;
        let crc = [writes(0x62, [0xe4, 0xb8]), gets(0x62, wrong)];
        let mut sensor = sensor(start().into_iter().chain(crc).chain(start()));
        assert!(sensor.read().is_err());
        assert_eq!(sensor.read().unwrap_err().cause(), Cause::Checksum);
        assert!(sensor.read().unwrap_err().to_string().contains("just started"));

        for failing in 0..6 {
            let all: Vec<_> =
                start().into_iter().chain(ready(true)).chain(measurement(500, 0x6667, 0x5eb9)).collect();
            let broken = all[failing].clone().with_error(ErrorKind::Bus);
            let mut sensor = self::sensor(all[..failing].iter().cloned().chain([broken]).chain(start()));
            if failing >= 2 {
                assert_eq!(sensor.read().unwrap_err().cause(), Cause::Other);
            }
            assert_eq!(sensor.read().unwrap_err().cause(), Cause::Bus, "{failing}");
            assert_eq!(sensor.read().unwrap_err().cause(), Cause::Other, "{failing}");
        }
    }
}
