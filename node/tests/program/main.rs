//! The program as it is run: a file for each thing that it must do. One program of tests, so that it is linked once, and so that
//! while one test waits for a session to end, others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[macro_use]
mod common;

mod api_fails;
mod collect;
mod collector;
mod demo;
mod epochs;
mod fast_failover;
mod follower_killed;
mod garbage_in_measurements;
mod health;
mod hostile_settings;
mod leader_ends;
mod live_configuration;
mod live_configuration_of_many;
mod lock_step;
mod lock_step_with_kazoo;
mod lost_output;
mod measures_elects_averages_reports;
mod node_id_taken;
mod nodes_leave;
mod outbox;
mod poisoned_outbox;
mod process_stopped;
mod process_trees;
mod reaping;
mod sensor_health;
mod sensors_read;
mod several_quantities;
mod shipped;
mod status;
mod supervised;
mod swap_while_running;
mod terminal_text;
mod told_to_a_collector;
mod tools;
mod watched;
mod watched_by_prometheus;
mod with_kazoo;
mod wrong_configuration;
mod wrong_znodes;
mod zookeeper_alone;
mod zookeeper_fails_at_a_chosen_moment;
mod zookeeper_leaders_killed;
mod zookeeper_servers_killed;
