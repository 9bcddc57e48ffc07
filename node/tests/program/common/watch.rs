//! What a node tells of itself over HTTP.

use atalaya_testbed::{Answer, Process, eventually, get};

use super::PATIENCE;

/// A node that was started with `--metrics-listen`.
pub struct Watch {
    /// `127.0.0.1:PORT`.
    pub address: String,
}

impl Watch {
    /// Of this node.
    pub fn of(node: &Process) -> Watch {
        let line = node.wait_for_line("metrics at http://", PATIENCE).text;
        let (_, address) = line.split_once("http://").unwrap();
        Watch { address: address.split('/').next().unwrap().to_owned() }
    }

    /// What it says there.
    pub fn ask(&self, path: &str) -> Answer {
        get(&self.address, path, &[]).unwrap()
    }

    /// All figures, as text.
    pub fn text(&self) -> String {
        let answer = self.ask("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// The figure of that name, with its labels as they are written.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    /// Waits until that figure is as it should be.
    #[track_caller]
    pub fn wait_for(&self, name: &str, is: impl Fn(f64) -> bool) -> f64 {
        eventually(name, PATIENCE, || self.figure(name).filter(|value| is(*value)))
    }

    /// Waits until it answers there with that status, and gives the words.
    #[track_caller]
    pub fn wait_for_status(&self, path: &str, status: u16) -> String {
        eventually(&format!("{status} at {path}"), PATIENCE, || {
            Some(self.ask(path)).filter(|answer| answer.status == status).map(|answer| answer.body)
        })
    }
}
