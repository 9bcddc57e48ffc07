//! `atalaya collect`: the REST API that the leader reports to.

mod args;
mod credentials;
mod settings;
mod store;

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use atalaya_collector::{Collector, Options, open_store_with};
use tokio::runtime::Builder;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub(super) use self::args::CollectArgs;
use self::credentials::read_tokens;
use self::settings::CollectorSettings;
pub(super) use self::store::{default_store, redact_password};
use super::process_environment;
use super::signals::{reload_signals, stop_signal};
use crate::commands::exit::Failure;
use crate::tasks::actions::ReloadRequest;

pub(super) fn main(args: &CollectArgs) -> Result<(), Failure> {
    let settings = CollectorSettings::assemble(args, process_environment())?;
    // SQLite and the network wait most of the time. The second thread serves requests while the first one encrypts.
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.map_err(Failure::internal)?.block_on(run(settings))
}

async fn run(settings: CollectorSettings) -> Result<(), Failure> {
    let CollectorSettings { listen, store, has_visible_password, redis, token_file, options } = settings;
    let stop_signal = stop_signal()?;
    let (_, reload_requests) = reload_signals()?;
    if has_visible_password {
        warn!("every user of this machine can see the password in --store; use --redis-password-file");
    }
    let store_name = redact_password(&store);
    let store = open_store_with(&store, redis.as_ref())
        .map_err(|error| Failure::config(anyhow!("the store {store_name}: {error}")))?;
    let collector = listen
        .bind()
        .and_then(|listener| Collector::listening(listener, store.clone(), options.clone()))
        .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))
        .map_err(Failure::unavailable)?;
    let address = collector.address().map_err(Failure::internal)?;
    let scheme = if options.tls.is_some() { "https" } else { "http" };
    info!("listening at {scheme}://{address}/; reports go to {scheme}://{address}/nuevo");
    info!(store = store_name, "opened the store");
    if !address.ip().is_loopback() && options.tokens.are_none() {
        warn!("no --token-file: every client that reaches this address may write reports");
    }
    if let Err(error) = store.check().await {
        warn!(%error, "reports cannot be stored yet; they are answered with 503 until the store is available");
    }
    tokio::spawn(reload(reload_requests, token_file, options));
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        let signal = stop_signal.await;
        info!(signal, "stopping after all requests have been answered");
        stopping.cancel();
    });
    collector.run(stop).await;
    info!("stopped");
    Ok(())
}

/// Reloads token file and certificate at each request. If one of them is wrong, the previous one remains in use.
async fn reload(mut requests: mpsc::Receiver<ReloadRequest>, token_file: Option<PathBuf>, options: Options) {
    while requests.recv().await.is_some() {
        if let Some(path) = &token_file {
            match read_tokens(path) {
                Ok(tokens) => {
                    options.tokens.replace(&tokens);
                    info!(file = %path.display(), "token file reloaded");
                }
                Err(error) => error!("{error:#}; the previous tokens remain valid"),
            }
        }
        if let Some(tls) = &options.tls {
            match tls.reload() {
                Ok(()) => info!("certificate reloaded; new connections use it"),
                Err(error) => error!("{error}; the previous certificate remains in use"),
            }
        }
    }
}
