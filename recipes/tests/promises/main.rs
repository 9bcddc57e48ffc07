//! What the recipes promise, each promise in a file of its name, kept against Apache ZooKeeper on networks that fail.
//!
//! One program for all of them: they mostly wait, and so they wait side by side.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "serves tests only")]

mod support;

mod a_contender_stands_in_line_once;
mod a_frozen_leader_stops_before_its_znode_is_removed;
mod a_given_up_session_does_not_stay_in_line;
mod a_holder_knows_before_the_next_one_holds;
mod a_leader_without_its_znode_is_deposed;
mod a_name_belongs_to_one_session;
mod a_new_session_follows_an_expired_one;
mod a_session_begins_when_zookeeper_comes_up;
mod a_session_is_told_of_before_it_can_be_used;
mod a_session_outlives_a_cut;
mod calls_are_bounded_in_time;
mod children_are_followed;
mod closing_removes_the_ephemerals;
mod curator_stands_in_the_same_line;
mod intervals_of_leading_never_overlap;
mod kazoo_holds_beside_us;
mod kazoo_stands_in_the_same_line;
mod leading_is_interrupted_by_a_cut;
mod only_the_newest_data_is_stored;
mod the_chroot_is_made;
mod the_line_holds_when_one_in_it_goes;
mod the_znode_comes_back;
mod what_is_stored_is_counted_once;
mod whoever_is_done_leaves_the_line;
