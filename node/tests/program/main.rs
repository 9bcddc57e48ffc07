//! The program as it is run: a file for each thing that it must do. One program of tests, so that it is linked once, and so that
//! while one test waits for a session to end, others go on.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

#[macro_use]
mod common;

mod acl;
mod api_outages;
mod classic;
mod collect;
mod collector;
mod configuration_errors;
mod crash_recovery;
mod demo;
mod dynamic_config;
mod dynamic_config_scale;
mod epochs;
mod fleet;
mod follower_killed;
mod frozen_process;
mod full_reports;
mod health;
mod history;
mod history_collector;
mod history_outputs;
mod history_power_cut;
#[cfg(target_os = "linux")]
mod home_assistant;
mod hostile_settings;
mod invalid_measurements;
mod large_fleets;
mod lead_setting;
mod leader_failover;
mod lock_step;
mod lock_step_with_kazoo;
mod lost_output;
mod metrics_and_health;
mod mqtt_output;
#[cfg(all(target_os = "linux", feature = "mqtt"))]
mod mqtt_sensors;
mod node_id_taken;
mod nodes_leave;
mod outbox;
mod output_receivers;
mod outputs_managed;
mod poisoned_outbox;
mod process_trees;
mod prometheus;
mod reload;
mod renewed_credentials;
mod requests;
mod robust_values;
mod sensor_health;
mod sensors_read;
mod several_quantities;
mod shipped;
mod stale_session_cleanup;
mod standby;
mod status;
mod status_push;
mod systemd;
mod task_actions;
mod task_client;
mod task_fleet;
mod task_guardian;
mod task_permissions;
mod task_submit;
mod terminal_text;
mod tools;
mod unauthenticated_clients;
mod webhook_averages;
mod with_kazoo;
mod wrong_znodes;
mod zones;
mod zookeeper_command;
mod zookeeper_faults;
mod zookeeper_leaders_killed;
mod zookeeper_servers_killed;
