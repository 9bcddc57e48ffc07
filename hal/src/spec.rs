//! Specification of a sensor: plain data, of which [`crate::drivers::build`], [`crate::kernel::build`] and
//! [`crate::linux::open`] create it.

use std::path::PathBuf;
use std::time::Duration;

use crate::chip::Chip;
use crate::filter::Filter;
use crate::mqtt::MqttTopic;
use crate::reading::Quantity;
use crate::sensor::SensorInfo;
use crate::settings::Settings;

/// Specification of a sensor.
#[derive(Clone, Debug, PartialEq)]
pub struct SensorSpec {
    /// Name, unique on its board.
    pub name: String,
    /// Chip.
    pub chip: Chip,
    /// Connection. Matches the chip.
    pub bus_address: BusAddress,
    /// Settings. Match the chip.
    pub settings: Settings,
    /// Measured quantities, in the order of the readings; never empty, without duplicates.
    pub quantities: Vec<Quantity>,
    /// Filters of its values, in order.
    pub filters: Vec<Filter>,
}

impl SensorSpec {
    /// Creates the specification of a sensor with the default settings of its chip and without filters. It measures all
    /// quantities of the chip; for a chip without fixed ones, such as `file`, set `quantities`.
    pub fn new(name: impl Into<String>, chip: Chip, bus_address: BusAddress) -> SensorSpec {
        SensorSpec {
            name: name.into(),
            chip,
            bus_address,
            settings: chip.default_settings(),
            quantities: chip.quantities().unwrap_or_default().to_vec(),
            filters: Vec::new(),
        }
    }

    /// Returns the bus: `i2c-1`, `spi-0.0`, `mqtt://127.0.0.1:1883`.
    pub fn bus(&self) -> Option<&str> {
        match &self.bus_address {
            BusAddress::I2c { bus, .. } | BusAddress::Spi { bus } => Some(bus),
            BusAddress::Mqtt(topic) => Some(topic.broker.as_str()),
            _ => None,
        }
    }

    /// Returns the seven-bit address on an I²C bus.
    pub fn address(&self) -> Option<u8> {
        match self.bus_address {
            BusAddress::I2c { address, .. } => Some(address),
            _ => None,
        }
    }

    /// Returns the description of the sensor.
    pub fn info(&self) -> SensorInfo {
        SensorInfo {
            name: self.name.clone(),
            chip: self.chip.name().to_owned(),
            bus: self.bus().map(str::to_owned),
            address: self.address(),
            quantities: self.quantities.clone(),
        }
    }
}

/// Connection of a sensor: one variant for each [`crate::catalogue::BusKind`].
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BusAddress {
    /// I²C bus.
    I2c {
        /// `i2c-1`.
        bus: String,
        /// Seven-bit address; one of [`crate::Chip::addresses`].
        address: u8,
    },
    /// Chip select of an SPI bus.
    Spi {
        /// `spi-0.0`.
        bus: String,
    },
    /// Device of the kernel.
    Kernel {
        /// Name of the device, in the form that the module of the chip documents; None for the only device that
        /// matches.
        device: Option<String>,
        /// Name of its channel, `temp1` or `in_temp`; None for the channels that measure the sensor's quantities.
        channel: Option<String>,
    },
    /// Output of a program.
    Command {
        /// Program and arguments; never empty.
        command: Vec<String>,
        /// Time limit of the program.
        timeout: Duration,
    },
    /// Content of a file.
    File {
        /// Path; a relative one starts from the base folder of [`crate::linux::open`].
        path: PathBuf,
    },
    /// Topic of an MQTT broker.
    Mqtt(MqttTopic),
    /// No connection: `random`.
    Nothing,
}
