//! `atalaya collect`: the REST API that reports go to.

mod access;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, anyhow};
use atalaya_collector::{Collector, Limits, Options, Proxies, RedisAccess, Tls, Tokens, open_store_with};
use atalaya_hal::duration;
use clap::Args;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use self::access::{hosts, read_tokens, redis_access, warn_if_exposed};
use super::process_environment;
use super::signals::{reload_signals, stop_signal};
use crate::commands::exit::Failure;
use crate::model::text::sanitize_for_log;
use crate::settings::Env;
use crate::settings::listen_addr::ListenAddr;

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
pub(super) struct CollectArgs {
    /// Address to listen at; `:8000` for all addresses [default: 127.0.0.1:8000]. Also ATALAYA_LISTEN.
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,

    /// Name in the Host header to answer to, besides IP addresses, localhost, the name of this machine, names without a dot and
    /// the one in --listen; `*` for any. Repeat it for several. Also ATALAYA_ALLOWED_HOST, with commas.
    #[arg(long, value_name = "NAME")]
    allowed_host: Vec<String>,

    /// Where reports are kept: sqlite:PATH, redis://HOST:PORT/DATABASE, with TLS rediss://, or memory [default: sqlite:reports.db, in the
    /// folder that STATE_DIRECTORY names, or here]. Also ATALAYA_STORE.
    #[arg(long, value_name = "STORE")]
    store: Option<String>,

    /// File with the password for Redis. Also ATALAYA_REDIS_PASSWORD_FILE.
    #[arg(long, value_name = "FILE")]
    redis_password_file: Option<PathBuf>,

    /// Certificates that Redis is trusted by, for rediss:// (PEM) [default: those of the system]. Also ATALAYA_REDIS_CA.
    #[arg(long, value_name = "FILE")]
    redis_ca: Option<PathBuf>,

    /// Client certificate for Redis (PEM). Also ATALAYA_REDIS_CERTIFICATE.
    #[arg(long, value_name = "FILE")]
    redis_certificate: Option<PathBuf>,

    /// Private key of that certificate (PEM). Also ATALAYA_REDIS_KEY.
    #[arg(long, value_name = "FILE")]
    redis_key: Option<PathBuf>,

    /// Who may write and who may read [default: everybody]. Also ATALAYA_TOKEN_FILE.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Answer by HTTPS only, with this certificate and those that lead to it (PEM). Also ATALAYA_TLS_CERTIFICATE.
    #[arg(long, value_name = "FILE")]
    tls_certificate: Option<PathBuf>,

    /// The certificate's private key (PEM). Also ATALAYA_TLS_KEY.
    #[arg(long, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Sum reports up by the hour once they are so old [default: never]. Also ATALAYA_KEEP_REPORTS.
    #[arg(long, value_name = "DURATION")]
    keep_reports: Option<String>,

    /// Forget hours once they are so old [default: never]. Also ATALAYA_KEEP_HOURS.
    #[arg(long, value_name = "DURATION")]
    keep_hours: Option<String>,

    /// Requests that one address, or one token, may send in a second [default: 500]. Also ATALAYA_RATE.
    #[arg(long, value_name = "COUNT")]
    rate: Option<f64>,

    /// Maximum time that the time or the epoch of a report may be ahead of this machine's clock [default: 1d]. Also
    /// ATALAYA_MAX_CLOCK_SKEW.
    #[arg(long, value_name = "DURATION")]
    max_clock_skew: Option<String>,

    /// Proxies whose X-Forwarded-For says who asks; an address or a network, several with commas [default: none]. Also
    /// ATALAYA_TRUSTED_PROXY.
    #[arg(long, value_name = "NETWORK")]
    trusted_proxy: Option<String>,
}

const LISTEN: &str = "127.0.0.1:8000";
const FILE: &str = "reports.db";
/// Replacement for passwords in logs.
const HIDDEN: &str = "***";
/// Shorter than an hour, hours would be summed up before they are over.
const SHORTEST_KEPT: Duration = Duration::from_secs(3_600);

pub(super) fn main(args: &CollectArgs) -> Result<(), Failure> {
    let told = Told::assemble(args, process_environment())?;
    // SQLite and the network wait most of the time; a second thread answers while the first one encrypts.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(Failure::internal)?;
    runtime.block_on(told.run())
}

/// What it was told, checked.
#[derive(Debug)]
struct Told {
    listen: ListenAddr,
    store: String,
    /// The password in `store` was given on the command line.
    shows_password: bool,
    redis: Option<RedisAccess>,
    token_file: Option<PathBuf>,
    options: Options,
}

/// One argument: the flag, what was given, the variable that stands for it.
struct Argument<'a> {
    flag: &'static str,
    given: Option<&'a str>,
    variable: &'static str,
}

/// A value and where it came from, for messages.
struct Value {
    text: String,
    from: String,
    flag: bool,
}

impl Argument<'_> {
    fn value(&self, surroundings: Env<'_>) -> Option<Value> {
        if let Some(text) = self.given {
            return Some(Value { text: text.to_owned(), from: format!("--{}", self.flag), flag: true });
        }
        let (name, text) = surroundings.first(&[self.variable])?;
        Some(Value { text, from: format!("the environment variable {name}"), flag: false })
    }
}

impl Value {
    fn refuse(&self, problem: impl std::fmt::Display) -> Failure {
        let error = anyhow!("{}: {problem}", self.from);
        if self.flag { Failure::usage(error) } else { Failure::config(error) }
    }
}

impl Told {
    fn assemble(args: &CollectArgs, surroundings: Env<'_>) -> Result<Told, Failure> {
        let value = |flag, given: Option<&String>, variable| {
            Argument { flag, given: given.map(String::as_str), variable }.value(surroundings)
        };
        let file = |flag, given: Option<&PathBuf>, variable| match given {
            Some(path) => Some(path.clone()),
            None => {
                Argument { flag, given: None, variable }.value(surroundings).map(|value| value.text.into())
            }
        };
        let kept = |flag, given, variable| match value(flag, given, variable) {
            None => Ok(None),
            Some(value) => match duration::parse(&value.text) {
                Ok(kept) if kept >= SHORTEST_KEPT => Ok(Some(kept)),
                Ok(_) => Err(value.refuse("shorter than an hour; expected a duration such as 90d")),
                Err(error) => Err(value.refuse(error)),
            },
        };
        let mut limits = Limits::default();
        let rate = args.rate.map(|rate| rate.to_string());
        if let Some(value) = value("rate", rate.as_ref(), "ATALAYA_RATE") {
            limits.rate = match value.text.parse::<f64>() {
                Ok(rate) if (0.1..=1e6).contains(&rate) => rate,
                _ => return Err(value.refuse("expected requests a second, from 0.1 to 1000000")),
            };
            limits.burst = limits.burst.max(2.0 * limits.rate);
        }
        if let Some(value) = value("max-clock-skew", args.max_clock_skew.as_ref(), "ATALAYA_MAX_CLOCK_SKEW") {
            limits.max_clock_skew = duration::parse(&value.text).map_err(|error| value.refuse(error))?;
        }
        let (keep_reports, keep_hours) = (
            kept("keep-reports", args.keep_reports.as_ref(), "ATALAYA_KEEP_REPORTS")?,
            kept("keep-hours", args.keep_hours.as_ref(), "ATALAYA_KEEP_HOURS")?,
        );
        if let Some(hours) = keep_hours
            && keep_reports.is_none_or(|reports| hours < reports)
        {
            let problem = "hours are forgotten after they were made of reports: --keep-reports must be given, and be shorter than --keep-hours";
            return Err(Failure::usage(anyhow!(problem)));
        }
        let certificate = file("tls-certificate", args.tls_certificate.as_ref(), "ATALAYA_TLS_CERTIFICATE");
        let key = file("tls-key", args.tls_key.as_ref(), "ATALAYA_TLS_KEY");
        let tls = match (certificate, key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => {
                warn_if_exposed("the TLS key", &key);
                Some(Tls::load(certificate, key).map_err(Failure::config)?)
            }
            _ => {
                return Err(Failure::usage(anyhow!(
                    "--tls-certificate and --tls-key are needed both, or neither"
                )));
            }
        };
        let token_file = file("token-file", args.token_file.as_ref(), "ATALAYA_TOKEN_FILE");
        let tokens = match &token_file {
            Some(path) => read_tokens(path).map_err(Failure::config)?,
            None => Tokens::none(),
        };
        let proxies = match value("trusted-proxy", args.trusted_proxy.as_ref(), "ATALAYA_TRUSTED_PROXY") {
            Some(value) => value.text.parse().map_err(|error| value.refuse(error))?,
            None => Proxies::default(),
        };
        let store = value("store", args.store.as_ref(), "ATALAYA_STORE");
        let listen = match value("listen", args.listen.as_ref(), "ATALAYA_LISTEN") {
            None => LISTEN.parse().map_err(|problem| Failure::internal(anyhow!("{LISTEN}: {problem}")))?,
            Some(value) => value.text.parse::<ListenAddr>().map_err(|problem| {
                value.refuse(format!(
                    "bad address to listen at \"{}\": {problem}",
                    sanitize_for_log(&value.text)
                ))
            })?,
        };
        let given = (!args.allowed_host.is_empty()).then(|| args.allowed_host.join(","));
        let hosts = hosts(&listen, value("allowed-host", given.as_ref(), "ATALAYA_ALLOWED_HOST"))?;
        let access = [
            file("redis-password-file", args.redis_password_file.as_ref(), "ATALAYA_REDIS_PASSWORD_FILE"),
            file("redis-ca", args.redis_ca.as_ref(), "ATALAYA_REDIS_CA"),
            file("redis-certificate", args.redis_certificate.as_ref(), "ATALAYA_REDIS_CERTIFICATE"),
            file("redis-key", args.redis_key.as_ref(), "ATALAYA_REDIS_KEY"),
        ];
        let shows_password =
            store.as_ref().is_some_and(|store| store.flag && without_password(&store.text).contains(HIDDEN));
        Ok(Told {
            listen,
            store: store.map_or_else(|| usual_store(surroundings), |value| value.text),
            shows_password,
            redis: redis_access(access)?,
            token_file,
            options: Options { tokens, tls, limits, proxies, hosts, keep_reports, keep_hours },
        })
    }

    async fn run(self) -> Result<(), Failure> {
        let signal = stop_signal().map_err(Failure::internal)?;
        let asked = reload_signals().map_err(Failure::internal)?;
        if self.shows_password {
            warn!("every user of this machine can see the password in --store; use --redis-password-file");
        }
        let store = open_store_with(&self.store, self.redis.as_ref()).map_err(|error| {
            Failure::config(anyhow!("the store {}: {error}", without_password(&self.store)))
        })?;
        let (listen, options) = (&self.listen, &self.options);
        let collector = listen
            .bind()
            .and_then(|listener| Collector::listening(listener, store.clone(), options.clone()))
            .with_context(|| format!("cannot listen on {listen}; choose another address with --listen"))
            .map_err(Failure::unavailable)?;
        let address = collector.address().map_err(Failure::internal)?;
        let scheme = if options.tls.is_some() { "https" } else { "http" };
        info!("listening at {scheme}://{address}/, reports go to {scheme}://{address}/nuevo");
        info!(store = without_password(&self.store), "keeping reports");
        if !address.ip().is_loopback() && options.tokens.are_none() {
            warn!("without --token-file, whoever reaches this address may write");
        }
        if let Err(error) = store.check().await {
            warn!(%error, "reports cannot be kept yet: they are answered with 503 until they can");
        }
        let rereading = tokio::spawn(reread(asked, self.token_file, self.options));
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let ending = tokio::spawn(async move {
            let signal = signal.await;
            info!(signal, "stopping, once everybody has an answer");
            stopping.cancel();
        });
        collector.run(stop).await;
        ending.abort();
        rereading.abort();
        info!("stopped");
        Ok(())
    }
}

/// Reads tokens and certificate again whenever it is `asked`; what is wrong is told and leaves all as it was.
async fn reread(mut asked: mpsc::Receiver<()>, token_file: Option<PathBuf>, options: Options) {
    while asked.recv().await.is_some() {
        if let Some(path) = &token_file {
            match read_tokens(path) {
                Ok(tokens) => {
                    options.tokens.replace(&tokens);
                    info!(file = %path.display(), "the tokens are those of now");
                }
                Err(error) => error!("{error:#}; the tokens stay as they were"),
            }
        }
        if let Some(tls) = &options.tls {
            match tls.reload() {
                Ok(()) => info!("the certificate is that of now, for new connections"),
                Err(error) => error!("{error}; the certificate stays as it was"),
            }
        }
    }
}

/// In the folder that systemd has made for it, or here.
pub(super) fn usual_store(surroundings: Env<'_>) -> String {
    match surroundings.first(&["STATE_DIRECTORY"]) {
        Some((_, folders)) => {
            let first = folders.split(':').next().unwrap_or_default();
            format!("sqlite:{}", Path::new(first).join(FILE).display())
        }
        None => format!("sqlite:{FILE}"),
    }
}

/// For logs.
pub(super) fn without_password(store: &str) -> String {
    match reqwest::Url::parse(store) {
        Ok(mut url) if url.password().is_some() => {
            // It has one, so it can have another.
            let _ = url.set_password(Some(HIDDEN));
            url.into()
        }
        _ => sanitize_for_log(store),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> CollectArgs {
        use clap::Parser as _;
        #[derive(Debug, clap::Parser)]
        struct Only {
            #[command(flatten)]
            args: CollectArgs,
        }
        Only::parse_from(std::iter::once(&"collect").chain(words)).args
    }

    fn told(words: &[&str], environment: &[(&str, &str)]) -> Result<Told, String> {
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Told::assemble(&arguments(words), Env { variable: &variable }).map_err(|error| error.to_string())
    }

    #[test]
    fn without_anything_it_serves_this_machine_and_keeps_in_a_file() {
        let told = told(&[], &[]).unwrap();
        assert_eq!(
            (told.listen.to_string().as_str(), told.store.as_str()),
            ("127.0.0.1:8000", "sqlite:reports.db")
        );
        assert!(told.options.tokens.are_none() && told.options.keep_reports.is_none());
    }

    #[test]
    fn clock_skew_is_a_day_or_what_flag_or_variable_say() {
        let skew = |words: &[&str], environment: &[(&str, &str)]| {
            told(words, environment).unwrap().options.limits.max_clock_skew
        };
        let hour = [("ATALAYA_MAX_CLOCK_SKEW", "1h")];
        assert_eq!(skew(&[], &[]), Duration::from_secs(86_400));
        assert_eq!(skew(&[], &hour), Duration::from_secs(3_600));
        assert_eq!(skew(&["--max-clock-skew", "400d"], &hour), Duration::from_secs(400 * 86_400));
    }

    #[test]
    fn flags_come_before_the_environment() {
        let environment = [
            ("ATALAYA_LISTEN", "0.0.0.0:80"),
            ("ATALAYA_STORE", "memory"),
            ("ATALAYA_KEEP_REPORTS", "90d"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
        ];
        let by_environment = told(&[], &environment).unwrap();
        assert_eq!(
            (by_environment.listen.to_string().as_str(), by_environment.store.as_str()),
            ("0.0.0.0:80", "memory")
        );
        assert_eq!(by_environment.options.keep_reports, Some(Duration::from_secs(90 * 86_400)));
        let by_flag = told(&["--listen", "[::1]:0", "--store", "sqlite:x"], &environment).unwrap();
        assert_eq!((by_flag.listen.to_string().as_str(), by_flag.store.as_str()), ("[::1]:0", "sqlite:x"));
        let usual = told(&[], &environment[3..]).unwrap();
        assert_eq!(usual.store, "sqlite:/var/lib/a/reports.db");
    }

    #[test]
    fn what_is_wrong_is_told_with_where_it_came_from() {
        for (words, expected) in [
            (&["--keep-reports", "1s"][..], "--keep-reports: shorter than an hour"),
            (&["--keep-reports", "soon"], "--keep-reports: `soon` is not a duration"),
            (&["--keep-hours", "90d"], "--keep-reports must be given"),
            (&["--keep-reports", "9d", "--keep-hours", "8d"], "be shorter than --keep-hours"),
            (&["--rate", "0"], "--rate: expected requests a second"),
            (&["--rate", "NaN"], "--rate: expected requests a second"),
            (&["--max-clock-skew", "soon"], "--max-clock-skew: `soon` is not a duration"),
            (&["--trusted-proxy", "10.0.0.0/40"], "--trusted-proxy: \"10.0.0.0/40\" is neither"),
            (&["--tls-key", "/nowhere"], "needed both"),
            (&["--tls-key", "/nowhere/k", "--tls-certificate", "/nowhere/c"], "/nowhere/c: no certificate"),
            (&["--token-file", "/nowhere/t"], "the tokens in /nowhere/t"),
            (&["--listen", "8000"], "--listen: bad address to listen at \"8000\": it has no port"),
            (&["--listen", "http://h:8000"], "it is a URL"),
            (&["--listen", "'127.0.0.1:8000'"], "quotation marks"),
            (&["--listen", ":70000"], "65535"),
            (&["--allowed-host", "http://h"], "--allowed-host: \"http://h\": expected a host name"),
            (&["--redis-key", "/nowhere/k"], "--redis-certificate and --redis-key"),
            (&["--redis-password-file", "/nowhere/p"], "the password for Redis in /nowhere/p"),
        ] {
            let problem = told(words, &[]).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        let problem = told(&[], &[("ATALAYA_RATE", "many")]).unwrap_err();
        assert!(problem.contains("the environment variable ATALAYA_RATE"), "{problem}");
    }

    #[test]
    fn collector_listens_at_all_addresses_and_answers_to_names_that_are_given() {
        let by_flag =
            told(&["--listen", ":8000", "--allowed-host", "a.example", "--allowed-host", "b.example"], &[]);
        let by_flag = by_flag.unwrap();
        assert_eq!(by_flag.listen.to_string(), ":8000");
        let environment = [("ATALAYA_ALLOWED_HOST", "a.example, b.example")];
        assert_eq!(by_flag.options.hosts, told(&["--listen", ":8000"], &environment).unwrap().options.hosts);
        let by_name = told(&["--listen", "reports.example:8000"], &[]).unwrap();
        assert_ne!(by_name.options.hosts, by_flag.options.hosts);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_pipe_is_no_file_of_tokens_and_keeps_nobody_waiting() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let problem = told(&["--token-file", &path], &[]).unwrap_err();
        assert!(problem.contains("the tokens in /proc/self/fd/"), "{problem}");
    }

    #[test]
    fn logs_have_no_passwords() {
        assert_eq!(without_password("redis://:secret@h:6379/0"), "redis://:***@h:6379/0");
        assert_eq!(without_password("sqlite:/var/lib/reports.db"), "sqlite:/var/lib/reports.db");
    }

    #[test]
    fn password_for_redis_comes_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let flag = path.display().to_string();
        for (content, expected) in
            [("open sesame\n", true), ("", false), ("\n", false), ("two\nlines", false)]
        {
            std::fs::write(&path, content).unwrap();
            let told = told(&["--store", "redis://h", "--redis-password-file", &flag], &[]);
            match told {
                Ok(told) => {
                    let password = told.redis.and_then(|access| access.password);
                    assert!(expected && password.as_deref() == Some("open sesame"), "{content:?}");
                }
                Err(problem) => assert!(!expected && problem.contains("one line"), "{problem}"),
            }
        }
        let shows = |store: &str| told(&["--store", store], &[]).unwrap().shows_password;
        assert!(shows("redis://:secret@h") && !shows("redis://user@h") && !shows("memory"));
        let told = told(&[], &[("ATALAYA_STORE", "redis://:secret@h")]).unwrap();
        assert!(!told.shows_password, "an environment is private");
    }
}
