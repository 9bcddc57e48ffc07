//! Locks, on the in-memory server with a failure at each chosen request, on Apache ZooKeeper, and beside unmodified Kazoo.

mod acquire;
mod cleanup;
mod handover;
mod known_bugs;
mod lost;
mod requests;
mod with_kazoo;
