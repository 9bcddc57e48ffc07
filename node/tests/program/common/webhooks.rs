//! Webhooks that get the averages of a fleet.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use atalaya_testbed::{Api, Process, Recorded, Scratch, node_command};
use serde_json::Value;

use super::{DEADLINE, Fleet, Timing, wait_until};

const BOARD: &str = r#"
[boards.v80]
backend = "sim"
sensors = [{ name = "s", chip = "random", sim = { temperature = { constant = 80 } } }]
"#;

/// A boards.toml with webhooks, and the webhooks.
pub struct Webhooks {
    pub apis: Vec<Api>,
    pub scratch: Scratch,
}

impl Webhooks {
    pub fn start(count: usize) -> Webhooks {
        let webhooks = Webhooks {
            apis: std::iter::repeat_with(Api::start).take(count).collect(),
            scratch: Scratch::new("webhooks"),
        };
        let urls: Vec<String> = webhooks.apis.iter().map(|api| format!("{}hook", api.base_url())).collect();
        webhooks.write(&urls);
        webhooks
    }

    /// Writes boards.toml with outputs `w1`, `w2`, … at these addresses.
    pub fn write(&self, urls: &[String]) {
        let output = |(number, url): (usize, &String)| {
            format!("[[fleet.outputs]]\ntype = \"webhook\"\nname = \"w{}\"\nurl = \"{url}\"\n", number + 1)
        };
        let outputs: String = urls.iter().enumerate().map(output).collect();
        std::fs::write(self.file(), format!("{outputs}{BOARD}")).unwrap();
    }

    pub fn file(&self) -> String {
        self.scratch.path().join("boards.toml").display().to_string()
    }

    /// Returns the command of a node without an API.
    pub fn command(&self, fleet: &Fleet, id: &str) -> Command {
        self.command_with(fleet, id, fleet.pace)
    }

    pub fn command_with(&self, fleet: &Fleet, id: &str, pace: Timing) -> Command {
        let mut command = node_command(env!("CARGO_BIN_EXE_atalaya"), id, &fleet.hosts);
        let milliseconds = |duration: Duration| format!("{}ms", duration.as_millis());
        command.args(["--session-timeout", &milliseconds(pace.session)]);
        command.args(["--sampling-period", &milliseconds(pace.period)]);
        command.args(["--boards", &self.file(), "--board", "v80"]).envs(fleet.identity("fleet"));
        command
    }

    pub fn leader(&self, fleet: &Fleet) -> Process {
        Process::start(self.command(fleet, "1"), " leading epoch=", DEADLINE)
    }
}

/// Returns the epoch and cycle of a request, by its key and by its body.
pub fn key(request: &Recorded) -> (i64, u64) {
    let key = super::key(request);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((body["epoch"].as_i64(), body["cycle"].as_u64()), (Some(key.0), Some(key.1)));
    key
}

/// Returns the averages that a webhook has kept, in order of arrival.
pub fn kept(api: &Api) -> Vec<(i64, u64)> {
    api.requests().iter().filter(|request| request.kept).map(key).collect()
}

#[track_caller]
pub fn wait_for_cycle(api: &Api, cycle: u64) {
    let what = format!("cycle {cycle}");
    api.wait_for(&what, DEADLINE, |all| all.iter().any(|request| request.kept && key(request).1 >= cycle));
}

/// Checks that the cycles 1, 2, … have arrived, each once.
#[track_caller]
pub fn each_once_and_in_order(kept: &[(i64, u64)]) {
    let cycles: Vec<u64> = kept.iter().map(|(_, cycle)| *cycle).collect();
    assert_eq!(cycles, (1..=cycles.len() as u64).collect::<Vec<_>>(), "{kept:?}");
    assert!(kept.is_sorted_by_key(|(epoch, _)| *epoch), "{kept:?}");
}

/// Checks that the cycles 1, 2, … have arrived, in any order: after a webhook has hung, new averages may arrive before
/// those that were under way.
#[track_caller]
pub fn all_have_arrived(kept: &[(i64, u64)]) {
    let cycles: BTreeSet<u64> = kept.iter().map(|(_, cycle)| *cycle).collect();
    assert_eq!(cycles.iter().copied().collect::<Vec<_>>(), (1..=cycles.len() as u64).collect::<Vec<_>>());
}

pub fn waits_for_nothing(fleet: &Fleet, name: &str) {
    let (probe, path) = (fleet.probe(), format!("/atalaya/outputs/{name}/reports"));
    wait_until("the outbox to be empty", || probe.ls(&path).is_empty());
}
