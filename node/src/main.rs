//! The `atalaya` binary: parses the command line, runs the command, and returns its exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    atalaya::commands::main()
}
