//! A register-level model of the SCD40 and SCD41.
//!
//! Datasheet: Sensirion "SCD4x", section 3: commands with their execution times, words with checksums, periodic
//! measurement every 5 s (30 s in low power), data ready (the lower eleven bits), read measurement (once per result),
//! offsets, altitude and pressure, single shots, power down. During periodic measurement the model accepts only the
//! commands that the datasheet allows then.
//!
//! Choices that the datasheet leaves open: a command that is unknown or not allowed in the current state is not
//! acknowledged; an argument with a wrong checksum is not acknowledged. The results are the values of the environment:
//! the temperature offset, altitude, pressure and calibration are stored without effect. Not modelled:
//! self-calibration; the forced one always answers "no correction".

use std::time::Duration;

use atalaya_hal::{Chip, Quantity, Settings};

use super::Model;
use super::environment::Environment;
use super::sensirion::{Response, code, crc8};
use crate::bus::{Answer, Device, Direction};

/// Measuring range, in ppm.
pub const CONCENTRATION: [f64; 2] = [0.0, 40_000.0];
/// Specified range, in °C.
pub const TEMPERATURE: [f64; 2] = [-10.0, 60.0];
/// Measuring range, in %.
pub const HUMIDITY: [f64; 2] = [0.0, 100.0];

const PERIOD: Duration = Duration::from_secs(5);
const LOW_POWER_PERIOD: Duration = Duration::from_secs(30);
const SERIAL: [u16; 3] = [0xf896, 0x9f07, 0x3bbe];

/// Stored settings, by the command that sets them: offset (4 °C), altitude, pressure, and the self-calibration's state.
const SETTINGS: [(u16, u16); 5] = [(0x241d, 1_498), (0x2427, 0), (0xe000, 1_013), (0x2416, 1), (0x243a, 400)];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Asleep,
    Periodic { every: Duration },
}

/// Model of an SCD40 or SCD41.
#[derive(Debug)]
pub struct Scd4x {
    environment: Environment,
    state: State,
    settings: [(u16, u16); 5],
    /// The chip does not acknowledge before this time.
    busy: Duration,
    /// End of the measurement in progress; the flag is true if it includes a concentration.
    due: Option<(Duration, bool)>,
    /// A result that has not been read.
    result: Option<[u16; 3]>,
    /// Bytes received of a command and its argument.
    received: [u8; 5],
    position: usize,
    now: Duration,
    response: Response,
}

impl Scd4x {
    /// Creates a chip that was powered up long ago, in idle state.
    pub fn new(environment: Environment) -> Scd4x {
        Scd4x {
            environment,
            state: State::Idle,
            settings: SETTINGS,
            busy: Duration::ZERO,
            due: None,
            result: None,
            received: [0; 5],
            position: 0,
            now: Duration::ZERO,
            response: Response::default(),
        }
    }

    /// Advances the state to `self.now`.
    fn advance(&mut self) {
        let Some((_, gas)) = self.due.filter(|(due, _)| *due <= self.now) else { return };
        let mut at = |quantity| self.environment.at(quantity, self.now);
        let ppm = at(Quantity::Concentration);
        let celsius = at(Quantity::Temperature);
        let percent = at(Quantity::Humidity);
        self.result = Some([
            if gas { code(ppm, 0.0, 65_535.0, 65_535.0, CONCENTRATION) } else { 0 },
            code(celsius, -45.0, 175.0, 65_535.0, TEMPERATURE),
            code(percent, 0.0, 100.0, 65_535.0, HUMIDITY),
        ]);
        self.due = match self.state {
            State::Periodic { every } => Some((self.now + every, true)),
            _ => None,
        };
    }

    fn occupy(&mut self, millis: u64) {
        self.busy = self.now + Duration::from_millis(millis);
    }

    fn periodic(&mut self, every: Duration) {
        (self.state, self.result) = (State::Periodic { every }, None);
        self.due = Some((self.now + every, true));
    }

    fn shot(&mut self, takes: Duration, gas: bool) {
        (self.due, self.result) = (Some((self.now + takes, gas)), None);
        self.busy = self.now + takes;
    }

    /// Executes a command of two bytes; returns false if it is unknown or not allowed in the current state.
    fn execute(&mut self, command: u16) -> bool {
        let measuring = matches!(self.state, State::Periodic { .. });
        self.response = Response::default();
        match command {
            0xec05 => {
                // Without a result the command is acknowledged, but the response is empty.
                if let Some(words) = self.result.take() {
                    self.response = Response::words(&words);
                }
            }
            0xe4b8 => {
                let ready = if self.result.is_some() { 0x8006 } else { 0x8000 };
                self.response = Response::words(&[ready]);
            }
            0x3f86 => {
                (self.state, self.due) = (State::Idle, None);
                self.occupy(500);
            }
            0xe000 => self.response = Response::words(&[self.setting(0xe000)]),
            _ if measuring => return false,
            0x21b1 => self.periodic(PERIOD),
            0x21ac => self.periodic(LOW_POWER_PERIOD),
            0x219d => self.shot(PERIOD, true),
            0x2196 => self.shot(Duration::from_millis(50), false),
            0x2318 => self.response = Response::words(&[self.setting(0x241d)]),
            0x2322 => self.response = Response::words(&[self.setting(0x2427)]),
            0x2313 => self.response = Response::words(&[self.setting(0x2416)]),
            0x233f => self.response = Response::words(&[self.setting(0x243a)]),
            0x3682 => self.response = Response::words(&SERIAL),
            0x202f => self.response = Response::words(&[0x1440]),
            0x3615 => self.occupy(800),
            0x3632 => {
                self.settings = SETTINGS;
                self.occupy(1_200);
            }
            0x3646 => self.occupy(30),
            0x3639 => {
                self.response = Response::words(&[0]);
                self.occupy(10_000);
            }
            0x36e0 => self.state = State::Asleep,
            0x36f6 => self.occupy(30),
            // These commands wait for their argument.
            0x241d | 0x2427 | 0x2416 | 0x243a | 0x362f => {}
            _ => return false,
        }
        true
    }

    fn setting(&self, command: u16) -> u16 {
        self.settings.iter().find(|(known, _)| *known == command).map_or(0, |(_, value)| *value)
    }

    /// Applies the argument of a command.
    fn set(&mut self, command: u16, value: u16) {
        if command == 0x362f {
            self.response = Response::words(&[0x8000]);
            self.occupy(400);
        }
        if let Some((_, known)) = self.settings.iter_mut().find(|(known, _)| *known == command) {
            *known = value;
            self.response = Response::default();
        }
    }
}

impl Model for Scd4x {
    fn create(_: Chip, _: &Settings, environment: Environment) -> Box<dyn Device> {
        Box::new(Scd4x::new(environment))
    }
}

impl Device for Scd4x {
    fn power_up(&mut self, now: Duration) {
        // Settings that were not stored are lost; storing is not modelled.
        (self.state, self.settings, self.due, self.result) = (State::Idle, SETTINGS, None, None);
        (self.busy, self.response) = (now + Duration::from_millis(30), Response::default());
    }

    fn start(&mut self, direction: Direction, now: Duration) -> Answer {
        (self.now, self.position) = (now, 0);
        if now < self.busy {
            return Answer::Refuse;
        }
        self.advance();
        self.response.start(direction, Duration::ZERO)
    }

    fn write(&mut self, byte: u8) -> bool {
        if let Some(place) = self.received.get_mut(self.position) {
            *place = byte;
        }
        self.position = self.position.saturating_add(1);
        let [command_high, command_low, high, low, crc] = self.received;
        let command = u16::from_be_bytes([command_high, command_low]);
        match (self.position, self.state) {
            // Wake-up is the only command that takes effect and is not acknowledged.
            (2, State::Asleep) => {
                if command == 0x36f6 {
                    self.state = State::Idle;
                    self.occupy(30);
                }
                false
            }
            (2, _) => self.execute(command),
            (5, _) if crc8(&[high, low]) != crc => false,
            (5, _) => {
                self.set(command, u16::from_be_bytes([high, low]));
                true
            }
            _ => true,
        }
    }

    fn read(&mut self) -> u8 {
        self.response.next()
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::bus_with;
    use super::*;
    use crate::bus::{SimBus, SimError};
    use embedded_hal::i2c::I2c;

    const ADDRESS: u8 = 0x62;

    fn bus() -> SimBus {
        let around =
            [(Quantity::Concentration, 500.0), (Quantity::Temperature, 25.0), (Quantity::Humidity, 37.0)];
        bus_with(ADDRESS, Scd4x::new(Environment::constant(&around)))
    }

    fn words<const N: usize>(bus: &mut SimBus, command: u16) -> Result<[u8; N], SimError> {
        let mut bytes = [0; N];
        bus.write_read(ADDRESS, &command.to_be_bytes(), &mut bytes)?;
        Ok(bytes)
    }

    #[test]
    fn a_periodic_measurement_is_ready_every_five_seconds_and_read_once() {
        let mut bus = bus();
        bus.write(ADDRESS, &[0x21, 0xb1]).unwrap();
        for _ in 0..2 {
            assert_eq!(words::<3>(&mut bus, 0xe4b8).unwrap()[..2], [0x80, 0x00]);
            assert_eq!(words::<9>(&mut bus, 0xec05), Err(SimError::NoAcknowledge));
            bus.clock().advance(Duration::from_secs(5));
            assert_eq!(words::<3>(&mut bus, 0xe4b8).unwrap()[..2], [0x80, 0x06]);
            // The datasheet's example: 500 ppm, 25 °C, 37 %.
            let want = [0x01, 0xf4, 0x33, 0x66, 0x66, 0x93, 0x5e, 0xb8, 0x0d];
            assert_eq!(words::<9>(&mut bus, 0xec05).unwrap(), want);
        }
    }

    #[test]
    fn while_it_measures_it_takes_no_settings() {
        let mut bus = bus();
        bus.write(ADDRESS, &[0x21, 0xb1]).unwrap();
        assert_eq!(words::<3>(&mut bus, 0x2322), Err(SimError::Refused));
        bus.write(ADDRESS, &[0x3f, 0x86]).unwrap();
        assert_eq!(words::<3>(&mut bus, 0x2322), Err(SimError::NoAcknowledge), "it takes 500 ms to stop");
        bus.clock().advance(Duration::from_millis(500));
        assert_eq!(words::<3>(&mut bus, 0x2322).unwrap()[..2], [0, 0]);
    }

    #[test]
    fn settings_are_kept_if_their_checksum_is_right() {
        let mut bus = bus();
        assert_eq!(bus.write(ADDRESS, &[0x24, 0x27, 0x07, 0x9e, 0x08]), Err(SimError::Refused));
        bus.write(ADDRESS, &[0x24, 0x27, 0x07, 0x9e, 0x09]).unwrap();
        assert_eq!(words::<3>(&mut bus, 0x2322).unwrap(), [0x07, 0x9e, 0x09]);
    }

    #[test]
    fn asleep_it_only_wakes_up() {
        let mut bus = bus();
        bus.write(ADDRESS, &[0x36, 0xe0]).unwrap();
        assert_eq!(words::<3>(&mut bus, 0xe4b8), Err(SimError::Refused));
        assert_eq!(bus.write(ADDRESS, &[0x36, 0xf6]), Err(SimError::Refused));
        bus.clock().advance(Duration::from_millis(30));
        words::<3>(&mut bus, 0xe4b8).unwrap();
    }
}
