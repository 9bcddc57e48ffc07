//! A node, from its first measurement to its orderly end.

use std::time::Duration;

use anyhow::anyhow;
use atalaya_hal::Boards;
use atalaya_recipes::contenders::Naming;
use atalaya_recipes::persistent_node::{Conflict, PersistentNode};
use atalaya_recipes::{Election, Session, SessionOptions, Standing, election};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use crate::exit::Failure;
use crate::id::NodeId;
use crate::leader::deliver::Api;
use crate::leader::report::Report;
use crate::leader::{Leader, LeaderOptions};
use crate::presence::{self, Presence, describe_holder};
use crate::sensing::{self, Sensors};
use crate::settings::Settings;
use crate::vitals::{self, Sources, Vitals};

/// How long the end may take: ZooKeeper confirms a closed session in milliseconds, if it can be reached.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// A node, ready to run.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    board: String,
    settings: Settings,
    sensors: Sensors,
    vitals: watch::Sender<Vitals>,
    averages: Option<mpsc::UnboundedSender<Report>>,
    network: Option<Handle>,
}

impl Node {
    /// Opens the board called `board` and starts its buses.
    ///
    /// # Errors
    /// There is no such board, or it asks for what this machine cannot give.
    pub fn build(
        id: NodeId,
        board: Option<String>,
        boards: &Boards,
        settings: Settings,
    ) -> Result<Node, Failure> {
        let (name, board) = boards.board(board.as_deref()).map_err(Failure::config)?;
        let buses = sensing::open(board, &boards.base_dir).map_err(Failure::config)?;
        let sensors = Sensors::start(buses).map_err(Failure::software)?;
        let vitals = watch::Sender::default();
        Ok(Node { id, board: name.to_owned(), settings, sensors, vitals, averages: None, network: None })
    }

    /// To look on while it runs.
    pub fn vitals(&self) -> watch::Receiver<Vitals> {
        self.vitals.subscribe()
    }

    /// Hands on each average that the node computes when it leads, as it is computed, delivered or not.
    #[must_use]
    pub fn averages(mut self, averages: mpsc::UnboundedSender<Report>) -> Node {
        self.averages = Some(averages);
        self
    }

    /// Lets the node use the network through that runtime. Then the one that it runs in needs timers only: a process with
    /// thousands of nodes would run out of files otherwise. (The ZooKeeper client has I/O of its own.)
    #[must_use]
    pub fn network(mut self, network: Handle) -> Node {
        self.network = Some(network);
        self
    }

    /// Runs until `stop`, then withdraws: every znode of the node is gone when this returns, if ZooKeeper can be
    /// reached.
    ///
    /// # Errors
    /// The id is taken (73), or ZooKeeper was not reached within `connect_timeout` (69).
    pub async fn run(
        self,
        connect_timeout: Option<Duration>,
        stop: impl Future<Output = &'static str>,
    ) -> Result<(), Failure> {
        let Node { id, board, settings, sensors, vitals, averages, network } = self;
        info!(%id, board, zookeeper = %settings.zookeeper, period = ?settings.sampling_period, "starting");
        let api = settings.api_url.clone();
        let api = api.map(|url| Api::new(&id, url, settings.api_method).through(network));
        let session = Session::start(SessionOptions {
            servers: settings.zookeeper.clone(),
            timeout: settings.session_timeout,
        });
        let path = settings.measurement_path(id.as_str());
        let presence = Presence::of(&board, sensors.infos());

        let (measured, measurement) = watch::channel(None);
        let (faulty, faults) = watch::channel(vitals::Faults::new());
        let measuring = sensing::measure(sensors, &id, settings.sampling_period, measured, faulty);
        let publisher = PersistentNode::new(session.clone(), &path);
        let election = Election::new(session.clone(), &settings.election, id.as_str(), Naming::Kazoo);
        let leader = Leader::new(LeaderOptions {
            measurements: settings.measurements.clone(),
            period: settings.sampling_period,
            api,
            averages,
        });
        let sources = Sources {
            session: &session,
            standing: election.standing(),
            measured: measurement.clone(),
            published: publisher.state(),
            faults,
        };
        let looking = vitals::follow(&vitals, sources);
        let mut published = publisher.state();
        // Boxed, as everything large is: else each layer above has a copy of it on its stack.
        let publishing = Box::pin(publisher.run(measurement));
        let joining = Box::pin(async {
            // Who does not publish takes no part: an id that is taken must not lead under it.
            let _ = published.wait_for(|state| state.stored > 0).await;
            info!(znode = path, "published the first measurement");
            let standing = log_standing(&session, &settings.election, election.standing());
            let saying = say_who(&session, &id, presence);
            let contending = election.run(|leadership| Box::pin(leader.clone().lead(leadership)));
            tokio::select! {
                () = saying => {}
                () = standing => {}
                never = contending => match never {},
            }
        });

        let outcome = tokio::select! {
            biased;
            signal = stop => {
                info!(signal, "stopping");
                Ok(())
            }
            conflict = publishing => Err(taken(&session, &id, &path, conflict).await),
            failure = unreachable(&session, &settings, connect_timeout) => Err(failure),
            () = measuring => Ok(()),
            () = joining => Ok(()),
            () = looking => Ok(()),
        };
        // Everything that used the session has been dropped with the futures above.
        if session.close(FAREWELL).await {
            info!("stopped; nothing of this node is left in ZooKeeper");
        } else {
            warn!("ZooKeeper did not confirm the end of the session; what is left goes with its timeout");
        }
        outcome
    }
}

/// Says who it is, at a znode beside those of Kazoo fleets, for ever.
async fn say_who(session: &Session, id: &NodeId, presence: Presence) {
    let (_said, say) = watch::channel(Some(presence.data()));
    let path = format!("{}/{id}", presence::PARENT);
    let conflict = PersistentNode::new(session.clone(), &path).run(say).await;
    warn!("a node of another fleet with the same id says who it is at {path}: {conflict}");
    std::future::pending().await
}

/// Logs where the node stands in line, when that changes, and who leads then.
async fn log_standing(session: &Session, election: &str, mut standing: watch::Receiver<Standing>) {
    let mut logged = None;
    while standing.changed().await.is_ok() {
        let now = *standing.borrow_and_update();
        let Standing::Waiting { ahead } = now else {
            // The leader's own words say more.
            logged = (now == Standing::Leading).then_some(0).or(logged);
            continue;
        };
        if logged.replace(ahead) == Some(ahead) {
            continue;
        }
        let link = session.link().await;
        match election::holder(&link, election, Naming::Kazoo).await {
            Ok(Some(leader)) => {
                let leader = String::from_utf8_lossy(&leader).into_owned();
                info!(ahead, leader, "following: waiting in line to lead");
            }
            _ => info!(ahead, "following: waiting in line to lead"),
        }
    }
}

async fn taken(session: &Session, id: &NodeId, path: &str, conflict: Conflict) -> Failure {
    let who = match conflict {
        Conflict::Held { session: holder } => {
            let holder = describe_holder(session, id.as_str(), holder).await;
            format!("{holder} holds {path} and is alive; stop that one, or give this node another id")
        }
        Conflict::Persistent => {
            format!(
                "{path} is a persistent znode, which nobody's end removes; delete it, or give this node another id"
            )
        }
    };
    Failure::taken(anyhow!("the node id {id} is taken: {who}"))
}

/// Completes when ZooKeeper has not been reached for `timeout` since the start.
async fn unreachable(session: &Session, settings: &Settings, timeout: Option<Duration>) -> Failure {
    let Some(timeout) = timeout else { return std::future::pending().await };
    if tokio::time::timeout(timeout, session.link()).await.is_ok() {
        return std::future::pending().await;
    }
    Failure::unavailable(anyhow!("ZooKeeper at {} was not reached within {timeout:?}", settings.zookeeper))
}
