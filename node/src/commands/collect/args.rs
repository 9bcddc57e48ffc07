//! Arguments of `atalaya collect`.

use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya collect                                        serve this machine, store in reports.db
  atalaya collect --listen 0.0.0.0:8000 --token-file tokens
  atalaya collect --listen :8000 --allowed-host reports.example.org
  atalaya collect --store redis://127.0.0.1:6379/0
  atalaya collect --store rediss://atalaya@redis.example.org:6379 --redis-password-file password
  atalaya collect --store memory                         for experiments: lost at the end
  atalaya collect --keep-reports 90d --keep-hours 3650d
  atalaya run 1 --api-url http://127.0.0.1:8000/nuevo --api-method post
  curl 'http://127.0.0.1:8000/nuevo?dato=78.4'           report a value by hand, as older fleets do

The page is at the listen address; /api/v1/openapi.json describes the API. A success response means that \
the report is on disk. SIGHUP reloads token file and certificate. SIGINT and SIGTERM stop the collector \
after all requests have been answered.

A token file has lines `write TOKEN`, `read TOKEN` and `read *` (reading without a token).

Exit codes: 0 stopped by a signal; 64 wrong flag; 69 listen address not available; 78 wrong environment, \
store, token file or certificate.")]
pub(in crate::commands) struct CollectArgs {
    /// Listen address; `:8000` for all interfaces [default: 127.0.0.1:8000] [env: ATALAYA_LISTEN].
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,

    /// Accepted name in the Host header, in addition to IP addresses, localhost, the name of this machine, names
    /// without a dot and the name in --listen; `*` accepts all. May be repeated [env: ATALAYA_ALLOWED_HOST, separated
    /// by commas].
    #[arg(long, value_name = "NAME")]
    pub(super) allowed_host: Vec<String>,

    /// Store for reports: sqlite:PATH, redis://HOST:PORT/DATABASE, rediss:// with TLS, or memory [default:
    /// sqlite:reports.db in the folder STATE_DIRECTORY, or in the current folder] [env: ATALAYA_STORE].
    #[arg(long, value_name = "STORE")]
    pub(super) store: Option<String>,

    /// File with the password for Redis [env: ATALAYA_REDIS_PASSWORD_FILE].
    #[arg(long, value_name = "FILE")]
    pub(super) redis_password_file: Option<PathBuf>,

    /// CA certificates for rediss:// (PEM) [default: those of the system] [env: ATALAYA_REDIS_CA].
    #[arg(long, value_name = "FILE")]
    pub(super) redis_ca: Option<PathBuf>,

    /// Client certificate for Redis (PEM) [env: ATALAYA_REDIS_CERTIFICATE].
    #[arg(long, value_name = "FILE")]
    pub(super) redis_certificate: Option<PathBuf>,

    /// Private key of the client certificate (PEM) [env: ATALAYA_REDIS_KEY].
    #[arg(long, value_name = "FILE")]
    pub(super) redis_key: Option<PathBuf>,

    /// File with the tokens for writing and reading [default: no tokens, all clients may write and read]
    /// [env: ATALAYA_TOKEN_FILE].
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,

    /// Serve HTTPS only, with this certificate chain (PEM) [env: ATALAYA_TLS_CERTIFICATE].
    #[arg(long, value_name = "FILE")]
    pub(super) tls_certificate: Option<PathBuf>,

    /// Private key of the certificate (PEM) [env: ATALAYA_TLS_KEY].
    #[arg(long, value_name = "FILE")]
    pub(super) tls_key: Option<PathBuf>,

    /// Age after which reports are replaced by hourly sums, at least 1h [default: never] [env: ATALAYA_KEEP_REPORTS].
    #[arg(long, value_name = "DURATION")]
    pub(super) keep_reports: Option<String>,

    /// Age after which hourly sums are deleted, not shorter than --keep-reports [default: never] [env:
    /// ATALAYA_KEEP_HOURS].
    #[arg(long, value_name = "DURATION")]
    pub(super) keep_hours: Option<String>,

    /// Age after which samples of single sensors are deleted, at least 1h; `forever` keeps them [default: 7d] [env:
    /// ATALAYA_KEEP_SAMPLES].
    #[arg(long, value_name = "DURATION")]
    pub(super) keep_samples: Option<String>,

    /// Age after which their sums per minute are deleted, at least 1h; `forever` keeps them [default: 90d] [env:
    /// ATALAYA_KEEP_SAMPLE_MINUTES].
    #[arg(long, value_name = "DURATION")]
    pub(super) keep_sample_minutes: Option<String>,

    /// Age after which their sums per hour are deleted, at least 1h; `forever` keeps them [default: forever] [env:
    /// ATALAYA_KEEP_SAMPLE_HOURS].
    #[arg(long, value_name = "DURATION")]
    pub(super) keep_sample_hours: Option<String>,

    /// Maximum requests per second from one address or one token, from 0.1 to 1000000 [default: 500] [env:
    /// ATALAYA_RATE].
    #[arg(long, value_name = "COUNT")]
    pub(super) rate: Option<f64>,

    /// Maximum time that the time or the epoch of a report may be ahead of this machine's clock [default: 1d]
    /// [env: ATALAYA_MAX_CLOCK_SKEW].
    #[arg(long, value_name = "DURATION")]
    pub(super) max_clock_skew: Option<String>,

    /// Proxies whose X-Forwarded-For header is trusted: addresses or networks, separated by commas [default: none]
    /// [env: ATALAYA_TRUSTED_PROXY].
    #[arg(long, value_name = "NETWORK")]
    pub(super) trusted_proxy: Option<String>,
}
