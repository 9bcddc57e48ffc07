//! Requests that the API receives.

use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Instant, SystemTime};

#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Recorded {
    /// Time at which the request was complete.
    pub at: Instant,
    /// Time of arrival as a `SystemTime`.
    pub wall: SystemTime,
    pub peer: SocketAddr,
    pub method: String,
    /// Path without the query.
    pub path: String,
    /// Names and values of the query, decoded.
    pub query: Vec<(String, String)>,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Status of the answer; `None` before the answer, or if the client disconnected first.
    pub answered: Option<u16>,
    /// True if the request was kept. A correct collector keeps each request that it answers with 2xx, and may keep
    /// others. Of several requests with the same `Idempotency-Key`, it counts the first.
    pub kept: bool,
}

impl Recorded {
    /// Returns the average in the request: `dato` of the query, or `dato` or `mean` of a JSON body.
    pub fn dato(&self) -> Option<f64> {
        if let Some((_, value)) = self.query.iter().find(|(name, _)| name == "dato") {
            return value.parse().ok();
        }
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        body.get("dato").or_else(|| body.get("mean"))?.as_f64()
    }

    /// Returns the cycle of a posted report; `None` if it is not one.
    pub(super) fn cycle(&self) -> Option<u64> {
        serde_json::from_slice::<serde_json::Value>(&self.body).ok()?.get("cycle")?.as_u64()
    }

    /// Returns the sequence numbers of the samples in the body; `None` if it has none.
    pub(super) fn samples(&self) -> Option<Vec<u64>> {
        let body: serde_json::Value = serde_json::from_slice(&self.body).ok()?;
        Some(body.get("samples")?.as_array()?.iter().filter_map(|sample| sample["seq"].as_u64()).collect())
    }

    /// Returns the first header of that name; case does not matter.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    pub fn agent(&self) -> Option<&str> {
        self.header("user-agent")
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (i, (name, value)) in self.query.iter().enumerate() {
            write!(f, "{}{name}={value}", if i == 0 { '?' } else { '&' })?;
        }
        if !self.body.is_empty() {
            write!(f, " {}", String::from_utf8_lossy(&self.body[..self.body.len().min(200)]))?;
        }
        match self.answered {
            Some(status) => write!(f, " -> {status}"),
            None => f.write_str(" -> (no answer)"),
        }
    }
}

/// Reads one request of HTTP/1.1 (RFC 9112). Returns `None` if the connection ends before a request starts.
pub(super) fn read_request(input: &mut impl BufRead, stream: &TcpStream) -> io::Result<Option<Recorded>> {
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    let Some(first) = read_line(input)? else { return Ok(None) };
    let mut words = first.split(' ');
    let (Some(method), Some(target), Some(_)) = (words.next(), words.next(), words.next()) else {
        return Err(malformed());
    };
    let mut headers = Vec::new();
    loop {
        let line = read_line(input)?.ok_or_else(malformed)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut body = Vec::new();
    // The clients of tests send no chunks.
    if let Some((_, length)) = headers.iter().find(|(name, _)| name == "content-length") {
        let length = length.parse().map_err(|_| malformed())?;
        input.by_ref().take(length).read_to_end(&mut body)?;
        if body.len() as u64 != length {
            return Err(malformed());
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(Recorded {
        at: Instant::now(),
        wall: SystemTime::now(),
        peer: stream.peer_addr()?,
        method: method.to_owned(),
        path: path.to_owned(),
        query: form_urlencoded::parse(query.as_bytes()).into_owned().collect(),
        headers,
        body,
        answered: None,
        kept: false,
    }))
}

fn read_line(input: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    if input.read_until(b'\n', &mut bytes)? == 0 {
        return Ok(None);
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end_matches(['\r', '\n']).to_owned()))
}
