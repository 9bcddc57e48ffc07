//! Tests of the collector over HTTP, in one program: a program for each file would take longer to compile.
//! Programs of their own measure their memory, or run themselves in another process.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, reason = "a test may panic")]

#[path = "../browser/mod.rs"]
mod browser;
#[path = "../common/mod.rs"]
mod common;

mod document;
mod failing;
mod fleets;
mod hostile;
mod limits;
mod measurements;
mod other_sites;
mod page;
mod page_behind_a_proxy;
mod page_nodes;
mod page_nodes_without_a_browser;
mod page_without_a_browser;
mod read;
mod redis_tls;
mod shares;
mod tls;
mod write;
mod zones;
