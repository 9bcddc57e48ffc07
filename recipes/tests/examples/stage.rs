//! A server in memory, and examples that are run on it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use atalaya_sim::zookeeper::Server;
use atalaya_testbed::{Process, eventually};

/// No condition takes longer, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Stage {
    server: Server,
}

impl Stage {
    pub(crate) fn new() -> Stage {
        Stage { server: Server::builder().listen("127.0.0.1:0").start_thread().unwrap() }
    }

    /// Begins an example.
    #[track_caller]
    pub(crate) fn run(&self, name: &str, args: &[&str]) -> Example {
        assert!(crate::RUN.contains(&name), "{name} is not among those that are run");
        let mut command = Command::new(built(name));
        command.arg(self.server.connect_string()).args(args);
        Example { process: Process::spawn(command) }
    }
}

/// Where cargo puts it: beside the folder of this test.
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
         `cargo test` unless it is told which test",
        program.display()
    );
    program
}

/// An example that runs.
pub(crate) struct Example {
    process: Process,
}

impl Example {
    /// It says this, and when.
    #[track_caller]
    pub(crate) fn says(&self, what: &str) -> Instant {
        self.process.wait_for_line(what, SOON).at
    }

    /// It says this after that moment, and when.
    #[track_caller]
    pub(crate) fn says_after(&self, moment: Instant, what: &str) -> Instant {
        self.process.wait_for_line_since(moment, what, SOON).at
    }

    /// It ends by itself, well.
    #[track_caller]
    pub(crate) fn ends(&mut self) {
        let exit = self.process.wait_exit(SOON);
        assert!(exit.success(), "{exit}");
    }

    /// It ends by itself, and says this of it.
    #[track_caller]
    pub(crate) fn fails(&mut self, why: &str) {
        let exit = self.process.wait_exit(SOON);
        assert!(!exit.success(), "{exit}");
        self.says(why);
    }

    /// It ends by Ctrl-C, well. That is pressed until it is heard: an example waits for it anew after each thing it does.
    #[track_caller]
    pub(crate) fn is_stopped(&mut self) {
        let exit = eventually("it ends by Ctrl-C", SOON, || {
            self.process.int();
            self.process.try_exit()
        });
        assert!(exit.success(), "{exit}");
    }
}
