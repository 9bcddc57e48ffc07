#![doc = include_str!("../README.md")]

mod aggregation;
mod backend;
mod boards;
mod checks;
mod diagnostic;
pub mod duration;
mod fleet;
mod names;
mod output;
mod sensor;
mod tasks;
mod value;

pub use aggregation::{AggregateMode, MAX_QUANTILES, Outliers, Quantiles, Quorum};
pub use backend::Backend;
pub use boards::{Board, Boards, MAX_SIZE};
pub use diagnostic::{BoardsError, Located, Location};
pub use fleet::{
    ApiMethod, BarrierRelease, CounterMode, Fleet, LeadMode, MAX_CONTENDERS, SyncMode, is_fleet_name,
};
pub use names::is_name;
pub use output::{
    InfluxdbConfig, MAX_OUTPUTS, MqttConfig, MqttVersion, OutputConfig, OutputRecords, ReceiverConfig,
};
pub use sensor::SensorConfig;
pub use tasks::{
    ArgType, BUILT_IN_ACTIONS, DEFAULT_RUN_FOR, INSTALL_BOARDS, MAX_RUN_FOR, MAX_SLOTS, MIN_RUN_FOR, Promise,
    TaskAction, Tasks, check_args,
};
