//! The binary: parses the command line, runs the command, turns the outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    atalaya::commands::main()
}
