//! A server, a crowd with sessions, what befalls them, and a witness whom nothing is meant for.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{Phase, Session, SessionOptions};
use atalaya_sim::zookeeper::{AtRequest, Faults, Server};
use proptest::strategy::BoxedStrategy;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::dropped::Dropped;
use crate::schedule::{CROWD, Deed, TIMEOUT};
use crate::witness::Witness;

/// No condition takes longer once nothing fails any more, on however busy a machine.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// Who was not polled for so long waits for somebody else, or so it is taken.
const QUIET: Duration = Duration::from_millis(150);

/// What one does for a while. An error is something that must not be.
pub(crate) type Doing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// What came of the acts that a schedule was to drop.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Played {
    /// How many were dropped before they were done.
    pub(crate) dropped: usize,
    /// Whether the last one waited for somebody else.
    pub(crate) waited: bool,
}

/// What is played, the same by everyone: a recipe, and what must hold of it.
pub(crate) trait Play: Send + Sync + 'static {
    /// What one of the crowd does of its own will.
    type Act: Clone + Debug + Send + 'static;
    /// Whether what a cancelled act leaves goes only with its session, as the recipe says: it is given another then.
    const STAYS_WITH_SESSION: bool = false;

    /// What may be done.
    fn acts() -> BoxedStrategy<Self::Act>;
    /// `person` does this: at once, or, if it is idle, in the future that is returned and can be cancelled.
    fn act(self: &Arc<Self>, person: &Person, act: Self::Act) -> Option<Doing>;
    /// What it did was cancelled, or it gives up what it has.
    fn cancelled(&self, _who: usize) {}
    /// What must hold at every moment.
    fn look(&self) -> Result<(), String> {
        Ok(())
    }
    /// Nothing fails any more: what must come to pass, and what must be left.
    fn calm(self: Arc<Self>, stage: &mut Stage<Self>) -> impl Future<Output = Result<(), String>>
    where
        Self: Sized;
}

/// One of the crowd, about to act.
pub(crate) struct Person {
    pub(crate) who: usize,
    pub(crate) session: Session,
    /// Does something already.
    pub(crate) busy: bool,
    /// A session that no fault is meant for.
    pub(crate) witness: Witness,
}

pub(crate) struct Stage<P> {
    play: Arc<P>,
    server: Server,
    pub(crate) faults: Faults,
    crowd: Vec<Session>,
    doing: Vec<Option<JoinHandle<()>>>,
    pub(crate) witness: Witness,
    broken: Arc<Mutex<Option<String>>>,
    played: Played,
}

/// Plays one schedule, then what follows in the calm.
pub(crate) fn play<P: Play>(play: P, deeds: Vec<Deed<P::Act>>) -> Result<Played, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let mut stage = Stage::set(play).await;
        for deed in deeds {
            stage.befall(deed).await;
            stage.look();
        }
        stage.end().await
    });
    runtime.shutdown_background();
    result
}

impl<P: Play> Stage<P> {
    async fn set(play: P) -> Stage<P> {
        let server = Server::builder().tick(TIMEOUT / 4).start().await.unwrap();
        let crowd: Vec<Session> = (0..CROWD).map(|_| session_to(&server, TIMEOUT)).collect();
        // Longer than the longest pause, so that it keeps its session.
        let witness = Witness(session_to(&server, TIMEOUT * 5));
        for session in crowd.iter().chain([&witness.0]) {
            session.connection().await;
        }
        Stage {
            play: Arc::new(play),
            faults: server.faults(),
            server,
            crowd,
            doing: (0..CROWD).map(|_| None).collect(),
            witness,
            broken: Arc::default(),
            played: Played::default(),
        }
    }

    /// Whether it does something.
    pub(crate) fn is_busy(&self, who: usize) -> bool {
        self.doing[who].as_ref().is_some_and(|doing| !doing.is_finished())
    }

    pub(crate) fn act(&mut self, who: usize, act: P::Act) {
        self.act_through(who, act, |doing| doing);
    }

    fn act_through(&mut self, who: usize, act: P::Act, through: impl FnOnce(Doing) -> Doing) {
        let busy = self.is_busy(who);
        let session = self.crowd[who].clone();
        let person = Person { who, session, busy, witness: self.witness.clone() };
        let Some(doing) = self.play.act(&person, act) else { return };
        assert!(!busy, "it does two things at once");
        let (doing, broken) = (through(doing), self.broken.clone());
        self.doing[who] = Some(tokio::spawn(async move {
            if let Err(what) = doing.await {
                broken.lock().unwrap().get_or_insert(format!("{who}: {what}"));
            }
        }));
    }

    async fn act_for(&mut self, who: usize, act: P::Act, polls: usize) {
        self.played.waited = false;
        let polled = Arc::new(Mutex::new(Instant::now()));
        let dropped = Arc::new(AtomicBool::new(false));
        let (last, told) = (polled.clone(), dropped.clone());
        self.act_through(who, act, |doing| {
            Box::pin(Dropped { doing, left: polls, polled: last, dropped: told })
        });
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let begin = Instant::now();
        while self.is_busy(who) {
            tick.tick().await;
            self.look();
            let quiet = polled.lock().unwrap().elapsed();
            // Who keeps a lease is polled now and then.
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
            // Once it is gone, it may have come to its end after all.
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
            self.crowd[who] = session_to(&self.server, TIMEOUT);
        }
    }

    async fn befall(&mut self, deed: Deed<P::Act>) {
        let session_of = |who: usize| self.crowd[who].state().session;
        match deed {
            Deed::Act(who, act) => self.act(who, act),
            Deed::ActFor(who, act, polls) => self.act_for(who, act, polls).await,
            Deed::Cancel(who) => self.cancel(who).await,
            Deed::Cut(who, cut, kind) => {
                let mut at = AtRequest::next().of_session(session_of(who));
                if let Some(kind) = kind {
                    at = at.of_kind(kind);
                }
                drop(self.faults.cut(cut, at).await);
            }
            Deed::Disconnect(who) => {
                self.faults.disconnect(session_of(who)).await;
            }
            Deed::Expire(who) => self.expire(who).await,
            Deed::Pause(ms) => {
                self.faults.pause().await;
                self.go_on_for(ms).await;
                self.faults.resume().await;
            }
            Deed::Freeze(ms) => {
                self.faults.freeze_replies(true).await;
                self.go_on_for(ms).await;
                self.faults.freeze_replies(false).await;
            }
            Deed::Restart(ms) => {
                self.faults.stop().await;
                self.go_on_for(ms).await;
                self.faults.start_again().await;
            }
            Deed::Turns(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                    self.look();
                }
            }
        }
    }

    /// No lease outlives the connection, and no session is ended by its servers while a lease holds: so the connection
    /// goes first.
    async fn expire(&self, who: usize) {
        let session = &self.crowd[who];
        let mut views = session.watch();
        let mut owner = session.state().session;
        self.faults.refuse_connections(true);
        // A connection that was just being made when no more were let in may come, and has to go as well.
        while session.state().phase == Phase::Connected {
            let view = session.state();
            owner = view.session;
            self.faults.disconnect(owner).await;
            let lost =
                views.wait_for(|now| now.phase != Phase::Connected || now.connection != view.connection);
            drop(tokio::time::timeout(SOON, lost).await.expect("a lost connection is not noticed"));
        }
        self.faults.expire(owner).await;
        self.faults.refuse_connections(false);
    }

    /// The length of a fault, in milliseconds, during which everyone is looked at.
    async fn go_on_for(&self, length: u64) {
        let end = Instant::now() + Duration::from_millis(length);
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while Instant::now() < end {
            tick.tick().await;
            self.look();
        }
    }

    fn look(&self) {
        if let Err(what) = self.play.look() {
            self.broken.lock().unwrap().get_or_insert(what);
        }
    }

    async fn end(mut self) -> Result<Played, String> {
        self.faults.clear().await;
        let played = self.played;
        let calm = self.play.clone().calm(&mut self).await;
        // What was broken first is the better news.
        let broken = self.broken.lock().unwrap().take();
        broken.map_or(calm, Err)?;
        drop(self.crowd);
        self.server.shutdown().await;
        Ok(played)
    }

    /// Looks until there is something to see; that must be soon.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut look: impl AsyncFnMut(&mut Stage<P>) -> Option<T>,
    ) -> Result<T, String> {
        let end = Instant::now() + SOON;
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        for looks in 1.. {
            self.look();
            if let Some(seen) = look(self).await {
                return Ok(seen);
            }
            if let Some(what) = self.broken.lock().unwrap().take() {
                return Err(what);
            }
            if Instant::now() > end {
                // How often says whether the machine had time for this.
                let views: Vec<_> = self.crowd.iter().map(Session::state).collect();
                return Err(format!("not soon, in {looks} looks: {what}; sessions: {views:?}"));
            }
            tick.tick().await;
        }
        unreachable!("it looks without an end")
    }

    /// Everyone comes to the end of what it does.
    pub(crate) async fn until_idle(&mut self) -> Result<(), String> {
        let busy = |stage: &Self| (0..CROWD).filter(|who| stage.is_busy(*who)).collect::<Vec<_>>();
        let done = self.until("everyone is done", async |stage| busy(stage).is_empty().then_some(())).await;
        done.map_err(|what| format!("{what}; busy: {:?}", busy(self)))
    }

    /// Nothing is left below `place`, or will be soon.
    pub(crate) async fn until_empty(&mut self, place: &str) -> Result<(), String> {
        let witness = self.witness.clone();
        let empty = async |_: &mut Self| witness.children(place).await.is_empty().then_some(());
        match self.until("it is empty", empty).await {
            Ok(()) => Ok(()),
            Err(what) => Err(format!("{what}: left behind at {place}: {:?}", witness.children(place).await)),
        }
    }
}

fn session_to(server: &Server, timeout: Duration) -> Session {
    let servers = server.connect_string().parse().unwrap();
    Session::start(SessionOptions { servers, timeout })
}
