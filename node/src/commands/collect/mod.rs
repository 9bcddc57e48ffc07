//! `atalaya collect`: the REST API that the leader reports to.

mod credentials;
mod setting;
mod settings;
mod store;

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use atalaya_collector::{Collector, Options, open_store_with};
use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::credentials::read_tokens;
use self::settings::CollectorSettings;
pub(super) use self::store::{default_store, redact_password};
use super::process_environment;
use super::signals::{reload_signals, stop_signal};
use crate::commands::exit::Failure;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya collect                                        serve this machine, store in reports.db
  atalaya collect --listen 0.0.0.0:8000 --token-file tokens
  atalaya collect --listen :8000 --allowed-host reports.example.org
  atalaya collect --store redis://127.0.0.1:6379/0
  atalaya collect --store rediss://atalaya@redis.example.org:6379 --redis-password-file password
  atalaya collect --store memory                         for experiments: reports are lost at the end
  atalaya collect --keep-reports 90d --keep-hours 3650d
  atalaya run 1 --api-url http://127.0.0.1:8000/nuevo --api-method post
  curl 'http://127.0.0.1:8000/nuevo?dato=78.4'           report a value by hand, as older fleets do

The page is at the listen address; /api/v1/openapi.json describes the API. A success response means that
the report is on disk. SIGHUP reloads token file and certificate. SIGINT and SIGTERM stop the collector
after all requests have been answered.

A token file has lines `write TOKEN`, `read TOKEN` and `read *` (reading without a token).

Exit codes: 0 stopped by a signal; 64 wrong flag; 69 listen address not available; 78 wrong environment,
store, token file or certificate.")]
pub(super) struct CollectArgs {
    /// Listen address; `:8000` for all interfaces [default: 127.0.0.1:8000] [env: ATALAYA_LISTEN].
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Accepted name in the Host header, in addition to IP addresses, localhost, the name of this machine, names without a
    /// dot and the name in --listen; `*` accepts all. May be repeated [env: ATALAYA_ALLOWED_HOST, separated by commas].
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,

    /// Store for reports: sqlite:PATH, redis://HOST:PORT/DATABASE, rediss:// with TLS, or memory [default:
    /// sqlite:reports.db in the folder STATE_DIRECTORY, or in the current folder] [env: ATALAYA_STORE].
    #[arg(long, value_name = "STORE")]
    store: Option<String>,

    /// File with the password for Redis [env: ATALAYA_REDIS_PASSWORD_FILE].
    #[arg(long, value_name = "FILE")]
    redis_password_file: Option<PathBuf>,

    /// CA certificates for rediss:// (PEM) [default: those of the system] [env: ATALAYA_REDIS_CA].
    #[arg(long, value_name = "FILE")]
    redis_ca: Option<PathBuf>,

    /// Client certificate for Redis (PEM) [env: ATALAYA_REDIS_CERTIFICATE].
    #[arg(long, value_name = "FILE")]
    redis_certificate: Option<PathBuf>,

    /// Private key of the client certificate (PEM) [env: ATALAYA_REDIS_KEY].
    #[arg(long, value_name = "FILE")]
    redis_key: Option<PathBuf>,

    /// File with the tokens for writing and reading [default: no tokens, all clients may write and read]
    /// [env: ATALAYA_TOKEN_FILE].
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Serve HTTPS only, with this certificate chain (PEM) [env: ATALAYA_TLS_CERTIFICATE].
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,

    /// Private key of the certificate (PEM) [env: ATALAYA_TLS_KEY].
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Age after which reports are replaced by hourly sums, at least 1h [default: never] [env: ATALAYA_KEEP_REPORTS].
    #[arg(long, value_name = "DURATION")]
    keep_reports: Option<String>,

    /// Age after which hourly sums are deleted, not shorter than --keep-reports [default: never] [env: ATALAYA_KEEP_HOURS].
    #[arg(long, value_name = "DURATION")]
    keep_hours: Option<String>,

    /// Maximum requests per second from one address or one token, from 0.1 to 1000000 [default: 500] [env: ATALAYA_RATE].
    #[arg(long, value_name = "COUNT")]
    rate: Option<f64>,

    /// Maximum time that the time or the epoch of a report may be ahead of this machine's clock [default: 1d]
    /// [env: ATALAYA_MAX_CLOCK_SKEW].
    #[arg(long, value_name = "DURATION")]
    max_clock_skew: Option<String>,

    /// Proxies whose X-Forwarded-For header is trusted: addresses or networks, separated by commas [default: none]
    /// [env: ATALAYA_TRUSTED_PROXY].
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Option<String>,
}

pub(super) fn main(args: &CollectArgs) -> Result<(), Failure> {
    let settings = CollectorSettings::assemble(args, process_environment())?;
    // SQLite and the network wait most of the time. The second thread serves requests while the first one encrypts.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::internal)?;
    runtime.block_on(run(settings))
}

async fn run(settings: CollectorSettings) -> Result<(), Failure> {
    let CollectorSettings { listen, store, has_visible_password, redis, token_file, options } = settings;
    let stop_signal = stop_signal().map_err(Failure::internal)?;
    let reload_requests = reload_signals().map_err(Failure::internal)?;
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
    let reloading = tokio::spawn(reload(reload_requests, token_file, options));
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    let stop_task = tokio::spawn(async move {
        let signal = stop_signal.await;
        info!(signal, "stopping after all requests have been answered");
        stopping.cancel();
    });
    collector.run(stop).await;
    stop_task.abort();
    reloading.abort();
    info!("stopped");
    Ok(())
}

/// Reloads token file and certificate at each request. If one of them is wrong, the previous one remains in use.
async fn reload(mut requests: mpsc::Receiver<()>, token_file: Option<PathBuf>, options: Options) {
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
