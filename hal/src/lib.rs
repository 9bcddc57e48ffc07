#![doc = include_str!("../README.md")]

pub mod boards;
pub mod bounded;
pub mod catalogue;
pub mod chip;
pub mod command;
pub mod delay;
pub mod drivers;
pub mod duration;
pub mod error;
pub mod file;
pub mod filter;
pub mod kernel;
#[cfg(all(target_os = "linux", feature = "linux"))]
pub mod linux;
mod number;
pub mod reading;
pub mod sensor;
pub mod settings;
#[cfg(target_os = "linux")]
pub mod tree;

pub use boards::{Backend, Board, Boards, BoardsError, Fleet, Located, SensorConfig};
pub use chip::Chip;
pub use error::{BusError, Cause, OpenError, Place, ReadError, SpiError};
pub use filter::Filter;
pub use reading::{NotFinite, Quantity, Reading, Readings};
pub use sensor::{Bus, Sensor, SensorInfo};
pub use settings::Settings;
