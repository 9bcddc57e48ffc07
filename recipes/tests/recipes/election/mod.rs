//! Elections, on Apache ZooKeeper behind a proxy that fails, and beside unmodified Kazoo and Curator.

mod abandoned_session;
mod curator_bugs;
mod deleted_contender;
mod deleted_leader;
mod disconnect;
mod frozen_leader;
mod limited;
mod lost_create;
mod random_faults;
mod resign;
mod with_curator;
mod with_kazoo;
