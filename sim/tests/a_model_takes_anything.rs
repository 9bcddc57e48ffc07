//! Tests that no input makes a model panic or hang, and that a chip that lost its power for a moment is in its power-up
//! state.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::time::Duration;

use atalaya_hal::Chip;
use atalaya_sim::models::max31865::Max31865;
use atalaya_sim::models::{self, Environment};
use atalaya_sim::{BusFault, Clock, SimBus, SimSpi};
use embedded_hal::i2c::{I2c, Operation};
use embedded_hal::spi::SpiDevice;
use proptest::prelude::*;

const ADDRESS: u8 = 0x44;

/// Returns an environment with a new value each time, sometimes an impossible one.
fn wild() -> Environment {
    let mut count = 0_u32;
    Environment::new(move |_, _| {
        count = count.wrapping_add(1);
        match count % 7 {
            0 => f64::NAN,
            1 => f64::INFINITY,
            2 => f64::NEG_INFINITY,
            3 => f64::MAX,
            4 => -1e9,
            _ => f64::from(count),
        }
    })
}

fn bus(chip: Chip, around: fn() -> Environment) -> SimBus {
    let bus = SimBus::with_clock("i2c-1", Clock::manual());
    bus.attach(ADDRESS, models::on_i2c(chip, &chip.default_settings(), around()).unwrap());
    bus
}

/// Returns an environment that never changes.
fn still() -> Environment {
    Environment::new(|_, _| 1.5)
}

fn modelled() -> impl Iterator<Item = Chip> {
    Chip::ALL.into_iter().filter(|chip| !chip.addresses().is_empty())
}

#[test]
fn every_chip_on_a_bus_has_a_model() {
    for chip in Chip::ALL {
        let settings = chip.default_settings();
        let i2c = models::on_i2c(chip, &settings, wild()).is_some();
        let spi = models::on_spi(chip, &settings, wild()).is_some();
        assert_eq!((i2c, i2c || spi), (!chip.addresses().is_empty(), chip.needs_bus()), "{chip}");
    }
    assert!(modelled().count() >= 17);
}

/// One operation on a bus.
#[derive(Clone, Debug)]
enum Step {
    Write(Vec<u8>),
    Read(usize),
    WriteRead(Vec<u8>, usize),
    /// Two writes and two reads in one transaction.
    Mixed(Vec<u8>, usize),
    Wait(Duration),
    PowerCut,
}

/// Generates bytes that are meaningful to one of the chips more often than random ones.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    const WORDS: [u16; 22] = [
        0x2400, 0x2c06, 0x2130, 0xe000, 0x3093, 0x30a2, 0xf32d, 0x3517, 0x7866, 0x7ca2, 0xb098, 0x21b1,
        0xec05, 0xe4b8, 0x3f86, 0x36e0, 0x36f6, 0xf425, 0xe0b6, 0xfd00, 0xac33, 0x01ff,
    ];
    let word = proptest::sample::select(WORDS.to_vec());
    let any = proptest::collection::vec(any::<u8>(), 0..6);
    (proptest::option::of(word), any).prop_map(|(word, rest)| {
        word.map(u16::to_be_bytes).map(Vec::from).unwrap_or_default().into_iter().chain(rest).collect()
    })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => bytes().prop_map(Step::Write),
        4 => (0..40_usize).prop_map(Step::Read),
        4 => (bytes(), 0..40_usize).prop_map(|(bytes, length)| Step::WriteRead(bytes, length)),
        1 => (bytes(), 0..10_usize).prop_map(|(bytes, length)| Step::Mixed(bytes, length)),
        4 => (0..6_000_u64).prop_map(|millis| Step::Wait(Duration::from_millis(millis))),
        1 => Just(Step::PowerCut),
    ]
}

fn perform(bus: &mut SimBus, step: &Step) {
    // A refusal is a valid answer.
    let _ = match step {
        Step::Write(bytes) => bus.write(ADDRESS, bytes),
        Step::Read(length) => bus.read(ADDRESS, &mut vec![0; *length]),
        Step::WriteRead(bytes, length) => bus.write_read(ADDRESS, bytes, &mut vec![0; *length]),
        Step::Mixed(bytes, length) => {
            let (mut one, mut two) = (vec![0; *length], vec![0; *length]);
            bus.transaction(
                ADDRESS,
                &mut [
                    Operation::Read(&mut one),
                    Operation::Write(bytes),
                    Operation::Write(bytes),
                    Operation::Read(&mut two),
                ],
            )
        }
        Step::Wait(time) => {
            bus.clock().advance(*time);
            Ok(())
        }
        Step::PowerCut => {
            bus.set_fault(ADDRESS, Some(BusFault::NoAcknowledge));
            bus.set_fault(ADDRESS, None);
            Ok(())
        }
    };
}

/// Returns the answers of all of a chip's registers, or to its first commands.
fn look(bus: &mut SimBus) -> Vec<Option<[u8; 3]>> {
    let mut answer = |command: &[u8]| {
        let mut bytes = [0; 3];
        bus.write_read(ADDRESS, command, &mut bytes).ok().map(|()| bytes)
    };
    [&[0x01][..], &[0x02], &[0x03], &[0xf3], &[0xf4], &[0xf3, 0x2d], &[0xef, 0xc8], &[0x23, 0x22]]
        .map(&mut answer)
        .to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_transactions_make_a_model_panic(steps in proptest::collection::vec(step(), 0..40)) {
        for chip in modelled() {
            let mut bus = bus(chip, wild);
            for step in &steps {
                perform(&mut bus, step);
            }
        }
    }

    #[test]
    fn power_up_forgets_everything(steps in proptest::collection::vec(step(), 0..20)) {
        for chip in modelled() {
            let mut fresh = bus(chip, still);
            let mut used = bus(chip, still);
            for step in &steps {
                perform(&mut used, step);
            }
            let clock = used.clock().now();
            fresh.clock().advance(clock);
            for bus in [&mut fresh, &mut used] {
                perform(bus, &Step::PowerCut);
                // The first access resets the chip; a moment later it has started up.
                let _ = bus.write(ADDRESS, &[]);
                bus.clock().advance(Duration::from_millis(50));
            }
            prop_assert_eq!(look(&mut fresh), look(&mut used), "{}", chip);
        }
    }

    #[test]
    fn no_bytes_make_the_spi_model_panic(
        transfers in proptest::collection::vec((bytes(), 0..1_000_u64), 0..40), ohms in 1.0..1e6_f64,
    ) {
        let mut spi = SimSpi::new("spi-0.0", Clock::manual(), Max31865::new(100.0 / ohms, wild()));
        for (mut bytes, millis) in transfers {
            spi.transfer_in_place(&mut bytes).unwrap();
            spi.clock().advance(Duration::from_millis(millis));
        }
    }
}
