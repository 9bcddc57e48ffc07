//! A server, a crowd of contenders, and somebody who counts who holds.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use atalaya_recipes::{AcquireError, Guard, Link, Phase, Session, SessionOptions};
use atalaya_sim::zookeeper::{AtRequest, Faults, Server};
use proptest::test_runner::TestCaseError;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::schedule::{CROWD, Deed, TIMEOUT};

/// No condition takes longer once nothing fails any more, on however busy a machine.
const SOON: Duration = Duration::from_secs(10);

/// What is contended for, the same by everyone.
pub(crate) trait Prize: Send + Sync + 'static {
    /// Acquires it for contender `who`, in one way or another.
    fn acquire(
        &self,
        session: Session,
        who: usize,
        how: How,
    ) -> impl Future<Output = Result<Option<Guard>, AcquireError>> + Send;
    /// Whether these contenders may hold it at once.
    fn allows(&self, holders: &[usize]) -> bool;
    /// Where znodes of contenders are; in the end there are none.
    fn places(&self) -> &'static [&'static str];
    /// Whether whoever acquires later always has a higher fencing token.
    fn in_order(&self) -> bool;
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Wait,
    Within(Duration),
    Try,
}

/// What one of the crowd has.
type Slot = Arc<Mutex<Option<Guard>>>;

struct Contender {
    session: Session,
    slot: Slot,
    acquiring: Option<JoinHandle<()>>,
}

pub(crate) struct Stage<P> {
    prize: Arc<P>,
    server: Server,
    faults: Faults,
    crowd: Vec<Contender>,
    highest: Arc<Mutex<i64>>,
    broken: Arc<Mutex<Option<String>>>,
}

/// Plays one schedule, then lets everyone have a turn, and looks whether anything was left.
pub(crate) fn play<P: Prize>(prize: P, deeds: Vec<Deed>) -> Result<(), TestCaseError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(async {
        let mut stage = Stage::set(prize).await;
        for deed in deeds {
            stage.befall(deed).await;
            stage.look();
        }
        stage.calm().await
    });
    runtime.shutdown_background();
    result.map_err(TestCaseError::fail)
}

impl<P: Prize> Stage<P> {
    async fn set(prize: P) -> Stage<P> {
        let server = Server::builder().tick(TIMEOUT / 4).start().await.unwrap();
        let faults = server.faults();
        let crowd: Vec<Contender> = (0..CROWD)
            .map(|_| {
                let servers = server.connect_string().parse().unwrap();
                let session = Session::start(SessionOptions { servers, timeout: TIMEOUT });
                Contender { session, slot: Slot::default(), acquiring: None }
            })
            .collect();
        for contender in &crowd {
            contender.session.link().await;
        }
        let (highest, broken) = Default::default();
        Stage { prize: Arc::new(prize), server, faults, crowd, highest, broken }
    }

    fn begin(&mut self, who: usize, how: How) {
        let contender = &mut self.crowd[who];
        let idle = contender.acquiring.as_ref().is_none_or(JoinHandle::is_finished);
        if !idle || contender.slot.lock().unwrap().is_some() {
            return;
        }
        let (session, slot) = (contender.session.clone(), contender.slot.clone());
        let (prize, highest, broken) = (self.prize.clone(), self.highest.clone(), self.broken.clone());
        contender.acquiring = Some(tokio::spawn(async move {
            match prize.acquire(session, who, how).await {
                Ok(Some(guard)) => {
                    let mut highest = highest.lock().unwrap();
                    if prize.in_order() && guard.holds() && guard.fence() <= *highest {
                        let what = format!("{who} got the fence {} after {highest}", guard.fence());
                        broken.lock().unwrap().get_or_insert(what);
                    }
                    *highest = guard.fence().max(*highest);
                    *slot.lock().unwrap() = Some(guard);
                }
                Ok(None) => {}
                // Of a try: no connection, or no answer in time.
                Err(AcquireError::Refused(error)) if error.is_link_trouble() => {}
                Err(error) => {
                    broken.lock().unwrap().get_or_insert(format!("{who}: {error}"));
                }
            }
        }));
    }

    async fn befall(&mut self, deed: Deed) {
        let session_of = |who: usize| self.crowd[who].session.view().session;
        match deed {
            Deed::Acquire(who) => self.begin(who, How::Wait),
            Deed::AcquireWithin(who, ms) => self.begin(who, How::Within(Duration::from_millis(ms))),
            Deed::Try(who) => self.begin(who, How::Try),
            Deed::Cancel(who) => {
                if let Some(acquiring) = self.crowd[who].acquiring.take() {
                    acquiring.abort();
                    // Once it is gone, there may be a guard after all: nobody wants it.
                    let _ = acquiring.await;
                }
                drop(self.crowd[who].slot.lock().unwrap().take());
            }
            Deed::Release(who) => {
                let guard = self.crowd[who].slot.lock().unwrap().take();
                if let Some(guard) = guard {
                    // Whether it is confirmed depends on what befalls it meanwhile.
                    tokio::spawn(async move { guard.release().await });
                }
            }
            Deed::Drop(who) => drop(self.crowd[who].slot.lock().unwrap().take()),
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
                self.go_on_for(Duration::from_millis(ms)).await;
                self.faults.resume().await;
            }
            Deed::Freeze(ms) => {
                self.faults.freeze_replies(true).await;
                self.go_on_for(Duration::from_millis(ms)).await;
                self.faults.freeze_replies(false).await;
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
        let session = &self.crowd[who].session;
        let mut views = session.watch();
        let mut owner = session.view().session;
        self.faults.refuse_connections(true);
        // A connection that was just being made when no more were let in may come, and has to go as well.
        while session.view().phase == Phase::Connected {
            let view = session.view();
            owner = view.session;
            self.faults.disconnect(owner).await;
            let lost = views.wait_for(|now| now.phase != Phase::Connected || now.link != view.link);
            drop(tokio::time::timeout(SOON, lost).await.expect("a lost connection is not noticed"));
        }
        self.faults.expire(owner).await;
        self.faults.refuse_connections(false);
    }

    /// The length of a fault, during which everyone is looked at.
    async fn go_on_for(&self, length: Duration) {
        let end = Instant::now() + length;
        let mut tick = tokio::time::interval(Duration::from_millis(2));
        while Instant::now() < end {
            tick.tick().await;
            self.look();
        }
    }

    /// Counts who holds at this very moment.
    fn look(&self) {
        let holds = |who: &usize| self.crowd[*who].slot.lock().unwrap().as_ref().is_some_and(Guard::holds);
        let holders: Vec<usize> = (0..CROWD).filter(holds).collect();
        // Time goes by: only who still does has held while the last one was looked at.
        let holders: Vec<usize> = holders.into_iter().filter(holds).collect();
        if !self.prize.allows(&holders) {
            self.broken.lock().unwrap().get_or_insert(format!("{holders:?} hold at once"));
        }
    }

    /// Nothing fails any more: everyone gets a turn, and then nothing is left.
    async fn calm(mut self) -> Result<(), String> {
        self.faults.clear().await;
        for who in 0..CROWD {
            self.befall(Deed::Cancel(who)).await;
        }
        for who in 0..CROWD {
            self.begin(who, How::Wait);
        }
        let end = Instant::now() + SOON;
        let mut served = [false; CROWD];
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        while served != [true; CROWD] {
            self.look();
            for (contender, served) in self.crowd.iter().zip(&mut served) {
                if let Some(guard) = contender.slot.lock().unwrap().take() {
                    *served = true;
                    drop(guard);
                }
            }
            if Instant::now() > end {
                return Err(format!("somebody waits though nobody holds; served: {served:?}"));
            }
            tick.tick().await;
        }
        let session = self.crowd[0].session.clone();
        for place in self.prize.places() {
            until_empty(&session, place, end).await?;
        }
        let broken = self.broken.lock().unwrap().take();
        for contender in self.crowd {
            drop(contender);
        }
        self.server.shutdown().await;
        broken.map_or(Ok(()), Err)
    }
}

async fn until_empty(session: &Session, place: &str, end: Instant) -> Result<(), String> {
    let mut tick = tokio::time::interval(Duration::from_millis(2));
    loop {
        let link: Link = session.link().await;
        let left = match link.children(place).await {
            Ok(left) => left,
            Err(error) if error.is_no_node() => return Ok(()),
            Err(error) => vec![error.to_string()],
        };
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > end {
            return Err(format!("left behind at {place}: {left:?}"));
        }
        tick.tick().await;
    }
}
