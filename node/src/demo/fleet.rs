//! The nodes of the demo. They share a few threads; each has its own tasks and its own connection to ZooKeeper.
//!
//! All tasks of a node are controlled: a killed node runs no more code, not even to close its session; and a hung node
//! hangs completely, including the heartbeats of its session, like a stopped process.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use atalaya_config::Boards;
use atalaya_recipes::session::Spawner;
use reqwest::Url;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::LocalSet;

use super::task_control::{Command, TaskControl};
use super::{DemoError, Event};
use crate::model::node_id::NodeId;
use crate::model::report::Report;
use crate::node::Node;
use crate::observe::node_status::NodeStatus;
use crate::settings::Settings;

/// Maximum number of threads that run the nodes.
const MAX_THREADS: usize = 4;
/// Stack size of such a thread: enough for builds without optimisation.
const STACK_SIZE: usize = 4 * 1024 * 1024;

/// Maximum time for which the end of the demo waits for such a thread, such as one whose sensor does not return.
const MAX_END_TIME: Duration = Duration::from_secs(2);

/// Number of nodes that send their samples, so that the page shows their charts. Each of them has a thread for that.
const SENDING_NODES: u32 = 8;

/// Configuration that all nodes share.
pub(super) struct NodeConfig {
    pub(super) boards: Boards,
    pub(super) board: Option<String>,
    pub(super) settings: Settings,
    /// Address to which the first nodes send their samples.
    pub(super) samples: Url,
    pub(super) events: mpsc::UnboundedSender<Event>,
    pub(super) averages: mpsc::UnboundedSender<Report>,
    /// Runtime for requests to the API.
    pub(super) network: Handle,
    pub(super) threads: Threads,
}

/// Starts the tasks of a node on its thread.
type Start = Box<dyn FnOnce() + Send>;

/// Threads that run the nodes, each with its own runtime: all tasks of a node run on the same thread, so that none of them
/// can continue while the node is being killed. Dropping this waits until they have ended, up to [`MAX_END_TIME`]: a node
/// that runs while the runtime for requests ends would panic.
pub(super) struct Threads(Vec<NodeThread>);

struct NodeThread {
    runtime: Handle,
    starts: mpsc::UnboundedSender<Start>,
    /// Disconnected when the thread has ended.
    ended: Receiver<()>,
}

impl Threads {
    /// Starts as many threads as there are processors.
    pub(super) fn start() -> io::Result<Threads> {
        let count = thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        (1..=count).map(NodeThread::start).collect::<Result<_, _>>().map(Threads)
    }

    fn of_node(&self, number: u32) -> &NodeThread {
        &self.0[number as usize % self.0.len()]
    }
}

impl NodeThread {
    fn start(number: usize) -> io::Result<NodeThread> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (sender, mut starts) = mpsc::unbounded_channel::<Start>();
        let (running, ended) = std::sync::mpsc::channel();
        let run = move || {
            LocalSet::new().block_on(&runtime, async {
                while let Some(start) = starts.recv().await {
                    start();
                }
            });
            drop(runtime);
            drop(running);
        };
        thread::Builder::new().name(format!("nodes {number}")).stack_size(STACK_SIZE).spawn(run)?;
        Ok(NodeThread { runtime: handle, starts: sender, ended })
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for NodeThread { starts, ended, .. } in self.0.drain(..) {
            drop(starts);
            // An error in both cases: the thread has ended, or is still running.
            let _ = ended.recv_timeout(MAX_END_TIME);
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    Running,
    /// Stopped, and can be resumed.
    Hung,
    /// Killed, or ended for this reason.
    Dead(Option<String>),
}

pub(super) struct Member {
    pub(super) number: u32,
    pub(super) condition: Condition,
    pub(super) status: watch::Receiver<NodeStatus>,
    control: Arc<TaskControl>,
    pub(super) incarnation: u32,
}

impl Member {
    /// Starts node `number`. `incarnation` is the number of its starts.
    pub(super) fn start(config: &NodeConfig, number: u32, incarnation: u32) -> Result<Member, DemoError> {
        #[expect(clippy::expect_used, reason = "digits are a node id")]
        let id: NodeId = number.to_string().parse().expect("a number is a node id");
        let mut settings = config.settings.clone();
        settings.measurements_url = (number <= SENDING_NODES).then(|| config.samples.clone());
        let mut node = Node::build(id, config.board.clone(), &config.boards, settings)?;
        node.averages = Some(config.averages.clone());
        node.network = Some(config.network.clone());
        node.limits_responses = false;
        let status = node.node_status();
        let control = Arc::new(TaskControl::default());
        let thread = config.threads.of_node(number);
        let (controlled, runtime) = (control.clone(), thread.runtime.clone());
        node.spawner = Some(Spawner::new(move |task| drop(runtime.spawn(controlled.control(number, task)))));
        let (controlled, events) = (control.clone(), config.events.clone());
        let start = move || {
            let run = node.run(None, std::future::pending());
            let node = tokio::task::spawn_local(controlled.control(number, async move {
                run.await.err().map_or("ended".to_owned(), |error| error.to_string())
            }));
            tokio::task::spawn_local(async move {
                // The message of a panic is among the log lines.
                let reason = node.await.unwrap_or_else(|_| Some("panicked".to_owned()));
                // Drops the connection without closing the session.
                controlled.send(Command::Exit);
                // Fails at the end of the demo.
                let _ = events.send(Event::NodeEnded { node: number, incarnation, reason });
            });
        };
        // Fails at the end of the demo.
        let _ = thread.starts.send(Box::new(start));
        Ok(Member { number, condition: Condition::Running, status, control, incarnation })
    }

    /// Kills the node. Returns false if it was already dead.
    pub(super) fn kill(&mut self) -> bool {
        if matches!(self.condition, Condition::Dead(_)) {
            return false;
        }
        self.control.send(Command::Exit);
        self.condition = Condition::Dead(None);
        true
    }

    /// Stops the node. Returns false if it was not running.
    pub(super) fn hang(&mut self) -> bool {
        let running = self.condition == Condition::Running;
        if running {
            self.control.send(Command::Hang);
            self.condition = Condition::Hung;
        }
        running
    }

    /// Resumes a stopped node, or starts a dead one again. Returns false if the node was running.
    pub(super) fn revive(&mut self, config: &NodeConfig) -> Result<bool, DemoError> {
        match self.condition {
            Condition::Running => return Ok(false),
            Condition::Hung => {
                self.control.send(Command::Run);
                self.condition = Condition::Running;
            }
            Condition::Dead(_) => *self = Member::start(config, self.number, self.incarnation + 1)?,
        }
        Ok(true)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.control.send(Command::Exit);
    }
}
