//! Development tasks: `cargo xtask test`, `fleet`, `bench`, `fuzz`, `chaos`, `picture`, `pi`, `dist`,
//! `docs`, `containers`, `nightly`, `statistics`, `home-assistant`.
#![allow(clippy::print_stderr, reason = "a program for developers: its progress and its errors go to stderr")]

mod bench;
mod chaos;
mod console;
mod containers;
mod dist;
mod docs;
mod fleet;
mod fuzz;
mod home_assistant;
mod nightly;
mod parallel;
mod screenshot;
mod statistics;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
#[cfg(unix)]
use xtask::pi;

/// Development tasks of Atalaya.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Test(test::Arguments),
    Fleet(fleet::Arguments),
    Bench(bench::Arguments),
    Fuzz(fuzz::Arguments),
    Chaos(chaos::Arguments),
    /// Run the demo in a terminal for half a minute, and draw its screen into docs/demo.svg.
    Picture,
    #[cfg(unix)]
    Pi(pi::Arguments),
    Dist(dist::Arguments),
    Docs(docs::Arguments),
    Nightly(nightly::Arguments),
    Statistics(statistics::Arguments),
    HomeAssistant(home_assistant::Arguments),
    Containers(containers::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().task {
        Task::Test(arguments) => test::run(&arguments),
        Task::Fleet(arguments) => fleet::run(&arguments),
        Task::Bench(arguments) => bench::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Chaos(arguments) => chaos::run(&arguments),
        Task::Picture => screenshot::run(),
        #[cfg(unix)]
        Task::Pi(arguments) => pi::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Docs(arguments) => docs::run(&arguments),
        Task::Nightly(arguments) => nightly::run(&arguments),
        Task::Statistics(arguments) => statistics::run(&arguments),
        Task::HomeAssistant(arguments) => home_assistant::run(&arguments),
        Task::Containers(arguments) => containers::run(&arguments),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn filters_and_options_of_the_test_runner_are_handed_on() {
        let parsed =
            Arguments::try_parse_from(["x", "test", "-p", "atalaya", "leader", "--", "--nocapture"]).unwrap();
        let Task::Test(test) = parsed.task else { panic!("another task was parsed") };
        let features = ["--features", "atalaya/fault-points"];
        assert_eq!(
            test.words(),
            [&["test", "--package", "atalaya"], &features[..], &["--", "leader", "--nocapture"]].concat()
        );
        let Task::Test(all) = Arguments::try_parse_from(["x", "test"]).unwrap().task else {
            panic!("not test")
        };
        assert_eq!(
            all.words(),
            [&["test", "--workspace", "--exclude", "atalaya-bench"], &features[..]].concat()
        );
    }
}
