//! The nodes of the demo: each in a thread of its own, with a runtime of its own, over TCP as everybody else.
//!
//! So a node can be killed, and nothing of it runs any more, not even to say good-bye to ZooKeeper; and it can hang, and
//! all of it hangs, its session's heartbeats too, as those of a process that was stopped.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread;

use atalaya_hal::Boards;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::DemoError;
use super::gate::Gate;
use super::happening::Happening;
use super::journal;
use crate::model::node_id::NodeId;
use crate::model::report::Report;
use crate::node::Node;
use crate::observe::node_status::NodeStatus;
use crate::settings::Settings;

/// A node needs little stack; builds without optimisation need more of it.
const STACK: usize = 2 * 1024 * 1024;

/// What all nodes are made of.
pub(super) struct Plan {
    pub(super) boards: Boards,
    pub(super) board: Option<String>,
    pub(super) settings: Settings,
    pub(super) happenings: mpsc::UnboundedSender<Happening>,
    pub(super) averages: mpsc::UnboundedSender<Report>,
    /// What reaches the API.
    pub(super) network: Handle,
}

impl Plan {
    fn node(&self, number: u32) -> Result<Node, DemoError> {
        #[expect(clippy::expect_used, reason = "digits are a node id")]
        let id: NodeId = number.to_string().parse().expect("a number is a node id");
        let node = Node::build(id, self.board.clone(), &self.boards, self.settings.clone())?;
        Ok(node.with_averages(self.averages.clone()).with_network(self.network.clone()))
    }
}

/// How a node is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Condition {
    /// It runs.
    Up,
    /// It was stopped, and may be let go on.
    Hung,
    /// It is gone: killed, or for this reason.
    Dead(Option<String>),
}

/// A node of the fleet.
pub(super) struct Member {
    pub(super) number: u32,
    pub(super) condition: Condition,
    pub(super) vitals: watch::Receiver<NodeStatus>,
    gate: Arc<Gate>,
    life: u32,
}

impl Member {
    /// Starts the node of this number for the `life`-th time.
    pub(super) fn start(plan: &Plan, number: u32, life: u32) -> Result<Member, DemoError> {
        let node = plan.node(number)?;
        let vitals = node.node_status();
        let gate = Arc::new(Gate::default());
        let (hand, happenings) = (gate.clone(), plan.happenings.clone());
        // It has no I/O: each would cost four open files, and the connection to ZooKeeper needs none of it.
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(no_more(number))?;
        let body = move || {
            let running = AssertUnwindSafe(|| {
                journal::speak_for(number);
                let node = Box::pin(node.run(None, std::future::pending()));
                runtime.block_on(async {
                    tokio::select! {
                        biased;
                        () = hand.watch() => None,
                        ended = node => Some(match ended {
                            Ok(()) => "ended".to_owned(),
                            Err(failure) => failure.to_string(),
                        }),
                    }
                })
            });
            // What the panic said is among the events.
            let why = catch_unwind(running).unwrap_or_else(|_| Some("a defect".to_owned()));
            // Its connections go with it, unannounced.
            drop(runtime);
            // At the end nobody listens.
            let _ = happenings.send(Happening::Ended { node: number, life, why });
        };
        thread::Builder::new()
            .name(format!("node {number}"))
            .stack_size(STACK)
            .spawn(body)
            .map_err(no_more(number))?;
        Ok(Member { number, condition: Condition::Up, vitals, gate, life })
    }

    /// Whether there was anything to kill.
    pub(super) fn kill(&mut self) -> bool {
        let alive = !matches!(self.condition, Condition::Dead(_));
        if alive {
            self.gate.kill();
            self.condition = Condition::Dead(None);
        }
        alive
    }

    /// Whether it went on until now.
    pub(super) fn hang(&mut self) -> bool {
        let up = self.condition == Condition::Up;
        if up {
            self.gate.hang();
            self.condition = Condition::Hung;
        }
        up
    }

    /// Lets it go on, or starts it anew. Whether there was anything to revive.
    pub(super) fn revive(&mut self, plan: &Plan) -> Result<bool, DemoError> {
        match self.condition {
            Condition::Up => return Ok(false),
            Condition::Hung => {
                self.gate.release();
                self.condition = Condition::Up;
            }
            Condition::Dead(_) => *self = Member::start(plan, self.number, self.life + 1)?,
        }
        Ok(true)
    }

    /// Its thread has ended.
    pub(super) fn ended(&mut self, life: u32, why: Option<String>) {
        if life == self.life {
            self.condition = Condition::Dead(why);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.gate.kill();
    }
}

fn no_more(number: u32) -> impl Fn(io::Error) -> DemoError {
    move |error| DemoError::StartNode { number, error }
}
