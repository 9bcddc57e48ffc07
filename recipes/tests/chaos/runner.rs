//! Runs a schedule: a server, clients with sessions, faults, and an observer without faults.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{Phase, Session, SessionOptions};
use atalaya_zookeeper::{Faults, RequestFilter, Server};
use proptest::strategy::BoxedStrategy;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::drop_after_polls::DropAfterPolls;
use crate::observer::Observer;
use crate::schedule::{CLIENTS, Step, TIMEOUT};

/// Deadline of every condition after the faults have ended, long enough for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// A future that was not polled for this long is taken to wait for another client.
const QUIET: Duration = Duration::from_millis(150);

/// The future of an act. An error is a violation.
pub(crate) type ActFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Counts of the acts that the schedule dropped.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DropCounts {
    /// Number of acts that were dropped before they completed.
    pub(crate) dropped: usize,
    /// True if the last act waited for another client.
    pub(crate) waited: bool,
}

/// A recipe under test, shared by all clients, and its invariants.
pub(crate) trait Scenario: Send + Sync + 'static {
    type Act: Clone + Debug + Send + 'static;
    /// True if a cancelled act leaves znodes until its session ends, as the recipe documents. Its client gets a new
    /// session then.
    const STAYS_WITH_SESSION: bool = false;

    fn acts() -> BoxedStrategy<Self::Act>;
    /// Performs an act at once, or, if the client is idle, returns a future that can be cancelled.
    fn act(self: &Arc<Self>, client: &Client, act: Self::Act) -> Option<ActFuture>;
    /// Notes that an act was cancelled or that the client gave up its guards.
    fn cancelled(&self, _who: usize) {}
    /// Checks the invariants that hold at every moment.
    fn look(&self) -> Result<(), String> {
        Ok(())
    }
    /// Checks, after the last fault, that all clients make progress and that no znode is left.
    fn final_checks(self: Arc<Self>, runner: &mut Runner<Self>) -> impl Future<Output = Result<(), String>>
    where
        Self: Sized;
}

/// A client that is about to act.
pub(crate) struct Client {
    pub(crate) who: usize,
    pub(crate) session: Session,
    pub(crate) busy: bool,
    /// A session without injected faults.
    pub(crate) observer: Observer,
}

pub(crate) struct Runner<P> {
    play: Arc<P>,
    server: Server,
    pub(crate) faults: Faults,
    clients: Vec<Session>,
    doing: Vec<Option<JoinHandle<()>>>,
    pub(crate) observer: Observer,
    violation: Arc<Mutex<Option<String>>>,
    played: DropCounts,
}

/// Runs one schedule, then the checks without faults.
pub(crate) fn play<P: Scenario>(play: P, steps: Vec<Step<P::Act>>) -> Result<DropCounts, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let mut runner = Runner::set(play).await;
        for step in steps {
            runner.apply(step).await;
            runner.look();
        }
        runner.end().await
    });
    runtime.shutdown_background();
    result
}

impl<P: Scenario> Runner<P> {
    async fn set(play: P) -> Runner<P> {
        let server = Server::builder().tick(TIMEOUT / 4).start().await.unwrap();
        let clients: Vec<Session> = (0..CLIENTS).map(|_| session_to(&server, TIMEOUT)).collect();
        // Longer than the longest pause, so that the observer keeps its session.
        let observer = Observer(session_to(&server, TIMEOUT * 5));
        for session in clients.iter().chain([&observer.0]) {
            session.connection().await;
        }
        Runner {
            play: Arc::new(play),
            faults: server.faults(),
            server,
            clients,
            doing: (0..CLIENTS).map(|_| None).collect(),
            observer,
            violation: Arc::default(),
            played: DropCounts::default(),
        }
    }

    pub(crate) fn is_busy(&self, who: usize) -> bool {
        self.doing[who].as_ref().is_some_and(|doing| !doing.is_finished())
    }

    pub(crate) fn act(&mut self, who: usize, act: P::Act) {
        self.act_through(who, act, |doing| doing);
    }

    fn act_through(&mut self, who: usize, act: P::Act, through: impl FnOnce(ActFuture) -> ActFuture) {
        let busy = self.is_busy(who);
        let session = self.clients[who].clone();
        let client = Client { who, session, busy, observer: self.observer.clone() };
        let Some(doing) = self.play.act(&client, act) else { return };
        assert!(!busy, "it does two things at once");
        let (doing, violation) = (through(doing), self.violation.clone());
        self.doing[who] = Some(tokio::spawn(async move {
            if let Err(what) = doing.await {
                violation.lock().unwrap().get_or_insert(format!("{who}: {what}"));
            }
        }));
    }

    async fn act_for(&mut self, who: usize, act: P::Act, polls: usize) {
        self.played.waited = false;
        let polled = Arc::new(Mutex::new(Instant::now()));
        let dropped = Arc::new(AtomicBool::new(false));
        let (last, told) = (polled.clone(), dropped.clone());
        self.act_through(who, act, |doing| {
            Box::pin(DropAfterPolls { doing, left: polls, polled: last, dropped: told })
        });
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let begin = Instant::now();
        while self.is_busy(who) {
            tick.tick().await;
            self.look();
            let quiet = polled.lock().unwrap().elapsed();
            // A future with a lease is polled regularly.
            if quiet > QUIET || begin.elapsed() > QUIET * 2 {
                self.played.waited = true;
                break;
            }
        }
        if dropped.load(Ordering::Relaxed) {
            self.was_dropped(who);
        }
    }

    pub(crate) async fn cancel(&mut self, who: usize) {
        let busy = self.is_busy(who);
        if let Some(doing) = self.doing[who].take() {
            doing.abort();
            // The act may have completed before it was aborted.
            let _ = doing.await;
        }
        self.play.cancelled(who);
        if busy {
            self.was_dropped(who);
        }
    }

    fn was_dropped(&mut self, who: usize) {
        self.played.dropped += 1;
        if P::STAYS_WITH_SESSION {
            self.clients[who] = session_to(&self.server, TIMEOUT);
        }
    }

    async fn apply(&mut self, step: Step<P::Act>) {
        let session_of = |who: usize| self.clients[who].state().session;
        match step {
            Step::Act(who, act) => self.act(who, act),
            Step::ActFor(who, act, polls) => self.act_for(who, act, polls).await,
            Step::Cancel(who) => self.cancel(who).await,
            Step::Cut(who, cut, kind) => {
                let mut at = RequestFilter::any().session(session_of(who));
                if let Some(kind) = kind {
                    at = at.operation(kind);
                }
                drop(self.faults.disconnect_at(cut, at).await);
            }
            Step::Disconnect(who) => {
                self.faults.disconnect(session_of(who)).await;
            }
            Step::Expire(who) => self.expire(who).await,
            Step::Pause(ms) => {
                self.faults.pause().await;
                self.check_for(ms).await;
                self.faults.resume().await;
            }
            Step::Freeze(ms) => {
                self.faults.freeze_replies(true).await;
                self.check_for(ms).await;
                self.faults.freeze_replies(false).await;
            }
            Step::Restart(ms) => {
                self.faults.stop().await;
                self.check_for(ms).await;
                self.faults.restart().await;
            }
            Step::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                    self.look();
                }
            }
        }
    }

    /// Expires a session. No lease outlives the connection, and a server does not expire a session while its lease
    /// holds, so the connection is cut first.
    async fn expire(&self, who: usize) {
        let session = &self.clients[who];
        let mut views = session.watch();
        let mut owner = session.state().session;
        self.faults.refuse_connections(true);
        // A connection that was being established may still complete, and is cut too.
        while session.state().phase == Phase::Connected {
            let view = session.state();
            owner = view.session;
            self.faults.disconnect(owner).await;
            let lost =
                views.wait_for(|now| now.phase != Phase::Connected || now.connection != view.connection);
            drop(tokio::time::timeout(DEADLINE, lost).await.expect("a lost connection is not noticed"));
        }
        self.faults.expire(owner).await;
        self.faults.refuse_connections(false);
    }

    /// Checks the invariants for the length of a fault, in milliseconds.
    async fn check_for(&self, length: u64) {
        let end = Instant::now() + Duration::from_millis(length);
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while Instant::now() < end {
            tick.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        if let Err(what) = self.play.look() {
            self.violation.lock().unwrap().get_or_insert(what);
        }
    }

    async fn end(mut self) -> Result<DropCounts, String> {
        self.faults.clear().await;
        let played = self.played;
        let final_checks = self.play.clone().final_checks(&mut self).await;
        // The first violation is the most useful one.
        let violation = self.violation.lock().unwrap().take();
        violation.map_or(final_checks, Err)?;
        drop(self.clients);
        self.server.shutdown().await;
        Ok(played)
    }

    /// Polls a condition until it returns a value, up to [`DEADLINE`].
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut(&mut Runner<P>) -> Option<T>,
    ) -> Result<T, String> {
        let end = Instant::now() + DEADLINE;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        for looks in 1.. {
            self.look();
            if let Some(seen) = look(self).await {
                return Ok(seen);
            }
            if let Some(what) = self.violation.lock().unwrap().take() {
                return Err(what);
            }
            if Instant::now() > end {
                // The number of polls shows whether the machine was too slow.
                let views: Vec<_> = self.clients.iter().map(Session::state).collect();
                return Err(format!("timed out after {looks} polls: {what}; sessions: {views:?}"));
            }
            tick.tick().await;
        }
        unreachable!("the loop ends by returning")
    }

    pub(crate) async fn until_idle(&mut self) -> Result<(), String> {
        let busy = |runner: &Self| (0..CLIENTS).filter(|who| runner.is_busy(*who)).collect::<Vec<_>>();
        let done = self.until("everyone is done", async |runner| busy(runner).is_empty().then_some(())).await;
        done.map_err(|what| format!("{what}; busy: {:?}", busy(self)))
    }

    /// Waits until no znode is left below `place`.
    pub(crate) async fn until_empty(&mut self, place: &str) -> Result<(), String> {
        let observer = self.observer.clone();
        let empty = async |_: &mut Self| observer.children(place).await.is_empty().then_some(());
        match self.until("it is empty", empty).await {
            Ok(()) => Ok(()),
            Err(what) => Err(format!("{what}: left at {place}: {:?}", observer.children(place).await)),
        }
    }
}

fn session_to(server: &Server, timeout: Duration) -> Session {
    let servers = server.connect_string().parse().unwrap();
    Session::start(SessionOptions::new(servers, timeout))
}
