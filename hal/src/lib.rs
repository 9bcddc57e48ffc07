#![doc = include_str!("../README.md")]

pub mod boards;
pub mod drivers;
pub mod duration;
pub mod error;
pub mod filter;
#[cfg(all(target_os = "linux", feature = "linux"))]
pub mod linux;
pub mod reading;
pub mod sensor;

pub use boards::{Backend, Board, Boards, BoardsError, Fleet, Located, SensorConfig};
pub use drivers::Chip;
pub use error::{BusError, Cause, OpenError, Place, ReadError};
pub use filter::Filter;
pub use reading::{NotFinite, Quantity, Reading, Readings};
pub use sensor::{Bus, Sensor, SensorInfo};
