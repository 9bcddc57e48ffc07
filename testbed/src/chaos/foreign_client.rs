//! Another client of ZooKeeper beside a fleet, with Kazoo. It runs in a separate thread because it may have to wait for
//! a server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::kazoo::Kazoo;
use crate::zk_probe::ZkProbe;

/// Pause between attempts to create a znode that still exists.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);
/// Attempts to end a fault; each waits up to 30 s for a server.
const ATTEMPTS: usize = 4;

#[derive(Debug)]
pub(super) enum Request {
    /// Creates a znode; waits up to this time until no other znode is at the path.
    Create { path: String, data: Vec<u8>, ephemeral: bool, wait: Duration },
    /// Deletes a znode, if this client created it.
    Remove { path: String },
    /// Makes a znode read-only for all others.
    Restrict { path: String },
    /// Gives a znode the ACL of the fleet again; by default, all clients have all permissions.
    Unrestrict { path: String },
    /// Sets a znode to no data, which notifies the leader that the outbox has changed.
    Touch { path: String },
}

/// Results of all requests so far.
#[derive(Debug, Default)]
pub(super) struct ForeignResults {
    /// True for each fault whose request took effect.
    pub(super) done: BTreeMap<usize, bool>,
    /// Faults that could not be ended.
    pub(super) failures: Vec<String>,
    pub(super) sessions: BTreeSet<i64>,
    /// Number of requests that are not answered yet.
    open: usize,
}

pub(super) struct ForeignClient {
    requests: Option<Sender<(Option<usize>, Request)>>,
    shared: Arc<Mutex<ForeignResults>>,
    thread: Option<JoinHandle<()>>,
}

impl ForeignClient {
    /// Connects in the background, with the identity of `kazoo`.
    pub(super) fn start(kazoo: Kazoo, hosts: String) -> Self {
        let (requests, inbox) = channel();
        let shared = Arc::new(Mutex::new(ForeignResults::default()));
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("foreign-client".into())
                .spawn(move || serve(&kazoo, &hosts, &inbox, &shared))
                .expect("start the thread of another client")
        };
        Self { requests: Some(requests), shared, thread: Some(thread) }
    }

    /// Sends a request, which begins the fault with this number if there is one.
    pub(super) fn send(&self, act: Option<usize>, request: Request) {
        self.shared.lock().open += 1;
        let sent = self.requests.as_ref().map(|requests| requests.send((act, request)));
        assert!(matches!(sent, Some(Ok(()))), "the other client of ZooKeeper has ended");
    }

    /// Returns true if all requests are answered.
    pub(super) fn is_idle(&self) -> bool {
        assert!(!self.thread.as_ref().is_some_and(JoinHandle::is_finished), "the other client has ended");
        self.shared.lock().open == 0
    }

    pub(super) fn sessions(&self) -> BTreeSet<i64> {
        self.shared.lock().sessions.clone()
    }

    /// Waits for the end of all requests.
    pub(super) fn finish(mut self) -> ForeignResults {
        self.requests = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))), "the other client of ZooKeeper failed");
        std::mem::take(&mut *self.shared.lock())
    }
}

fn serve(
    kazoo: &Kazoo,
    hosts: &str,
    inbox: &Receiver<(Option<usize>, Request)>,
    shared: &Mutex<ForeignResults>,
) {
    let probe = ZkProbe::connect_by(kazoo, hosts);
    if let Err(error) = probe.authenticate() {
        shared.lock().failures.push(format!("cannot authenticate: {error}"));
    }
    for (act, request) in inbox {
        // The session may end during the request: both are recorded.
        note_session(&probe, shared);
        let sessions = shared.lock().sessions.clone();
        let done = execute(&probe, &request, &sessions);
        note_session(&probe, shared);
        let mut shared = shared.lock();
        match (act, done) {
            (Some(act), done) => drop(shared.done.insert(act, done.is_ok())),
            (None, Err(error)) => shared.failures.push(format!("{request:?}: {error}")),
            (None, Ok(())) => {}
        }
        shared.open -= 1;
    }
}

fn note_session(probe: &ZkProbe, shared: &Mutex<ForeignResults>) {
    let session = (0..ATTEMPTS).find_map(|_| probe.try_session_id().ok());
    let mut shared = shared.lock();
    match session {
        Some(session) => drop(shared.sessions.insert(session)),
        None => shared.failures.push("no ZooKeeper server answers".to_owned()),
    }
}

fn execute(probe: &ZkProbe, request: &Request, sessions: &BTreeSet<i64>) -> Result<(), String> {
    match request {
        Request::Create { path, data, ephemeral, wait } => {
            let end = Instant::now() + *wait;
            loop {
                match probe.create_below(path, data, *ephemeral) {
                    Err(error) if error == "NodeExistsError" && Instant::now() < end => {
                        thread::sleep(RETRY_INTERVAL);
                    }
                    done => return done,
                }
            }
        }
        Request::Remove { path } => until_done(|| {
            let owner = probe.exists(path).map(|stat| stat.ephemeral_owner);
            // A znode that a node has created at this path must stay.
            if owner.is_some_and(|owner| owner == 0 || sessions.contains(&owner)) {
                return probe.delete(path);
            }
            Ok(())
        }),
        Request::Restrict { path } => probe.restrict(path),
        Request::Unrestrict { path } => until_done(|| probe.unrestrict(path)),
        Request::Touch { path } => until_done(|| probe.set(path, b"")),
    }
}

/// Repeats a request while no server answers. A missing znode counts as success.
fn until_done(request: impl Fn() -> Result<(), String>) -> Result<(), String> {
    let mut done = Ok(());
    for _ in 0..ATTEMPTS {
        done = match request() {
            Err(error) if error == "NoNodeError" => Ok(()),
            done => done,
        };
        if done.is_ok() {
            break;
        }
    }
    done
}
