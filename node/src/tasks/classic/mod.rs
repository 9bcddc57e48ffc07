//! Classic tasks: the znode layout of a master/worker exercise that many Python programs implement.
//!
//! Atalaya serves each role (master, worker, client) separately, so that it mixes with such programs in any combination.
//!
//! # Znodes
//!
//! | znode | kind | data |
//! |---|---|---|
//! | `/master/{10 digits}` | ephemeral, sequential | any; the lowest number leads |
//! | `/master/master_current/{10 digits}` | ephemeral | any; created by the leader |
//! | `/workers/{id}` | ephemeral | `non` (free) or the id of the assigned task |
//! | `/data/{id}` | ephemeral | the input: seconds to sleep, as text |
//! | `/tasks/{id}` | ephemeral | not assigned, `{id},{worker}`, or `{id}={result}` |
//!
//! # Guarantees
//! * An assignment is one transaction: it checks the leader's election znode and the versions of the task and of the
//!   worker. A deposed leader cannot change anything.
//! * A result is one transaction: it checks the version of the task and of the worker's own znode, and frees the worker. A
//!   worker whose session has ended, or whose task was assigned again, cannot record a result.
//! * A task is assigned again only if no worker holds it, and never after its result was recorded.
//! * A worker stops the execution when its task is deleted, and before its own session can have expired.
//!
//! Programs of other authors have no such checks. If one of them leads, its assignments are not fenced.
//!
//! # Disconnect and session expiry
//! Everything is read again over each connection. A task continues during a disconnect until the local lease of the worker
//! expires.

pub(crate) mod client;
pub(crate) mod election;
pub(crate) mod layout;
pub(crate) mod lease;
pub(crate) mod master;
pub(crate) mod master_state;
mod registration;
pub(crate) mod worker;
