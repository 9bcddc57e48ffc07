//! Settings of the collector: flags, then environment, then defaults.

use std::fmt::Display;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use atalaya_collector::{Hosts, KeepMeasurements, Limits, Options, RedisAccess, Tokens};
use atalaya_config::duration;

use super::args::CollectArgs;
use super::credentials::{load_tls, read_tokens, redis_access};
use super::store::{default_store, has_password};
use crate::commands::exit::Failure;
use crate::model::text::sanitize_for_log;
use crate::settings::Env;
use crate::settings::listen_addr::ListenAddr;

const DEFAULT_LISTEN: &str = "127.0.0.1:8000";
/// Minimum age of reports that are summed up: with less, an hour would be summed up before it is over.
const MIN_RETENTION: Duration = Duration::from_secs(3_600);

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
        let setting = |flag, given: &Option<String>| Setting::find(flag, given.clone(), environment);
        let file = |flag, given: &Option<PathBuf>| {
            given.clone().or_else(|| Some(Setting::find(flag, None, environment)?.text.into()))
        };
        let mut limits = Limits::default();
        if let Some(rate) = parse(setting("rate", &args.rate.map(|rate| rate.to_string())), parse_rate)? {
            limits.rate = rate;
            limits.burst = limits.burst.max(2.0 * rate);
        }
        if let Some(skew) = parse(setting("max-clock-skew", &args.max_clock_skew), duration::parse)? {
            limits.max_clock_skew = skew;
        }
        let keep_reports = parse(setting("keep-reports", &args.keep_reports), parse_retention)?;
        let keep_hours = parse(setting("keep-hours", &args.keep_hours), parse_retention)?;
        if keep_hours.is_some_and(|hours| keep_reports.is_none_or(|reports| hours < reports)) {
            return Err(Failure::usage(anyhow!(
                "--keep-hours needs --keep-reports, which must not be longer, because hourly sums are made of old \
                 reports"
            )));
        }
        let mut measurements = KeepMeasurements::default();
        for (flag, given, keep) in [
            ("keep-samples", &args.keep_samples, &mut measurements.samples),
            ("keep-sample-minutes", &args.keep_sample_minutes, &mut measurements.minutes),
            ("keep-sample-hours", &args.keep_sample_hours, &mut measurements.hours),
        ] {
            if let Some(parsed) = parse(setting(flag, given), parse_optional_retention)? {
                *keep = parsed;
            }
        }
        let tls = load_tls(file("tls-certificate", &args.tls_certificate), file("tls-key", &args.tls_key))?;
        let token_file = file("token-file", &args.token_file);
        let tokens = match &token_file {
            Some(path) => read_tokens(path).map_err(Failure::config)?,
            None => Tokens::none(),
        };
        let proxies = parse(setting("trusted-proxy", &args.trusted_proxy), str::parse)?.unwrap_or_default();
        let listen = match parse(setting("listen", &args.listen), parse_listen_address)? {
            Some(listen) => listen,
            None => {
                parse_listen_address(DEFAULT_LISTEN).map_err(|problem| Failure::internal(anyhow!(problem)))?
            }
        };
        let names = (!args.allowed_host.is_empty()).then(|| args.allowed_host.join(","));
        let hosts = allowed_hosts(&listen, setting("allowed-host", &names))?;
        let store = setting("store", &args.store);
        let redis = redis_access([
            file("redis-password-file", &args.redis_password_file),
            file("redis-ca", &args.redis_ca),
            file("redis-certificate", &args.redis_certificate),
            file("redis-key", &args.redis_key),
        ])?;
        Ok(CollectorSettings {
            listen,
            has_visible_password: store
                .as_ref()
                .is_some_and(|store| store.is_flag && has_password(&store.text)),
            store: store.map_or_else(|| default_store(environment), |store| store.text),
            redis,
            token_file,
            options: Options { tokens, tls, limits, proxies, hosts, keep_reports, keep_hours, measurements },
        })
    }
}

/// Text of a setting, with its origin for error messages.
struct Setting {
    text: String,
    /// True if the value comes from a flag, false if it comes from the environment.
    is_flag: bool,
    origin: String,
}

impl Setting {
    /// Returns the value of the flag `--{flag}` if it is given, or that of its environment variable: for `token-file`
    /// that is `ATALAYA_TOKEN_FILE`.
    fn find(flag: &str, given: Option<String>, environment: Env<'_>) -> Option<Setting> {
        if let Some(text) = given {
            return Some(Setting { text, is_flag: true, origin: format!("--{flag}") });
        }
        let variable = [format!("ATALAYA_{}", flag.replace('-', "_").to_uppercase())];
        let (name, text) = environment.first(&variable)?;
        Some(Setting { text, is_flag: false, origin: format!("the environment variable {name}") })
    }
}

/// Parses a setting if there is one. An error means the exit code 64 for a flag, 78 for an environment variable.
fn parse<T, P: Display>(
    setting: Option<Setting>,
    parse: impl FnOnce(&str) -> Result<T, P>,
) -> Result<Option<T>, Failure> {
    let Some(Setting { text, is_flag, origin }) = setting else { return Ok(None) };
    parse(&text).map(Some).map_err(|problem| {
        let error = anyhow!("{origin}: {problem}");
        if is_flag { Failure::usage(error) } else { Failure::config(error) }
    })
}

fn parse_rate(text: &str) -> Result<f64, &'static str> {
    let rate = text.parse().ok().filter(|rate| (0.1..=1e6).contains(rate));
    rate.ok_or("expected requests per second, from 0.1 to 1000000")
}

/// Parses the maximum age of reports or of hourly sums.
fn parse_retention(text: &str) -> Result<Duration, String> {
    match duration::parse(text) {
        Ok(age) if age >= MIN_RETENTION => Ok(age),
        Ok(_) => Err("shorter than an hour; expected a duration such as 90d".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Parses the maximum age of measurements; `None` for those that are kept forever.
fn parse_optional_retention(text: &str) -> Result<Option<Duration>, String> {
    if text == "forever" { Ok(None) } else { parse_retention(text).map(Some) }
}

fn parse_listen_address(text: &str) -> Result<ListenAddr, String> {
    text.parse().map_err(|problem| format!("bad listen address \"{}\": {problem}", sanitize_for_log(text)))
}

/// Returns the accepted host names: the given ones and the one in `--listen`.
fn allowed_hosts(listen: &ListenAddr, names: Option<Setting>) -> Result<Hosts, Failure> {
    let mut hosts = Hosts::default();
    if !listen.host.is_empty() && !listen.host.contains([':', '%']) {
        hosts.allow(&listen.host).map_err(|error| Failure::usage(anyhow!("--listen: {error}")))?;
    }
    parse(names, |names| {
        names.split(',').map(str::trim).filter(|name| !name.is_empty()).try_for_each(|name| {
            hosts.allow(name).map_err(|error| format!("\"{}\": {error}", sanitize_for_log(name)))
        })
    })?;
    Ok(hosts)
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
    fn collector_keeps_samples_for_a_week_and_sums_for_longer_unless_set() {
        let keep = |words: &[&str], environment: &[(&str, &str)]| {
            assemble(words, environment).unwrap().options.measurements
        };
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        let expected = KeepMeasurements { samples: days(7), minutes: days(90), hours: None };
        assert_eq!(keep(&[], &[]), expected);
        let set = keep(
            &["--keep-samples", "2d", "--keep-sample-minutes", "forever"],
            &[("ATALAYA_KEEP_SAMPLE_HOURS", "400d")],
        );
        assert_eq!(set, KeepMeasurements { samples: days(2), minutes: None, hours: days(400) });
        let problem = assemble(&["--keep-samples", "1m"], &[]).unwrap_err();
        assert!(problem.contains("--keep-samples: shorter than an hour"), "{problem}");
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
