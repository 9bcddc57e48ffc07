//! Tests of boards.toml and of the boards that it describes, in one program: a program for each file would take longer to
//! compile. One that measures its memory has a program of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod a_board_is_simulated;
mod boards_toml_as_a_file_is_checked;
mod boards_toml_is_read;
mod every_chip_on_every_backend;
mod faults_happen_on_schedule;
mod faults_in_boards_toml;
mod marked;
mod mistakes_in_a_sensor_are_refused;
mod mistakes_in_boards_toml_are_refused;
mod programs_files_and_kernel_sensors_are_read;
mod sensor_pages;
mod tasks_in_boards_toml;
