//! HTTP client for the metrics and health endpoints of a node.

use atalaya_testbed::{Answer, Process, eventually, get};

use super::DEADLINE;

/// A node that was started with `--metrics-listen`.
pub struct MetricsClient {
    pub address: String,
}

impl MetricsClient {
    pub fn of(node: &Process) -> MetricsClient {
        let line = node.wait_for_line("metrics at http://", DEADLINE).text;
        let (_, address) = line.split_once("http://").unwrap();
        MetricsClient { address: address.split('/').next().unwrap().to_owned() }
    }

    pub fn ask(&self, path: &str) -> Answer {
        get(&self.address, path, &[]).unwrap()
    }

    pub fn text(&self) -> String {
        let answer = self.ask("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.body
    }

    /// Returns the value of a metric; `name` includes its labels as they are written.
    pub fn figure(&self, name: &str) -> Option<f64> {
        let text = self.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }

    #[track_caller]
    pub fn wait_for(&self, name: &str, is: impl Fn(f64) -> bool) -> f64 {
        eventually(name, DEADLINE, || self.figure(name).filter(|value| is(*value)))
    }

    /// Waits until a path answers with this status. Returns the body.
    #[track_caller]
    pub fn wait_for_status(&self, path: &str, status: u16) -> String {
        eventually(&format!("{status} at {path}"), DEADLINE, || {
            Some(self.ask(path)).filter(|answer| answer.status == status).map(|answer| answer.body)
        })
    }
}
