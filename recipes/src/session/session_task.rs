//! Background task of a [`Session`](super::Session): connects, follows the state of the client, and starts new
//! sessions.

use std::sync::Weak;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tracing::{debug, info, warn};
use zookeeper_client as zk;

use super::acl::make_directories;
use super::relay::Relay;
use super::{ConnectError, Phase, REMEMBERED_SESSIONS, SessionOptions, SessionState, Shared, lock};
use crate::delay::{Delays, ReasonLog};
use crate::session_validity::SessionValidity;

const MIN_RETRY_DELAY: Duration = Duration::from_millis(100);
const MAX_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Number of refusals in a row that are reported as [`ConnectError::AuthFailed`]. Apache ZooKeeper shares the name of the
/// user between connections (ZOOKEEPER-4839), so it can refuse the right password of a user while another one
/// authenticates.
const MIN_REFUSALS: u32 = 3;

/// Runs until all handles of the session are dropped, or the sender of `closing` is.
pub(super) async fn run(shared: Weak<Shared>, options: SessionOptions, mut closing: mpsc::Receiver<()>) {
    let mut logged = LoggedReasons::default();
    loop {
        let (client, mut failures) = tokio::select! {
            // Boxed, because it takes more memory than the rest of the task.
            client = Box::pin(connect(&shared, &options, &mut logged)) => client,
            _ = closing.recv() => break,
        };
        logged.on_new_session();
        let Some(strong) = shared.upgrade() else { break };
        let mut states = client.state_watcher();
        let first_state = client.state();
        begin(&strong, client);
        drop(strong);
        if !follow(&shared, first_state, &mut states, &mut failures, &mut logged, &mut closing).await {
            break;
        }
    }
    if let Some(shared) = shared.upgrade() {
        shared.state.send_modify(|state| state.phase = Phase::Closed);
    }
}

/// Publishes a new session.
fn begin(shared: &Shared, client: zk::Client) {
    let session = client.session_id();
    let timeout = client.session_timeout();
    info!(session = %session, timeout_ms = timeout.as_millis() as u64, "connected to ZooKeeper");
    *lock(&shared.validity) = (session.0, SessionValidity::new(timeout));
    {
        let mut past = lock(&shared.past);
        past.push(session.0);
        let surplus = past.len().saturating_sub(REMEMBERED_SESSIONS);
        past.drain(..surplus);
    }
    (shared.on_new_session)(session.0);
    *lock(&shared.client) = Some(client);
    shared.connect_error.send_replace(None);
    shared.state.send_modify(|state| {
        let connection = state.connection + 1;
        *state = SessionState { phase: Phase::Connected, connection, session: session.0, timeout };
    });
}

/// Follows one session until it ends. Returns false if no other session should be started.
async fn follow(
    shared: &Weak<Shared>,
    first_state: zk::SessionState,
    states: &mut zk::StateWatcher,
    failures: &mut Failures,
    logged: &mut LoggedReasons,
    closing: &mut mpsc::Receiver<()>,
) -> bool {
    // Usually connected, which `begin` has published. But the client may have lost its connection before its state was
    // watched.
    let mut unseen = Some(first_state).filter(|state| *state != zk::SessionState::SyncConnected);
    loop {
        let state = match unseen.take() {
            Some(state) => state,
            None => tokio::select! {
                // A failure comes before the state that follows from it, so that a new connection ends it.
                biased;
                Ok(()) = failures.changed() => {
                    let Some(error) = failures.borrow_and_update().clone() else { continue };
                    if logged.accepts_closed(error.to_string()) {
                        warn!(%error, "connection to ZooKeeper closed");
                    }
                    let Some(shared) = shared.upgrade() else { return false };
                    shared.connect_error.send_replace(Some(error));
                    continue;
                }
                state = states.changed() => state,
                _ = closing.recv() => return close(shared, states).await,
            },
        };
        let Some(shared) = shared.upgrade() else { return false };
        match state {
            // The states in between may have been missed, so this is a new connection in any case.
            zk::SessionState::SyncConnected => {
                info!("reconnected to ZooKeeper in the same session");
                logged.on_reconnect();
                shared.connect_error.send_replace(None);
                shared.state.send_modify(|state| {
                    state.phase = Phase::Connected;
                    state.connection += 1;
                });
            }
            zk::SessionState::Disconnected | zk::SessionState::ConnectedReadOnly => {
                warn!("connection to ZooKeeper lost; suspended until it is restored");
                shared.state.send_modify(|state| state.phase = Phase::Suspended);
            }
            ended => {
                warn!(state = %ended, "ZooKeeper session ended; starting a new one");
                end(&shared, Phase::Connecting);
                return true;
            }
        }
    }
}

/// Drops the client, which closes the session, and waits until the servers have confirmed it. [`Session::close`] bounds
/// the wait.
///
/// [`Session::close`]: super::Session::close
async fn close(shared: &Weak<Shared>, states: &mut zk::StateWatcher) -> bool {
    if let Some(shared) = shared.upgrade() {
        end(&shared, Phase::Closed);
    }
    while !states.peek_state().is_terminated() {
        states.changed().await;
    }
    debug!("ZooKeeper session closed");
    false
}

fn end(shared: &Shared, phase: Phase) {
    lock(&shared.validity).1.end();
    *lock(&shared.client) = None;
    shared.state.send_modify(|state| state.phase = phase);
}

/// Reasons of failed connections that were logged.
#[derive(Default)]
struct LoggedReasons {
    /// Of closed connections in this session. A server whose responses are too long would add one at each reconnect.
    session: ReasonLog,
    /// Since the last connection: an outage may outlast the session that it interrupted.
    outage: ReasonLog,
}

impl LoggedReasons {
    /// Returns true if the reason why a connection of the session was closed should be logged.
    fn accepts_closed(&mut self, reason: String) -> bool {
        self.session.accepts(reason.clone()) && self.outage.accepts(reason)
    }

    /// Returns true if the reason why no session can be started should be logged.
    fn accepts_unreachable(&mut self, reason: String) -> bool {
        self.outage.accepts(reason)
    }

    fn on_reconnect(&mut self) {
        self.outage = ReasonLog::default();
    }

    fn on_new_session(&mut self) {
        *self = LoggedReasons::default();
    }
}

/// Counts the refusals of credentials in a row.
#[derive(Default)]
struct Refusals(u32);

impl Refusals {
    /// Returns true if the credentials were refused too rarely in a row to be wrong.
    fn is_doubtful(&mut self, error: &ConnectError) -> bool {
        self.0 = if *error == ConnectError::AuthFailed { self.0.saturating_add(1) } else { 0 };
        (1..MIN_REFUSALS).contains(&self.0)
    }
}

/// Reasons why the relay of a client closed connections.
type Failures = watch::Receiver<Option<ConnectError>>;

async fn connect(
    shared: &Weak<Shared>,
    options: &SessionOptions,
    logged: &mut LoggedReasons,
) -> (zk::Client, Failures) {
    let mut delays = Delays::new(MIN_RETRY_DELAY, MAX_RETRY_DELAY);
    let mut refusals = Refusals::default();
    loop {
        let error = match connect_once(options).await {
            Ok(client) => return client,
            Err(error) => error,
        };
        if refusals.is_doubtful(&error) {
            debug!(%error, "authenticating again");
            tokio::time::sleep(MIN_RETRY_DELAY).await;
            continue;
        }
        if logged.accepts_unreachable(error.to_string()) {
            warn!(servers = %options.servers, %error, "cannot reach ZooKeeper; retrying");
        } else {
            debug!(%error, "cannot reach ZooKeeper");
        }
        if let Some(shared) = shared.upgrade() {
            shared.connect_error.send_replace(Some(error));
        }
        tokio::time::sleep(delays.next_delay()).await;
    }
}

/// Tries each server once. Creates the chroot, if one is configured and missing.
async fn connect_once(options: &SessionOptions) -> Result<(zk::Client, Failures), ConnectError> {
    let relay = if options.needs_relay() { Some(Relay::start(options).await?) } else { None };
    let mut failures = relay.as_ref().map_or_else(|| watch::channel(None).1, Relay::failure);
    let client = establish(options, relay).await.map_err(|error| match error {
        // The client library reports whatever the relay closes as an unreachable server or a lost connection.
        ConnectError::Unreachable | ConnectError::Timeout | ConnectError::Client(_) => {
            failures.borrow_and_update().clone().unwrap_or(error)
        }
        error => error,
    })?;
    // Other servers may have failed before.
    failures.mark_unchanged();
    Ok((client, failures))
}

/// Starts a session, through `relay` if there is one, which is kept while the client exists.
async fn establish(options: &SessionOptions, relay: Option<Relay>) -> Result<zk::Client, ConnectError> {
    let direct = options.servers.servers();
    let servers = relay.as_ref().map_or(&*direct, Relay::servers);
    let client = connector(options).connect(servers).await?;
    if let Some(relay) = relay {
        relay.serve_until_end_of(&client);
    }
    #[cfg(feature = "sasl-digest-md5")]
    if options.sasl.is_some() {
        check_sasl(&client, options.timeout).await?;
    }
    let Some(chroot) = options.servers.chroot() else { return Ok(client) };
    let created = make_directories(&client, chroot, zk::CreateMode::Persistent, |_| options.acl.acl("/"));
    let exists = async {
        match created.await {
            // A client that may not create the chroot may still be allowed to use it.
            Err(zk::Error::NoAuth) => Ok(client.check_stat(chroot).await?.is_some()),
            result => result.map(|()| true),
        }
    };
    match tokio::time::timeout(options.timeout, exists).await {
        Ok(Ok(true)) => {}
        Ok(Ok(false)) => return Err(ConnectError::NoChroot(chroot.to_owned())),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(ConnectError::Timeout),
    }
    client.chroot(chroot.to_owned()).map_err(|_| zk::Error::BadArguments(&"bad chroot").into())
}

/// Returns an error if the servers have not authenticated the session by SASL. Servers that are not configured for SASL
/// ignore it, and the client library does not report that.
#[cfg(feature = "sasl-digest-md5")]
async fn check_sasl(client: &zk::Client, timeout: Duration) -> Result<(), ConnectError> {
    match tokio::time::timeout(timeout, client.list_auth_users()).await {
        Ok(Ok(users)) if users.iter().any(|user| user.scheme() == "sasl") => Ok(()),
        Ok(Ok(_)) => Err(ConnectError::SaslIgnored),
        // Servers before 3.7 do not have this request.
        Ok(Err(zk::Error::Unimplemented)) => Ok(()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(ConnectError::Timeout),
    }
}

/// Returns a connector that tries each server once, with the identities of the session.
fn connector(options: &SessionOptions) -> zk::Connector {
    let mut connector = zk::Client::connector().with_session_timeout(options.timeout).with_fail_eagerly();
    for credentials in &options.auth {
        connector = connector.with_auth("digest", credentials.digest().as_bytes());
    }
    #[cfg(feature = "sasl-digest-md5")]
    if let Some(credentials) = &options.sasl {
        let password = credentials.password().expose().to_owned();
        connector = connector.with_sasl(zk::SaslOptions::digest_md5(credentials.user().to_owned(), password));
    }
    connector
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_wrong_after_three_refusals_in_a_row() {
        let mut refusals = Refusals::default();
        let refused = ConnectError::AuthFailed;
        assert!(refusals.is_doubtful(&refused) && refusals.is_doubtful(&refused));
        assert!(!refusals.is_doubtful(&ConnectError::Unreachable));
        assert!(refusals.is_doubtful(&refused) && refusals.is_doubtful(&refused));
        assert!(!refusals.is_doubtful(&refused) && !refusals.is_doubtful(&refused));
    }

    #[test]
    fn reason_is_logged_once_per_session_and_outage() {
        let mut logged = LoggedReasons::default();
        let expired = || "the certificate has expired".to_owned();
        assert!(logged.accepts_closed(expired()));
        assert!(!logged.accepts_closed(expired()), "the same outage");
        assert!(!logged.accepts_unreachable(expired()), "the outage outlasts the session");
        assert!(logged.accepts_unreachable("no server is reachable".to_owned()));
        logged.on_new_session();
        assert!(logged.accepts_closed(expired()), "another session");
        logged.on_reconnect();
        assert!(!logged.accepts_closed(expired()), "once per session");
        assert!(
            logged.accepts_unreachable(expired()),
            "this outage has ended the session: its reason was not logged"
        );
        assert!(!logged.accepts_unreachable(expired()));
    }
}
