//! What a running node is told: the settings that it was started with (and reads again at SIGHUP), and over them what
//! stands below `/config` and `/config/nodes/{id}` in ZooKeeper, which whole fleets follow at once.
//!
//! Each of the two znodes costs a watch on its children, and each key that is there a watch on its data. A watch on every
//! key that might be there would cost four times as many watches and requests of a fleet that is told nothing.

mod key;
mod overlay;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atalaya_recipes::{DataWatch, Session, WatchedData, children_watch};
use futures_util::future::join_all;
use tokio::sync::watch;
use tracing::{info, warn};

pub use key::{FLEET, Key, NODES, check, period};
pub use overlay::{Outcome, Overlay, Scope};

use crate::model::node_id::NodeId;
use crate::settings::Settings;

/// How long a key that may not be read is left alone.
const REFUSED: Duration = Duration::from_secs(60);

/// Which keys there are, in the order of [`Key::ALL`]; `None`: nobody has looked yet.
type Listed = Option<[bool; Key::ALL.len()]>;

/// The settings of a running node.
#[derive(Debug)]
pub struct DynamicConfig {
    id: NodeId,
    parts: Mutex<Parts>,
    settings: watch::Sender<Settings>,
    known: watch::Sender<bool>,
}

#[derive(Debug)]
struct Parts {
    base: Settings,
    overlay: Overlay,
}

impl DynamicConfig {
    /// Those of the node `id`, which was told `base` where it stands.
    pub fn new(id: NodeId, base: Settings) -> DynamicConfig {
        let settings = watch::Sender::new(base.clone());
        let mut overlay = Overlay::new(id.clone());
        overlay.allow(&base);
        DynamicConfig {
            id,
            parts: Mutex::new(Parts { base, overlay }),
            settings,
            known: watch::Sender::new(false),
        }
    }

    /// The settings that hold, and each that come after them.
    pub fn settings(&self) -> watch::Receiver<Settings> {
        self.settings.subscribe()
    }

    /// The node is told something else where it stands. Gives the settings that hold now.
    pub fn rebase(&self, base: Settings) -> Settings {
        let mut parts = self.parts();
        parts.overlay.allow(&base);
        parts.base = base;
        self.settle(&parts)
    }

    /// Completes when everything that ZooKeeper has to tell has been seen once.
    ///
    /// # Cancellation safety
    /// Nothing is lost.
    pub async fn known(&self) {
        // The sender is here.
        let _ = self.known.subscribe().wait_for(|known| *known).await;
    }

    /// Follows what ZooKeeper tells until it is dropped. While there is no connection, what was told last holds.
    ///
    /// # Cancellation safety
    /// What was told stays.
    pub async fn follow(&self, session: &Session) {
        tokio::join!(self.follow_folder(session, Scope::Fleet), self.follow_folder(session, Scope::Node));
    }

    async fn follow_folder(&self, session: &Session, scope: Scope) {
        let listed = watch::Sender::new(None);
        let keys = join_all(
            Key::ALL.into_iter().map(|key| self.follow_key(session, scope, key, listed.subscribe())),
        );
        let folder = scope.folder(&self.id);
        let listing = children_watch::follow(session, &folder, |names| {
            let there = Key::ALL.map(|key| names.iter().any(|name| name == key.name()));
            listed.send_replace(Some(there));
        });
        tokio::join!(listing, keys);
    }

    /// Watches one key whenever it is there.
    async fn follow_key(
        &self,
        session: &Session,
        scope: Scope,
        key: Key,
        mut listed: watch::Receiver<Listed>,
    ) {
        let path = self.parts().overlay.path(scope, key);
        let is =
            |there: bool| move |listed: &Listed| listed.is_some_and(|listed| listed[key as usize] == there);
        let mut logged = None;
        while listed.wait_for(Option::is_some).await.is_ok() {
            if is(false)(&listed.borrow()) {
                self.hear(scope, key, None);
                let _ = listed.wait_for(is(true)).await;
            }
            let watch = DataWatch::new(session.clone(), &path);
            let newest = watch.subscribe();
            // Boxed: most keys are not there.
            let watching = Box::pin(async {
                tokio::select! {
                    error = watch.run() => error,
                    never = self.hear_all(scope, key, newest) => match never {},
                }
            });
            let refusal = tokio::select! {
                error = watching => error,
                _ = listed.wait_for(is(false)) => continue,
            };
            let reason = refusal.to_string();
            if logged.as_ref() != Some(&reason) {
                warn!("{path} cannot be followed: {reason}");
                logged = Some(reason);
            }
            self.cannot_hear(scope, key);
            let _ = tokio::time::timeout(REFUSED, listed.wait_for(is(false))).await;
        }
    }

    async fn hear_all(
        &self,
        scope: Scope,
        key: Key,
        mut newest: watch::Receiver<WatchedData>,
    ) -> std::convert::Infallible {
        while newest.changed().await.is_ok() {
            match &*newest.borrow_and_update() {
                WatchedData::Unknown => {}
                WatchedData::Missing => self.hear(scope, key, None),
                WatchedData::Present(data, _) => self.hear(scope, key, Some(data)),
            }
        }
        std::future::pending().await
    }

    /// Takes over what stands at a key, and logs what comes of it.
    fn hear(&self, scope: Scope, key: Key, data: Option<&[u8]>) {
        let mut parts = self.parts();
        match parts.overlay.on(scope, key, data) {
            Outcome::Same => {}
            Outcome::News(text) => info!("{text}"),
            Outcome::Refused(text) => warn!("{text}"),
        }
        self.settle(&parts);
    }

    fn cannot_hear(&self, scope: Scope, key: Key) {
        let mut parts = self.parts();
        parts.overlay.unreadable(scope, key);
        self.settle(&parts);
    }

    fn settle(&self, Parts { base, overlay }: &Parts) -> Settings {
        let now = overlay.over(base);
        self.settings.send_if_modified(|settings| {
            let news = *settings != now;
            settings.clone_from(&now);
            news
        });
        if overlay.is_complete() {
            self.known.send_if_modified(|known| !std::mem::replace(known, true));
        }
        now
    }

    fn parts(&self) -> MutexGuard<'_, Parts> {
        // Nothing is half done when a panic drops the guard.
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
