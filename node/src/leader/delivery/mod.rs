//! Delivery of reports from the outboxes to the API and to the outputs. Each has an outbox and a worker of its own, so
//! that one that is away delays no other.
//!
//! [`worker`] drives the delivery: it asks [`outbox`], which keeps the reports and asks [`queue`] for their order, and
//! sends them to a [`receiver`], for the API with [`api_client`]. [`outbox_reader`] fills the outbox from ZooKeeper.
//! The calls go in this direction only.

pub(crate) mod api_client;
pub(super) mod full_reports;
pub(crate) mod outbox;
pub(super) mod outbox_reader;
pub(crate) mod outcome;
pub(crate) mod queue;
pub(super) mod receiver;
pub(crate) mod response;
pub(super) mod shared_outbox;
pub(super) mod worker;
