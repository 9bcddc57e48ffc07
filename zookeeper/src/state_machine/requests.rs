//! Effect of each request, and its reply. Part of [`StateMachine`]; reads are in [`reads`](super::reads).

use bytes::BytesMut;

use super::{Close, Now, StateMachine};
use crate::acl::Id;
use crate::error::Code;
use crate::jute::Write as _;
use crate::protocol::EventKind;
use crate::protocol::{
    Create, CreateKind, Item, Operation, Request, SetWatches, WatchMode, Write, event, multi, reply,
};
use crate::sasl;
use crate::sessions::ConnectionId;
use crate::tree::Outcome;
use crate::watches::WatchSet;

/// Maximum number of identities of a connection: each request compares them with the entries of an ACL.
const MAX_IDENTITIES: usize = 100;

impl StateMachine {
    /// Processes a request and answers it.
    pub(super) fn request(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        operation: Option<Operation>,
        request: Result<Request, Code>,
        now: Now,
    ) {
        let request = match request {
            Ok(request) => request,
            Err(code) => {
                // A malformed write still counts as a transaction.
                if operation.is_some_and(Operation::is_transaction) {
                    self.begin_transaction(now);
                }
                self.reply(connection, xid, Err(code), |_| {});
                // An unknown operation closes the connection, as with Apache ZooKeeper.
                if operation.is_none() {
                    self.close(connection, Close::AfterFlush);
                }
                return;
            }
        };
        match request {
            Request::Ping => self.reply(connection, -2, Ok(()), |_| {}),
            Request::Write(write) => self.write(connection, xid, &write, now),
            Request::Multi(writes) => self.multi(connection, xid, &writes, now),
            Request::Auth { scheme, data } => self.auth(connection, xid, &scheme, data.as_deref()),
            Request::Sasl { token } => self.sasl(connection, xid, token.as_deref().unwrap_or_default()),
            Request::CloseSession => {
                let Some(session) = self.peers.get(&connection).map(|peer| peer.session) else { return };
                self.close_session(session, now);
                self.reply(connection, xid, Ok(()), |_| {});
                self.close(connection, Close::AfterFlush);
            }
            Request::SetWatches(watches) => {
                let outcome = self.set_watches(connection, &watches);
                self.reply(connection, xid, outcome, |_| {});
            }
            Request::AddWatch { path, mode } => {
                let kind = match mode {
                    WatchMode::Persistent => WatchSet::PERSISTENT,
                    WatchMode::PersistentRecursive => WatchSet::RECURSIVE,
                };
                self.watches.add(connection, &path, kind);
                self.reply(connection, xid, Ok(()), |out| Item::Int(0).encode(out));
            }
            Request::RemoveWatches { path, kind } => {
                let removed = self.watches.remove(connection, &path, kind);
                self.reply(connection, xid, removed.then_some(()).ok_or(Code::NoWatcher), |_| {});
            }
            Request::CheckWatches { path, kind } => {
                let has = self.watches.has(connection, &path, kind);
                self.reply(connection, xid, has.then_some(()).ok_or(Code::NoWatcher), |_| {});
            }
            Request::Sync { path } => {
                self.reply(connection, xid, Ok(()), |out| out.optional_string(path.as_deref()));
            }
            Request::Reconfig => {
                self.begin_transaction(now);
                self.reply(connection, xid, Err(Code::ReconfigDisabled), |_| {});
            }
            read => self.read(connection, xid, &read),
        }
    }

    /// Appends a reply.
    fn reply(
        &mut self,
        connection: ConnectionId,
        xid: i32,
        outcome: Result<(), Code>,
        body: impl FnOnce(&mut BytesMut),
    ) {
        let zxid = self.zxid;
        self.send(connection, |out| reply(out, xid, zxid, outcome, body));
    }

    fn write(&mut self, connection: ConnectionId, xid: i32, write: &Write, now: Now) {
        let transaction = self.begin_transaction(now);
        let Some(peer) = self.peers.get(&connection) else { return };
        let mut changes = Vec::new();
        let outcome = self.tree.apply(write, Self::caller(peer), transaction, &mut changes);
        self.publish(&changes);
        match outcome {
            Ok(outcome) => self.reply(connection, xid, Ok(()), |out| match &outcome {
                Outcome::Created(path, stat) => {
                    Item::Path(path).encode(out);
                    if !is_plain(write) {
                        Item::Stat(stat).encode(out);
                    }
                }
                Outcome::DataSet(stat) | Outcome::AclSet(stat) => Item::Stat(stat).encode(out),
                Outcome::Deleted | Outcome::Checked => {}
            }),
            Err(code) => self.reply(connection, xid, Err(code), |_| {}),
        }
    }

    /// Applies all operations or none. The reply has no error code even if none was applied: the results are per
    /// operation.
    fn multi(&mut self, connection: ConnectionId, xid: i32, writes: &[Write], now: Now) {
        let transaction = self.begin_transaction(now);
        let Some(peer) = self.peers.get(&connection) else { return };
        let mut changes = Vec::new();
        let outcome = self.tree.multi(writes, Self::caller(peer), transaction, &mut changes);
        self.publish(&changes);
        // A null in a required field of one operation makes the whole request malformed.
        if let Err((_, code @ Code::Marshalling)) = outcome {
            return self.reply(connection, xid, Err(code), |_| {});
        }
        self.reply(connection, xid, Ok(()), |out| {
            match outcome {
                Ok(outcomes) => writes
                    .iter()
                    .zip(&outcomes)
                    .for_each(|(write, outcome)| write_result(out, write, outcome)),
                Err((failed, code)) => (0..writes.len()).for_each(|at| {
                    let code = match at.cmp(&failed) {
                        std::cmp::Ordering::Less => None,
                        std::cmp::Ordering::Equal => Some(code),
                        std::cmp::Ordering::Greater => Some(Code::RuntimeInconsistency),
                    };
                    multi::error(out, code);
                }),
            }
            multi::end(out);
        });
    }

    /// Authenticates the client. A refusal closes the connection.
    fn auth(&mut self, connection: ConnectionId, xid: i32, scheme: &str, data: Option<&[u8]>) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let outcome = match Id::claimed(scheme, data, peer.address.ip()) {
            Some(id) if peer.ids.contains(&id) => Ok(()),
            Some(id) if peer.ids.len() < MAX_IDENTITIES => {
                peer.ids.push(id);
                Ok(())
            }
            _ => Err(Code::AuthFailed),
        };
        self.send(connection, |out| reply(out, xid, 0, outcome, |_| {}));
        if outcome.is_err() {
            self.close(connection, Close::AfterFlush);
        }
    }

    /// Performs a step of SASL DIGEST-MD5: the first request is answered with a challenge, the second is the response
    /// to it. A refusal closes the connection, as with Apache ZooKeeper.
    fn sasl(&mut self, connection: ConnectionId, xid: i32, token: &[u8]) {
        let Some(peer) = self.peers.get_mut(&connection) else { return };
        let step = match peer.nonce.take() {
            _ if self.users.is_empty() => Err("this server has no users for SASL"),
            None => {
                let nonce = format!("{:032x}", rand::random::<u128>());
                let challenge = sasl::challenge(&nonce);
                peer.nonce = Some(nonce);
                Ok(challenge)
            }
            Some(nonce) => self.users.verify(&nonce, token).map(|(user, confirmation)| {
                let id = Id::new("sasl", user);
                if !peer.ids.contains(&id) {
                    peer.ids.push(id);
                }
                confirmation
            }),
        };
        match step {
            Ok(token) => {
                self.reply(connection, xid, Ok(()), |out| Item::Data(Some(token.as_bytes())).encode(out));
            }
            Err(reason) => {
                let address = peer.address.ip();
                if self.logged.is_first(address, reason) {
                    tracing::warn!(%address, "SASL authentication refused: {reason}");
                }
                self.reply(connection, xid, Err(Code::AuthFailed), |_| {});
                self.close(connection, Close::AfterFlush);
            }
        }
    }

    /// Sets the watches of a client that reconnects. Missed events are sent immediately. Fails at the first null; the
    /// watches before it stay set.
    fn set_watches(&mut self, connection: ConnectionId, watches: &SetWatches) -> Result<(), Code> {
        let since = watches.relative_zxid;
        for path in required(&watches.data)? {
            let path = required(path)?;
            match self.tree.get(path) {
                None => self.send(connection, |out| event(out, EventKind::Deleted, path)),
                Some(node) if node.mzxid > since => {
                    self.send(connection, |out| event(out, EventKind::DataChanged, path));
                }
                Some(_) => self.watches.add(connection, path, WatchSet::DATA),
            }
        }
        for path in required(&watches.exist)? {
            let path = required(path)?;
            match self.tree.get(path) {
                Some(_) => self.send(connection, |out| event(out, EventKind::Created, path)),
                None => self.watches.add(connection, path, WatchSet::DATA),
            }
        }
        for path in required(&watches.child)? {
            let path = required(path)?;
            match self.tree.get(path) {
                None => self.send(connection, |out| event(out, EventKind::Deleted, path)),
                Some(node) if node.pzxid > since => {
                    self.send(connection, |out| event(out, EventKind::ChildrenChanged, path));
                }
                Some(_) => self.watches.add(connection, path, WatchSet::CHILD),
            }
        }
        for path in required(&watches.persistent)? {
            self.watches.add(connection, required(path)?, WatchSet::PERSISTENT);
        }
        for path in required(&watches.recursive)? {
            self.watches.add(connection, required(path)?, WatchSet::RECURSIVE);
        }
        Ok(())
    }
}

/// Returns a field of a request that must not be null.
fn required<T>(part: &Option<T>) -> Result<&T, Code> {
    part.as_ref().ok_or(Code::Marshalling)
}

fn is_plain(write: &Write) -> bool {
    matches!(write, Write::Create(Create { kind: CreateKind::Plain, .. }))
}

/// Writes one result of a `multi` that took effect.
fn write_result(out: &mut BytesMut, write: &Write, outcome: &Outcome) {
    match outcome {
        Outcome::Created(path, _) if is_plain(write) => {
            multi::header(out, Operation::Create);
            Item::Path(path).encode(out);
        }
        Outcome::Created(path, stat) => {
            multi::header(out, Operation::Create2);
            Item::Path(path).encode(out);
            Item::Stat(stat).encode(out);
        }
        Outcome::Deleted => multi::header(out, Operation::Delete),
        Outcome::DataSet(stat) | Outcome::AclSet(stat) => {
            multi::header(out, Operation::SetData);
            Item::Stat(stat).encode(out);
        }
        Outcome::Checked => multi::header(out, Operation::Check),
    }
}
