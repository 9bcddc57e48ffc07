//! Log filters: levels, and targets with levels. The grammar has no spans, fields or regular expressions, so parsing
//! takes time and memory proportional to the length of the text, which is limited. Filters come from the command
//! line, the environment and ZooKeeper.

use tracing_subscriber::filter::{LevelFilter, Targets};

use crate::model::text::sanitize_for_log;

const DEFAULT: &str = "info";
/// Suffix for a filter that is only a level. The client crate logs every connection attempt; the session logs the
/// changes of the connection, once.
const CLIENT_SUFFIX: &str = ",zookeeper_client=error";
/// Maximum length of a filter, in bytes.
const MAX_LENGTH: usize = 1024;
const MAX_DIRECTIVES: usize = 64;

/// Parses a filter such as `debug` or `info,atalaya_recipes=debug`. A blank filter is the default.
///
/// # Errors
/// The filter is malformed, too long, or has too many directives.
pub fn filter(filter: Option<&str>) -> Result<Targets, String> {
    let text = filter.map(str::trim).filter(|text| !text.is_empty()).unwrap_or(DEFAULT);
    let suffix = if level(text).is_some() { CLIENT_SUFFIX } else { "" };
    parse(&format!("{text}{suffix}")).map_err(|problem| {
        format!(
            "bad log filter \"{}\": {problem}; expected a level such as debug, or target=level pairs",
            sanitize_for_log(text)
        )
    })
}

fn parse(text: &str) -> Result<Targets, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("it has {} bytes, more than {MAX_LENGTH}", text.len()));
    }
    let mut targets = Targets::new();
    let mut count = 0;
    for directive in text.split(',').map(str::trim).filter(|directive| !directive.is_empty()) {
        count += 1;
        if count > MAX_DIRECTIVES {
            return Err(format!("it has more than {MAX_DIRECTIVES} directives"));
        }
        targets = match directive.split_once('=') {
            None => match level(directive) {
                Some(level) => targets.with_default(level),
                None => targets.with_target(target(directive)?, LevelFilter::TRACE),
            },
            Some((name, wanted)) => {
                let not_a_level = || format!("\"{}\" is not a level", sanitize_for_log(wanted));
                targets.with_target(target(name)?, level(wanted).ok_or_else(not_a_level)?)
            }
        };
    }
    if count == 0 { Err("it has no directive".to_owned()) } else { Ok(targets) }
}

/// Parses a level: a name, or a number from 0 (off) to 5 (trace). Rejects an empty text, which the library accepts.
fn level(text: &str) -> Option<LevelFilter> {
    Some(text.trim()).filter(|text| !text.is_empty())?.parse().ok()
}

/// Checks a target: the path of a module, or the beginning of one.
fn target(text: &str) -> Result<&str, String> {
    let text = text.trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_:-.".contains(c);
    if text.is_empty() || !text.chars().all(allowed) {
        return Err(format!(
            "\"{}\" is not a target; spans and fields are not supported",
            sanitize_for_log(text)
        ));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atalaya_testbed::thread_time;
    use proptest::prelude::*;
    use tracing::Level;

    use super::*;

    fn enables(filter: &str, target: &str, level: Level) -> bool {
        super::filter(Some(filter)).unwrap().would_enable(target, &level)
    }

    #[test]
    fn log_filter_is_a_level_or_targets_with_levels() {
        assert!(enables("debug", "atalaya::node", Level::DEBUG));
        assert!(!enables("debug", "zookeeper_client::session", Level::WARN), "the client keeps its default");
        assert!(enables("debug,zookeeper_client=info", "zookeeper_client::session", Level::INFO));
        assert!(enables(" WARN , atalaya::leader = trace ,", "atalaya::leader::fenced_store", Level::TRACE));
        assert!(!enables("warn,atalaya::leader=trace", "atalaya::node", Level::INFO));
        assert!(enables("atalaya_recipes", "atalaya_recipes::lock", Level::TRACE), "a target alone");
        assert!(!enables("atalaya=debug", "hyper", Level::ERROR), "no default level");
        assert!(!enables("off", "atalaya", Level::ERROR));
        for blank in [None, Some(""), Some(" \n")] {
            let default = filter(blank).unwrap();
            assert!(default.would_enable("atalaya", &Level::INFO));
            assert!(!default.would_enable("atalaya", &Level::DEBUG));
        }
    }

    #[test]
    fn log_filter_rejects_fields_spans_and_long_texts() {
        let bomb = format!("[{{x=(a|b)*a{}}}]=debug", "(a|b)".repeat(22));
        for (text, problem) in [
            (bomb.as_str(), "spans and fields are not supported"),
            ("[span]=debug", "spans and fields are not supported"),
            ("loud=very", "\"very\" is not a level"),
            ("atalaya=", "\"\" is not a level"),
            ("=debug", "\"\" is not a target"),
            ("a=b=c", "\"b=c\" is not a level"),
            (",,", "it has no directive"),
            (&"debug,".repeat(MAX_DIRECTIVES + 1), "more than 64 directives"),
            (&"a".repeat(MAX_LENGTH + 1), "it has 1025 bytes"),
        ] {
            let error = filter(Some(text)).unwrap_err();
            assert!(error.contains(problem) && error.contains("such as debug"), "{error}");
            assert!(error.len() < 400, "{error}");
        }
    }

    proptest! {
        #[test]
        fn log_filter_parses_any_text_in_bounded_time(
            text in prop_oneof![
                "\\PC{0,2000}",
                "[a-z0-5=,:_\\[\\]{}()|*+. ]{0,2000}",
                "(\\[\\{[a-z]=(\\([a-c]\\|[a-c]\\)\\*?){0,40}\\}\\]=debug,?){0,10}",
                (0usize..2000, "[a-z=,\\[{]{1,8}").prop_map(|(times, piece)| piece.repeat(times)),
            ],
        ) {
            let begin = thread_time();
            let parsed = filter(Some(&text));
            let used = thread_time() - begin;
            // About 1,000 times the time that it takes.
            prop_assert!(used < Duration::from_millis(500), "{used:?}");
            match parsed {
                Ok(targets) => prop_assert!(targets.iter().count() <= MAX_DIRECTIVES + 1),
                Err(error) => {
                    prop_assert!(error.len() < 1_000, "{}", error);
                    prop_assert!(!error.chars().any(char::is_control), "{:?}", error);
                }
            }
        }
    }
}
