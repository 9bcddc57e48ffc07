//! The local lease: the time for which a session certainly exists. Requests renew it.

use std::time::Duration;

use atalaya_recipes::clock::BootInstant;
use atalaya_recipes::{Connection, Phase, Session};
use tracing::debug;

/// Returns true if the session of this connection certainly exists.
pub(crate) fn holds(connection: &Connection) -> bool {
    connection.is_current() && !connection.session().lease_remaining(BootInstant::now()).is_zero()
}

/// Renews the local lease until it expires nevertheless. The caller must watch the connection.
pub(crate) async fn expired(connection: &Connection) {
    let step = connection.timeout() / 8;
    let mut renewal = std::pin::pin!(async {
        loop {
            if let Err(error) = connection.sync().await {
                debug!(%error, "cannot renew the local lease");
            }
            tokio::time::sleep(step).await;
        }
    });
    loop {
        let left = connection.session().lease_remaining(BootInstant::now());
        if left.is_zero() {
            return;
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(left) => {}
            () = &mut renewal => {}
        }
    }
}

/// Waits until the session `id` may have ended. Renews the local lease while the session is connected. A disconnect alone
/// is not the end: the session certainly exists until the lease expires.
pub(crate) async fn uncertain(session: &Session, id: i64) {
    let mut until: Option<BootInstant> = None;
    loop {
        let state = session.state();
        if state.session != id || state.phase == Phase::Closed {
            return;
        }
        let step = state.timeout / 8;
        if state.phase == Phase::Connected {
            let renew = async { session.connection().await.sync().await };
            if let Ok(Err(error)) = tokio::time::timeout(step, renew).await {
                debug!(%error, "cannot renew the local lease");
            }
        }
        let now = BootInstant::now();
        let left = session.lease_remaining(now);
        if !left.is_zero() {
            until = until.max(Some(now + left));
        }
        let certain = until.map_or(Duration::ZERO, |until| until.since(now));
        if certain.is_zero() {
            return;
        }
        tokio::time::sleep(certain.min(step)).await;
    }
}
