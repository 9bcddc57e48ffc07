//! A node, from its first measurement to its orderly end.

use std::time::Duration;

use atalaya_hal::Boards;
use atalaya_hal::boards::Counting;
use atalaya_recipes::node_names::{ContenderId, Naming, Role};
use atalaya_recipes::persistent_node::{Conflict, PersistentNode};
use atalaya_recipes::{
    Election, Session, SessionOptions, Standing, WriteCounter, WrongZnode, WrongZnodeReporter, ZnodeProblem,
    election,
};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::dynamic_config::{self, DynamicConfig};
use crate::leader::delivery::worker::Api;
use crate::leader::fenced_store::COUNTER;
use crate::leader::{Leader, LeaderConfig, LeaderHandles};
use crate::logging::Logs;
use crate::model::barrier::SamplingMode;
use crate::model::leader_state::LeaderState;
use crate::model::node_id::NodeId;
use crate::model::node_info::{self, NodeInfo, SensorStatus};
use crate::model::report::Report;
use crate::observe::node_status::{self, NodeStatus};
use crate::observe::{NodeHandles, Observer, systemd_notifications};
use crate::process::stale_sessions;
use crate::process::state_dir::{ProcessRecord, StateFile};
use crate::process::systemd::Notifier;
use crate::reload::{self, Adopt, Carried, OpenBoardError, Reload};
use crate::sampling::{SampleProgress, Sampler, Sensors};
use crate::settings::Settings;
use crate::zk::barrier_watch::follow_barrier;
use crate::zk::id_owner;

/// How long the end may take: ZooKeeper confirms a closed session in milliseconds, if it can be reached.
const FAREWELL: Duration = Duration::from_millis(1_500);

/// Error that ends a node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The znode of the measurement is persistent, or a session of another process owns it.
    #[error("the node id {id} is taken: {cause}")]
    IdInUse {
        /// Id of the node.
        id: NodeId,
        /// Owner of the znode, and the remedy.
        cause: String,
    },
    /// ZooKeeper was not reached in time after the start.
    #[error("ZooKeeper at {servers} was not reached within {timeout:?}")]
    Unavailable {
        /// Addresses of the servers.
        servers: String,
        /// Time that was allowed.
        timeout: Duration,
    },
}

/// A node, ready to run.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    board: String,
    settings: Settings,
    sensors: Sensors,
    node_status: watch::Sender<NodeStatus>,
    averages: Option<mpsc::UnboundedSender<Report>>,
    network: Option<Handle>,
    reload: Option<Reload>,
    logs: Option<Logs>,
    notifier: Notifier,
    remembrance: Option<StateFile>,
    observer: Option<Observer>,
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
    ) -> Result<Node, OpenBoardError> {
        let Carried { board, sensors } = Carried::open(board.as_deref(), boards)?;
        let node_status = watch::Sender::default();
        Ok(Node {
            id,
            board,
            settings,
            sensors,
            node_status,
            averages: None,
            network: None,
            reload: None,
            logs: None,
            notifier: Notifier::default(),
            remembrance: None,
            observer: None,
        })
    }

    /// To look on while it runs.
    pub fn node_status(&self) -> watch::Receiver<NodeStatus> {
        self.node_status.subscribe()
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

    /// Lets it exchange its sensors, and some of its settings, while it runs.
    #[must_use]
    pub fn reload(mut self, reload: Reload) -> Node {
        self.reload = Some(reload);
        self
    }

    /// Lets what ZooKeeper tells decide what is logged. A process with several nodes has one log for all of them: there
    /// none of them decides.
    #[must_use]
    pub fn logs(mut self, logs: Logs) -> Node {
        self.logs = Some(logs);
        self
    }

    /// Sets the connection to the service manager.
    #[must_use]
    pub fn notifier(mut self, notifier: Notifier) -> Node {
        self.notifier = notifier;
        self
    }

    /// Lets it write down what it makes in ZooKeeper, and clear up what an earlier process has left.
    #[must_use]
    pub fn remembered(mut self, remembrance: Option<StateFile>) -> Node {
        self.remembrance = remembrance;
        self
    }

    /// Sets the observer, which records metrics and follows the node.
    #[must_use]
    pub(crate) fn observer(mut self, observer: Option<Observer>) -> Node {
        self.observer = observer;
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
    ) -> Result<(), NodeError> {
        let Node {
            id,
            board,
            settings,
            sensors,
            node_status,
            averages,
            network,
            reload,
            logs,
            notifier,
            remembrance,
            observer,
        } = self;
        let metrics = observer.as_ref().map(|observer| observer.metrics().clone()).unwrap_or_default();
        info!(%id, board, zookeeper = %settings.zookeeper, period = ?settings.sampling_period, "starting");
        let orders = |settings: &Settings| {
            let api = settings.api_url.clone();
            let api = api.map(|url| {
                let api = Api::new(&id, url, settings.api_method).through(network.clone());
                api.showing(settings.api_token.clone())
            });
            LeaderConfig {
                period: settings.sampling_period,
                api,
                sync: settings.sync,
                release: settings.release,
                counting: settings.counting(),
            }
        };
        let options =
            SessionOptions { servers: settings.zookeeper.clone(), timeout: settings.session_timeout };
        let path = settings.measurement_path(id.as_str());
        let token = ContenderId::random();
        let remembered = remembrance.map(|kept| {
            let life = life(&id, &path, &settings, &token);
            kept.add_process(life.clone());
            (kept, life.contender)
        });
        let session = match &remembered {
            Some((kept, _)) => {
                let kept = kept.clone();
                Session::start_with_callback(options, move |session| kept.add_session(session))
            }
            None => Session::start(options),
        };
        let presence = NodeInfo::new(&board);

        let (measured, measurement) = watch::channel(None);
        let (conditions, present) = watch::channel(Vec::new());
        let (turned, turns) = watch::channel(None);
        let (exchange, exchanged) = mpsc::channel(1);
        let (paced, pace) = watch::channel(SamplingMode { period: settings.sampling_period, barrier: None });
        let tally = WriteCounter::new(session.clone(), COUNTER);
        tally.set_enabled(settings.counting() == Counting::PerNode).await;
        let publisher = PersistentNode::new(session.clone(), &path).counted(tally.clone());
        let measuring = Sampler {
            measurement: measured,
            sensor_info: conditions,
            progress: turned,
            mode: pace,
            published: publisher.state(),
            metrics: metrics.sampling.clone(),
        };
        let measuring = Box::pin(measuring.run(&id, sensors, exchanged));
        let (ordered, orders_now) = watch::channel(orders(&settings));
        let live = DynamicConfig::new(id.clone(), settings.clone());
        let following = Box::pin(live.follow(&session));
        let obeying = Box::pin(obey(settings.clone(), live.settings(), orders, &ordered, &tally, logs));
        let keeping_step = Box::pin(follow_barrier(&session, live.settings(), &paced));
        let (boarded, board_now) = watch::channel(board);
        let adopt = Adopt { exchange, live: &live, board: &boarded };
        let reloading = Box::pin(reload::serve(reload, &settings, &notifier, adopt));
        let notified = notifier.is_enabled().then(|| node_status.subscribe());
        let (notify_turns, needs_connection) = (turns.clone(), connect_timeout.is_some());
        let notifying = Box::pin(async {
            match notified {
                Some(status) => {
                    systemd_notifications::notify(
                        &notifier,
                        &settings,
                        needs_connection,
                        status,
                        notify_turns,
                    )
                    .await;
                }
                None => std::future::pending().await,
            }
        });
        let election = Election::with_contender_id(
            session.clone(),
            &settings.election,
            id.as_str(),
            Naming::Kazoo,
            token,
        );
        let (leads, leading) = watch::channel(None);
        let observed = observer.as_ref().map(|observer| {
            observer.follow(NodeHandles {
                session: session.clone(),
                status: node_status.subscribe(),
                sampling: turns.clone(),
                settings: live.settings(),
                board: board_now.clone(),
                leader: leading.clone(),
                sampling_mode: paced.subscribe(),
                counter: tally.value(),
            })
        });
        let observing = Box::pin(async {
            match observed {
                Some(observed) => observed.await,
                None => std::future::pending().await,
            }
        });
        let leader = Leader::new(LeaderHandles {
            id: id.as_str().to_owned(),
            measurements: settings.measurements.clone(),
            name: settings.name.clone(),
            orders: orders_now,
            averages,
            leading: leads,
            metrics: metrics.leader.clone(),
        });
        let updating_status = Box::pin(node_status::follow(
            &node_status,
            &session,
            election.standing(),
            measurement.clone(),
            publisher.state(),
            present.clone(),
        ));
        let mut published = publisher.state();
        let nothing_measured = nothing_measured(turns, measurement.clone());
        let mut stored = publisher.state();
        let saying = Box::pin(async {
            // Who has an id that is taken says nothing under it; but that nothing can be measured is worth saying.
            tokio::select! {
                _ = stored.wait_for(|state| state.stored > 0) => {}
                () = nothing_measured => {}
            }
            say_who(&session, &id, presence, present, board_now, leading).await;
        });
        // Boxed, as everything large is: else each layer above has a copy of it on its stack.
        let publishing = Box::pin(async {
            if let Some((kept, own)) = &remembered {
                clear_up(&session, kept, own).await;
            }
            publisher.run(measurement).await
        });
        let joining = Box::pin(async {
            // Who does not publish takes no part: an id that is taken must not lead under it.
            let _ = published.wait_for(|state| state.stored > 0).await;
            info!(znode = path, "published the first measurement");
            // Who leads reports to where the fleet is told to, from the first report on.
            if tokio::time::timeout(settings.session_timeout, live.known()).await.is_err() {
                warn!("what stands below {} cannot be read; leading without it", dynamic_config::FLEET);
            }
            let standing = log_standing(&session, &settings.election, election.standing());
            let contending = election.run(|leadership| Box::pin(leader.clone().lead(leadership)));
            tokio::select! {
                () = standing => {}
                never = contending => match never {},
            }
        });

        let outcome = tokio::select! {
            biased;
            signal = stop => {
                info!(signal, "stopping");
                notifier.stopping().await;
                Ok(())
            }
            conflict = publishing => Err(taken(&session, &id, &path, conflict).await),
            failure = unreachable(&session, &settings, connect_timeout) => Err(failure),
            () = measuring => Ok(()),
            () = joining => Ok(()),
            () = saying => Ok(()),
            () = updating_status => Ok(()),
            () = reloading => Ok(()),
            () = following => Ok(()),
            () = obeying => Ok(()),
            () = keeping_step => Ok(()),
            () = notifying => Ok(()),
            () = observing => Ok(()),
        };
        // Everything that used the session has been dropped with the futures above.
        let _ = tokio::time::timeout(FAREWELL / 3, tally.close()).await;
        if session.close(FAREWELL).await {
            if let Some((kept, own)) = &remembered {
                kept.remove_process(own);
            }
            info!("stopped; nothing of this node is left in ZooKeeper");
        } else {
            warn!("ZooKeeper did not confirm the end of the session; what is left goes with its timeout");
        }
        outcome
    }
}

/// Hands on what the settings, which were these `before`, come to, whenever they change, to who leads, who measures and
/// who logs.
async fn obey(
    mut before: Settings,
    mut settings: watch::Receiver<Settings>,
    orders: impl Fn(&Settings) -> LeaderConfig,
    ordered: &watch::Sender<LeaderConfig>,
    tally: &WriteCounter,
    logs: Option<Logs>,
) {
    loop {
        let now = settings.borrow_and_update().clone();
        if now.log != before.log
            && let Some(Err(problem)) = logs.as_ref().map(|logs| logs.set_filter(now.log.as_deref()))
        {
            warn!("{problem}");
        }
        let before = std::mem::replace(&mut before, now.clone());
        if let Some(change) = now.api_change(&before) {
            warn!("{change}");
        }
        if (Settings { log: None, ..before }) != (Settings { log: None, ..now.clone() }) {
            tally.set_enabled(now.counting() == Counting::PerNode).await;
            ordered.send_replace(orders(&now));
        }
        if settings.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// What this process makes in ZooKeeper that goes with its session.
fn life(id: &NodeId, measurement: &str, settings: &Settings, token: &ContenderId) -> ProcessRecord {
    ProcessRecord {
        process: std::process::id(),
        sessions: Vec::new(),
        znodes: vec![measurement.to_owned(), format!("{}/{id}", node_info::PARENT_PATH)],
        election: settings.election.clone(),
        contender: Role::from(Naming::Kazoo).prefix(token),
    }
}

/// Deletes what earlier processes of this node have left, all of which are dead: this one has their lock.
async fn clear_up(session: &Session, kept: &StateFile, own: &str) {
    let dead = kept.earlier_processes(own);
    let cleared = stale_sessions::clean_up_all(session, &dead, |life, removed| {
        kept.remove_process(&life.contender);
        if !removed.is_empty() {
            info!(
                process = life.process,
                znodes = removed.join(", "),
                "removed what a dead process of this node left"
            );
        }
    });
    if let Err(error) = cleared.await {
        warn!(%error, "what a dead process of this node left stays until its session times out");
    }
}

/// Completes when a sample has been taken and there is nothing to publish.
async fn nothing_measured(
    mut turns: watch::Receiver<Option<SampleProgress>>,
    measurement: watch::Receiver<Option<Vec<u8>>>,
) {
    let nothing = turns.wait_for(|turn| turn.is_some() && measurement.borrow().is_none()).await.is_ok();
    if !nothing {
        std::future::pending().await
    }
}

/// Says who it is and how its sensors are, at a znode beside those of Kazoo fleets, for ever. What changes is said once
/// a second at most ([`node_info::publish_delay`]), the newest first and the rest never.
async fn say_who(
    session: &Session,
    id: &NodeId,
    mut presence: NodeInfo,
    mut sensors: watch::Receiver<Vec<SensorStatus>>,
    mut board: watch::Receiver<String>,
    mut leading: watch::Receiver<Option<LeaderState>>,
) {
    presence.sensors.clone_from(&sensors.borrow_and_update());
    let (said, say) = watch::channel(Some(presence.to_json()));
    let telling = async {
        let mut last = Instant::now();
        loop {
            let leads = *leading.borrow_and_update();
            let other = *board.borrow_and_update() != presence.board || leads != presence.leading;
            let pause = node_info::publish_delay(&presence.sensors, &sensors.borrow_and_update());
            let pause = if other { Some(node_info::MIN_PUBLISH_INTERVAL) } else { pause };
            let due = async {
                match pause {
                    Some(pause) => tokio::time::sleep_until(last + pause).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    presence.board.clone_from(&board.borrow());
                    presence.sensors.clone_from(&sensors.borrow());
                    presence.leading = leads;
                    said.send_replace(Some(presence.to_json()));
                    last = Instant::now();
                }
                Ok(()) = sensors.changed() => {}
                Ok(()) = board.changed() => {}
                Ok(()) = leading.changed() => {}
            }
        }
    };
    let path = format!("{}/{id}", node_info::PARENT_PATH);
    // Reported for as long as the node runs.
    let mut sightings = WrongZnodeReporter::default();
    let keeping = PersistentNode::new(session.clone(), &path).run(say);
    tokio::select! {
        conflict = keeping => {
            match conflict {
                Conflict::Persistent => {
                    sightings.update(session, [WrongZnode::new(&path, ZnodeProblem::NotEphemeral)]);
                }
                Conflict::Held { .. } => {
                    warn!("a node of another fleet with the same id says who it is at {path}: {conflict}");
                }
            }
        }
        () = telling => {}
    }
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
        let connection = session.connection().await;
        match election::leader(&connection, election, Naming::Kazoo).await {
            Ok(Some(leader)) => {
                let leader = String::from_utf8_lossy(&leader).into_owned();
                info!(ahead, leader, "following: waiting in line to lead");
            }
            _ => info!(ahead, "following: waiting in line to lead"),
        }
    }
}

async fn taken(session: &Session, id: &NodeId, path: &str, conflict: Conflict) -> NodeError {
    let who = match conflict {
        Conflict::Held { session: holder } => {
            let holder = id_owner::describe(session, id.as_str(), holder).await;
            format!("{holder} holds {path} and is alive; stop that one, or give this node another id")
        }
        Conflict::Persistent => {
            let remedy = WrongZnode::new(path, ZnodeProblem::NotEphemeral).remedy();
            format!(
                "{path} is a persistent znode, which no session's end removes; {remedy}, or give this node another id"
            )
        }
    };
    NodeError::IdInUse { id: id.clone(), cause: who }
}

/// Completes when ZooKeeper has not been reached for `timeout` since the start.
async fn unreachable(session: &Session, settings: &Settings, timeout: Option<Duration>) -> NodeError {
    let Some(timeout) = timeout else { return std::future::pending().await };
    if tokio::time::timeout(timeout, session.connection()).await.is_ok() {
        return std::future::pending().await;
    }
    NodeError::Unavailable { servers: settings.zookeeper.to_string(), timeout }
}
