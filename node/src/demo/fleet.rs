//! The nodes of the demo. Each has its own thread with its own runtime, and talks to ZooKeeper over TCP.
//!
//! Therefore a killed node runs no more code, not even to close its session; and a hung node hangs completely, including
//! the heartbeats of its session, like a stopped process.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use atalaya_config::Boards;
use reqwest::Url;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::log_capture::set_current_node;
use super::thread_control::{Command, ThreadControl};
use super::{DemoError, Event};
use crate::model::node_id::NodeId;
use crate::model::report::Report;
use crate::node::Node;
use crate::observe::node_status::NodeStatus;
use crate::settings::Settings;

/// Stack size of a node's thread. Smaller than the default of most systems, but enough for builds without optimisation.
const STACK_SIZE: usize = 2 * 1024 * 1024;

/// Number of nodes that send their samples, so that the page shows their charts. Each of them has one thread more.
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
    control: Arc<ThreadControl>,
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
        let control = Arc::new(ThreadControl::default());
        let (thread_control, events) = (control.clone(), config.events.clone());
        let start_error = |error: io::Error| DemoError::StartNode { number, error };
        // Without an I/O driver, which would cost four open files per node. The ZooKeeper client does not need it.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(start_error)?;
        let body = move || {
            let run = AssertUnwindSafe(|| {
                set_current_node(number);
                let node = Box::pin(node.run(None, std::future::pending()));
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = thread_control.killed() => None,
                        ended = node => Some(ended.err().map_or("ended".to_owned(), |error| error.to_string())),
                    }
                })
            });
            // The message of a panic is among the log lines.
            let reason = catch_unwind(run).unwrap_or_else(|_| Some("panicked".to_owned()));
            // Drops the connections without closing the session.
            drop(runtime);
            // Fails at the end of the demo.
            let _ = events.send(Event::NodeEnded { node: number, incarnation, reason });
        };
        thread::Builder::new()
            .name(format!("node {number}"))
            .stack_size(STACK_SIZE)
            .spawn(body)
            .map_err(start_error)?;
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
