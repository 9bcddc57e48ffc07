#![doc = include_str!("../README.md")]

pub mod bus;
pub mod clock;
mod defaults;
pub mod models;
pub mod pretend;
mod replay;
pub mod script;
pub mod scripted;
pub mod simulator;
pub mod spi;
pub mod waveform;

pub use bus::{Fault, SimBus, SimError};
pub use clock::Clock;
pub use simulator::{Simulator, open};
pub use spi::SimSpi;
pub use waveform::Generator;
