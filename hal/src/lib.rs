#![doc = include_str!("../README.md")]

pub mod catalogue;
pub mod chip;
pub mod command;
pub mod delay;
#[cfg(feature = "chips")]
pub mod drivers;
pub mod error;
pub mod file;
pub mod filter;
pub mod kernel;
#[cfg(all(target_os = "linux", feature = "linux"))]
pub mod linux;
pub mod mqtt;
mod parse;
mod read_limited;
pub mod reading;
pub mod sensor;
pub mod settings;
pub mod spec;

pub use chip::Chip;
pub use error::{BusError, Cause, OpenError, Place, ReadError, SpiError};
pub use filter::Filter;
pub use mqtt::{BrokerUrl, MqttTopic};
pub use read_limited::read_limited;
pub use reading::{NotFinite, Quantity, Reading, Readings};
pub use sensor::{Bus, Sensor, SensorInfo};
pub use settings::Settings;
pub use spec::{BusAddress, SensorSpec};
