//! The serial console of the Pi: a shell at one end, the test at the other. Programs that run in the background in the
//! Pi write their logs to it as well.

use std::time::Duration;

use crate::process::{Line, Process, Stream};

/// Default timeout of a shell command.
const COMMAND: Duration = Duration::from_secs(60);
/// Start of the line that marks the end of a command. No program writes such a line by itself.
const DONE: &str = "<<done";

#[derive(Clone, Debug)]
pub struct Output {
    pub status: i32,
    /// Lines of the command, including standard error. Lines of programs in the background may be among them.
    pub lines: Vec<String>,
}

impl Output {
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// A console with a shell that does not echo and has no prompt.
pub struct Console {
    qemu: Process,
    commands: u32,
}

impl Console {
    pub(crate) fn of(qemu: Process) -> Self {
        Self { qemu: qemu.called("the emulated Pi", 60), commands: 0 }
    }

    /// Kills the emulator, and returns it with all lines that it has written.
    pub(crate) fn kill(mut self) -> Process {
        self.qemu.kill9();
        self.qemu
    }

    /// Returns the emulator, whose log is that of all programs in the Pi.
    pub fn process(&self) -> &Process {
        &self.qemu
    }

    /// Waits for a line that contains `words`. A line that arrived before the call counts.
    ///
    /// # Panics
    ///
    /// At the deadline, or when the emulator has ended.
    #[track_caller]
    pub fn wait_for(&self, words: &str, deadline: Duration) -> Line {
        self.qemu.wait_for_line(words, deadline)
    }

    /// Runs a command of one line, and waits for its end.
    #[track_caller]
    pub fn run_within(&mut self, command: &str, deadline: Duration) -> Output {
        assert!(!command.contains('\n'), "one line: {command}");
        self.commands += 1;
        let done = format!("{DONE} {}", self.commands);
        let from = self.qemu.log().len();
        // A subshell, so that `exit` and `cd` do not affect the shell.
        self.qemu.write_line(&format!("( {command} ) 2>&1; echo \"{done} $?>>\""));
        let is_done = |line: &Line| line.stream == Stream::Stdout && line.text.contains(&done);
        let (end, line) = match self.qemu.find_from(from, deadline, is_done) {
            Ok(found) => found,
            Err(why) => panic!("the Pi did not finish `{command}`: {why}"),
        };
        let mut lines: Vec<String> =
            self.qemu.log()[from..end - 1].iter().map(|line| line.text.clone()).collect();
        // Output without a line end precedes the mark.
        let (before, mark) = line.text.split_once(&done).unwrap_or(("", ""));
        if !before.is_empty() {
            lines.push(before.to_owned());
        }
        let status = mark.trim().trim_end_matches(">>").parse().unwrap_or(-1);
        Output { status, lines }
    }

    /// Runs a command like [`run_within`](Self::run_within), and panics if it fails.
    #[track_caller]
    pub fn must(&mut self, command: &str) -> Output {
        let output = self.run_within(command, COMMAND);
        assert_eq!(output.status, 0, "`{command}` failed in the Pi: {}", output.text());
        output
    }

    /// Starts a program in the background, which writes to the console. Returns its process id in the Pi.
    #[track_caller]
    pub fn start(&mut self, command: &str) -> u32 {
        // Not in the subshell of `run_within`, which would have to wait for the streams.
        let output = self.must(&format!("exec 3>&1; {command} </dev/null >&3 2>&3 & echo pid $!"));
        let pid = output.lines.iter().find_map(|line| line.strip_prefix("pid ")?.trim().parse().ok());
        pid.expect("the shell of the Pi says the process id")
    }
}
