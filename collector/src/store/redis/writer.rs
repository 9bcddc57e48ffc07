//! The thread that writes to Redis: all waiting calls are executed in one script, with one write to the disk.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use jiff::Timestamp;
use redis::{FromRedisValue, ToRedisArgs, cmd};
use tracing::{info, warn};

use super::connection::{Connection, Failure, Result};
use super::keys::{self, VERSION, time};
use super::options::RedisOptions;
use super::reader::Reader;
use super::script_arguments::Mode;
use super::server::{Durability, inspect};
use crate::fleet_name::FleetName;
use crate::measurements::SampleBatch;
use crate::store::error::StoreError;
use crate::store::interface::{HOUR, Horizon, PRUNE_BATCH};
use crate::store::write_queue::{Answer, Batch, Job, Receiver, answer_samples};

/// Maximum number of reports per script; the last call may exceed it. Redis executes no other command while the
/// script runs.
const MAX_BATCH: usize = 2_000;
/// Maximum number of samples per script; the last call may exceed it.
const MAX_SAMPLES: usize = 16_384;
/// Maximum number of reports that one script prunes.
const MAX_PRUNED: usize = 500;

const RECORD: &str = concat!(include_str!("moments.lua"), include_str!("record.lua"));
const PRUNE: &str = concat!(include_str!("moments.lua"), include_str!("prune.lua"));
const FORGET: &str = include_str!("forget.lua");
const ADD_SAMPLES: &str = include_str!("samples/add.lua");
const FORGET_NODE: &str = include_str!("samples/forget.lua");

/// Owner of the connection that writes.
pub(super) struct Writer {
    options: RedisOptions,
    pub(super) commits: Arc<AtomicU64>,
    opened: Option<Opened>,
    /// Highest id that it has recorded.
    pub(super) newest: i64,
    /// Last error, so that each one is logged once.
    last_error: Option<String>,
    warned: bool,
}

pub(super) struct Opened {
    pub(super) connection: Connection,
    pub(super) record: String,
    prune: String,
    pub(super) forget: String,
    pub(super) add_samples: String,
    pub(super) forget_node: String,
}

impl Opened {
    async fn if_alive(self) -> Option<Opened> {
        Some(Opened { connection: self.connection.if_alive().await?, ..self })
    }
}

impl Writer {
    pub(super) fn new(options: RedisOptions, commits: Arc<AtomicU64>) -> Writer {
        Writer { options, commits, opened: None, newest: 0, last_error: None, warned: false }
    }

    /// Runs until the store is closed or dropped.
    pub(super) async fn run(mut self, mut jobs: Receiver) {
        while let Some(job) = jobs.next().await {
            let failed = match job {
                Job::Record(call) => {
                    let batch = jobs.batch(call, MAX_BATCH);
                    if batch.is_empty() {
                        continue;
                    }
                    self.record(batch).await
                }
                Job::Prune(horizon, answer) => {
                    let pruned = self.prune(horizon).await;
                    self.send(answer, pruned)
                }
                Job::Forget(fleet, epoch, answer) => {
                    let forgotten = self.forget_epoch(&fleet, epoch).await;
                    self.send(answer, forgotten)
                }
                Job::ForgetFleet(fleet, answer) => {
                    let forgotten = self.forget_fleet(&fleet).await;
                    self.send(answer, forgotten)
                }
                Job::AddSamples(call) => {
                    let calls = jobs.sample_calls(call, MAX_SAMPLES);
                    if calls.is_empty() {
                        continue;
                    }
                    let batches: Vec<&SampleBatch> = calls.iter().map(|(batch, _)| batch).collect();
                    let added = self.add_samples(&batches).await;
                    let (outcomes, failed) = self.note_result(added);
                    answer_samples(calls, outcomes);
                    failed
                }
                Job::PruneSamples(retention, after, answer) => {
                    let pruned = self.prune_samples(retention, after).await;
                    self.send(answer, pruned)
                }
                Job::ForgetNode(fleet, node, answer) => {
                    let forgotten = self.forget_node(fleet, node).await;
                    self.send(answer, forgotten)
                }
                Job::Check(answer) => {
                    let checked = self.check().await;
                    self.send(answer, checked)
                }
                Job::Close(answer) => {
                    self.opened = None;
                    jobs.close();
                    let _ = answer.send(());
                    return;
                }
            };
            // Calls that have waited in the meantime would otherwise time out too, one after the other.
            if let Some(error) = failed {
                jobs.refuse(&error);
            }
        }
    }

    /// Records the reports of a batch, with one script per fleet, and answers its calls. After an error the calls that
    /// are left are refused.
    async fn record(&mut self, batch: Batch) -> Option<StoreError> {
        let mut failed = None;
        for (fleet, batch) in batch.by_fleet() {
            let outcomes = match &failed {
                Some(error) => Err(StoreError::clone(error)),
                None => {
                    let written = self.write(&fleet, batch.reports()).await;
                    let (outcomes, error) = self.note_result(written);
                    failed = error;
                    outcomes
                }
            };
            batch.answer(outcomes);
        }
        failed
    }

    /// Answers a call, and returns the error, if any.
    fn send<T>(&mut self, answer: Answer<T>, done: Result<T>) -> Option<StoreError> {
        let (done, failed) = self.note_result(done);
        let _ = answer.send(done);
        failed
    }

    /// Converts a result to the answer of the call and to the error, if any. Logs new errors. After any error the next
    /// call opens a new connection.
    fn note_result<T>(&mut self, done: Result<T>) -> (Result<T, StoreError>, Option<StoreError>) {
        match done {
            Ok(done) => {
                if self.last_error.take().is_some() {
                    info!("the store works again");
                }
                (Ok(done), None)
            }
            Err(error) => {
                self.opened = None;
                let message = error.to_string();
                if self.last_error.as_ref() != Some(&message) {
                    warn!(redis = %self.options.address(), %error, "reports cannot be recorded");
                    self.last_error = Some(message);
                }
                (Err(error.to_store_error()), Some(error.to_store_error()))
            }
        }
    }

    pub(super) fn key(&self, fleet: &FleetName, name: &str) -> String {
        keys::of_fleet(&self.options.prefix, fleet) + name
    }

    /// Returns the current connection if it is alive, or a new one.
    pub(super) async fn opened(&mut self) -> Result<&mut Opened> {
        let alive = match self.opened.take() {
            Some(opened) => opened.if_alive().await,
            None => None,
        };
        let opened = match alive {
            Some(opened) => opened,
            None => self.open().await?,
        };
        Ok(self.opened.insert(opened))
    }

    /// Returns a reader of a fleet's keys.
    pub(super) async fn reader<'a>(&'a mut self, fleet: &'a FleetName) -> Result<Reader<'a>> {
        let prefix = self.options.prefix.clone();
        Ok(Reader::new(&mut self.opened().await?.connection, &prefix, fleet))
    }

    async fn open(&mut self) -> Result<Opened> {
        let mut connection = Connection::open(&self.options).await?;
        let default = FleetName::default();
        let newest = Reader::new(&mut connection, &self.options.prefix, &default).newest().await?;
        self.inspect(&mut connection, newest < self.newest).await?;
        let load = |script: &str| {
            let mut load = cmd("SCRIPT");
            load.arg("LOAD").arg(script);
            load
        };
        let record = connection.query(&load(RECORD)).await?;
        let prune = connection.query(&load(PRUNE)).await?;
        let forget = connection.query(&load(FORGET)).await?;
        let add_samples = connection.query(&load(ADD_SAMPLES)).await?;
        let forget_node = connection.query(&load(FORGET_NODE)).await?;
        if newest < self.newest {
            warn!(redis = %self.options.address(), kept = newest, recorded = self.newest,
                "Redis has lost reports that it had acknowledged");
            self.newest = newest;
        }
        Ok(Opened { connection, record, prune, forget, add_samples, forget_node })
    }

    async fn inspect(&mut self, connection: &mut Connection, lost: bool) -> Result<()> {
        if inspect(connection, lost).await? == Durability::Unknown && !self.warned {
            self.warned = true;
            warn!(
                redis = %self.options.address(),
                "Redis does not permit reading its configuration: without appendonly yes and appendfsync always, acknowledged \
                 reports are lost when its machine stops"
            );
        }
        Ok(())
    }

    /// Runs a script for a fleet. A script that the server does not have cached was not executed, so it is loaded and run again.
    pub(super) async fn eval<T: FromRedisValue>(
        &mut self,
        script: fn(&Opened) -> &str,
        fleet: &FleetName,
        arguments: &[impl ToRedisArgs],
    ) -> Result<T> {
        let mut again = true;
        loop {
            let keys = [self.key(fleet, ""), self.options.prefix.clone()];
            let opened = self.opened().await?;
            let mut command = cmd("EVALSHA");
            command.arg(script(opened)).arg(keys.len()).arg(&keys).arg(arguments);
            match opened.connection.query(&command).await {
                Err(Failure::Redis(error)) if again && error.code() == Some("NOSCRIPT") => {
                    self.opened = None;
                    again = false;
                }
                done => return done,
            }
        }
    }

    /// Checks the server without changing any reports.
    async fn check(&mut self) -> Result<()> {
        self.opened().await?;
        if let Some(mut opened) = self.opened.take() {
            self.inspect(&mut opened.connection, false).await?;
            self.opened = Some(opened);
        }
        self.call_record(&FleetName::default(), Mode::Record, &[]).await?;
        Ok(())
    }

    async fn prune(&mut self, horizon: Horizon) -> Result<usize> {
        // An hour is deleted if it begins before this one.
        let first_hour = |hours: Timestamp| hours.as_microsecond().max(0).saturating_add(HOUR - 1) / HOUR;
        let hours = horizon.hours.map(|hours| first_hour(hours).to_string()).unwrap_or_default();
        let reports = time(horizon.reports.as_microsecond());
        let mut pruned = 0;
        for fleet in self.reader(&FleetName::default()).await?.fleets().await? {
            loop {
                let max = MAX_PRUNED.min(PRUNE_BATCH - pruned);
                let arguments = [VERSION.to_owned(), reports.clone(), hours.clone(), max.to_string()];
                let (reports, forgotten): (usize, usize) =
                    self.eval(|opened| &opened.prune, &fleet, &arguments).await?;
                pruned += reports;
                if pruned >= PRUNE_BATCH {
                    return Ok(pruned);
                }
                if reports < max && forgotten < max {
                    break;
                }
            }
        }
        Ok(pruned)
    }
}
