//! Dynamic configuration: the settings of a running node. Its own settings, which it reads at the start and at SIGHUP,
//! are the base; values below `/config` and `/config/nodes/{id}` in ZooKeeper, which the whole fleet follows at once,
//! override them.
//!
//! Each of the two folders costs a watch on its children, and each key that exists a watch on its data. A watch on
//! every possible key would cost a fleet without dynamic configuration four times as many watches and requests.

mod key;
mod overrides;

use std::collections::BTreeSet;
use std::mem::replace;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use atalaya_recipes::{DataWatch, Session, WatchedData, children_watch};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tracing::{info, warn};

pub(crate) use key::{FLEET_FOLDER, check, fleet_path, parse_sampling_period};

use self::key::dynamic_settings;
use self::overrides::{Overrides, Scope};
use crate::model::node_id::NodeId;
use crate::settings::Settings;
use crate::settings::setting::Setting;

/// Time before a key that could not be read is tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// Names of the children of a folder; `None`: not read yet.
type Children = Option<BTreeSet<String>>;

/// The settings of a running node.
#[derive(Debug)]
pub struct DynamicConfig {
    overrides: Mutex<Overrides>,
    settings: watch::Sender<Settings>,
    /// True once all keys have been read.
    is_complete: watch::Sender<bool>,
}

impl DynamicConfig {
    /// Returns the settings of the node `id`, with its own settings `base`.
    pub fn new(id: NodeId, base: Settings) -> DynamicConfig {
        let settings = watch::Sender::new(base.clone());
        DynamicConfig {
            overrides: Mutex::new(Overrides::new(id, base)),
            settings,
            is_complete: watch::Sender::new(false),
        }
    }

    /// Returns a receiver of the effective settings.
    pub fn settings(&self) -> watch::Receiver<Settings> {
        self.settings.subscribe()
    }

    pub(crate) fn base(&self) -> Settings {
        self.overrides().base.clone()
    }

    /// Replaces the node's own settings. Returns the effective settings.
    pub fn set_base(&self, base: Settings) -> Settings {
        let mut overrides = self.overrides();
        overrides.base = base;
        self.publish(&overrides)
    }

    /// Waits until all keys have been read once.
    ///
    /// # Cancellation safety
    /// Safe.
    pub async fn wait_until_complete(&self) {
        // The sender lives as long as `self`.
        let _ = self.is_complete.subscribe().wait_for(|is_complete| *is_complete).await;
    }

    /// Follows the keys in ZooKeeper until dropped. While there is no connection, the last values stay.
    ///
    /// # Cancellation safety
    /// The last values stay.
    pub async fn follow(&self, session: &Session) {
        tokio::join!(self.follow_folder(session, Scope::Fleet), self.follow_folder(session, Scope::Node));
    }

    async fn follow_folder(&self, session: &Session, scope: Scope) {
        let children = watch::Sender::new(None);
        let folder = self.overrides().folder(scope);
        let listing = children_watch::follow(session, &folder, |names| {
            children.send_replace(Some(names.into_iter().collect()));
        });
        // The keys first, so that no list is missed.
        tokio::join!(self.follow_keys(session, scope, &children), listing);
    }

    /// Follows the keys that exist, or have existed. Most keys never do, and cost no future.
    async fn follow_keys(&self, session: &Session, scope: Scope, children: &watch::Sender<Children>) {
        let mut names = children.subscribe();
        let mut followed = BTreeSet::new();
        let mut keys = FuturesUnordered::new();
        let mut is_first = true;
        loop {
            tokio::select! {
                Ok(()) = names.changed() => {
                    let names = names.borrow_and_update().clone().unwrap_or_default();
                    let (present, missing): (Vec<_>, Vec<_>) = dynamic_settings()
                        .filter(|setting| !followed.contains(setting.name))
                        .partition(|setting| names.contains(setting.name));
                    if std::mem::take(&mut is_first) {
                        self.apply_missing(scope, &missing);
                    }
                    for setting in present {
                        followed.insert(setting.name);
                        keys.push(Box::pin(self.follow_key(session, scope, setting, children.subscribe())));
                    }
                }
                Some(()) = keys.next(), if !keys.is_empty() => {}
            }
        }
    }

    /// Watches the key of `setting` while it exists.
    async fn follow_key(
        &self,
        session: &Session,
        scope: Scope,
        setting: &'static Setting,
        mut children: watch::Receiver<Children>,
    ) {
        let path = self.overrides().path(scope, setting);
        let exists = |children: &Children| Some(children.as_ref()?.contains(setting.name));
        let is_missing = |children: &Children| exists(children) == Some(false);
        let mut logged = None;
        while children.wait_for(Option::is_some).await.is_ok() {
            if is_missing(&children.borrow()) {
                self.apply(scope, setting, None);
                let _ = children.wait_for(|children| exists(children) == Some(true)).await;
            }
            let watch = DataWatch::new(session.clone(), &path);
            let data = watch.subscribe();
            let error = tokio::select! {
                // Boxed, because most keys do not exist.
                error = Box::pin(watch.run()) => error,
                never = self.apply_all(scope, setting, data) => match never {},
                _ = children.wait_for(is_missing) => continue,
            };
            let reason = error.to_string();
            if logged.as_ref() != Some(&reason) {
                warn!("cannot read {path}: {reason}; trying again every {RETRY_INTERVAL:?}");
                logged = Some(reason);
            }
            // The node must not wait for this key before it leads.
            self.skip(scope, setting);
            let _ = tokio::time::timeout(RETRY_INTERVAL, children.wait_for(is_missing)).await;
        }
    }

    async fn apply_all(
        &self,
        scope: Scope,
        setting: &'static Setting,
        mut data: watch::Receiver<WatchedData>,
    ) -> std::convert::Infallible {
        while data.changed().await.is_ok() {
            match &*data.borrow_and_update() {
                WatchedData::Unknown => {}
                WatchedData::Missing => self.apply(scope, setting, None),
                WatchedData::Present(data, _) => self.apply(scope, setting, Some(data)),
            }
        }
        std::future::pending().await
    }

    /// Applies the data of a key and logs the change or the error. `None`: the key does not exist.
    fn apply(&self, scope: Scope, setting: &'static Setting, data: Option<&[u8]>) {
        let mut overrides = self.overrides();
        match overrides.update(scope, setting, data) {
            Ok(None) => {}
            Ok(Some(text)) => info!("{text}"),
            Err(text) => warn!("{text}"),
        }
        self.publish(&overrides);
    }

    /// Records that these keys do not exist, which were not read before.
    fn apply_missing(&self, scope: Scope, settings: &[&'static Setting]) {
        let mut overrides = self.overrides();
        settings.iter().for_each(|setting| overrides.skip(scope, setting));
        self.publish(&overrides);
    }

    /// Records that a key cannot be read.
    fn skip(&self, scope: Scope, setting: &'static Setting) {
        let mut overrides = self.overrides();
        overrides.skip(scope, setting);
        self.publish(&overrides);
    }

    /// Publishes the effective settings if they have changed, and returns them.
    fn publish(&self, overrides: &Overrides) -> Settings {
        let effective = overrides.effective();
        self.settings.send_if_modified(|settings| replace(settings, effective.clone()) != effective);
        let is_complete = overrides.is_complete();
        self.is_complete.send_if_modified(|published| replace(published, is_complete) != is_complete);
        effective
    }

    fn overrides(&self) -> MutexGuard<'_, Overrides> {
        // Each update is complete before anything can panic.
        self.overrides.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
