//! Delivery of reports from the outbox to the API.

pub mod api_client;
pub mod outbox;
pub(super) mod outbox_reader;
pub mod queue;
mod response;
pub mod worker;
