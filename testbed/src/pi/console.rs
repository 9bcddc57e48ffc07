//! The serial console of the Pi: a shell at one end, whoever tests at the other. Programs that run in the Pi in the
//! background write their logs to it as well.

use std::time::{Duration, Instant};

use crate::process::{Line, Process, Stream};

/// What a shell command may take, unless more is asked for.
const COMMAND: Duration = Duration::from_secs(60);
/// Begins the line that says that a command is done. No program writes such a thing by itself.
const DONE: &str = "<<done";

/// What a command in the Pi came to.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its exit status.
    pub status: i32,
    /// Its lines, standard error included, between them perhaps some of programs in the background.
    pub lines: Vec<String>,
}

impl Output {
    /// All lines as one text.
    pub fn text(&self) -> String {
        self.lines.join("\n")
    }
}

/// A console with a shell that does not echo and has no prompt.
pub struct Console {
    qemu: Process,
    /// How many commands there were.
    commands: u32,
}

impl Console {
    pub(crate) fn of(qemu: Process) -> Self {
        Self { qemu: qemu.called("the emulated Pi", 60), commands: 0 }
    }

    /// Everything that was written so far.
    pub fn lines(&self) -> Vec<Line> {
        self.qemu.log()
    }

    /// The emulator's process, whose standard output this is.
    pub fn process(&mut self) -> &mut Process {
        &mut self.qemu
    }

    /// Waits for a line that contains `words`; one that came before the call counts.
    ///
    /// # Panics
    ///
    /// At the deadline, or when the emulator has ended.
    #[track_caller]
    pub fn wait_for(&self, words: &str, deadline: Duration) -> Line {
        self.qemu.wait_for_line(words, deadline)
    }

    /// Like [`wait_for`](Self::wait_for), for lines that came after `since`.
    #[track_caller]
    pub fn wait_for_since(&self, since: Instant, words: &str, deadline: Duration) -> Line {
        self.qemu.wait_for_line_since(since, words, deadline)
    }

    /// Waits until the shell answers: what is typed before it runs may be lost.
    #[track_caller]
    pub(crate) fn synchronise(&mut self) {
        let output = self.run("true");
        assert_eq!(output.status, 0, "the shell of the Pi cannot do nothing: {}", output.text());
    }

    /// Runs a command of one line, and waits for its end.
    ///
    /// # Panics
    ///
    /// When it has not ended after a minute.
    #[track_caller]
    pub fn run(&mut self, command: &str) -> Output {
        self.run_within(command, COMMAND)
    }

    /// Like [`run`](Self::run), with as much time as it takes.
    #[track_caller]
    pub fn run_within(&mut self, command: &str, deadline: Duration) -> Output {
        assert!(!command.contains('\n'), "one line: {command}");
        self.commands += 1;
        let done = format!("{DONE} {}", self.commands);
        let from = self.qemu.log().len();
        // A subshell: `exit` and `cd` stay in there.
        self.qemu.write_line(&format!("( {command} ) 2>&1; echo \"{done} $?>>\""));
        let is_done = |line: &Line| line.stream == Stream::Stdout && line.text.contains(&done);
        let (end, line) = match self.qemu.find_from(from, deadline, is_done) {
            Ok(found) => found,
            Err(why) => panic!("the Pi did not finish `{command}`: {why}"),
        };
        let mut lines: Vec<String> =
            self.qemu.log()[from..end - 1].iter().map(|line| line.text.clone()).collect();
        // Output without an end of line stands before the mark.
        let (before, mark) = line.text.split_once(&done).unwrap_or(("", ""));
        if !before.is_empty() {
            lines.push(before.to_owned());
        }
        let status = mark.trim().trim_end_matches(">>").parse().unwrap_or(-1);
        Output { status, lines }
    }

    /// Like [`run`](Self::run); a command that fails is a panic.
    #[track_caller]
    pub fn must(&mut self, command: &str) -> Output {
        let output = self.run(command);
        assert_eq!(output.status, 0, "`{command}` failed in the Pi: {}", output.text());
        output
    }

    /// Starts a program in the background; its lines come on the console. Returns its process id in the Pi.
    #[track_caller]
    pub fn start(&mut self, command: &str) -> u32 {
        // Not in a subshell of `run`, which would have to wait for the streams.
        let output = self.must(&format!("exec 3>&1; {command} </dev/null >&3 2>&3 & echo pid $!"));
        let pid = output.lines.iter().find_map(|line| line.strip_prefix("pid ")?.trim().parse().ok());
        pid.expect("the shell of the Pi says the process id")
    }
}
