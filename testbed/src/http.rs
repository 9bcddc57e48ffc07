//! Asks by HTTP, as plainly as can be.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// An answer.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Answer {
    /// Its status, as 200.
    pub status: u16,
    /// Its head, line by line.
    pub head: Vec<String>,
    /// What came after the head; what is not UTF-8 is replaced.
    pub body: String,
}

/// Asks the server at `address` (host and port) for `target`, with more lines of the head, as `accept: text/plain`.
///
/// # Errors
///
/// It cannot be reached, does not answer within 10 s, or answers something else than HTTP.
pub fn get(address: &str, target: &str, head: &[&str]) -> io::Result<Answer> {
    let more: String = head.iter().map(|line| format!("{line}\r\n")).collect();
    // Of this version, an answer is neither cut into pieces nor followed by another.
    let request = format!("GET {target} HTTP/1.0\r\nhost: {address}\r\n{more}\r\n");
    let nowhere = || io::Error::from(io::ErrorKind::AddrNotAvailable);
    let place = address.to_socket_addrs()?.next().ok_or_else(nowhere)?;
    let mut stream = TcpStream::connect_timeout(&place, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let parsed = text.split_once("\r\n\r\n").and_then(|(head, body)| {
        let head: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
        let status = head.first()?.split(' ').nth(1)?.parse().ok()?;
        Some(Answer { status, head, body: body.to_owned() })
    });
    parsed
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("no answer of HTTP: {text:.200}")))
}

/// A text as it is written in a query.
pub(crate) fn escape(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes()
        .map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Api, ApiMode};

    #[test]
    fn an_answer_has_a_status_and_a_body() {
        let api = Api::start();
        let address = api.base_url();
        let address = address.trim_start_matches("http://").trim_end_matches('/');
        let answer = get(address, "/nuevo?dato=1", &["accept: text/plain"]).unwrap();
        assert_eq!((answer.status, &*answer.body), (200, "ok\n"));
        assert_eq!(api.requests()[0].header("accept"), Some("text/plain"));
        api.set(ApiMode::KeepAndCut);
        assert!(get(address, "/", &[]).is_err());
    }

    #[test]
    fn a_query_is_escaped() {
        assert_eq!(escape("a{b=\"c d\"}"), "a%7Bb%3D%22c%20d%22%7D");
    }
}
