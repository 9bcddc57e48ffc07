//! Built-in actions. They only read, and use what sampling has already read.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use atalaya_config::Backend;
use atalaya_config::{INSTALL_BOARDS, MAX_SIZE, Promise};

use super::{
    ActionHandles, ActionInfo, BoardActions, Execution, ExecutionOutcome, ExecutionRequest, SensorHandles,
    StopReason,
};
use crate::model::health_status::SensorState;
use crate::model::node_info::SensorStatus;
use crate::model::task::paths;
use crate::model::text::sanitize_lines;
use crate::sampling::LatestSample;

/// Time limit of a built-in action.
const RUN_FOR: Duration = Duration::from_secs(30);
/// Maximum time to wait for the buses that are scanned.
#[cfg(all(target_os = "linux", feature = "chips"))]
const RESERVE_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BuiltIn {
    Read,
    SelfTest,
    Scan,
    Status,
    Install,
}

/// Output and, if the action failed, the reason.
type Outcome = (String, Option<String>);

impl BuiltIn {
    pub(super) const ALL: [BuiltIn; 5] =
        [BuiltIn::Read, BuiltIn::SelfTest, BuiltIn::Scan, BuiltIn::Status, BuiltIn::Install];

    pub(super) const fn name(self) -> &'static str {
        match self {
            BuiltIn::Read => "sensors.read",
            BuiltIn::SelfTest => "sensors.selftest",
            BuiltIn::Scan => "sensors.scan",
            BuiltIn::Status => "status",
            BuiltIn::Install => INSTALL_BOARDS,
        }
    }

    pub(super) fn parse(name: &str) -> Option<BuiltIn> {
        BuiltIn::ALL.into_iter().find(|action| action.name() == name)
    }

    /// Returns true if a node with these handles can execute the action. `allows_install`: its board allows
    /// `boards.install`.
    pub(super) fn is_offered(self, handles: &ActionHandles, allows_install: bool) -> bool {
        match self {
            BuiltIn::Status => true,
            BuiltIn::Install => handles.install.is_some() && allows_install,
            BuiltIn::Read | BuiltIn::SelfTest | BuiltIn::Scan => handles.sensors.is_some(),
        }
    }

    pub(super) fn info(self) -> ActionInfo {
        ActionInfo {
            args: Default::default(),
            run_for_ms: super::millis(RUN_FOR),
            promise: Promise::AtLeastOnce,
            read_only: self != BuiltIn::Install,
        }
    }
}

/// Executes a built-in action of a node that was started at `started`.
pub(super) async fn run(
    action: BuiltIn,
    handles: &ActionHandles,
    board: &BoardActions,
    started: Instant,
    request: &ExecutionRequest,
    stop: impl Future<Output = StopReason>,
) -> Execution {
    let run_for = request.run_for.map_or(RUN_FOR, |limit| limit.min(RUN_FOR));
    let outcome = tokio::select! {
        biased;
        reason = stop => return Execution::not_started(ExecutionOutcome::Stopped(reason), "stopped"),
        outcome = tokio::time::timeout(run_for, execute(action, handles, board, started, request)) => outcome,
    };
    let Ok((text, reason)) = outcome else {
        let reason = format!("the time limit of {run_for:?} was reached");
        return Execution::not_started(ExecutionOutcome::TimedOut, reason);
    };
    let (output, output_cut) = first_lines(&text);
    let outcome = if reason.is_none() { ExecutionOutcome::Done } else { ExecutionOutcome::Failed };
    Execution { outcome, output, output_cut, reason, ..Execution::default() }
}

/// Returns the start of the text, and the number of bytes after it. In a table, the end is not more important.
fn first_lines(text: &str) -> (String, u64) {
    let text = sanitize_lines(text);
    let fits = |end: &usize| *end <= super::MAX_OUTPUT;
    let end = match text.len() <= super::MAX_OUTPUT {
        true => text.len(),
        false => text.match_indices('\n').map(|(index, _)| index + 1).take_while(fits).last().unwrap_or(0),
    };
    (text[..end].to_owned(), (text.len() - end) as u64)
}

async fn execute(
    action: BuiltIn,
    handles: &ActionHandles,
    board: &BoardActions,
    started: Instant,
    request: &ExecutionRequest,
) -> Outcome {
    let none = || (String::new(), Some("this node has no sensors".to_owned()));
    match (action, &handles.sensors) {
        (BuiltIn::Status, _) => (status(handles, board, started), None),
        (BuiltIn::Install, _) => match install(handles, request).await {
            Ok(text) => (text, None),
            Err(reason) => (String::new(), Some(reason)),
        },
        (_, None) => none(),
        (BuiltIn::Read, Some(sensors)) => {
            wait_for_sample(sensors).await;
            let latest = sensors.latest.borrow().clone();
            latest.map_or_else(none, |latest| read(&latest))
        }
        (BuiltIn::SelfTest, Some(sensors)) => {
            wait_for_sample(sensors).await;
            let infos = sensors.info.borrow().clone();
            self_test(&infos)
        }
        (BuiltIn::Scan, Some(sensors)) => scan(sensors, board.backend, &request.task).await,
    }
}

/// Installs the file of the request as boards.toml.
async fn install(handles: &ActionHandles, request: &ExecutionRequest) -> Result<String, String> {
    let (Some(installer), Some(session)) = (&handles.install, &handles.session) else {
        return Err("this node has no boards.toml".to_owned());
    };
    let file = request.file.as_deref().ok_or("the task has no file; submit it with --file")?;
    let read = session.connection().await.get_opt(&paths::file(file)).await;
    let (data, _) =
        read.map_err(|error| error.to_string())?.ok_or("the file of the task does not exist any more")?;
    if data.len() > MAX_SIZE {
        return Err(format!("the file has {} bytes, and {MAX_SIZE} are the maximum", data.len()));
    }
    installer.install(data).await
}

/// Waits for the first sample of a node that has just started.
async fn wait_for_sample(sensors: &SensorHandles) {
    // An error means that the node stops.
    let _ = sensors.latest.clone().wait_for(Option::is_some).await;
}

/// Formats a sample: `NAME QUANTITY VALUE UNIT` per reading, `NAME error TEXT` for a sensor without one.
fn read(latest: &LatestSample) -> Outcome {
    let mut text = String::new();
    let mut readings = 0;
    for sample in &latest.samples {
        let name = &sample.sensor;
        match &sample.result {
            Ok(found) => {
                readings += found.len();
                for reading in found {
                    let (quantity, value) = (reading.quantity(), reading.value());
                    let _ = writeln!(text, "{name} {} {value} {}", quantity.name(), quantity.unit());
                }
            }
            Err(error) => {
                let _ = writeln!(text, "{name} error {}", error.replace('\n', " "));
            }
        }
    }
    let reason = (readings == 0).then(|| "no sensor has a reading".to_owned());
    (text, reason)
}

/// Formats the health: `NAME STATE` per sensor, with its error. Fails if a sensor cannot be read.
fn self_test(sensors: &[SensorStatus]) -> Outcome {
    let mut text = String::new();
    let mut failing = Vec::new();
    for sensor in sensors {
        let (name, health) = (&sensor.name, &sensor.health);
        let error = health.error.as_deref().map(|error| format!(" {}", error.replace('\n', " ")));
        let _ = writeln!(text, "{name} {}{}", health.state.name(), error.unwrap_or_default());
        if health.state != SensorState::Ok {
            failing.push(name.as_str());
        }
    }
    let reason = match (failing.len(), sensors.len()) {
        (_, 0) => Some("this node has no sensors".to_owned()),
        (0, _) => None,
        (count, all) => Some(format!("{count} of {all} sensors cannot be read: {}", failing.join(", "))),
    };
    (text, reason)
}

/// Lists the chips on the buses of the board. The buses of simulated sensors have the configured ones.
async fn scan(sensors: &SensorHandles, backend: Backend, task: &str) -> Outcome {
    let infos = sensors.info.borrow().clone();
    let mut buses: Vec<String> = infos.iter().filter_map(|info| info.bus.clone()).collect();
    buses.sort_unstable();
    buses.dedup();
    buses.retain(|bus| bus.starts_with("i2c-"));
    if buses.is_empty() {
        return ("no sensor of this board is on an I²C bus\n".to_owned(), None);
    }
    if backend == Backend::Sim {
        return (simulated(&infos, &buses), None);
    }
    scan_machine(sensors, buses, task).await
}

fn simulated(infos: &[SensorStatus], buses: &[String]) -> String {
    let mut text = String::new();
    for bus in buses {
        let _ = writeln!(text, "{bus}, simulated");
        let on_bus = infos.iter().filter(|info| info.bus.as_ref() == Some(bus));
        let mut chips: Vec<(u8, &str)> = on_bus
            .filter(|info| info.health.state != SensorState::Absent)
            .filter_map(|info| Some((info.address?, info.chip.as_str())))
            .collect();
        chips.sort_unstable();
        chips.dedup();
        for (address, chip) in chips {
            let _ = writeln!(text, "  {address:#04x}  {chip}");
        }
    }
    text
}

#[cfg(all(target_os = "linux", feature = "chips"))]
async fn scan_machine(sensors: &SensorHandles, buses: Vec<String>, task: &str) -> Outcome {
    use crate::sampling::bus_scan::format_bus;

    // The kernel serialises single transfers, but a chip may need several in a row.
    let reserved = sensors.reservations.reserve(&buses, task, RESERVE_TIMEOUT).await;
    let reservation = match reserved {
        Ok(reservation) => reservation,
        Err(reason) => return (String::new(), Some(reason)),
    };
    let scanned = tokio::task::spawn_blocking(move || {
        let scanner = atalaya_hal::linux::scan::Scanner::default();
        let known = scanner.buses();
        let (mut text, mut failed) = (String::new(), Vec::new());
        for bus in &buses {
            match known.iter().find(|known| known.name == *bus) {
                None => failed.push(format!("{bus}: this machine has no such bus")),
                Some(known) => match scanner.scan(bus) {
                    Ok(found) => text += &format_bus(known, &found),
                    Err(error) => failed.push(format!("{bus}: {error}")),
                },
            }
        }
        // Released here, because the scan continues if the action is stopped.
        drop(reservation);
        (text, (!failed.is_empty()).then(|| failed.join("; ")))
    });
    scanned.await.unwrap_or_else(|error| (String::new(), Some(format!("the scan has failed: {error}"))))
}

#[cfg(not(all(target_os = "linux", feature = "chips")))]
async fn scan_machine(_: &SensorHandles, _: Vec<String>, _: &str) -> Outcome {
    (String::new(), Some("this machine or this program has no I²C buses".to_owned()))
}

/// Formats the state of the process, one `KEY VALUE` per line.
fn status(handles: &ActionHandles, board: &BoardActions, started: Instant) -> String {
    let mut text = format!(
        "version {}\nboard {}\nhost {}\npid {}\nuptime_seconds {}\n",
        env!("CARGO_PKG_VERSION"),
        board.board,
        crate::model::node_info::host_name(),
        std::process::id(),
        started.elapsed().as_secs(),
    );
    if let Some(session) = &handles.session {
        let _ = writeln!(text, "session_timeout_ms {}", session.state().timeout.as_millis());
    }
    if let Some(leader) = &handles.leader {
        let leader = leader.borrow().clone();
        let _ = writeln!(text, "leader {}", if leader.is_some() { "yes" } else { "no" });
        if let Some(leader) = leader {
            let _ = writeln!(text, "epoch {}\ncycle {}", leader.epoch, leader.cycle);
        }
    }
    if let Some(sensors) = &handles.sensors {
        let _ = writeln!(text, "sensors {}", sensors.info.borrow().len());
    }
    text
}

#[cfg(test)]
#[path = "built_in_tests.rs"]
mod tests;
