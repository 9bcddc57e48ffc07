//! The task behind a [`crate::session::Session`]: connects, follows the client's state, begins again.

use std::collections::BTreeSet;
use std::sync::Weak;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};
use zookeeper_client as zk;

use super::{Phase, REMEMBERED_SESSIONS, SessionOptions, SessionState, Shared, lock};
use crate::session_validity::SessionValidity;

const FIRST_RETRY: Duration = Duration::from_millis(100);
/// Maximum number of different reasons that are logged until there is a session.
const MOST_REASONS: usize = 8;
const SLOWEST_RETRY: Duration = Duration::from_secs(1);

/// Keeps the session of `shared` until it is dropped or `closing` ends.
pub(super) async fn keep(shared: Weak<Shared>, options: SessionOptions, mut closing: mpsc::Receiver<()>) {
    loop {
        let client = tokio::select! {
            client = connect(&options) => client,
            _ = closing.recv() => break,
        };
        let Some(strong) = shared.upgrade() else { break };
        let mut states = client.state_watcher();
        let first_state = client.state();
        begin(&strong, client);
        drop(strong);
        if !follow(&shared, first_state, &mut states, &mut closing).await {
            break;
        }
    }
    if let Some(shared) = shared.upgrade() {
        change(&shared, |view| view.phase = Phase::Closed);
    }
}

/// A new session has been granted: makes it the current one.
fn begin(shared: &Shared, client: zk::Client) {
    let session = client.session_id();
    let timeout = client.session_timeout();
    info!(session = %session, timeout_ms = timeout.as_millis() as u64, "connected to ZooKeeper");
    *lock(&shared.lease) = (session.0, SessionValidity::new(timeout));
    {
        let mut past = lock(&shared.past);
        past.push(session.0);
        let surplus = past.len().saturating_sub(REMEMBERED_SESSIONS);
        past.drain(..surplus);
    }
    if let Some(begun) = &shared.begun.0 {
        begun(session.0);
    }
    *lock(&shared.client) = Some(client);
    change(shared, |view| {
        *view = SessionState {
            phase: Phase::Connected,
            connection: view.connection + 1,
            session: session.0,
            timeout,
        }
    });
}

/// Follows one session to its end. False: the whole thing is being closed.
async fn follow(
    shared: &Weak<Shared>,
    first_state: zk::SessionState,
    states: &mut zk::StateWatcher,
    closing: &mut mpsc::Receiver<()>,
) -> bool {
    // The client may have lost its connection before its state was watched.
    let mut state = first_state;
    if state == zk::SessionState::SyncConnected {
        state = tokio::select! { state = states.changed() => state, _ = closing.recv() => return close(shared, states).await };
    }
    loop {
        let Some(strong) = shared.upgrade() else { return false };
        match state {
            // A loss and a return in between may have coalesced into this: it is a new link in any case.
            zk::SessionState::SyncConnected => {
                info!("connected to ZooKeeper again, in the same session");
                change(&strong, |view| {
                    view.phase = Phase::Connected;
                    view.connection += 1;
                });
            }
            zk::SessionState::Disconnected | zk::SessionState::ConnectedReadOnly => {
                warn!("the connection to ZooKeeper is lost; suspended until it is back");
                change(&strong, |view| view.phase = Phase::Suspended);
            }
            ended => {
                warn!(state = %ended, "the ZooKeeper session is over; beginning a new one");
                lock(&strong.lease).1.end();
                *lock(&strong.client) = None;
                change(&strong, |view| view.phase = Phase::Connecting);
                return true;
            }
        }
        drop(strong);
        state = tokio::select! { state = states.changed() => state, _ = closing.recv() => return close(shared, states).await };
    }
}

/// Lets go of the client, which closes the session, and waits until the servers have confirmed it. The wait is bounded
/// by whoever closes.
async fn close(shared: &Weak<Shared>, states: &mut zk::StateWatcher) -> bool {
    if let Some(strong) = shared.upgrade() {
        lock(&strong.lease).1.end();
        *lock(&strong.client) = None;
        change(&strong, |view| view.phase = Phase::Closed);
    }
    while !states.peek_state().is_terminated() {
        states.changed().await;
    }
    debug!("the ZooKeeper session is closed");
    false
}

fn change(shared: &Shared, how: impl FnOnce(&mut SessionState)) {
    shared.view.send_modify(how);
}

/// Connects, however long it takes.
async fn connect(options: &SessionOptions) -> zk::Client {
    let mut delays = None;
    let mut logged = BTreeSet::new();
    loop {
        match connect_once(options).await {
            Ok(client) => return client,
            Err(error) => {
                if logged.len() < MOST_REASONS && logged.insert(error.to_string()) {
                    warn!(servers = %options.servers, %error, "cannot reach ZooKeeper; trying on until it answers");
                }
                let delays = delays.get_or_insert_with(|| {
                    ExponentialBuilder::new()
                        .with_min_delay(FIRST_RETRY)
                        .with_max_delay(SLOWEST_RETRY)
                        .without_max_times()
                        .with_jitter()
                        .build()
                });
                debug!(%error, "cannot reach ZooKeeper");
                tokio::time::sleep(delays.next().unwrap_or(SLOWEST_RETRY)).await;
            }
        }
    }
}

/// Tries every server once and, if there is a chroot, sees to it that it exists.
async fn connect_once(options: &SessionOptions) -> Result<zk::Client, zk::Error> {
    let client = zk::Client::connector()
        .with_session_timeout(options.timeout)
        .with_fail_eagerly()
        .connect(&options.servers.servers())
        .await?;
    let Some(chroot) = options.servers.chroot() else { return Ok(client) };
    let directory = zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all());
    match tokio::time::timeout(options.timeout, client.mkdir(chroot, &directory)).await {
        Ok(Ok(())) => {}
        // Whoever may not make it may still be allowed to use it.
        Ok(Err(zk::Error::NoAuth)) => {}
        Ok(Err(error)) => return Err(error),
        Err(_) => return Err(zk::Error::Timeout),
    }
    client.chroot(chroot.to_owned()).map_err(|_| zk::Error::BadArguments(&"bad chroot"))
}
