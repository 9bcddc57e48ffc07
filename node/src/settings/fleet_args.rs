//! The settings of a fleet, as flags of `atalaya run` and `atalaya check`.

use std::path::PathBuf;

use clap::Args;

/// What all nodes of a fleet share.
#[derive(Clone, Debug, Default, Args)]
pub struct FleetArgs {
    /// ZooKeeper's servers and chroot [default: 127.0.0.1:2181]. Also ATALAYA_ZOOKEEPER, ZOOKEEPER_HOSTS,
    /// ZOOKEEPER_HOST, ZK_HOST.
    #[arg(long, value_name = "HOST:PORT,…/CHROOT", help_heading = "Fleet")]
    pub zookeeper: Option<String>,

    /// How long ZooKeeper waits for a silent node before it takes it for dead [default: 10s]. Also
    /// ATALAYA_SESSION_TIMEOUT.
    #[arg(long, value_name = "DURATION", help_heading = "Fleet")]
    pub session_timeout: Option<String>,

    /// How often to measure, and to average when leading [default: 5s]. Also ATALAYA_SAMPLING_PERIOD,
    /// SAMPLING_PERIOD.
    #[arg(long, value_name = "DURATION", help_heading = "Fleet")]
    pub sampling_period: Option<String>,

    /// Where the leader reports; nowhere by default, averages are logged. An address that ends in / means nuevo below
    /// it. Also ATALAYA_API_URL, API_URL.
    #[arg(long, value_name = "URL", help_heading = "Fleet")]
    pub api_url: Option<String>,

    /// How the leader reports: get (…?dato=MEAN) or post (JSON) [default: get]. Also ATALAYA_API_METHOD.
    #[arg(long, value_name = "METHOD", help_heading = "Fleet")]
    pub api_method: Option<String>,

    /// The file with the token that the API wants to see (Authorization: Bearer); read again at SIGHUP, and when the API
    /// does not know the token. Also ATALAYA_API_TOKEN_FILE; ATALAYA_API_TOKEN is the token itself.
    #[arg(long, value_name = "FILE", help_heading = "Fleet")]
    pub api_token_file: Option<PathBuf>,

    /// The only origin to which the token is sent, such as `https://api.example:8443` [default: that of --api-url;
    /// without either the token is not sent]. Also ATALAYA_API_TOKEN_ORIGIN.
    #[arg(long, value_name = "ORIGIN", help_heading = "Fleet")]
    pub api_token_origin: Option<String>,

    /// The origins that /config/api_url in ZooKeeper may name, separated by commas; any by default. Also
    /// ATALAYA_API_ORIGINS.
    #[arg(long, value_name = "ORIGINS", help_heading = "Fleet")]
    pub api_origins: Option<String>,

    /// The znode below which measurements stand [default: /mediciones]. Also ATALAYA_MEASUREMENTS.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    pub measurements: Option<String>,

    /// What a node calls its measurement [default: {id}]. Also ATALAYA_NAME.
    #[arg(long, value_name = "TEMPLATE", help_heading = "Fleet")]
    pub name: Option<String>,

    /// The znode at which the election is held [default: /election]. Also ATALAYA_ELECTION.
    #[arg(long, value_name = "PATH", help_heading = "Fleet")]
    pub election: Option<String>,

    /// Who sets the pace: free (every node its own clock) or barrier (the leader, at /barrier) [default: free]. Also
    /// ATALAYA_SYNC.
    #[arg(long, value_name = "MODE", help_heading = "Fleet")]
    pub sync: Option<String>,

    /// With --sync barrier, when the leader lets all go on: period (once a period) or complete (as soon as all have
    /// published, the period at the latest) [default: period]. Also ATALAYA_RELEASE.
    #[arg(long, value_name = "WHEN", help_heading = "Fleet")]
    pub release: Option<String>,

    /// Who counts measurements at /counter: per-node, per-cycle (the leader, one write a cycle) or off [default: off,
    /// and per-node with --sync barrier]. Also ATALAYA_COUNTER.
    #[arg(long, value_name = "WHO", help_heading = "Fleet")]
    pub counter: Option<String>,

    /// Where this node tells how it is: /metrics for Prometheus, /healthz, /readyz; nowhere by default. Also
    /// ATALAYA_METRICS_LISTEN.
    #[arg(long, value_name = "HOST:PORT", help_heading = "Watching")]
    pub metrics_listen: Option<String>,
}
