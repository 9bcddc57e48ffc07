//! `atalaya demo`: a whole fleet in one process, and a hand that makes things go wrong.
//!
//! A ZooKeeper in memory, nodes and the collector, which is the REST API and has a page, run in threads of their own and talk over TCP, as if they were on
//! machines of their own; nothing of a node knows that it is in a demo.
//!
//! `state`, `ledger`, `script`, `keys`, `throttle` and `view` decide and draw, without I/O; `fleet`, `sink` and `screen`
//! are what they act on, `faults` is how; this file is the loop between them.

mod faults;
mod fleet;
mod gate;
mod happening;
mod journal;
mod keys;
mod ledger;
mod limits;
mod plain;
mod screen;
mod script;
mod sink;
mod state;
mod throttle;
mod view;
mod watched;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use atalaya_hal::Boards;
use atalaya_sim::zookeeper::Server;
use futures_util::StreamExt as _;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::reload::OpenBoardError;
use crate::settings::{Settings, SettingsError};
use fleet::{Member, Plan};
use happening::Happening;
use journal::{Journal, Said};
use keys::Wish;
use screen::Screen;
pub use script::{NotAScript, Script};
use sink::Sink;
use state::{State, Tone};

/// How often the nodes are looked at, and the screen is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Nodes started between two frames.
const STARTED_AT_ONCE: usize = 250;
/// Sessions end on a tick of the server.
const TICK: Duration = Duration::from_millis(500);
/// Longest that a moment's happenings keep the screen waiting.
const MOST_AT_ONCE: usize = 5_000;

/// What is to be shown.
pub struct Options {
    /// How many nodes.
    pub nodes: u32,
    /// What boards there are, and which one the nodes are; `None`: the only one, or the one called default.
    pub boards: Boards,
    /// Its name.
    pub board: Option<String>,
    /// How often they measure.
    pub sampling_period: Duration,
    /// When a silent node is taken for dead.
    pub session_timeout: Duration,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Lines instead of a screen.
    pub plain: bool,
    /// When it ends by itself.
    pub length: Option<Duration>,
    /// What goes wrong by itself.
    pub script: Script,
    /// What nodes say.
    pub filter: Targets,
}

/// Error that ends the demo.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// Wrong settings in boards.toml.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Board that cannot be opened.
    #[error(transparent)]
    Board(#[from] OpenBoardError),
    /// The in-memory ZooKeeper server did not start.
    #[error("cannot start the in-memory ZooKeeper server: {0}")]
    ZooKeeper(io::Error),
    /// The REST API cannot listen.
    #[error("cannot start the API at {address}; choose another address with --listen: {error}")]
    Listen {
        /// Requested address.
        address: SocketAddr,
        /// Cause.
        error: io::Error,
    },
    /// The terminal cannot be switched to the screen of the demo.
    #[error("cannot use this terminal; --plain works without one: {0}")]
    Terminal(io::Error),
    /// Input from the terminal or output to it failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The limit on open files is too low.
    #[error(
        "{nodes} nodes need {wanted} open files and the system allows {maximum}: raise the limit (ulimit -Hn), or \
         start fewer nodes (--nodes {possible})"
    )]
    OpenFiles {
        /// Requested number of nodes.
        nodes: u32,
        /// Open files that they need.
        wanted: u64,
        /// Limit of the system.
        maximum: u64,
        /// Number of nodes within the limit.
        possible: u64,
    },
    /// The operating system refuses the thread of a node.
    #[error("cannot start node {number}: {error}")]
    StartNode {
        /// Number of the node.
        number: u32,
        /// Cause.
        error: io::Error,
    },
}

/// Runs until `stop`, or until the demo is over.
///
/// # Errors
/// The machine does not give what so many nodes need, or the board is wrong.
pub async fn run(options: Options, stop: impl Future<Output = &'static str>) -> Result<(), DemoError> {
    limits::make_room(options.nodes)?;
    let (happenings, heard) = mpsc::unbounded_channel();
    let (journal, said) = Journal::new();
    // A test may have a subscriber already.
    let _ = tracing_subscriber::registry().with(options.filter.clone()).with(journal).try_init();
    let server = Server::builder().tick(TICK).longest_session_timeout(options.session_timeout).start_thread();
    let server = server.map_err(DemoError::ZooKeeper)?;
    let sink = Sink::start(options.listen, happenings.clone())
        .map_err(|error| DemoError::Listen { address: options.listen, error })?;
    let settings = settings(&options, &server, &sink)?;

    let screen = if options.plain {
        None
    } else {
        screen::guard_against_panics();
        Some(Screen::take().map_err(DemoError::Terminal)?)
    };
    let (averages, averaged) = mpsc::unbounded_channel();
    let places = (server.connect_string(), sink.page());
    let state = State::new(options.nodes, options.sampling_period, places, Instant::now());
    let plan = Plan {
        boards: options.boards,
        board: options.board,
        settings,
        happenings,
        averages,
        network: Handle::current(),
    };
    let mut demo = Demo {
        plan,
        server,
        sink,
        members: BTreeMap::new(),
        script: options.script,
        length: options.length,
        state,
        screen,
    };
    let outcome = demo.run(heard, said, averaged, stop).await;
    // The screen is given back before anything is said.
    demo.screen = None;
    plain::conclude(&demo.state)?;
    outcome
}

/// What the nodes are told: the fleet's settings, and where this demo's parts are.
fn settings(options: &Options, server: &Server, sink: &Sink) -> Result<Settings, DemoError> {
    use crate::settings::Env;
    use crate::settings::FleetArgs;

    // POST, because its reports contain what the demo shows.
    let args = FleetArgs::default()
        .with("zookeeper", server.connect_string())
        .with("api_url", sink.url())
        .with("api_method", "post");
    // What the environment says of some other fleet is not meant for this one.
    let nothing = |_: &str| None;
    let settings = Settings::assemble(&args, &options.boards, Env { variable: &nothing })?;
    let (sampling_period, session_timeout) = (options.sampling_period, options.session_timeout);
    Ok(Settings { sampling_period, session_timeout, ..settings })
}

struct Demo {
    plan: Plan,
    server: Server,
    sink: Sink,
    members: BTreeMap<u32, Member>,
    script: Script,
    length: Option<Duration>,
    state: State,
    screen: Option<Screen>,
}

impl Demo {
    async fn run(
        &mut self,
        mut heard: mpsc::UnboundedReceiver<Happening>,
        mut said: mpsc::Receiver<Said>,
        mut averaged: mpsc::UnboundedReceiver<crate::model::report::Report>,
        stop: impl Future<Output = &'static str>,
    ) -> Result<(), DemoError> {
        let start = self.state.started;
        let words =
            format!("ZooKeeper in memory at {}, the page at {}", self.state.zookeeper, self.state.page);
        self.state.say("demo", Tone::Plain, words, start);
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let end = self.length.map(|length| tokio::time::Instant::from_std(start + length));
        tokio::pin!(stop);
        let (mut batch, mut lines) = (Vec::new(), Vec::new());
        loop {
            let due = self.script.next().map(|at| tokio::time::Instant::from_std(start + at));
            let mut redraw = false;
            tokio::select! {
                biased;
                _ = &mut stop => return Ok(()),
                () = until(end) => break,
                wish = next_wish(&mut self.screen, &self.state) => {
                    if self.grant(wish?).await?.is_break() {
                        break;
                    }
                    redraw = true;
                }
                () = until(due) => {
                    while let Some(fault) = self.script.take(start.elapsed()) {
                        if self.fault(fault).await?.is_break() {
                            return self.finish().await;
                        }
                    }
                }
                _ = frames.tick() => {
                    self.start_some()?;
                    redraw = true;
                }
                _ = said.recv_many(&mut lines, MOST_AT_ONCE) => {
                    lines.drain(..).for_each(|line| self.hear(Happening::Said(line)));
                }
                _ = heard.recv_many(&mut batch, MOST_AT_ONCE) => {
                    batch.drain(..).for_each(|happening| self.hear(happening));
                }
                Some(report) = averaged.recv() => {
                    self.state.on(Happening::Averaged(report), Instant::now());
                }
            }
            if redraw {
                self.look().await;
            }
            if !self.show(redraw)? {
                return Ok(());
            }
        }
        self.finish().await
    }

    /// The last look, for the summary.
    async fn finish(&mut self) -> Result<(), DemoError> {
        self.look().await;
        self.show(true)?;
        Ok(())
    }

    /// Starts the nodes that are yet to be started, some at a time.
    fn start_some(&mut self) -> Result<(), DemoError> {
        let begun = self.members.len();
        for number in (1..=self.state.rows.len()).skip(begun).take(STARTED_AT_ONCE) {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            self.members.insert(number, Member::start(&self.plan, number, 1)?);
        }
        Ok(())
    }

    fn hear(&mut self, happening: Happening) {
        if let Happening::Ended { node, life, why } = &happening
            && let Some(member) = self.members.get_mut(node)
        {
            member.ended(*life, why.clone());
        }
        self.state.on(happening, Instant::now());
    }

    /// Sees how everybody is.
    async fn look(&mut self) {
        for (row, member) in self.state.rows.iter_mut().zip(self.members.values_mut()) {
            row.condition.clone_from(&member.condition);
            if member.vitals.has_changed().unwrap_or(true) {
                row.vitals = member.vitals.borrow_and_update().clone();
            }
        }
        if let Some(figures) = self.server.faults().figures().await {
            self.state.figures = figures;
        }
        self.state.api = self.sink.mode();
        self.state.zookeeper_up = !self.state.figures.stopped;
        self.state.tick(Instant::now());
    }

    /// Shows what there is to show. False when nobody sees it any more.
    fn show(&mut self, redraw: bool) -> Result<bool, DemoError> {
        match &mut self.screen {
            None => Ok(plain::print(self.state.take_lines())?),
            Some(screen) if redraw => Ok(screen.draw(&self.state).map(|()| true)?),
            Some(_) => Ok(true),
        }
    }

    async fn grant(&mut self, wish: Wish) -> Result<ControlFlow<()>, DemoError> {
        let all = self.state.rows.len();
        let fault = match (wish, &mut self.screen) {
            (Wish::Fault(fault), _) => fault,
            (Wish::Quit, Some(screen)) if screen.sight.help => {
                screen.sight.help = false;
                return Ok(ControlFlow::Continue(()));
            }
            (Wish::Quit, _) | (_, None) => return Ok(ControlFlow::Break(())),
            (Wish::Move(by), Some(screen)) => {
                screen.sight.move_by(by, all);
                return Ok(ControlFlow::Continue(()));
            }
            (Wish::Jump { last }, Some(screen)) => {
                screen.sight.jump(last, all);
                return Ok(ControlFlow::Continue(()));
            }
            (Wish::Help, Some(screen)) => {
                screen.sight.help ^= true;
                return Ok(ControlFlow::Continue(()));
            }
            (Wish::Redraw, Some(screen)) => {
                screen.forget()?;
                return Ok(ControlFlow::Continue(()));
            }
        };
        self.fault(fault).await
    }
}

/// The next thing that the viewer asks for; never, without a screen.
async fn next_wish(screen: &mut Option<Screen>, state: &State) -> Result<Wish, DemoError> {
    let Some(screen) = screen else { return std::future::pending().await };
    loop {
        match screen.events.next().await {
            Some(Ok(event)) => {
                if let Some(wish) = keys::wish(&event, state, screen.sight.chosen()) {
                    return Ok(wish);
                }
            }
            Some(Err(error)) => return Err(error.into()),
            // The terminal is gone.
            None => return Ok(Wish::Quit),
        }
    }
}

async fn until(moment: Option<tokio::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
