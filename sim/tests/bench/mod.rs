//! A chip with its register model on a simulated bus, and its driver, on a bus that fails in a chosen transaction.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_hal::settings::Settings;
use atalaya_hal::{BusAddress, Chip, Quantity, ReadError, Sensor, SensorSpec, drivers};
use atalaya_sim::bus::SimError;
use atalaya_sim::models::{self, Environment};
use atalaya_sim::{BusFault, Clock, SimBus, SimSpi};
use embedded_hal::i2c::{self, I2c};
use embedded_hal::spi::{self, SpiDevice};

/// Readings by quantity.
pub(crate) type Values = BTreeMap<Quantity, f64>;

/// A chip with its driver.
pub(crate) struct Bench {
    pub(crate) sensor: Box<dyn Sensor>,
    chip: Chip,
    address: u8,
    wire: Wire,
    plan: Plan,
}

enum Wire {
    I2c(SimBus),
    Spi(SimSpi),
}

/// Transactions of the driver so far, and the one that fails.
#[derive(Clone, Default)]
struct Plan {
    transactions: Arc<AtomicU64>,
    failing: Arc<Mutex<Option<(u64, BusFault)>>>,
}

impl Plan {
    /// Counts a transaction. Returns the fault of the transaction, if it fails.
    fn next(&self) -> Result<(), SimError> {
        let transaction = self.transactions.fetch_add(1, Ordering::Relaxed) + 1;
        match *self.failing.lock().unwrap() {
            Some((failing, fault)) if failing == transaction => Err(SimError::Fault(fault)),
            _ => Ok(()),
        }
    }
}

/// A simulated bus on which a transaction fails by plan. A failing transaction does not reach the chip.
struct Failing<B> {
    bus: B,
    plan: Plan,
}

impl i2c::ErrorType for Failing<SimBus> {
    type Error = SimError;
}

impl I2c for Failing<SimBus> {
    fn transaction(&mut self, address: u8, operations: &mut [i2c::Operation<'_>]) -> Result<(), SimError> {
        self.plan.next()?;
        self.bus.transaction(address, operations)
    }
}

impl spi::ErrorType for Failing<SimSpi> {
    type Error = SimError;
}

impl SpiDevice for Failing<SimSpi> {
    fn transaction(&mut self, operations: &mut [spi::Operation<'_, u8>]) -> Result<(), SimError> {
        self.plan.next()?;
        self.bus.transaction(operations)
    }
}

/// Returns a sensor with this chip at its first address.
fn spec(chip: Chip, settings: Settings) -> SensorSpec {
    let bus_address = match chip.addresses() {
        [] => BusAddress::Spi { bus: "spi-0.0".to_owned() },
        [first, ..] => BusAddress::I2c { bus: "i2c-1".to_owned(), address: *first },
    };
    SensorSpec { settings, ..SensorSpec::new("s", chip, bus_address) }
}

impl Bench {
    /// Creates the chip in a constant environment. Time passes only by transactions, conversions and [`Bench::wait`].
    pub(crate) fn new(chip: Chip, settings: Settings, around: &[(Quantity, f64)]) -> Bench {
        let spec = spec(chip, settings);
        let (environment, clock, plan) = (Environment::constant(around), Clock::manual(), Plan::default());
        let address = spec.address().unwrap_or_default();
        let (sensor, wire) = match models::on_spi(chip, &spec.settings, Environment::constant(around)) {
            Some(model) => {
                let spi = SimSpi::new("spi-0.0", clock.clone(), model);
                let failing = Failing { bus: spi.clone(), plan: plan.clone() };
                (drivers::build_spi(&spec, failing, clock, "spi-0.0").unwrap(), Wire::Spi(spi))
            }
            None => {
                let bus = SimBus::with_clock("i2c-1", clock.clone());
                bus.attach(address, models::on_i2c(chip, &spec.settings, environment).unwrap());
                let failing = Failing { bus: bus.clone(), plan: plan.clone() };
                (drivers::build(&spec, failing, clock, "i2c-1").unwrap(), Wire::I2c(bus))
            }
        };
        Bench { sensor, chip, address, wire, plan }
    }

    /// Returns the number of transactions so far.
    pub(crate) fn transactions(&self) -> u64 {
        self.plan.transactions.load(Ordering::Relaxed)
    }

    /// Makes the transaction with this number fail.
    pub(crate) fn fail_at(&self, transaction: u64, fault: BusFault) {
        *self.plan.failing.lock().unwrap() = Some((transaction, fault));
    }

    /// Injects `fault` at the chip from now on; None clears it.
    pub(crate) fn set_fault(&self, fault: Option<BusFault>) {
        match &self.wire {
            Wire::I2c(bus) => bus.set_fault(self.address, fault),
            Wire::Spi(spi) => spi.set_fault(fault),
        }
    }

    /// Lets simulated time pass.
    pub(crate) fn wait(&self, time: Duration) {
        match &self.wire {
            Wire::I2c(bus) => bus.clock().advance(time),
            Wire::Spi(spi) => spi.clock().advance(time),
        }
    }

    /// Reads once.
    pub(crate) fn read_once(&mut self) -> Result<Values, ReadError> {
        let readings = self.sensor.read()?;
        Ok(readings.iter().map(|reading| (reading.quantity(), reading.value())).collect())
    }

    /// Reads the next measurement. Reads again every second while a chip that its first read starts has no measurement.
    pub(crate) fn read(&mut self) -> Result<Values, ReadError> {
        let attempts = self.chip.spec().first_reading.as_secs() + 3;
        for _ in 1..attempts {
            match self.read_once() {
                Err(error) if self.is_starting(&error) => self.wait(Duration::from_secs(1)),
                result => {
                    self.wait(Duration::from_secs(1));
                    return result;
                }
            }
        }
        self.read_once()
    }

    /// Reads until transaction `failing` has failed, and returns the error of that read.
    pub(crate) fn read_until_failure(&mut self, failing: u64) -> Option<ReadError> {
        while self.transactions() < failing {
            match self.read_once() {
                Err(error) if self.transactions() >= failing => return Some(error),
                Err(error) if !self.is_starting(&error) => return None,
                _ => self.wait(Duration::from_secs(1)),
            }
        }
        None
    }

    /// Returns true for the error of a chip that has no measurement yet.
    fn is_starting(&self, error: &ReadError) -> bool {
        !self.chip.spec().first_reading.is_zero() && error.to_string().contains("its first measurement")
    }
}
