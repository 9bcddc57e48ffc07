//! An in-memory server, and example programs that run against it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use atalaya_testbed::{Process, eventually};
use atalaya_zookeeper::Server;

/// Deadline of every condition, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    server: Server,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage { server: Server::builder().listen("127.0.0.1:0").start_thread().unwrap() }
    }

    #[track_caller]
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Example {
        assert!(crate::RUN.contains(&name), "{name} is not among those that are run");
        let mut command = Command::new(built(name));
        command.arg(self.server.connect_string()).args(args);
        Example { process: Process::spawn(command) }
    }
}

/// Returns the path where cargo puts the example: beside the folder of this test.
#[track_caller]
fn built(name: &str) -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().and_then(Path::parent).unwrap().join("examples");
    let program = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    let written = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(format!("{name}.rs"));
    let is_new = written(&program) >= written(&source).or(Some(SystemTime::UNIX_EPOCH));
    assert!(
        is_new,
        "{} is not built, or not since it was changed: `cargo build -p atalaya-recipes --examples` does that, and so does \
         `cargo test` unless it is reported which test",
        program.display()
    );
    program
}

pub(crate) struct Example {
    process: Process,
}

impl Example {
    #[track_caller]
    pub(crate) fn says(&self, what: &str) -> Instant {
        self.process.wait_for_line(what, DEADLINE).at
    }

    #[track_caller]
    pub(crate) fn says_after(&self, moment: Instant, what: &str) -> Instant {
        self.process.wait_for_line_since(moment, what, DEADLINE).at
    }

    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let exit = self.process.wait_exit(DEADLINE);
        assert!(exit.success(), "{exit}");
    }

    /// Waits for these lines, and until the example exits successfully.
    #[track_caller]
    pub(crate) fn ends_after(&mut self, lines: &[&str]) {
        for line in lines {
            self.says(line);
        }
        self.ends();
    }

    #[track_caller]
    pub(crate) fn fails(&mut self, why: &str) {
        let exit = self.process.wait_exit(DEADLINE);
        assert!(!exit.success(), "{exit}");
        self.says(why);
    }

    /// Sends SIGINT until the example exits successfully. An example listens for it again after each step, so one
    /// signal may be missed.
    #[track_caller]
    pub(crate) fn is_stopped(&mut self) {
        let exit = eventually("it ends by Ctrl-C", DEADLINE, || {
            self.process.int();
            self.process.try_exit()
        });
        assert!(exit.success(), "{exit}");
    }
}
