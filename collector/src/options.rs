//! Options of a collector.

use std::time::Duration;

use crate::hosts::Hosts;
use crate::limits::Limits;
use crate::proxies::Proxies;
use crate::tls::Tls;
use crate::tokens::Tokens;

/// Options of a collector. The default: no authentication, and reports are kept indefinitely.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Tokens of the clients.
    pub tokens: Tokens,
    /// Certificate for HTTPS; `None`: HTTP.
    pub tls: Option<Tls>,
    /// Limits on sizes, rates and durations.
    pub limits: Limits,
    /// Trusted proxies, which determine the address of a client.
    pub proxies: Proxies,
    /// Names in `Host` that it answers to. They are not checked on connections with TLS, where the browser checks the
    /// name, nor with a known token.
    pub hosts: Hosts,
    /// Age after which reports are replaced by sums per hour.
    pub keep_reports: Option<Duration>,
    /// Age after which the sums per hour are deleted.
    pub keep_hours: Option<Duration>,
}
