//! Types and formats that the other layers share: node ids, measurements, reports, the fence, node information.
//! Imports nothing from the other layers.

pub mod acl_policy;
pub mod barrier;
pub mod counter;
pub mod details;
pub mod fence;
pub mod fleet_paths;
#[cfg(test)]
pub mod foreign_input;
pub mod health_status;
pub mod json;
pub mod leader_state;
pub mod measurement;
pub mod node_id;
pub mod node_info;
pub mod report;
#[cfg(feature = "history")]
pub(crate) mod sample;
#[cfg(feature = "history")]
pub(crate) mod sample_request;
pub mod senml;
pub mod task;
pub(crate) mod text;
