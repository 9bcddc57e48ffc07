//! Functions of all HTTP clients of a node: readable errors, bounded answers.

use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use reqwest::{Client, ClientBuilder, Response, Url};
use tokio_rustls::rustls::crypto::ring;

pub(crate) fn builder() -> ClientBuilder {
    // reqwest takes the process-wide provider; this fails if it is set already.
    let _ = ring::default_provider().install_default();
    Client::builder()
}

/// Returns the innermost cause, which names the problem ("Connection refused"); the outer errors only name their layer.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let first: &dyn std::error::Error = error;
    let cause = std::iter::successors(Some(first), |cause| cause.source()).last().unwrap_or(first);
    if error.is_connect() { format!("cannot connect: {cause}") } else { cause.to_string() }
}

/// Adds a hint about this machine's clock to an error about the validity of a certificate: a Raspberry Pi starts in
/// 1970. The hint has the day only, because a reason that changes is logged again.
pub(crate) fn with_clock_hint(cause: String, now: SystemTime) -> String {
    let validity_errors = ["certificate not valid yet", "certificate expired"];
    let found = validity_errors.iter().find_map(|error| Some(cause.find(error)? + error.len()));
    match (found, Timestamp::try_from(now)) {
        (Some(end), Ok(now)) => {
            let day = now.strftime("%Y-%m-%d");
            format!("{}; the clock of this machine says {day}: is it set?", &cause[..end])
        }
        _ => cause,
    }
}

/// Returns true if the address is on this machine. The environment may name a proxy, on which the address would be
/// another machine.
pub(crate) fn is_local(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    address.map_or(host == "localhost", |address| address.is_loopback())
}

/// Reads the beginning of the body, up to `max` bytes, so that the connection can be used again. Returns `None` if the
/// body is incomplete; a status of success still counts.
pub(crate) async fn read_body(response: &mut Response, max: usize) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => {
                let room = max - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() >= room {
                    return Some(body);
                }
            }
            Ok(None) => return Some(body),
            Err(_) => return None,
        }
    }
}
