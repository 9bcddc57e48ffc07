//! Store on a Redis server. One script stores a batch with its keys, the fence and the sums atomically; Redis answers
//! when the data is on its disk. `names.rs` lists the keys.
//!
//! The store starts whatever the state of the server is, and tries again at every call. The timeout of each command is
//! [`RedisOptions::patience`]. A command whose answer was lost may have been executed, or may be executed later by a
//! server that hangs.

mod access;
mod forget;
mod link;
mod names;
mod reader;
mod series;
mod server;
mod writer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use redis::{Client, ConnectionAddr};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

pub use self::access::RedisAccess;
use self::link::{Failure, Link};
use self::writer::Writer;
use super::jobs::{Jobs, closed};
use super::{Filter, Horizon, OpenError, Outcome, Page, Point, Store, StoreError};
use crate::fence::Epoch;
use crate::report::{Record, Report};

/// Maximum number of concurrent reads.
const AT_ONCE: usize = 4;
/// Maximum length of the prefix, in bytes.
const MAX_PREFIX: usize = 64;

/// Address and options of the server.
#[derive(Clone)]
pub struct RedisOptions {
    client: Client,
    /// Prefix of all keys, with its colon.
    prefix: String,
    /// Timeout of one command, and of connecting.
    pub patience: Duration,
    /// Timeout of a read.
    pub longest_read: Duration,
}

impl RedisOptions {
    /// Returns the default options for `redis://[user:password@]host[:port][/database][?prefix=atalaya]`, or
    /// `rediss://` with TLS.
    ///
    /// # Errors
    /// Returns an error if the address is not valid; the message contains the reason, without the password.
    pub fn new(url: &str) -> Result<RedisOptions, OpenError> {
        RedisOptions::with_access(url, &RedisAccess::default())
    }

    /// Returns the options like [`RedisOptions::new`], with a password from elsewhere and certificates.
    ///
    /// # Errors
    /// Returns an error if the address or a certificate is not valid; the message contains the reason, without the
    /// password.
    pub fn with_access(url: &str, access: &RedisAccess) -> Result<RedisOptions, OpenError> {
        let wrong = |why: &str| {
            OpenError::Wrong(format!(
                "{why}: a Redis is redis://[user@]host[:port][/database][?prefix=atalaya], with TLS rediss://"
            ))
        };
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        if !address.starts_with("redis://") && !address.starts_with("rediss://") {
            return Err(wrong("this is no address of a Redis"));
        }
        let mut prefix = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "prefix" if prefix.is_none() => prefix = Some(value.into_owned()),
                _ => return Err(wrong("there is no such option, or it is there twice")),
            }
        }
        let prefix = prefix.unwrap_or_else(|| "atalaya".to_owned());
        let plain = |letter: char| !letter.is_control() && !letter.is_whitespace();
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.chars().all(plain) {
            return Err(wrong("the prefix is not 1 to 64 bytes of text without spaces"));
        }
        let client = access.client(address).map_err(wrong)?;
        Ok(RedisOptions {
            client,
            prefix: format!("{prefix}:"),
            patience: Duration::from_secs(2),
            longest_read: Duration::from_secs(5),
        })
    }

    /// Returns host and port.
    fn place(&self) -> String {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisOptions")
            .field("place", &self.place())
            .field("prefix", &self.prefix)
            .field("patience", &self.patience)
            .field("longest_read", &self.longest_read)
            .finish()
    }
}

/// Store on a Redis server.
pub struct RedisStore {
    jobs: Jobs,
    commits: Arc<AtomicU64>,
    options: RedisOptions,
    places: Semaphore,
    idle: Mutex<Vec<Link>>,
    /// Last error of a read, so that each one is logged once.
    trouble: Mutex<Option<String>>,
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("RedisStore").field("options", &self.options).finish_non_exhaustive()
    }
}

type Asked<'a, T> = Pin<Box<dyn Future<Output = Result<T, Failure>> + Send + 'a>>;

impl RedisStore {
    /// Starts the thread of the store. The server need not be usable yet; use [`Store::check`] to find out.
    ///
    /// # Errors
    /// Returns an error if the system cannot start another thread.
    pub fn open(options: RedisOptions) -> std::io::Result<RedisStore> {
        let (jobs, waiting) = Jobs::channel();
        let commits = Arc::new(AtomicU64::new(0));
        let writer = Writer::new(options.clone(), Arc::clone(&commits));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new()
            .name("redis".to_owned())
            .spawn(move || runtime.block_on(writer.run(waiting)))?;
        Ok(RedisStore {
            jobs,
            commits,
            options,
            places: Semaphore::new(AT_ONCE),
            idle: Mutex::default(),
            trouble: Mutex::default(),
        })
    }

    /// Returns the number of scripts that have stored reports, each with one write to the disk.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Runs `question` on a connection of its own.
    async fn read<T>(
        &self,
        question: impl for<'a> FnOnce(&'a mut Link, &'a str) -> Asked<'a, T>,
    ) -> Result<T, StoreError> {
        let RedisOptions { client, prefix, patience, longest_read, .. } = &self.options;
        let place = timeout(*longest_read, self.places.acquire()).await.map_err(|_| StoreError::Busy)?;
        let _place = place.map_err(|_| closed())?;
        let asked = async {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let alive = match idle {
                Some(link) => link.if_alive().await,
                None => None,
            };
            let mut link = match alive {
                Some(link) => link,
                None => Link::open(client, prefix, *patience).await?,
            };
            let answer = question(&mut link, prefix).await?;
            Ok((link, answer))
        };
        let asked: Result<(Link, T), Failure> =
            timeout(*longest_read, asked).await.map_err(|_| StoreError::TooLong)?;
        let mut trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match asked {
            Ok((link, answer)) => {
                *trouble = None;
                self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(link);
                Ok(answer)
            }
            Err(error) => {
                let message = error.to_string();
                if trouble.as_ref() != Some(&message) {
                    warn!(redis = %self.options.place(), %error, "the store cannot be read");
                    *trouble = Some(message);
                }
                Err(error.told())
            }
        }
    }
}

impl Store for RedisStore {
    fn record(&self, reports: Vec<Report>) -> BoxFuture<'_, Result<Vec<Outcome>, StoreError>> {
        if reports.is_empty() {
            return std::future::ready(Ok(Vec::new())).boxed();
        }
        self.jobs.record(reports)
    }

    fn page(&self, page: Page) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.read(move |link, prefix| async move { reader::page(link, prefix, &page).await }.boxed()).boxed()
    }

    fn since(&self, id: i64, limit: usize) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.read(move |link, prefix| reader::since(link, prefix, id, limit).boxed()).boxed()
    }

    fn newest(&self) -> BoxFuture<'_, Result<i64, StoreError>> {
        self.read(|link, prefix| reader::newest(link, prefix).boxed()).boxed()
    }

    fn series(
        &self,
        filter: Filter,
        step: i64,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Point>, StoreError>> {
        self.read(move |link, prefix| {
            async move { series::series(link, prefix, &filter, step, limit).await }.boxed()
        })
        .boxed()
    }

    fn latest(&self) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.read(|link, prefix| reader::latest(link, prefix).boxed()).boxed()
    }

    fn epochs(&self, limit: usize) -> BoxFuture<'_, Result<Vec<Epoch>, StoreError>> {
        self.read(move |link, prefix| reader::epochs(link, prefix, limit).boxed()).boxed()
    }

    fn changes(
        &self,
        from: Timestamp,
        to: Timestamp,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<(Timestamp, i64)>, StoreError>> {
        self.read(move |link, prefix| reader::changes(link, prefix, (from, to), limit).boxed()).boxed()
    }

    fn prune(&self, horizon: Horizon) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.jobs.prune(horizon)
    }

    fn forget_epoch(&self, epoch: i64) -> BoxFuture<'_, Result<usize, StoreError>> {
        self.jobs.forget_epoch(epoch)
    }

    fn check(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.jobs.check()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        async {
            self.jobs.close().await;
            self.places.close();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests;
