//! Settings of the collector: flags, then environment, then defaults.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_collector::{Limits, Options, Proxies, RedisAccess, Tokens};
use atalaya_hal::duration;

use super::args::CollectArgs;
use super::credentials::{allowed_hosts, load_tls, read_tokens, redis_access};
use super::setting::Setting;
use super::store::{default_store, has_password};
use crate::commands::exit::Failure;
use crate::model::text::sanitize_for_log;
use crate::settings::Env;
use crate::settings::listen_addr::ListenAddr;

const DEFAULT_LISTEN: &str = "127.0.0.1:8000";
/// Minimum age of reports that are summed up: with less, an hour would be summed up before it is over.
const MIN_RETENTION: Duration = Duration::from_secs(3_600);

/// Checked settings.
#[derive(Debug)]
pub(super) struct CollectorSettings {
    pub(super) listen: ListenAddr,
    pub(super) store: String,
    /// True if a flag contains the password of the store, which other users can see in the list of processes.
    pub(super) has_visible_password: bool,
    pub(super) redis: Option<RedisAccess>,
    pub(super) token_file: Option<PathBuf>,
    pub(super) options: Options,
}

impl CollectorSettings {
    /// Reads flags, environment and the files that they name.
    pub(super) fn assemble(args: &CollectArgs, environment: Env<'_>) -> Result<CollectorSettings, Failure> {
        let setting =
            |flag, given: Option<&String>| Setting::find(flag, given.map(String::as_str), environment);
        let file = |flag, given: Option<&PathBuf>| {
            given.cloned().or_else(|| Some(Setting::find(flag, None, environment)?.text.into()))
        };
        let rate = args.rate.map(|rate| rate.to_string());
        let limits =
            limits(setting("rate", rate.as_ref()), setting("max-clock-skew", args.max_clock_skew.as_ref()))?;
        let (keep_reports, keep_hours) = retention(
            setting("keep-reports", args.keep_reports.as_ref()),
            setting("keep-hours", args.keep_hours.as_ref()),
        )?;
        let tls = load_tls(
            file("tls-certificate", args.tls_certificate.as_ref()),
            file("tls-key", args.tls_key.as_ref()),
        )?;
        let token_file = file("token-file", args.token_file.as_ref());
        let tokens = match &token_file {
            Some(path) => read_tokens(path).map_err(Failure::config)?,
            None => Tokens::none(),
        };
        let proxies = match setting("trusted-proxy", args.trusted_proxy.as_ref()) {
            Some(setting) => setting.text.parse().map_err(|error| setting.invalid(error))?,
            None => Proxies::default(),
        };
        let listen = listen_address(setting("listen", args.listen.as_ref()))?;
        let names = (!args.allowed_host.is_empty()).then(|| args.allowed_host.join(","));
        let hosts = allowed_hosts(&listen, setting("allowed-host", names.as_ref()))?;
        let store = setting("store", args.store.as_ref());
        let has_visible_password =
            store.as_ref().is_some_and(|store| store.is_flag && has_password(&store.text));
        let redis = redis_access([
            file("redis-password-file", args.redis_password_file.as_ref()),
            file("redis-ca", args.redis_ca.as_ref()),
            file("redis-certificate", args.redis_certificate.as_ref()),
            file("redis-key", args.redis_key.as_ref()),
        ])?;
        Ok(CollectorSettings {
            listen,
            has_visible_password,
            store: store.map_or_else(|| default_store(environment), |store| store.text),
            redis,
            token_file,
            options: Options { tokens, tls, limits, proxies, hosts, keep_reports, keep_hours },
        })
    }
}

fn limits(rate: Option<Setting>, max_clock_skew: Option<Setting>) -> Result<Limits, Failure> {
    let mut limits = Limits::default();
    if let Some(setting) = rate {
        limits.rate = match setting.text.parse::<f64>() {
            Ok(rate) if (0.1..=1e6).contains(&rate) => rate,
            _ => return Err(setting.invalid("expected requests per second, from 0.1 to 1000000")),
        };
        limits.burst = limits.burst.max(2.0 * limits.rate);
    }
    if let Some(setting) = max_clock_skew {
        limits.max_clock_skew = duration::parse(&setting.text).map_err(|error| setting.invalid(error))?;
    }
    Ok(limits)
}

/// Returns the maximum ages of reports and of hourly sums; `None`: no limit.
fn retention(
    keep_reports: Option<Setting>,
    keep_hours: Option<Setting>,
) -> Result<(Option<Duration>, Option<Duration>), Failure> {
    let parse = |setting: Option<Setting>| {
        let Some(setting) = setting else { return Ok(None) };
        match duration::parse(&setting.text) {
            Ok(age) if age >= MIN_RETENTION => Ok(Some(age)),
            Ok(_) => Err(setting.invalid("shorter than an hour; expected a duration such as 90d")),
            Err(error) => Err(setting.invalid(error)),
        }
    };
    let (reports, hours) = (parse(keep_reports)?, parse(keep_hours)?);
    if let Some(hours) = hours
        && reports.is_none_or(|reports| hours < reports)
    {
        return Err(Failure::usage(anyhow!(
            "--keep-hours needs --keep-reports, which must not be longer, because hourly sums are made of old reports"
        )));
    }
    Ok((reports, hours))
}

fn listen_address(setting: Option<Setting>) -> Result<ListenAddr, Failure> {
    match setting {
        None => DEFAULT_LISTEN.parse().map_err(|problem: &str| Failure::internal(anyhow!(problem))),
        Some(setting) => setting.text.parse().map_err(|problem| {
            setting.invalid(format!("bad listen address \"{}\": {problem}", sanitize_for_log(&setting.text)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(words: &[&str]) -> CollectArgs {
        use clap::Parser as _;
        #[derive(Debug, clap::Parser)]
        struct TestCli {
            #[command(flatten)]
            args: CollectArgs,
        }
        TestCli::parse_from(std::iter::once(&"collect").chain(words)).args
    }

    fn assemble(words: &[&str], environment: &[(&str, &str)]) -> Result<CollectorSettings, String> {
        let variable = |name: &str| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        CollectorSettings::assemble(&arguments(words), Env { variable: &variable })
            .map_err(|error| error.to_string())
    }

    #[test]
    fn collector_listens_on_loopback_and_stores_in_a_file_by_default() {
        let settings = assemble(&[], &[]).unwrap();
        assert_eq!(
            (settings.listen.to_string().as_str(), settings.store.as_str()),
            ("127.0.0.1:8000", "sqlite:reports.db")
        );
        assert!(settings.options.tokens.are_none() && settings.options.keep_reports.is_none());
    }

    #[test]
    fn collector_clock_skew_is_one_day_unless_flag_or_environment_set_it() {
        let skew = |words: &[&str], environment: &[(&str, &str)]| {
            assemble(words, environment).unwrap().options.limits.max_clock_skew
        };
        let hour = [("ATALAYA_MAX_CLOCK_SKEW", "1h")];
        assert_eq!(skew(&[], &[]), Duration::from_secs(86_400));
        assert_eq!(skew(&[], &hour), Duration::from_secs(3_600));
        assert_eq!(skew(&["--max-clock-skew", "400d"], &hour), Duration::from_secs(400 * 86_400));
    }

    #[test]
    fn collector_flags_have_precedence_over_the_environment() {
        let environment = [
            ("ATALAYA_LISTEN", "0.0.0.0:80"),
            ("ATALAYA_STORE", "memory"),
            ("ATALAYA_KEEP_REPORTS", "90d"),
            ("STATE_DIRECTORY", "/var/lib/a:/var/lib/b"),
        ];
        let by_environment = assemble(&[], &environment).unwrap();
        assert_eq!(
            (by_environment.listen.to_string().as_str(), by_environment.store.as_str()),
            ("0.0.0.0:80", "memory")
        );
        assert_eq!(by_environment.options.keep_reports, Some(Duration::from_secs(90 * 86_400)));
        let by_flag = assemble(&["--listen", "[::1]:0", "--store", "sqlite:x"], &environment).unwrap();
        assert_eq!((by_flag.listen.to_string().as_str(), by_flag.store.as_str()), ("[::1]:0", "sqlite:x"));
        let by_default = assemble(&[], &environment[3..]).unwrap();
        assert_eq!(by_default.store, "sqlite:/var/lib/a/reports.db");
    }

    #[test]
    fn collector_setting_errors_name_their_origin() {
        for (words, expected) in [
            (&["--keep-reports", "1s"][..], "--keep-reports: shorter than an hour"),
            (&["--keep-reports", "soon"], "--keep-reports: `soon` is not a duration"),
            (&["--keep-hours", "90d"], "--keep-hours needs --keep-reports"),
            (&["--keep-reports", "9d", "--keep-hours", "8d"], "--keep-reports, which must not be longer"),
            (&["--rate", "0"], "--rate: expected requests per second"),
            (&["--rate", "NaN"], "--rate: expected requests per second"),
            (&["--max-clock-skew", "soon"], "--max-clock-skew: `soon` is not a duration"),
            (&["--trusted-proxy", "10.0.0.0/40"], "--trusted-proxy: \"10.0.0.0/40\" is neither"),
            (&["--tls-key", "/nowhere"], "must be given together"),
            (&["--tls-key", "/nowhere/k", "--tls-certificate", "/nowhere/c"], "/nowhere/c: no certificate"),
            (&["--token-file", "/nowhere/t"], "the token file /nowhere/t"),
            (&["--listen", "8000"], "--listen: bad listen address \"8000\": it has no port"),
            (&["--allowed-host", "http://h"], "--allowed-host: \"http://h\": expected a host name"),
            (&["--redis-key", "/nowhere/k"], "--redis-certificate and --redis-key"),
            (&["--redis-password-file", "/nowhere/p"], "the password for Redis in /nowhere/p"),
        ] {
            let problem = assemble(words, &[]).unwrap_err();
            assert!(problem.contains(expected), "{problem}");
        }
        let problem = assemble(&[], &[("ATALAYA_RATE", "many")]).unwrap_err();
        assert!(problem.contains("the environment variable ATALAYA_RATE"), "{problem}");
    }

    #[test]
    fn collector_accepts_the_allowed_hosts_and_the_listen_host() {
        let by_flag = assemble(
            &["--listen", ":8000", "--allowed-host", "a.example", "--allowed-host", "b.example"],
            &[],
        );
        let by_flag = by_flag.unwrap();
        assert_eq!(by_flag.listen.to_string(), ":8000");
        let environment = [("ATALAYA_ALLOWED_HOST", "a.example, b.example")];
        assert_eq!(
            by_flag.options.hosts,
            assemble(&["--listen", ":8000"], &environment).unwrap().options.hosts
        );
        let by_name = assemble(&["--listen", "reports.example:8000"], &[]).unwrap();
        assert_ne!(by_name.options.hosts, by_flag.options.hosts);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn collector_rejects_a_pipe_as_token_file_without_blocking() {
        let (reader, _writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let problem = assemble(&["--token-file", &path], &[]).unwrap_err();
        assert!(problem.contains("the token file /proc/self/fd/"), "{problem}");
    }

    #[test]
    fn collector_reads_the_redis_password_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let flag = path.display().to_string();
        for (content, expected) in
            [("open sesame\n", true), ("", false), ("\n", false), ("two\nlines", false)]
        {
            std::fs::write(&path, content).unwrap();
            let settings = assemble(&["--store", "redis://h", "--redis-password-file", &flag], &[]);
            match settings {
                Ok(settings) => {
                    let password = settings.redis.and_then(|access| access.password);
                    assert!(expected && password.as_deref() == Some("open sesame"), "{content:?}");
                }
                Err(problem) => assert!(!expected && problem.contains("one line"), "{problem}"),
            }
        }
        let is_visible = |store: &str| assemble(&["--store", store], &[]).unwrap().has_visible_password;
        assert!(is_visible("redis://:secret@h") && !is_visible("redis://user@h") && !is_visible("memory"));
        let settings = assemble(&[], &[("ATALAYA_STORE", "redis://:secret@h")]).unwrap();
        assert!(!settings.has_visible_password, "other users cannot see the environment");
    }
}
