//! `atalaya run`: one node, from its first measurement to its orderly end.

use std::time::Duration;

use anyhow::{Context, anyhow};
use atalaya_hal::{Boards, duration};
use atalaya_recipes::contenders::Naming;
use atalaya_recipes::persistent_node::{Conflict, PersistentNode};
use atalaya_recipes::{Election, Session, SessionOptions, Standing, election};
use tokio::sync::watch;
use tracing::{info, warn};

use super::{board_name, surroundings};
use crate::cli::RunArgs;
use crate::exit::Failure;
use crate::id::NodeId;
use crate::leader::deliver::Api;
use crate::leader::{Leader, LeaderOptions};
use crate::presence::{self, Presence, describe_holder};
use crate::sensing::{self, Sensors};
use crate::settings::{Settings, load_boards};

/// How long the end may take: ZooKeeper confirms a closed session in milliseconds, if it can be reached.
const FAREWELL: Duration = Duration::from_millis(1_500);

pub(super) fn main(args: RunArgs) -> Result<(), Failure> {
    let boards = load_boards(args.board.boards.as_ref(), surroundings())?;
    let settings = Settings::assemble(&args.fleet, &boards, surroundings())?;
    let connect_timeout = match &args.connect_timeout {
        Some(text) => Some(
            duration::parse(text).map_err(|error| Failure::usage(anyhow!("--connect-timeout: {error}")))?,
        ),
        None => None,
    };
    let node = Node::build(args.id, board_name(&args.board), &boards, settings)?;
    // One thread is enough for what a node does, and on a Pi two would cost memory; buses have threads of their own.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::software)?;
    runtime.block_on(async {
        let stop = stop_signal().map_err(Failure::software)?;
        node.run(connect_timeout, stop).await
    })
}

/// Completes at the first SIGINT or SIGTERM. Its handlers stand from now on.
#[cfg(unix)]
fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => "SIGINT",
            _ = terminate.recv() => "SIGTERM",
        }
    })
}

/// Completes at the first Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> std::io::Result<impl Future<Output = &'static str>> {
    Ok(async {
        // Without a handler there is nothing to wait for; the system's own way of ending a program remains.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        "Ctrl-C"
    })
}

/// A node, ready to run.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    board: String,
    settings: Settings,
    sensors: Sensors,
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
        Ok(Node { id, board: name.to_owned(), settings, sensors })
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
        let Node { id, board, settings, sensors } = self;
        info!(%id, board, zookeeper = %settings.zookeeper, period = ?settings.sampling_period, "starting");
        let api = api(&id, &settings)?;
        let session = Session::start(SessionOptions {
            servers: settings.zookeeper.clone(),
            timeout: settings.session_timeout,
        });
        let path = settings.measurement_path(id.as_str());
        let presence = Presence::of(&board, sensors.infos());

        let (measured, measurement) = watch::channel(None);
        let measuring = sensing::measure(sensors, &id, settings.sampling_period, measured);
        let publisher = PersistentNode::new(session.clone(), &path);
        let mut published = publisher.state();
        let publishing = publisher.run(measurement);
        let joining = async {
            // Who does not publish takes no part: an id that is taken must not lead under it.
            let _ = published.wait_for(|state| state.stored > 0).await;
            info!(znode = path, "published the first measurement");
            take_part(&session, &id, &settings, api, presence).await
        };

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

/// Says who it is, and stands in line, for ever.
async fn take_part(
    session: &Session,
    id: &NodeId,
    settings: &Settings,
    api: Option<Api>,
    presence: Presence,
) {
    let (_said, say) = watch::channel(Some(presence.data()));
    let saying = async {
        let conflict =
            PersistentNode::new(session.clone(), format!("{}/{id}", presence::PARENT)).run(say).await;
        warn!(
            "a node of another fleet with the same id says who it is at {}/{id}: {conflict}",
            presence::PARENT
        );
        std::future::pending::<()>().await;
    };
    let election = Election::new(session.clone(), &settings.election, id.as_str(), Naming::Kazoo);
    let standing = log_standing(session, &settings.election, election.standing());
    let leader = Leader::new(LeaderOptions {
        measurements: settings.measurements.clone(),
        period: settings.sampling_period,
        api,
    });
    let contending = election.run(|leadership| leader.clone().lead(leadership));
    tokio::select! {
        () = saying => {}
        () = standing => {}
        never = contending => match never {},
    }
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

/// The HTTP client of a leader to be.
fn api(id: &NodeId, settings: &Settings) -> Result<Option<Api>, Failure> {
    let Some(url) = settings.api_url.clone() else { return Ok(None) };
    let name = format!("atalaya/{} (node {})", env!("CARGO_PKG_VERSION"), id.as_str().escape_default());
    let mut builder = reqwest::Client::builder().user_agent(name);
    if url.scheme() == "http" {
        // The machine's certificates would be read for nothing.
        builder = builder.tls_certs_only(std::iter::empty());
    }
    let client = builder.build().context("cannot set up HTTP").map_err(Failure::software)?;
    Ok(Some(Api { client, url, method: settings.api_method }))
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
