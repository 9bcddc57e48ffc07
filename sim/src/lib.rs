#![doc = include_str!("../README.md")]

pub mod bus;
pub mod clock;
mod defaults;
pub mod faults;
pub mod generator;
pub mod models;
mod replay;
mod sim_sensor;
pub mod simulator;
pub mod spi;
pub mod value_sensor;
pub mod waveform;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

pub use bus::{SimBus, SimError};
pub use clock::Clock;
pub use faults::{BusFault, FaultKind, ScheduledFault};
pub use generator::Generator;
pub use replay::ReplayError;
pub use sim_sensor::SimSensor;
pub use simulator::{Simulator, open};
pub use spi::SimSpi;
pub use waveform::{Column, Shape, Waveform};
