//! Executes actions: checks the request, and runs a built-in action or a command.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_config::{Backend, Board};
use atalaya_config::{TaskAction, Tasks, check_args};
use tokio::sync::watch;
use tracing::warn;

use super::built_in::{self, BuiltIn};
use super::{
    ActionHandles, ActionInfo, Execution, ExecutionOutcome, ExecutionRequest, LocalLease, StopReason, refusal,
};
use crate::sampling::Reservation;
use crate::settings::Settings;

/// Maximum time to wait for the buses that an action needs: longer than a sample waits for a reading.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(15);

/// Executes the actions of a board. Clones share the actions.
#[derive(Clone)]
pub struct Executor(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    node: String,
    settings: Settings,
    config: watch::Sender<Arc<ActionConfig>>,
    handles: ActionHandles,
    started: Instant,
    /// Program of the guardian; by default that of this process.
    #[cfg_attr(not(unix), expect(dead_code, reason = "commands are executed only on Unix systems"))]
    program: Option<PathBuf>,
    /// Number of guardian processes that have not ended.
    running: watch::Sender<usize>,
}

/// Part of a board that an executor uses.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardActions {
    /// Name of the board.
    pub board: String,
    /// Backend of its sensors.
    pub backend: Backend,
    /// Its actions; `None`: it executes nothing.
    pub tasks: Option<Tasks>,
}

impl BoardActions {
    /// Returns the actions of a board of boards.toml.
    pub fn of(name: &str, board: &Board) -> BoardActions {
        BoardActions { board: name.to_owned(), backend: board.backend, tasks: board.tasks.clone() }
    }
}

/// Actions that are offered.
#[derive(Clone, Debug)]
pub struct ActionConfig {
    actions: BoardActions,
    /// Reason why only the read-only actions are offered.
    refusal: Option<String>,
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").field("config", &self.config()).finish_non_exhaustive()
    }
}

impl Executor {
    /// Creates the executor of a node.
    ///
    /// Logs a warning if the settings do not protect ZooKeeper, see [`refusal`]. Then only the read-only actions are
    /// offered.
    pub fn new(node: &str, actions: BoardActions, settings: &Settings, handles: ActionHandles) -> Executor {
        let config = ActionConfig::new(actions, settings);
        Executor(Arc::new(Inner {
            node: node.to_owned(),
            settings: settings.clone(),
            config: watch::Sender::new(Arc::new(config)),
            handles,
            started: Instant::now(),
            program: None,
            running: watch::Sender::default(),
        }))
    }

    /// Uses another binary of Atalaya for the guardian process. For tests, which are a different program.
    #[must_use]
    pub fn with_program(self, program: PathBuf) -> Executor {
        Executor(Arc::new(Inner { program: Some(program), ..(*self.0).clone() }))
    }

    /// Replaces the actions after a reload of boards.toml. Executions in progress continue.
    pub fn replace(&self, actions: BoardActions) {
        self.0.config.send_if_modified(|config| {
            let is_changed = config.actions != actions;
            if is_changed {
                *config = Arc::new(ActionConfig::new(actions, &self.0.settings));
            }
            is_changed
        });
    }

    /// Returns a receiver that is notified when the actions change.
    pub fn changes(&self) -> watch::Receiver<Arc<ActionConfig>> {
        self.0.config.subscribe()
    }

    /// Returns the maximum number of tasks at a time; zero if the board executes nothing.
    pub fn slots(&self) -> usize {
        self.config().actions.tasks.as_ref().map_or(0, |tasks| usize::from(tasks.slots))
    }

    /// Returns the actions that this node offers, with their arguments.
    pub fn catalogue(&self) -> BTreeMap<String, ActionInfo> {
        let config = self.config();
        let Some(tasks) = &config.actions.tasks else { return BTreeMap::new() };
        let built_in = BuiltIn::ALL
            .into_iter()
            .filter(|action| action.is_offered(&self.0.handles, self.allows_install()));
        let mut catalogue: BTreeMap<String, ActionInfo> =
            built_in.map(|action| (action.name().to_owned(), action.info())).collect();
        if config.refusal.is_none() && cfg!(unix) {
            catalogue.extend(tasks.actions.iter().map(|(name, action)| (name.clone(), info(action))));
        }
        catalogue
    }

    /// Returns true if the board allows the action `boards.install`, and ZooKeeper is protected. The executor does not
    /// execute it.
    fn allows_install(&self) -> bool {
        let config = self.config();
        config.refusal.is_none() && config.actions.tasks.as_ref().is_some_and(|tasks| tasks.install_boards)
    }

    /// Returns the names of the sensors, which arguments of the type `sensor` accept.
    pub fn sensor_names(&self) -> Vec<String> {
        let Some(sensors) = &self.0.handles.sensors else { return Vec::new() };
        sensors.info.borrow().iter().map(|sensor| sensor.name.clone()).collect()
    }

    /// Checks an action and its arguments.
    ///
    /// # Errors
    /// Reason why they cannot be executed, with the accepted names and values.
    pub fn check(&self, action: &str, args: &BTreeMap<String, String>) -> Result<(), String> {
        let catalogue = self.catalogue();
        let Some(info) = catalogue.get(action) else { return Err(self.unknown(action, &catalogue)) };
        let sensors = self.sensor_names();
        let sensors: Vec<&str> = sensors.iter().map(String::as_str).collect();
        check_args(&info.args, args, &sensors)?;
        if let Some(action) = self.config().action(action) {
            action.command_line(args, &sensors)?;
        }
        Ok(())
    }

    fn unknown(&self, action: &str, catalogue: &BTreeMap<String, ActionInfo>) -> String {
        let config = self.config();
        let shown = crate::model::text::sanitize_for_log(action);
        let BoardActions { board, tasks, .. } = &config.actions;
        if tasks.is_none() {
            return format!("this node executes no actions: its board {board} has no table `tasks`");
        }
        if let (Some(reason), Some(_)) = (&config.refusal, config.action(action)) {
            return format!("the action `{shown}` is not executed: {reason}");
        }
        let names: Vec<&str> = catalogue.keys().map(String::as_str).collect();
        format!("unknown action `{shown}`: this node executes {}", names.join(", "))
    }

    /// Executes an action until it ends, `stop` completes, the time limit is reached or the local lease ends. `lease`
    /// returns the lease of the session in which the task is claimed; it is called repeatedly. `progress` receives the
    /// progress that the command reports.
    ///
    /// When this returns, no process of the command is left, and sampling uses the buses again. A request that
    /// [`Executor::check`] refuses fails.
    ///
    /// # Cancellation safety
    /// If the future is dropped, all processes of the command are killed shortly afterwards; see
    /// [`Executor::wait_until_idle`].
    pub async fn execute(
        &self,
        request: ExecutionRequest,
        lease: impl Fn() -> LocalLease,
        progress: watch::Sender<String>,
        stop: impl Future<Output = StopReason>,
    ) -> Execution {
        let begin = Instant::now();
        let execution = self.run(&request, lease, progress, stop).await;
        Execution { duration: begin.elapsed(), ..execution }
    }

    async fn run(
        &self,
        request: &ExecutionRequest,
        lease: impl Fn() -> LocalLease,
        progress: watch::Sender<String>,
        stop: impl Future<Output = StopReason>,
    ) -> Execution {
        let failed = |reason| Execution::not_started(ExecutionOutcome::Failed, reason);
        if let Err(reason) = self.check(&request.action, &request.args) {
            return failed(reason);
        }
        let config = self.config();
        let Some(action) = config.action(&request.action) else {
            let board = &config.actions;
            return match BuiltIn::parse(&request.action) {
                Some(action) => {
                    built_in::run(action, &self.0.handles, board, self.0.started, request, stop).await
                }
                None => failed("the action is not available any more".to_owned()),
            };
        };
        let sensors = self.sensor_names();
        let sensors: Vec<&str> = sensors.iter().map(String::as_str).collect();
        let argv = match action.command_line(&request.args, &sensors) {
            Ok(argv) => argv,
            Err(reason) => return failed(reason),
        };
        let mut stop = std::pin::pin!(stop);
        let reserved = tokio::select! {
            biased;
            reason = &mut stop => {
                return Execution::not_started(ExecutionOutcome::Stopped(reason), "stopped before the start");
            }
            reserved = self.reserve(&action.needs, &request.task) => reserved,
        };
        // Held until all processes of the command have ended.
        let _reservation = match reserved {
            Ok(reservation) => reservation,
            Err(reason) => return failed(reason),
        };
        self.run_command(action, argv, request, lease, progress, stop).await
    }

    /// Waits until no process of a command is left, also of executions whose futures were dropped. A worker must do so
    /// before it closes its session: another worker can start its tasks as soon as the claims are gone.
    pub async fn wait_until_idle(&self) {
        // The sender is in `self`, so this is not an error.
        let _ = self.0.running.subscribe().wait_for(|count| *count == 0).await;
    }

    async fn reserve(&self, buses: &[String], task: &str) -> Result<Option<Reservation>, String> {
        match &self.0.handles.sensors {
            Some(sensors) if !buses.is_empty() => {
                sensors.reservations.reserve(buses, task, RESERVE_TIMEOUT).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    #[cfg(unix)]
    async fn run_command(
        &self,
        action: &TaskAction,
        argv: Vec<String>,
        request: &ExecutionRequest,
        lease: impl Fn() -> LocalLease,
        progress: watch::Sender<String>,
        stop: impl Future<Output = StopReason>,
    ) -> Execution {
        let run_for = request.run_for.map_or(action.run_for, |limit| limit.min(action.run_for));
        let mut env = action.env.clone();
        env.extend([
            ("ATALAYA_TASK".to_owned(), request.task.clone()),
            ("ATALAYA_ATTEMPT".to_owned(), request.attempt.to_string()),
            ("ATALAYA_FENCE".to_owned(), request.fence.to_string()),
            ("ATALAYA_NODE".to_owned(), self.0.node.clone()),
        ]);
        let (program, mark) = (self.0.program.clone(), crate::process::executions::unique_mark());
        let command = super::command::GuardedCommand { program, argv, env, run_for, mark };
        command.run(&self.0.running, lease, progress, stop).await
    }

    #[cfg(not(unix))]
    async fn run_command(
        &self,
        _: &TaskAction,
        _: Vec<String>,
        _: &ExecutionRequest,
        _: impl Fn() -> LocalLease,
        _: watch::Sender<String>,
        _: impl Future<Output = StopReason>,
    ) -> Execution {
        Execution::not_started(ExecutionOutcome::Failed, "commands are executed only on Unix systems")
    }

    fn config(&self) -> Arc<ActionConfig> {
        self.0.config.borrow().clone()
    }
}

impl ActionConfig {
    fn new(actions: BoardActions, settings: &Settings) -> ActionConfig {
        let refusal = actions.tasks.as_ref().and_then(|tasks| refusal(tasks, settings));
        if let Some(reason) = &refusal {
            warn!(board = actions.board, "only the read-only actions are executed: {reason}");
        }
        ActionConfig { actions, refusal }
    }

    /// Returns the name of the board.
    pub fn board(&self) -> &str {
        &self.actions.board
    }

    /// Returns what the board allows; `None` if it executes nothing.
    pub fn tasks(&self) -> Option<&Tasks> {
        self.actions.tasks.as_ref()
    }

    /// Returns the action of boards.toml with this name.
    fn action(&self, name: &str) -> Option<&TaskAction> {
        self.actions.tasks.as_ref()?.actions.get(name)
    }
}

fn info(action: &TaskAction) -> ActionInfo {
    ActionInfo {
        args: action.args.clone(),
        run_for_ms: super::millis(action.run_for),
        promise: action.promise,
        read_only: false,
    }
}
