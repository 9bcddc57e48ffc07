//! `atalaya collect`: its arguments and its help.

use std::path::PathBuf;

use clap::Args;

/// `atalaya collect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  atalaya collect                                        on this machine, kept in reports.db
  atalaya collect --listen 0.0.0.0:8000 --token-file tokens
  atalaya collect --listen :8000 --allowed-host reports.example.org
  atalaya collect --store redis://127.0.0.1:6379/0
  atalaya collect --store rediss://atalaya@redis.example.org:6379 --redis-password-file password
  atalaya collect --store memory                         for a try: nothing is kept
  atalaya collect --keep-reports 90d --keep-hours 3650d
  atalaya run 1 --api-url http://127.0.0.1:8000/nuevo --api-method post
  curl 'http://127.0.0.1:8000/nuevo?dato=78.4'           as existing fleets report

Its page is at the address it listens at, what else it answers at /api/v1/openapi.json. An answer
of success means that the report is on the disk. SIGHUP makes it read tokens and certificate again;
SIGINT and SIGTERM end it once everybody has an answer.

A file of tokens has lines `write TOKEN`, `read TOKEN` and `read *` (anybody reads).")]
pub struct CollectArgs {
    /// Address to listen at; `:8000` for all addresses [default: 127.0.0.1:8000]. Also ATALAYA_LISTEN.
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// Name in the Host header to answer to, besides IP addresses, localhost, the name of this machine, names without a dot and
    /// the one in --listen; `*` for any. Repeat it for several. Also ATALAYA_ALLOWED_HOST, with commas.
    #[arg(long, value_name = "NAME")]
    pub allowed_host: Vec<String>,

    /// Where reports are kept: sqlite:PATH, redis://HOST:PORT/DATABASE, with TLS rediss://, or memory [default: sqlite:reports.db, in the
    /// folder that STATE_DIRECTORY names, or here]. Also ATALAYA_STORE.
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,

    /// File with the password for Redis. Also ATALAYA_REDIS_PASSWORD_FILE.
    #[arg(long, value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// Certificates that Redis is trusted by, for rediss:// (PEM) [default: those of the system]. Also ATALAYA_REDIS_CA.
    #[arg(long, value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,

    /// Client certificate for Redis (PEM). Also ATALAYA_REDIS_CERTIFICATE.
    #[arg(long, value_name = "FILE")]
    pub redis_certificate: Option<PathBuf>,

    /// Private key of that certificate (PEM). Also ATALAYA_REDIS_KEY.
    #[arg(long, value_name = "FILE")]
    pub redis_key: Option<PathBuf>,

    /// Who may write and who may read [default: everybody]. Also ATALAYA_TOKEN_FILE.
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,

    /// Answer by HTTPS only, with this certificate and those that lead to it (PEM). Also ATALAYA_TLS_CERTIFICATE.
    #[arg(long, value_name = "FILE")]
    pub tls_certificate: Option<PathBuf>,

    /// The certificate's private key (PEM). Also ATALAYA_TLS_KEY.
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,

    /// Sum reports up by the hour once they are so old [default: never]. Also ATALAYA_KEEP_REPORTS.
    #[arg(long, value_name = "DURATION")]
    pub keep_reports: Option<String>,

    /// Forget hours once they are so old [default: never]. Also ATALAYA_KEEP_HOURS.
    #[arg(long, value_name = "DURATION")]
    pub keep_hours: Option<String>,

    /// Requests that one address, or one token, may send in a second [default: 500]. Also ATALAYA_RATE.
    #[arg(long, value_name = "COUNT")]
    pub rate: Option<f64>,

    /// Maximum time that the time or the epoch of a report may be ahead of this machine's clock [default: 1d]. Also
    /// ATALAYA_MAX_CLOCK_SKEW.
    #[arg(long, value_name = "DURATION")]
    pub max_clock_skew: Option<String>,

    /// Proxies whose X-Forwarded-For says who asks; an address or a network, several with commas [default: none]. Also
    /// ATALAYA_TRUSTED_PROXY.
    #[arg(long, value_name = "NETWORK")]
    pub trusted_proxy: Option<String>,
}
