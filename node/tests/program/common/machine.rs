//! The state directory of a machine on which nodes run and are killed.

use std::path::PathBuf;
use std::process::{Command, Output};

use atalaya_testbed::{Process, Scratch};

use super::{DEADLINE, Fleet};

/// A state directory that nodes and `atalaya reap` share.
pub struct Machine {
    pub scratch: Scratch,
    /// Environment with which `atalaya reap` authenticates as a node.
    pub identity: Vec<(String, String)>,
}

impl Machine {
    pub fn of(fleet: &Fleet) -> Machine {
        Machine { scratch: Scratch::new("state"), identity: fleet.identity("fleet") }
    }

    pub fn folder(&self) -> PathBuf {
        self.scratch.path().join("atalaya")
    }

    pub fn command(&self, fleet: &Fleet, id: &str, args: &[&str]) -> Command {
        let folder = self.folder();
        let mut all = vec!["--state-dir", folder.to_str().unwrap()];
        all.extend(args);
        fleet.command(id, &all)
    }

    pub fn node(&self, fleet: &Fleet, id: &str, args: &[&str]) -> Process {
        Process::spawn(self.command(fleet, id, args))
    }

    pub fn leader(&self, fleet: &Fleet, id: &str, args: &[&str]) -> Process {
        let node = self.node(fleet, id, args);
        node.wait_for_line(" leading epoch=", DEADLINE);
        node
    }

    /// Runs `atalaya reap`, by default with a time limit that a busy machine does not reach.
    pub fn reap(&self, args: &[&str]) -> (Option<i32>, String) {
        let time_limit: &[&str] = if args.contains(&"--timeout") { &[] } else { &["--timeout", "60s"] };
        let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_atalaya"))
            .arg("reap")
            .args(args)
            .args(time_limit)
            .env_clear()
            .envs(self.identity.iter().map(|(name, value)| (name, value)))
            .env("ATALAYA_STATE_DIR", self.folder())
            .current_dir(self.scratch.path())
            .output()
            .unwrap();
        (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    /// Runs [`Machine::reap`], which exits with `code`. Returns its output.
    #[track_caller]
    pub fn reap_exits(&self, args: &[&str], code: i32) -> String {
        let (exit, said) = self.reap(args);
        assert_eq!(exit, Some(code), "{said}");
        said
    }

    /// Returns the only file with this suffix.
    pub fn file(&self, end: &str) -> PathBuf {
        let entries = std::fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|found| found == end)).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}
