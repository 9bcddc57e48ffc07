//! The server's whole state and the effect of each request on it: pure, with the time as an argument and the output as
//! a result. Owned by [`server_actor`](super::server_actor).
//!
//! Output of a connection is appended in the order of the events that cause it, so a watch event always precedes the
//! reply that shows its change.

mod disconnects;
mod reads;
mod requests;
mod session;

use std::collections::HashMap;
use std::net::SocketAddr;

use bytes::BytesMut;

use super::acl::{self, Acl, Id, perms};
use super::error::Code;
use super::protocol::{ConnectRequest, EventKind, Operation, Request, event};
use super::sasl::Users;
use super::sessions::{ConnectionId, Sessions};
use super::tree::{Caller, Change, Effect, Transaction, Tree};
use super::watches::Watches;
use super::{LoggedOnce, Settings, path};

pub(crate) use disconnects::Disconnects;
pub use disconnects::{Disconnect, RequestFilter};

/// The time on the server's two clocks.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Now {
    /// Milliseconds on a monotonic clock, for session expiry.
    pub(crate) steady: i64,
    /// Milliseconds since 1970: `ctime`, `mtime` and TTLs.
    pub(crate) wall: i64,
}

/// Input from a connection.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// The first frame.
    Connect(ConnectRequest),
    /// Any later frame; `operation` is `None` if its number is unknown.
    Request { xid: i32, operation: Option<Operation>, request: Result<Request, Code> },
}

/// Way in which a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Close {
    /// Closed once all pending output is written.
    AfterFlush,
    /// Closed immediately.
    Immediately,
}

/// Output for a connection.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) connection: ConnectionId,
    pub(crate) bytes: BytesMut,
    pub(crate) close: Option<Close>,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    /// 0 before a session is established.
    pub(crate) session: i64,
    /// Authenticated identities of the client.
    ids: Vec<Id>,
    /// Nonce of the SASL challenge that the client has to answer.
    nonce: Option<String>,
    out: BytesMut,
    /// True if the connection is in the list of connections with pending output.
    has_output: bool,
    pub(crate) counters: Counters,
    /// Number and kind of the last request.
    pub(crate) last_request: (i32, Option<Operation>),
}

/// Counters of a connection or of the server.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: u64,
    pub(crate) sent: u64,
}

/// The state of a server.
#[derive(Debug)]
pub(crate) struct StateMachine {
    pub(crate) tree: Tree,
    pub(crate) sessions: Sessions,
    pub(crate) watches: Watches,
    pub(crate) peers: HashMap<ConnectionId, Peer>,
    /// Latest transaction.
    pub(crate) zxid: i64,
    pub(crate) counters: Counters,
    /// Number of requests since the first start; unlike `counters`, it is never reset.
    pub(crate) requests: u64,
    /// Number of names in all lists of children since the first start.
    pub(crate) names_listed: u64,
    pub(crate) settings: Settings,
    pub(crate) disconnects: Disconnects,
    /// Time of the next check for expired containers and TTLs, on the steady clock.
    next_container_check: i64,
    users: Users,
    /// Addresses whose failed authentication was logged.
    logged: LoggedOnce,
    /// Connections with pending output.
    with_output: Vec<ConnectionId>,
    /// Last output of closed connections.
    closed: Vec<Output>,
}

impl StateMachine {
    pub(crate) fn new(settings: Settings, users: Users, now: Now) -> Self {
        let mut tree = Tree::new();
        tree.enforce_quotas(settings.enforce_quota);
        tree.allow_sasl(!users.is_empty());
        Self {
            tree,
            sessions: Sessions::new(settings.tick, settings.min_timeout, settings.max_timeout, now.wall),
            watches: Watches::default(),
            peers: HashMap::new(),
            zxid: 0,
            counters: Counters::default(),
            requests: 0,
            names_listed: 0,
            settings,
            disconnects: Disconnects::default(),
            next_container_check: now.steady + settings.container_check_interval,
            users,
            logged: LoggedOnce::default(),
            with_output: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Adds a new connection.
    pub(crate) fn connected(&mut self, connection: ConnectionId, address: SocketAddr) {
        let peer = Peer {
            address,
            session: 0,
            ids: vec![Id::address(address.ip())],
            nonce: None,
            out: BytesMut::new(),
            has_output: false,
            counters: Counters::default(),
            last_request: (0, None),
        };
        self.peers.insert(connection, peer);
    }

    /// Processes input from a connection.
    pub(crate) fn handle(&mut self, connection: ConnectionId, incoming: Incoming, now: Now) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        peer.counters.received += 1;
        self.counters.received += 1;
        self.requests += 1;
        match incoming {
            Incoming::Connect(request) if peer.session == 0 => self.connect(connection, &request, now),
            Incoming::Request { xid, operation, request } if peer.session != 0 => {
                peer.last_request = (xid, operation);
                let (session, output_before) = (peer.session, peer.out.len());
                self.sessions.touch(session, now.steady);
                let disconnect = self.disconnects.matching(session, operation, request.as_ref().ok());
                if disconnect == Some(Disconnect::BeforeEffect) {
                    return self.close(connection, Close::AfterFlush);
                }
                self.request(connection, xid, operation, request, now);
                if disconnect == Some(Disconnect::BeforeReply) {
                    if let Some(peer) = self.peers.get_mut(&connection) {
                        peer.out.truncate(output_before);
                    }
                    self.close(connection, Close::AfterFlush);
                }
            }
            _ => self.close(connection, Close::Immediately),
        }
    }

    /// Expires sessions, and deletes containers and znodes with an expired TTL.
    pub(crate) fn tick(&mut self, now: Now) {
        for session in self.sessions.expired(now.steady) {
            tracing::debug!("session {session:#x} expired");
            self.end_session(session, now);
        }
        if now.steady < self.next_container_check {
            return;
        }
        self.next_container_check = now.steady + self.settings.container_check_interval;
        for path in self.tree.expired(now.wall) {
            let transaction = self.begin_transaction(now);
            let mut changes = Vec::new();
            self.tree.delete_expired(&path, transaction, &mut changes);
            self.publish(&changes);
        }
    }

    /// Returns the time at which [`tick`](Self::tick) is due next, on the steady clock.
    pub(crate) fn next_tick(&self) -> Option<i64> {
        let container_check = self.tree.has_expiring().then_some(self.next_container_check);
        container_check.into_iter().chain(self.sessions.next_check()).min()
    }

    /// Closes every connection and discards its pending output.
    pub(crate) fn stop(&mut self) {
        for connection in self.peers.keys().copied().collect::<Vec<_>>() {
            self.disconnected(connection);
        }
        self.drain(|_| {});
    }

    /// Restarts the timers of sessions and of the check for containers, as Apache ZooKeeper does when it loads its
    /// database.
    pub(crate) fn restart(&mut self, now: Now) {
        self.sessions.restart_timeouts(now.steady);
        self.next_container_check = now.steady + self.settings.container_check_interval;
    }

    /// Takes the output of all connections since the last call.
    pub(crate) fn drain(&mut self, mut send: impl FnMut(Output)) {
        for connection in self.with_output.drain(..) {
            if let Some(peer) = self.peers.get_mut(&connection) {
                peer.has_output = false;
                send(Output { connection, bytes: std::mem::take(&mut peer.out), close: None });
            }
        }
        self.closed.drain(..).for_each(&mut send);
    }

    /// Closes a connection.
    pub(crate) fn close(&mut self, connection: ConnectionId, close: Close) {
        if let Some(peer) = self.disconnected(connection) {
            self.closed.push(Output { connection, bytes: peer.out, close: Some(close) });
        }
    }

    /// Removes a closed connection; its session continues.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) -> Option<Peer> {
        let peer = self.peers.remove(&connection)?;
        self.watches.disconnect(connection);
        if self.sessions.get(peer.session).is_some_and(|session| session.connection == Some(connection)) {
            self.sessions.detach(peer.session);
        }
        Some(peer)
    }

    /// Appends to the output of a connection.
    fn send(&mut self, connection: ConnectionId, write: impl FnOnce(&mut BytesMut)) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        if !std::mem::replace(&mut peer.has_output, true) {
            self.with_output.push(connection);
        }
        peer.counters.sent += 1;
        self.counters.sent += 1;
        write(&mut peer.out);
    }

    /// Starts the next transaction.
    fn begin_transaction(&mut self, now: Now) -> Transaction {
        self.zxid += 1;
        Transaction { zxid: self.zxid, time: now.wall }
    }

    fn caller(peer: &Peer) -> Caller<'_> {
        Caller { session: peer.session, ids: &peer.ids }
    }

    /// Fires watches for the changes, in their order. A client that may not read a znode receives no event, though its
    /// watch is removed (CVE-2024-23944).
    fn publish(&mut self, changes: &[Change]) {
        for Change { path, acl, effect } in changes {
            let (kind, parent_acl) = match effect {
                Effect::Created { parent_acl, .. } => (EventKind::Created, Some(parent_acl)),
                Effect::Deleted { parent_acl, .. } => (EventKind::Deleted, Some(parent_acl)),
                Effect::DataChanged { .. } => (EventKind::DataChanged, None),
                Effect::QuotaStatsUpdated { .. } => continue,
            };
            self.fire(kind, path, acl);
            if let (Some(acl), Some(parent)) = (parent_acl, path::parent(path)) {
                self.fire(EventKind::ChildrenChanged, parent, acl);
            }
        }
    }

    fn fire(&mut self, kind: EventKind, path: &str, acl: &[Acl]) {
        for connection in self.watches.fire(kind, path) {
            let may_read = |peer: &Peer| acl::check(acl, perms::READ, &peer.ids).is_ok();
            if self.peers.get(&connection).is_some_and(may_read) {
                self.send(connection, |out| event(out, kind, path));
            }
        }
    }
}

#[cfg(any(test, fuzzing))]
impl StateMachine {
    /// Checks all invariants.
    ///
    /// # Panics
    ///
    /// Panics if an invariant is violated.
    pub(crate) fn check(&self) {
        self.tree.check(|session| self.sessions.get(session).is_some());
        self.watches.check(|connection| self.peers.contains_key(&connection));
        self.sessions.check();
        for (connection, peer) in self.peers.iter().filter(|(_, peer)| peer.session != 0) {
            let session = self.sessions.get(peer.session);
            assert_eq!(
                session.and_then(|session| session.connection),
                Some(*connection),
                "session of {connection}"
            );
        }
        for id in self.sessions.ids() {
            let connection = self.sessions.get(id).and_then(|session| session.connection);
            let is_connected =
                |connection| self.peers.get(&connection).is_some_and(|peer| peer.session == id);
            assert!(connection.is_none_or(is_connected), "connection of {id:#x}");
        }
    }
}
