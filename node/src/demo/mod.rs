//! `atalaya demo`: a whole fleet in one process, with faults on demand.
//!
//! An in-memory ZooKeeper server, the nodes, and the collector (the REST API with its web page) run in threads of
//! their own and communicate over TCP, as if each had its own machine. The nodes share a few threads. No part of a node
//! knows that it runs in a demo.
//!
//! `state`, `delivery_audit`, `script`, `keys`, `throttle` and `view` do no I/O. `fleet`, `api_server`, `tasks` and `screen`
//! are the parts that do, `faults` injects faults into them, and this file has the main loop.

mod api_server;
mod delivery_audit;
mod faults;
mod faulty_store;
mod fleet;
mod keys;
mod log_capture;
mod rlimit;
mod screen;
mod script;
mod state;
mod task_control;
mod tasks;
mod throttle;
mod view;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use atalaya_collector::Outcome;
use atalaya_config::Boards;
use atalaya_zookeeper::Server;
use futures_util::StreamExt as _;
use futures_util::future::OptionFuture;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::model::report::Report;
use crate::process::stdout;
use crate::reload::OpenBoardError;
use crate::settings::{Env, FleetArgs, Settings, SettingsError};
use api_server::ApiServer;
use delivery_audit::Key;
use fleet::{Condition, Member, NodeConfig, Threads};
use keys::Action;
use log_capture::{LogCapture, LogLine};
use screen::Screen;
use script::ApiMode;
pub(crate) use script::Script;
use state::{LineKind, State};

/// Interval at which the status of the nodes is read and the screen is drawn.
const FRAME_INTERVAL: Duration = Duration::from_millis(100);
/// Maximum number of nodes that are started between two frames.
const MAX_STARTS_PER_FRAME: usize = 250;
/// Tick of the ZooKeeper server: it expires sessions at multiples of this.
const SERVER_TICK: Duration = Duration::from_millis(500);
/// Maximum time that the end of the demo waits for reports on their way to the API.
const MAX_DELIVERY_TIME: Duration = Duration::from_secs(1);
/// Maximum number of events that are handled at once, so that many events do not block the screen.
const MAX_BATCH: usize = 5_000;

pub(crate) struct Options {
    pub(crate) nodes: u32,
    pub(crate) boards: Boards,
    /// Name of the board of all nodes; `None` means the only one, or the one called default.
    pub(crate) board: Option<String>,
    pub(crate) sampling_period: Duration,
    pub(crate) session_timeout: Duration,
    pub(crate) listen: SocketAddr,
    /// True to print lines instead of using a screen.
    pub(crate) plain: bool,
    /// Duration of the demo; `None` means until the user ends it.
    pub(crate) length: Option<Duration>,
    pub(crate) script: Script,
    pub(crate) filter: Targets,
}

/// Event that a part of the demo sends to the main loop.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node, or the ZooKeeper server, has logged a line.
    Logged(LogLine),
    Averaged(Report),
    Received(Key, Outcome),
    /// A submitted task has made progress.
    Task {
        text: String,
        is_problem: bool,
    },
    /// A node has ended, for this reason unless it was killed.
    NodeEnded {
        node: u32,
        incarnation: u32,
        reason: Option<String>,
    },
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Board(#[from] OpenBoardError),
    #[error("cannot start the in-memory ZooKeeper server: {0}")]
    ZooKeeper(io::Error),
    #[error("cannot start the API at {address}; choose another address with --listen: {error}")]
    Listen { address: SocketAddr, error: io::Error },
    #[error("cannot use this terminal; --plain works without one: {0}")]
    Terminal(io::Error),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(
        "{nodes} nodes need {wanted} open files and the system allows {maximum}: raise the limit (ulimit -Hn), or \
         start fewer nodes (--nodes {possible})"
    )]
    OpenFiles { nodes: u32, wanted: u64, maximum: u64, possible: u64 },
}

/// Runs the demo until `stop` completes, or until its end.
pub(crate) async fn run(options: Options, stop: impl Future<Output = &'static str>) -> Result<(), DemoError> {
    rlimit::raise_open_files_limit(options.nodes)?;
    let (events, received_events) = mpsc::unbounded_channel();
    let (log_capture, log_lines) = mpsc::channel(log_capture::QUEUE_SIZE);
    let log_capture = LogCapture(log_capture);
    // Fails in a test that has installed a subscriber already.
    let _ = tracing_subscriber::registry().with(options.filter.clone()).with(log_capture).try_init();
    let server = Server::builder().tick(SERVER_TICK).max_session_timeout(options.session_timeout);
    let server = server.start_thread().map_err(DemoError::ZooKeeper)?;
    let api = ApiServer::start(options.listen, events.clone())
        .map_err(|error| DemoError::Listen { address: options.listen, error })?;
    let settings = settings(&options, &server, &api)?;

    let screen = if options.plain {
        None
    } else {
        screen::install_panic_hook();
        Some(Screen::enter().map_err(DemoError::Terminal)?)
    };
    let (averages, received_averages) = mpsc::unbounded_channel();
    let addresses = (server.connect_string(), api.page_url());
    let state = State::new(options.nodes, options.sampling_period, addresses, Instant::now());
    let config = NodeConfig {
        boards: tasks::read_only(options.boards, options.nodes),
        board: options.board,
        settings,
        samples: api.samples_url(),
        events,
        averages,
        network: Handle::current(),
        threads: Threads::start()?,
    };
    let mut demo = Demo {
        config,
        server,
        api,
        members: BTreeMap::new(),
        script: options.script,
        length: options.length,
        state,
        screen,
    };
    let outcome = demo.run(received_events, log_lines, received_averages, stop).await;
    // Restore the terminal before the summary is printed.
    demo.screen = None;
    stdout::write(format!("\nsummary\n{}", demo.state.summary()).as_bytes())?;
    outcome
}

/// Returns the settings of the nodes: those of boards.toml, with the addresses of this demo's servers.
fn settings(options: &Options, server: &Server, api: &ApiServer) -> Result<Settings, DemoError> {
    // A POST has the epoch and the cycle, which the demo needs for its audit.
    let args = FleetArgs::default()
        .with("zookeeper", server.connect_string())
        .with("api_url", api.page_url())
        .with("api_method", "post");
    // Environment variables configure other fleets, not this one.
    let no_variables = |_: &str| None;
    let settings = Settings::assemble(&args, &options.boards, Env { variable: &no_variables })?;
    let (sampling_period, session_timeout) = (options.sampling_period, options.session_timeout);
    Ok(Settings { sampling_period, session_timeout, ..settings })
}

struct Demo {
    config: NodeConfig,
    server: Server,
    api: ApiServer,
    members: BTreeMap<u32, Member>,
    script: Script,
    length: Option<Duration>,
    state: State,
    screen: Option<Screen>,
}

impl Demo {
    async fn run(
        &mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut log_lines: mpsc::Receiver<LogLine>,
        mut averages: mpsc::UnboundedReceiver<Report>,
        stop: impl Future<Output = &'static str>,
    ) -> Result<(), DemoError> {
        let start = self.state.started;
        let text = format!(
            "in-memory ZooKeeper server at {}, web page at {}",
            self.state.zookeeper, self.state.page
        );
        self.state.log("demo", LineKind::Info, text, start);
        let mut frames = tokio::time::interval(FRAME_INTERVAL);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let end = self.length.map(|length| tokio::time::Instant::from_std(start + length));
        tokio::pin!(stop);
        let (mut event_batch, mut line_batch) = (Vec::new(), Vec::new());
        'demo: loop {
            let next_fault = self.script.next().map(|at| tokio::time::Instant::from_std(start + at));
            let mut redraw = false;
            tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                Some(()) = OptionFuture::from(end.map(tokio::time::sleep_until)) => break,
                action = next_action(&mut self.screen, &self.state) => {
                    if self.perform(action?).await?.is_break() {
                        break;
                    }
                    redraw = true;
                }
                Some(()) = OptionFuture::from(next_fault.map(tokio::time::sleep_until)) => {
                    while let Some(fault) = self.script.take(start.elapsed()) {
                        if self.inject(fault).await?.is_break() {
                            break 'demo;
                        }
                    }
                }
                _ = frames.tick() => {
                    self.start_next_nodes()?;
                    redraw = true;
                }
                _ = log_lines.recv_many(&mut line_batch, MAX_BATCH) => {
                    line_batch.drain(..).for_each(|line| self.on_event(Event::Logged(line)));
                }
                _ = events.recv_many(&mut event_batch, MAX_BATCH) => {
                    event_batch.drain(..).for_each(|event| self.on_event(event));
                }
                Some(report) = averages.recv() => self.on_event(Event::Averaged(report)),
            }
            if redraw {
                self.refresh().await;
            }
            if !self.output(redraw)? {
                return Ok(());
            }
        }
        // An average that was computed just before the end is not one that the API refuses.
        if self.api.mode() == ApiMode::Up {
            let delivered = self.receive_reports(&mut events, &mut averages);
            // Without a leader, averages wait for longer.
            let _ = tokio::time::timeout(MAX_DELIVERY_TIME, delivered).await;
        }
        // Once more, for the summary.
        self.refresh().await;
        self.output(true).map(drop)
    }

    /// Handles events until the API has received all averages.
    async fn receive_reports(
        &mut self,
        events: &mut mpsc::UnboundedReceiver<Event>,
        averages: &mut mpsc::UnboundedReceiver<Report>,
    ) {
        while let Ok(report) = averages.try_recv() {
            self.on_event(Event::Averaged(report));
        }
        while self.state.audit.waiting() > 0 {
            let event = tokio::select! {
                Some(event) = events.recv() => event,
                Some(report) = averages.recv() => Event::Averaged(report),
                else => return,
            };
            self.on_event(event);
        }
    }

    /// Starts nodes that are not started yet, a limited number at a time.
    fn start_next_nodes(&mut self) -> Result<(), DemoError> {
        for row in self.state.rows.iter().skip(self.members.len()).take(MAX_STARTS_PER_FRAME) {
            self.members.insert(row.number, Member::start(&self.config, row.number, 1)?);
        }
        Ok(())
    }

    fn on_event(&mut self, event: Event) {
        if let Event::NodeEnded { node, incarnation, reason } = &event
            && let Some(member) = self.members.get_mut(node)
            && member.incarnation == *incarnation
        {
            member.condition = Condition::Dead(reason.clone());
        }
        self.state.on_event(event, Instant::now());
    }

    /// Reads the status of all parts.
    async fn refresh(&mut self) {
        for (row, member) in self.state.rows.iter_mut().zip(self.members.values_mut()) {
            row.condition.clone_from(&member.condition);
            if member.status.has_changed().unwrap_or(true) {
                row.status = member.status.borrow_and_update().clone();
            }
        }
        if let Some(stats) = self.server.faults().stats().await {
            self.state.server = stats;
        }
        self.state.api = self.api.mode();
        self.state.tick(Instant::now());
    }

    /// Prints new lines if there is no screen, or redraws it. Returns false if no process reads the output any more.
    fn output(&mut self, redraw: bool) -> Result<bool, DemoError> {
        match &mut self.screen {
            None => Ok(stdout::write(self.state.take_lines().as_bytes())?),
            Some(screen) if redraw => Ok(screen.draw(&self.state).map(|()| true)?),
            Some(_) => Ok(true),
        }
    }

    /// Performs an action of the user. Returns `Break` to end the demo.
    async fn perform(&mut self, action: Action) -> Result<ControlFlow<()>, DemoError> {
        let all = self.state.rows.len();
        let Some(screen) = &mut self.screen else { return Ok(ControlFlow::Break(())) };
        match action {
            Action::Inject(fault) => return self.inject(fault).await,
            Action::SubmitTask if all > tasks::MAX_NODES as usize => {
                let text = format!("tasks are for demos of at most {} nodes", tasks::MAX_NODES);
                self.state.log("task", LineKind::Warning, text, Instant::now());
            }
            Action::SubmitTask => {
                let servers = self.config.settings.zookeeper.clone();
                tasks::submit(servers, self.config.events.clone());
            }
            Action::Quit if screen.view.help => screen.view.help = false,
            Action::Quit => return Ok(ControlFlow::Break(())),
            Action::Move(by) => screen.view.move_by(by, all),
            Action::ToggleHelp => screen.view.help ^= true,
            Action::Redraw => screen.force_redraw()?,
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Waits for the next action of the user. Never completes without a screen.
async fn next_action(screen: &mut Option<Screen>, state: &State) -> Result<Action, DemoError> {
    let Some(screen) = screen else { return std::future::pending().await };
    loop {
        match screen.events.next().await {
            Some(Ok(event)) => {
                if let Some(action) = keys::action_for(&event, state, screen.view.selected()) {
                    return Ok(action);
                }
            }
            Some(Err(error)) => return Err(error.into()),
            // The terminal was closed.
            None => return Ok(Action::Quit),
        }
    }
}
