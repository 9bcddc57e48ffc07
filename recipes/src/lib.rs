#![doc = include_str!("../README.md")]

mod acquire_task;
pub mod backoff;
pub mod barrier;
pub mod children_cache;
pub mod children_watch;
mod cleanup;
pub mod clock;
pub mod connect_string;
mod contender_state;
pub mod counter;
pub mod data_watch;
mod dedup_record;
mod delay;
pub mod double_barrier;
pub mod election;
mod error;
mod guard;
mod idempotent_write;
pub mod lease;
pub mod lock;
mod lock_queue;
pub mod node_names;
mod node_ownership;
mod owned_node;
pub mod party;
mod permit_state;
pub mod persistent_node;
pub mod queue;
pub mod read_write_lock;
mod retry;
pub mod semaphore;
pub mod session;
pub mod session_validity;
pub mod set_partitioner;
pub mod text;
mod waiting_line;
pub mod wrong_znode;

pub use backoff::Backoff;
pub use barrier::Barrier;
pub use children_cache::{CacheError, ChildrenCache};
pub use children_watch::ChildrenWatch;
pub use connect_string::ConnectString;
pub use counter::{Counter, CounterError, WriteCounter};
pub use data_watch::{DataWatch, WatchedData};
pub use double_barrier::{DoubleBarrier, DoubleBarrierError, DoubleBarrierGuard};
pub use election::{Election, Leadership, Standing};
pub use error::Error;
pub use guard::{AcquireError, Guard};
pub use lease::{Acquire, HeldLease, Lease, LeaseError, LeaseInfo, MultiLease};
pub use lock::Lock;
pub use party::{Membership, Party, PartyError};
pub use persistent_node::PersistentNode;
pub use queue::{HeldEntry, LockingQueue, Queue, QueueError};
pub use read_write_lock::ReadWriteLock;
pub use retry::DEFAULT_TIMEOUT;
pub use semaphore::Semaphore;
pub use session::{
    AclProvider, ConnectError, Connection, Credentials, Phase, Secret, Session, SessionOptions, SessionState,
    WrongZnodeReporter,
};
#[cfg(feature = "tls")]
pub use session::{Tls, TlsFailure, TlsPem};
pub use set_partitioner::{PartitionError, SetPartitioner};
pub use wrong_znode::{WrongZnode, ZnodeProblem};
pub use zookeeper_client::{Acl, AuthId, AuthUser, EventType, Permission, Stat};
