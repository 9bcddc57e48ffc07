#![doc = include_str!("../README.md")]

pub mod bus;
pub mod lm75;
pub mod random;
mod replay;
pub mod simulator;
pub mod waveform;
#[cfg(feature = "zookeeper")]
pub mod zookeeper;

pub use bus::{Fault, SimBus, SimError};
pub use simulator::{Simulator, open};
pub use waveform::Generator;
