//! Tests of the bus with chips that are easier to inspect than the models.

use super::*;

/// Logs its inputs: `S` for a start, `w` and `r` for bytes. Refuses 0xff.
struct Log(Arc<Mutex<String>>);

impl Device for Log {
    fn power_up(&mut self, _: Duration) {
        self.0.lock().unwrap().push('P');
    }

    fn start(&mut self, _: Direction, _: Duration) -> Answer {
        self.0.lock().unwrap().push('S');
        Answer::Acknowledge
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
        (BusFault::NoAcknowledge, Cause::NotPresent),
        (BusFault::Bus, Cause::Bus),
        (BusFault::Timeout, Cause::Timeout),
        (BusFault::Busy, Cause::Busy),
    ];
    for (fault, cause) in table {
        bus.set_fault(0x48, Some(fault));
        assert_eq!(BusError::cause(&driver.write(0x48, &[0]).unwrap_err()), cause);
        bus.set_fault(0x48, None);
        assert_eq!(driver.write(0x48, &[0]), Ok(()));
    }
}

#[test]
fn a_disturbed_read_has_one_wrong_bit_in_its_last_byte() {
    let (mut bus, _) = logged();
    bus.set_fault(0x48, Some(BusFault::Checksum));
    let mut bytes = [0; 3];
    bus.write_read(0x48, &[1], &mut bytes).unwrap();
    assert_eq!(bytes, [7, 7, 6]);
    bus.read(0x48, &mut []).unwrap();
}

#[test]
fn who_was_unplugged_comes_back_with_power_up_values_once() {
    let (mut bus, log) = logged();
    for fault in [BusFault::Bus, BusFault::NoAcknowledge] {
        bus.set_fault(0x48, Some(fault));
        assert!(bus.write(0x48, &[1]).is_err());
    }
    bus.set_fault(0x48, None);
    bus.write(0x48, &[1]).unwrap();
    bus.write(0x48, &[1]).unwrap();
    assert_eq!(*log.lock().unwrap(), "PSwSw");
}

#[test]
fn the_time_of_a_manual_clock_passes_with_bytes_and_stretched_clocks() {
    struct Slow;
    impl Device for Slow {
        fn power_up(&mut self, _: Duration) {}
        fn start(&mut self, direction: Direction, _: Duration) -> Answer {
            match direction {
                Direction::Write => Answer::Refuse,
                Direction::Read => Answer::Stretch(Duration::from_millis(5)),
            }
        }
        fn write(&mut self, _: u8) -> bool {
            true
        }
        fn read(&mut self) -> u8 {
            0
        }
    }
    let clock = Clock::manual();
    let mut bus = SimBus::with_clock("i2c-1", clock.clone());
    bus.attach(0x48, Slow);
    bus.read(0x48, &mut [0; 2]).unwrap();
    assert_eq!(clock.now(), Duration::from_micros(5_000 + 3 * 90));
    assert_eq!(bus.write(0x48, &[0]), Err(SimError::NoAcknowledge));
}
