//! A ZooKeeper session that reconnects, and is replaced by a new one when it expires.
//!
//! A [`Session`] connects, reconnects, and starts a new ZooKeeper session when the last one has ended, until it is
//! [closed]. Its [`SessionState`] can be read and watched. Every connection has a number. Anything may have happened
//! between two connections, so the owner of a znode verifies it on each new connection.
//!
//! Requests are made over a [`Connection`]. They are bounded in time and fail at once while the session is not
//! connected; the underlying client would queue them without a bound.
//!
//! # Disconnect and session expiry
//! After a disconnect, the phase is [`Phase::Suspended`] until the client has reconnected in the same session, which is
//! a new connection, or the session has ended. The servers end a session after its timeout without contact, and the
//! client gives it up after 7/5 of the timeout. Then a new session is started, and the state contains its id.
//! Connecting is retried indefinitely, with pauses from 100 ms to 2 s. Each reason of failure is logged once, and the
//! newest one is available from [`Session::connect_error`].
//!
//! # Authentication and TLS
//! The identities in [`SessionOptions`] are sent on each connection before any other request. What a session creates
//! gets its ACL from the [`AclProvider`].
//!
//! * SASL (feature `sasl-digest-md5`): the servers check the password. If they refuse it three times in a row at the start
//!   of a session, the reason is [`ConnectError::AuthFailed`], and connecting is retried. Once is not enough: Apache
//!   ZooKeeper can refuse the right password while another user authenticates. If they refuse it at a reconnect, the
//!   session ends, its ephemeral znodes are deleted after its timeout, and a new session is started, with the password
//!   that [`Credentials::set_password`] has set since. Servers without a configuration for SASL ignore it; at the start of a
//!   session, this is an error (on servers from 3.7 on).
//! * Scheme `digest` ([`SessionOptions::auth`]): the servers do not check the password. With a wrong one, the session
//!   has another identity, and requests fail with [`zookeeper_client::Error::NoAuth`].
//! * TLS (feature `tls`): replaced certificates are used by the next connection, also in the same session.
//!
//! # Limits
//! A server that sends a response above [`SessionOptions::max_response`], a list with more than [`MAX_NAMES`] entries, or
//! a response that is not valid is disconnected, and the client tries the next server. The reason is logged once and
//! available from [`Session::connect_error`]. For that, each session has a local port for each server, which serves
//! connections of this process only.
//!
//! # Cancel safety
//! Dropping the future of a request does not undo it, because it may have been sent. Dropping all handles of a
//! `Session` ends its task and, shortly afterwards, the ZooKeeper session. Use [`Session::close`] to wait until it has
//! ended.
//!
//! [closed]: Session::close

mod acl;
mod acl_requests;
mod connect_error;
mod connection;
mod credentials;
mod multi;
mod own_socket;
mod relay;
mod response_check;
mod session_task;
mod spawner;
#[cfg(feature = "tls")]
mod tls;
mod wrong_znodes;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use zookeeper_client as zk;

use crate::ConnectString;
use crate::clock::BootInstant;
use crate::session_validity::SessionValidity;
use crate::wrong_znode::WrongZnode;

pub use acl::AclProvider;
pub use connect_error::ConnectError;
pub use connection::{BulkRead, Connection};
pub use credentials::{Credentials, Secret};
pub use multi::{CreateMode, MultiError, Write, Written};
pub use response_check::{BadResponse, MAX_NAMES};
pub use spawner::Spawner;
#[cfg(feature = "tls")]
pub use tls::{Tls, TlsFailure, TlsPem};
pub use wrong_znodes::WrongZnodeReporter;
pub(crate) use wrong_znodes::not_ephemeral;

/// Number of earlier sessions that are remembered. Their znodes disappear within one session timeout, so only the
/// newest few can still own any.
const REMEMBERED_SESSIONS: usize = 16;

/// Default of [`SessionOptions::max_response`]: enough for the names of 200,000 children of 80 characters.
pub const DEFAULT_MAX_RESPONSE: usize = 16 * 1024 * 1024;

/// Options of a [`Session`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Addresses of the servers, and an optional chroot.
    pub servers: ConnectString,
    /// Requested session timeout. The servers grant it within their own limits (2 to 20 ticks).
    pub timeout: Duration,
    /// Maximum length of a response in bytes, as `jute.maxbuffer` of a Java client. A server that sends a longer one is
    /// disconnected. `None`: responses are not checked, and without TLS the client library connects to the servers
    /// directly, with half as many open files.
    pub max_response: Option<usize>,
    /// ACLs of the znodes that the session creates.
    pub acl: AclProvider,
    /// Identities of scheme `digest` (`addauth`).
    pub auth: Vec<Credentials>,
    /// Identity of SASL DIGEST-MD5.
    #[cfg(feature = "sasl-digest-md5")]
    pub sasl: Option<Credentials>,
    /// Certificates for TLS. If set, all servers must use TLS.
    #[cfg(feature = "tls")]
    pub tls: Option<Tls>,
    /// Spawns the background tasks of the session. `None`: the runtime in which the session is started.
    pub spawner: Option<Spawner>,
}

impl SessionOptions {
    /// Returns options for a session without an identity, whose znodes are open to all clients.
    pub fn new(servers: ConnectString, timeout: Duration) -> SessionOptions {
        SessionOptions {
            servers,
            timeout,
            max_response: Some(DEFAULT_MAX_RESPONSE),
            acl: AclProvider::open(),
            auth: Vec::new(),
            #[cfg(feature = "sasl-digest-md5")]
            sasl: None,
            #[cfg(feature = "tls")]
            tls: None,
            spawner: None,
        }
    }

    /// Encrypts the connections to all servers.
    #[cfg(feature = "tls")]
    pub fn with_tls(mut self, tls: Tls) -> SessionOptions {
        self.tls = Some(tls);
        self
    }

    /// Adds an identity of scheme `digest`. A session may have several.
    pub fn with_auth(mut self, credentials: Credentials) -> SessionOptions {
        self.auth.push(credentials);
        self
    }

    /// Sets the identity of SASL DIGEST-MD5.
    #[cfg(feature = "sasl-digest-md5")]
    pub fn with_sasl(mut self, credentials: Credentials) -> SessionOptions {
        self.sasl = Some(credentials);
        self
    }

    /// Sets the maximum length of a response, see [`SessionOptions::max_response`].
    pub fn with_max_response(mut self, max_response: Option<usize>) -> SessionOptions {
        self.max_response = max_response;
        self
    }

    /// Sets how the background tasks of the session are spawned.
    pub fn with_spawner(mut self, spawner: Spawner) -> SessionOptions {
        self.spawner = Some(spawner);
        self
    }

    /// Returns true if the client library connects through a relay.
    fn needs_relay(&self) -> bool {
        #[cfg(feature = "tls")]
        let has_tls = self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        let has_tls = false;
        has_tls || self.max_response.is_some()
    }

    /// Sets the ACLs of the znodes that the session creates.
    pub fn with_acl(mut self, acl: AclProvider) -> SessionOptions {
        self.acl = acl;
        self
    }
}

/// Phase of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// No session yet, or the last one has ended: a new one is being started.
    Connecting,
    /// Connected.
    Connected,
    /// The connection is lost, but the session may still be alive. Do not rely on owning any znode.
    Suspended,
    /// Closed by [`Session::close`]. This phase is final.
    Closed,
}

/// Snapshot of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Current phase.
    pub phase: Phase,
    /// Number of the current or last connection, counted from 1 over all sessions. When it changes, verify the znodes
    /// that you own.
    pub connection: u64,
    /// Id of the current or last session; 0 before the first one.
    pub session: i64,
    /// Session timeout that the servers granted.
    pub timeout: Duration,
}

/// A session that is kept alive and replaced when it expires. See the [module documentation](self). Clones share one
/// session.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("state", &self.state()).finish_non_exhaustive()
    }
}

/// State shared by the session task and the handles.
struct Shared {
    state: watch::Sender<SessionState>,
    /// Client of the current session. Requests clone it while they run; the session cannot be closed before all clones
    /// are dropped.
    client: Mutex<Option<zk::Client>>,
    /// Id of the current session and its local lease. Responses to requests of other sessions do not renew it.
    validity: Mutex<(i64, SessionValidity)>,
    /// Ids of the newest sessions, newest last, including the current one.
    past: Mutex<Vec<i64>>,
    /// Session task. Dropping the sender tells it to close the session; the receiver completes when it has ended.
    task: Mutex<Option<(mpsc::Sender<()>, oneshot::Receiver<()>)>>,
    /// Spawns the session task and the background tasks of recipes.
    spawner: Spawner,
    /// Called with the id of each new session.
    on_new_session: Box<dyn Fn(i64) + Send + Sync>,
    wrong_znodes: Arc<wrong_znodes::Registry>,
    acl: AclProvider,
    connect_error: watch::Sender<Option<ConnectError>>,
}

/// Locks a mutex, also if it is poisoned: no code panics while it holds one of these locks, and the values would still
/// be consistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Session {
    /// Starts to connect in a background task, and returns at once.
    ///
    /// # Panics
    /// Panics outside a Tokio runtime.
    pub fn start(options: SessionOptions) -> Session {
        Session::start_with_callback(options, |_| {})
    }

    /// Like [`Session::start`], but calls `on_new_session` with the id of each new session before anything can be
    /// created in it.
    ///
    /// A program can thus store the ids of its sessions, to find their znodes later even if it is killed. The session
    /// cannot be used until the callback returns.
    pub fn start_with_callback(
        options: SessionOptions,
        on_new_session: impl Fn(i64) + Send + Sync + 'static,
    ) -> Session {
        let timeout = options.timeout;
        let state = SessionState { phase: Phase::Connecting, connection: 0, session: 0, timeout };
        let (open, closing) = mpsc::channel(1);
        let shared = Arc::new(Shared {
            state: watch::Sender::new(state),
            client: Mutex::new(None),
            validity: Mutex::new((0, SessionValidity::new(timeout))),
            past: Mutex::new(Vec::new()),
            task: Mutex::new(None),
            spawner: options.spawner.clone().unwrap_or_else(Spawner::current),
            on_new_session: Box::new(on_new_session),
            wrong_znodes: Arc::default(),
            acl: options.acl.clone(),
            connect_error: watch::Sender::new(None),
        });
        let task = session_task::run(Arc::downgrade(&shared), options, closing);
        let session = Session { shared };
        let ended = session.spawn(task);
        *lock(&session.shared.task) = Some((open, ended));
        session
    }

    /// Spawns a background task of the session or of a recipe. The receiver completes when the task has ended.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) -> oneshot::Receiver<()> {
        let (ending, ended) = oneshot::channel();
        self.shared.spawner.spawn(async move {
            let _ending: oneshot::Sender<()> = ending;
            task.await;
        });
        ended
    }

    /// Returns the current state.
    pub fn state(&self) -> SessionState {
        *self.shared.state.borrow()
    }

    /// Returns a receiver of state changes. Changes in quick succession coalesce; a new [`SessionState::connection`]
    /// shows that the session was disconnected in between.
    pub fn watch(&self) -> watch::Receiver<SessionState> {
        self.shared.state.subscribe()
    }

    /// Returns the reason why the last attempt to start a session failed, or why a connection of the session was closed,
    /// and its changes. `None` before the first failure, and while connected.
    pub fn connect_error(&self) -> watch::Receiver<Option<ConnectError>> {
        self.shared.connect_error.subscribe()
    }

    /// Waits until the session is connected, and returns the connection.
    ///
    /// Never returns if the session is closed. Cancel safe.
    pub async fn connection(&self) -> Connection {
        self.connection_after(0).await
    }

    /// Like [`Session::connection`], but returns an error as soon as connecting has failed for a reason that another
    /// attempt cannot remedy, see [`ConnectError::is_final`]. Cancel safe.
    pub async fn try_connection(&self) -> Result<Connection, ConnectError> {
        let mut errors = self.connect_error();
        let failed = async {
            let error = errors.wait_for(|error| error.as_ref().is_some_and(ConnectError::is_final)).await;
            let error = error.ok().and_then(|error| error.clone());
            match error {
                Some(error) => error,
                // The session is closed.
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            connection = self.connection() => Ok(connection),
            error = failed => Err(error),
        }
    }

    /// Like [`Session::connection`], but waits for a connection with a number greater than `after`.
    pub async fn connection_after(&self, after: u64) -> Connection {
        let mut states = self.watch();
        let is_newer = |state: &SessionState| state.phase == Phase::Connected && state.connection > after;
        let found = states.wait_for(is_newer).await.map(|state| *state);
        match found {
            Ok(state) => Connection { session: self.clone(), state },
            Err(_) => std::future::pending().await,
        }
    }

    /// Returns true if `session` is the id of an earlier session of this process. Znodes of such a session are its own
    /// leftovers.
    pub fn is_previous_session(&self, session: i64) -> bool {
        session != self.state().session && lock(&self.shared.past).contains(&session)
    }

    /// Returns how long after `now` the session certainly exists without another request. Zero while it is not
    /// connected. See [`SessionValidity`].
    pub fn lease_remaining(&self, now: BootInstant) -> Duration {
        if self.state().phase != Phase::Connected {
            return Duration::ZERO;
        }
        lock(&self.shared.validity).1.remaining(now)
    }

    /// Returns the znodes of the wrong type that the recipes of this session currently see, such as a persistent
    /// contender that a lock waits for. Each was logged when it was first seen. At most 64 are kept.
    pub fn wrong_znodes(&self) -> watch::Receiver<BTreeSet<WrongZnode>> {
        self.shared.wrong_znodes.published.subscribe()
    }

    /// Closes the session. Waits until the servers have confirmed it, after which its ephemeral znodes are deleted, or
    /// until `timeout` has elapsed. Returns true if it was confirmed, or if there was no session to close.
    ///
    /// Stop everything that uses the session first: a running request keeps it open. Not cancellation safe: if the
    /// future is dropped, the session is closed in the background.
    pub async fn close(&self, timeout: Duration) -> bool {
        let task = lock(&self.shared.task).take();
        let Some((open, ended)) = task else { return self.state().phase == Phase::Closed };
        drop(open);
        tokio::time::timeout(timeout, ended).await.is_ok()
    }
}
