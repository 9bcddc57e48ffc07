//! Connect strings: `host[:port][,host[:port]…][/chroot]`, checked before anything connects.
//!
//! The syntax is ZooKeeper's own (Programmer's Guide, "ZooKeeper Sessions"). The client crate parses it as well, but
//! its only error is "invalid address"; the errors here name each mistake and the correct form. White space around a
//! server is ignored, as in ZooKeeper and Kazoo. An IPv6 address may have a zone, as in `[fe80::1%eth0]:2181`, which
//! the resolver of the system supports.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use crate::text;

/// Addresses of the servers of an ensemble, and the optional chroot: the znode to which all paths are relative.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectString {
    servers: Vec<String>,
    chroot: Option<String>,
}

/// Error for an invalid connect string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "bad ZooKeeper address \"{text}\": {problem}; expected host:port[,host:port…][/chroot], such as zk1:2181,zk2:2181/fleet"
)]
pub struct ConnectStringError {
    /// Invalid part, with at most 80 characters.
    pub text: String,
    /// Description of the mistake.
    pub problem: &'static str,
}

/// Maximum length of a connect string, in bytes.
const MAX_LENGTH: usize = 4096;
/// Maximum length of the text in an error, in characters.
const MAX_SHOWN: usize = 80;
const DEFAULT_PORT: u16 = 2181;
/// Maximum length of the zone of an IPv6 address; Linux allows 15 bytes.
const MAX_ZONE_LENGTH: usize = 32;

impl ConnectString {
    /// Returns `host:port` of each server, separated by commas, without the chroot.
    pub fn servers(&self) -> String {
        self.servers.join(",")
    }

    /// Returns true if all servers are on this machine, by a loopback address or `localhost`.
    pub fn is_loopback(&self) -> bool {
        self.servers.iter().all(|server| {
            let host = server.rsplit_once(':').map_or(server.as_str(), |(host, _)| host);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            host.eq_ignore_ascii_case("localhost") || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        })
    }

    /// Returns the chroot, if there is one.
    pub fn chroot(&self) -> Option<&str> {
        self.chroot.as_deref()
    }
}

impl fmt::Display for ConnectString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.servers(), self.chroot.as_deref().unwrap_or(""))
    }
}

impl FromStr for ConnectString {
    type Err = ConnectStringError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // First, because white space around it could be megabytes long.
        let parsed = if text.len() > MAX_LENGTH { Err((text, TOO_LONG)) } else { parse(text.trim()) };
        parsed
            .map_err(|(text, problem)| ConnectStringError { text: text::truncate(text, MAX_SHOWN), problem })
    }
}

/// Returns the invalid part and the mistake if `whole` is not valid.
fn parse(whole: &str) -> Result<ConnectString, (&str, &'static str)> {
    match whole {
        "" => return Err((whole, "it is empty")),
        _ if whole.contains("://") => return Err((whole, "it has a URL scheme")),
        _ if whole.contains(';') => return Err((whole, "servers are separated by commas")),
        _ => {}
    }
    let (hosts, chroot) = whole.split_at(whole.find('/').unwrap_or(whole.len()));
    let chroot = match chroot {
        "" | "/" => None,
        path if path.contains(is_blank) => return Err((path, WHITE_SPACE)),
        path => {
            check_path(path).map_err(|problem| (path, problem))?;
            Some(path.to_owned())
        }
    };
    let address = |server| {
        server_address(server).map_err(|problem| (if server.is_empty() { whole } else { server }, problem))
    };
    let servers = hosts.split(',').map(str::trim).map(address).collect::<Result<_, _>>()?;
    Ok(ConnectString { servers, chroot })
}

const TOO_LONG: &str = "it is longer than 4096 bytes";
const WHITE_SPACE: &str = "it contains white space";

fn is_blank(c: char) -> bool {
    c.is_whitespace() || c.is_control()
}

fn is_quote(c: char) -> bool {
    matches!(c, '"' | '\'' | '`' | '\u{b4}' | '«' | '»' | '\u{2018}'..='\u{201f}')
}

fn server_address(server: &str) -> Result<String, &'static str> {
    if server.contains(is_quote) {
        return Err("quotes are not part of a host: remove them (env files are read without a shell)");
    }
    if server.contains(is_blank) {
        return Err(WHITE_SPACE);
    }
    let (host, port) = if let Some(rest) = server.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("the [ of an IPv6 address is not closed")?;
        check_ipv6(address)?;
        let port = rest.strip_prefix(':');
        if port.is_none() && !rest.is_empty() {
            return Err("] must be followed by a colon and a port, or by nothing");
        }
        (&server[..server.len() - rest.len()], port)
    } else {
        match server.split_once(':') {
            Some((_, port)) if port.contains(':') => {
                return Err("an IPv6 address must be in [ ], as in [::1]:2181");
            }
            Some((host, port)) => (host, Some(port)),
            None => (server, None),
        }
    };
    if host.is_empty() {
        return Err("a host name is missing");
    }
    if !host.starts_with('[') && host.contains(|c: char| c.is_ascii_punctuation() && !"-_.".contains(c)) {
        return Err("the host contains a character that host names do not have");
    }
    // `parse` accepts a sign.
    let number = |text: &str| text.parse().ok().filter(|port| *port != 0 && !text.starts_with('+'));
    let port: u16 =
        port.map_or(Some(DEFAULT_PORT), number).ok_or("the port is not a number from 1 to 65535")?;
    Ok(format!("{host}:{port}"))
}

/// Checks an IPv6 address, which may have a zone.
fn check_ipv6(text: &str) -> Result<(), &'static str> {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    if address.parse::<std::net::Ipv6Addr>().is_err() {
        return Err("the text in [ ] is not an IPv6 address");
    }
    let is_zone = |zone: &str| {
        (1..=MAX_ZONE_LENGTH).contains(&zone.len())
            && zone.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    if zone.is_some_and(|zone| !is_zone(zone)) {
        return Err(
            "% must be followed by the zone of the IPv6 address: the name or number of a network interface",
        );
    }
    Ok(())
}

/// Checks that `path` is a valid path of a znode, like ZooKeeper's `PathUtils.validatePath`: absolute, without an
/// empty, `.` or `..` element, without a slash at its end, without control characters. Returns a description of the
/// mistake.
pub fn check_path(path: &str) -> Result<(), &'static str> {
    let rest = path.strip_prefix('/').ok_or("a znode path must begin with /")?;
    if rest.is_empty() {
        return Ok(());
    }
    if rest.ends_with('/') {
        return Err("a znode path must not end with /");
    }
    for element in rest.split('/') {
        match element {
            "" => return Err("the path contains an empty element (//)"),
            "." | ".." => return Err("the path contains a . or .. element"),
            _ => {}
        }
        let forbidden = |c: char| matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
        if element.contains(forbidden) {
            return Err("the path contains a character that ZooKeeper refuses");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use atalaya_testbed::thread_time;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn valid_connect_strings_are_parsed() {
        for (text, servers, chroot) in [
            ("zk1", "zk1:2181", None),
            ("127.0.0.1:2182", "127.0.0.1:2182", None),
            (" zk1:1,zk2,[::1]:3/fleet/a ", "zk1:1,zk2:2181,[::1]:3", Some("/fleet/a")),
            ("zk1/", "zk1:2181", None),
            ("zk1:2181, zk2:2181", "zk1:2181,zk2:2181", None),
            ("zk1:2181 ,\tzk2:2182\n,zk3 /fleet", "zk1:2181,zk2:2182,zk3:2181", Some("/fleet")),
            ("[fe80::1%eth0]:2181", "[fe80::1%eth0]:2181", None),
            ("[fe80::1%2], zk_2", "[fe80::1%2]:2181,zk_2:2181", None),
        ] {
            let parsed: ConnectString = text.parse().unwrap();
            assert_eq!((parsed.servers().as_str(), parsed.chroot()), (servers, chroot), "{text}");
            assert_eq!(parsed.to_string().parse::<ConnectString>().unwrap(), parsed);
        }
    }

    #[test]
    fn errors_of_connect_strings_name_the_mistake() {
        let long = "a".repeat(5000);
        for (text, problem) in [
            ("", "empty"),
            ("  ", "empty"),
            (",", "host name is missing"),
            ("zk1,,zk2", "host name is missing"),
            ("zk1,", "host name is missing"),
            (":2181", "host name is missing"),
            ("/fleet", "host name is missing"),
            ("zk1:", "port"),
            ("zk1:0", "port"),
            ("zk1:+1", "port"),
            ("zk1:65536", "port"),
            ("zk1:abc", "port"),
            ("zk1:2181;zk2:2181", "commas"),
            ("zk1 zk2", "white space"),
            ("http://zk1:2181", "scheme"),
            ("::1:2181", "IPv6"),
            ("[::1", "not closed"),
            ("[zk1]:2181", "not an IPv6"),
            ("[::1]2181", "] must be followed"),
            ("zk1/fleet/", "end with /"),
            ("zk1//fleet", "empty element"),
            ("zk1/../fleet", ".."),
            (long.as_str(), "longer"),
            ("\"zk1:2181\"", "quotes are not part of a host"),
            ("'zk1:2181, zk2:2181'", "quotes are not part of a host"),
            ("\"zk1:2181\",\"zk2:2181\"/fleet", "quotes are not part of a host"),
            ("“zk1”", "quotes are not part of a host"),
            ("zk1, ,zk2", "host name is missing"),
            ("zk1 :2181", "white space"),
            ("zk1/my fleet", "white space"),
            ("tcp://zk1:2181", "scheme"),
            ("user@zk1", "character that host names"),
            ("[fe80::1%]:2181", "zone"),
            ("[fe80::1%eth0%1]:2181", "zone"),
            ("[fe80::1%$(reboot)]", "zone"),
            ("fe80::1%eth0:2181", "IPv6"),
        ] {
            let error = text.parse::<ConnectString>().unwrap_err();
            assert!(error.problem.contains(problem), "{text}: {error}");
            assert!(error.to_string().len() < 300, "{error}");
        }
    }

    #[test]
    fn connect_string_of_many_megabytes_is_refused_at_once() {
        for unit in ["a", ",", " ", "/", "[", "zk1:2181, ", "\"", "%", "\u{10ffff}"] {
            let text = unit.repeat(16 * 1024 * 1024 / unit.len());
            let begin = thread_time();
            let error = text.parse::<ConnectString>().unwrap_err();
            let used = thread_time() - begin;
            assert!(error.text.len() <= 320 && used < Duration::from_millis(5), "{unit:?}: {used:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn any_connect_string_is_parsed_or_refused_in_bounded_time_and_memory(
            text in prop_oneof![
                any::<String>(),
                prop::collection::vec(
                    prop::sample::select(vec![
                        "zk1", "zk1:2181", ",", ", ", "/", "/fleet", "[::1]", "[fe80::1%eth0]", "%", "[", "]", ":",
                        ":0", ":65536", "tcp://", "\"", "'", " ", "\t", "\0", "é", "..", "+1", ";", "99999999999999999999",
                    ]),
                    0..60,
                ).prop_map(|parts| parts.concat()),
            ],
        ) {
            match text.parse::<ConnectString>() {
                Ok(parsed) => {
                    // Parsing adds at most a port to each server.
                    prop_assert!(parsed.to_string().len() <= 5 * (text.len() + 1));
                    prop_assert!(!parsed.servers().contains(|c: char| is_blank(c) || is_quote(c)));
                    prop_assert_eq!(parsed.to_string().parse::<ConnectString>().unwrap(), parsed);
                }
                Err(error) => {
                    prop_assert!(error.text.chars().count() <= 80);
                    prop_assert!(!error.to_string().contains(char::is_control), "{}", error);
                }
            }
        }
    }
}
