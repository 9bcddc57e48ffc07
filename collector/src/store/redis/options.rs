//! Address and options of a Redis server.

use std::fmt;
use std::time::Duration;

use redis::{Client, ConnectionAddr};

use crate::store::error::OpenError;
use crate::store::redis_access::RedisAccess;

/// Maximum length of the prefix, in bytes.
const MAX_PREFIX: usize = 64;

/// Address and options of the server.
#[derive(Clone)]
pub struct RedisOptions {
    pub(super) client: Client,
    /// Prefix of all keys, with its colon.
    pub(super) prefix: String,
    /// Timeout of one command, and of connecting.
    pub command_timeout: Duration,
    /// Timeout of a read.
    pub read_timeout: Duration,
}

impl RedisOptions {
    /// Returns the default options for `redis://[user:password@]host[:port][/database][?prefix=atalaya]`, or
    /// `rediss://` with TLS.
    ///
    /// # Errors
    /// Returns an error if the address is not valid; the message contains the reason, without the password.
    pub fn new(url: &str) -> Result<RedisOptions, OpenError> {
        RedisOptions::with_access(url, &RedisAccess::default())
    }

    /// Returns the options like [`RedisOptions::new`], with a password from elsewhere and certificates.
    ///
    /// # Errors
    /// Returns an error if the address or a certificate is not valid; the message contains the reason, without the
    /// password.
    pub fn with_access(url: &str, access: &RedisAccess) -> Result<RedisOptions, OpenError> {
        let wrong = |why: &str| {
            OpenError::Wrong(format!(
                "{why}: a Redis is redis://[user@]host[:port][/database][?prefix=atalaya], with TLS rediss://"
            ))
        };
        let (address, query) = url.split_once('?').unwrap_or((url, ""));
        if !address.starts_with("redis://") && !address.starts_with("rediss://") {
            return Err(wrong("this is not the address of a Redis"));
        }
        let mut prefix = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.as_ref() {
                "prefix" if prefix.is_none() => prefix = Some(value.into_owned()),
                _ => return Err(wrong("an option is unknown, or occurs twice")),
            }
        }
        let prefix = prefix.unwrap_or_else(|| "atalaya".to_owned());
        let plain = |letter: char| !letter.is_control() && !letter.is_whitespace();
        if prefix.is_empty() || prefix.len() > MAX_PREFIX || !prefix.chars().all(plain) {
            return Err(wrong("the prefix is not 1 to 64 bytes of text without spaces"));
        }
        let client = access.client(address).map_err(wrong)?;
        Ok(RedisOptions {
            client,
            prefix: format!("{prefix}:"),
            command_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(5),
        })
    }

    /// Returns host and port.
    pub(super) fn address(&self) -> String {
        match self.client.get_connection_info().addr() {
            ConnectionAddr::Tcp(host, port) => format!("{host}:{port}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RedisOptions")
            .field("address", &self.address())
            .field("prefix", &self.prefix)
            .field("command_timeout", &self.command_timeout)
            .field("read_timeout", &self.read_timeout)
            .finish()
    }
}
