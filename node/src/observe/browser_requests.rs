//! Protects the metrics from web pages of other sites. Such a page cannot read a response, unless it points its own
//! domain name at this machine (DNS rebinding): its requests then contain that domain in `Host`.
//!
//! The server is read-only, and Prometheus may use any host name, so only requests of browsers are checked. A page can
//! suppress or change some of the headers by which a browser is recognised, but not `Accept-Language`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::OnceLock;

use hyper::header::{ACCEPT_LANGUAGE, HOST, HeaderMap, ORIGIN, USER_AGENT};
use hyper::{Request, StatusCode};

use crate::model::node_info::host_name;

/// Returns the status and the reason with which a request is refused, if it is. Health checks are always allowed.
pub(super) fn refusal<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    if ["/healthz", "/readyz"].contains(&request.uri().path()) {
        return None;
    }
    let headers = request.headers();
    let host = header(headers, HOST.as_str());
    let origin = header(headers, ORIGIN.as_str());
    let site = header(headers, "sec-fetch-site");
    let is_browser = site.is_some()
        || origin.is_some()
        || headers.contains_key(ACCEPT_LANGUAGE)
        || header(headers, USER_AGENT.as_str()).is_some_and(|agent| agent.starts_with("Mozilla/"));
    if !is_browser {
        return None;
    }
    let is_link = header(headers, "sec-fetch-mode") == Some("navigate");
    let is_foreign = match (site, origin) {
        (Some("same-origin" | "none"), _) => false,
        (Some(_), _) => !is_link,
        (None, Some(origin)) => {
            host.is_none_or(|host| origin.split_once("://").is_none_or(|(_, own)| own != host))
        }
        (None, None) => false,
    };
    if is_foreign {
        return Some((StatusCode::FORBIDDEN, "a web page of another site sent this request\n"));
    }
    let reason =
        "in a browser, use an IP address, localhost, the name of this machine or a name without a dot\n";
    (!host.is_none_or(is_local)).then_some((StatusCode::MISDIRECTED_REQUEST, reason))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap_or_default())
}

/// Returns true if public DNS cannot contain this `host[:port]`, so that no web page can have pointed it here.
fn is_local(host: &str) -> bool {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, _)| address.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name).trim_end_matches('.').to_ascii_lowercase();
    name.parse::<Ipv4Addr>().is_ok()
        || !name.contains('.')
        || name.ends_with(".localhost")
        || machine_names().contains(&name)
}

/// Returns the names of this machine: the host name, and the name that multicast DNS announces.
fn machine_names() -> &'static [String; 2] {
    static NAMES: OnceLock<[String; 2]> = OnceLock::new();
    NAMES.get_or_init(|| {
        let name = host_name().to_ascii_lowercase();
        let first = name.split('.').next().unwrap_or_default();
        [format!("{first}.local"), name]
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_public_dns_cannot_contain_are_local() {
        for good in ["127.0.0.1:9100", "[::1]:9100", "localhost", "node1:9100", "App.localhost:1", "10.0.0.7"]
        {
            assert!(is_local(good), "{good}");
        }
        assert!(machine_names().iter().all(|name| is_local(&format!("{name}:9100"))));
        for bad in
            ["evil.example", "evil.example:9100", "127.0.0.1.evil.example", "[evil]", "localhost.example."]
        {
            assert!(!is_local(bad), "{bad}");
        }
    }
}
