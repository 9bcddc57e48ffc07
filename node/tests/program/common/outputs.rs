//! Runs commands of `atalaya` to their end: output and exit code.

use std::process::Output;

use serde_json::Value;

use super::TestEnv;

pub fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Asserts that the command has failed with this exit code and reason.
#[track_caller]
pub fn assert_refused(output: &Output, code: i32, reason: &str) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
    assert!(stderr(output).contains(reason), "{output:?}");
}

impl TestEnv {
    /// Runs `atalaya WORDS…` with the identity of an administrator.
    pub fn run(&self, words: &[&str]) -> Output {
        self.tool().args(words).args(["--zookeeper", &self.hosts]).output().unwrap()
    }

    /// Returns the output of `atalaya WORDS…`, which succeeds.
    #[track_caller]
    pub fn succeeds(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{output:?}");
        stdout(&output)
    }

    #[track_caller]
    pub fn status(&self) -> Value {
        serde_json::from_str(&self.succeeds(&["status", "--output", "json", "--session-timeout", "4s"]))
            .unwrap()
    }

    pub fn reports(&self, words: &[&str]) -> Output {
        self.run(&[&["reports"], words, &["--session-timeout", "2s"]].concat())
    }
}
