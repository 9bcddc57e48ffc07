//! Session start, session move to another connection, and session end. Part of [`StateMachine`].

use super::{Close, Now, StateMachine};
use crate::jute;
use crate::protocol::{ConnectRequest, ConnectResponse};
use crate::sessions::ConnectionId;

impl StateMachine {
    /// Processes the first frame of a connection.
    pub(super) fn connect(&mut self, connection: ConnectionId, request: &ConnectRequest, now: Now) {
        // A client that has seen a later state than this server would see its state go back in time.
        if request.last_zxid > self.zxid {
            return self.close(connection, Close::Immediately);
        }
        let timeout = self.sessions.negotiate(request.timeout);
        let session = match request.session {
            0 => Some(self.open(connection, timeout, now)),
            session => self.attach(connection, session, request, timeout, now),
        };
        let refused = ConnectResponse { timeout: 0, session: 0, password: [0; 16], with_read_only: false };
        let mut response = session.unwrap_or(refused);
        response.with_read_only = request.read_only.is_some();
        self.send(connection, |out| jute::frame(out, |out| response.encode(out)));
        if session.is_none() {
            self.close(connection, Close::AfterFlush);
        }
    }

    fn open(&mut self, connection: ConnectionId, timeout: i32, now: Now) -> ConnectResponse {
        let _transaction = self.begin_transaction(now);
        let password = rand::random();
        let session = self.sessions.open(timeout, password, connection, now.steady);
        self.set_session(connection, session);
        ConnectResponse { timeout, session, password, with_read_only: false }
    }

    fn attach(
        &mut self,
        connection: ConnectionId,
        session: i64,
        request: &ConnectRequest,
        timeout: i32,
        now: Now,
    ) -> Option<ConnectResponse> {
        let previous = self.sessions.get(session)?.connection;
        let attached = self.sessions.attach(session, &request.password, timeout, connection, now.steady)?;
        let password = attached.password;
        // The old connection is closed after the session has moved to the new one, so that its end does not detach the
        // session.
        if let Some(previous) = previous {
            self.close(previous, Close::Immediately);
        }
        self.set_session(connection, session);
        Some(ConnectResponse { timeout, session, password, with_read_only: false })
    }

    fn set_session(&mut self, connection: ConnectionId, session: i64) {
        if let Some(peer) = self.peers.get_mut(&connection) {
            peer.session = session;
        }
    }

    /// Ends a session: its ephemerals are deleted, their watches fire, its connection is closed. Returns true if the
    /// session existed.
    pub(crate) fn end_session(&mut self, session: i64, now: Now) -> bool {
        let Some(connection) = self.close_session(session, now) else { return false };
        if let Some(connection) = connection {
            self.close(connection, Close::AfterFlush);
        }
        true
    }

    /// Ends a session without closing its connection. Returns `None` if the session does not exist, otherwise its
    /// connection, if any.
    pub(super) fn close_session(&mut self, session: i64, now: Now) -> Option<Option<ConnectionId>> {
        let closed = self.sessions.close(session)?;
        let transaction = self.begin_transaction(now);
        let mut changes = Vec::new();
        self.tree.end_session(session, transaction, &mut changes);
        self.publish(&changes);
        Some(closed.connection)
    }
}
