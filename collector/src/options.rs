//! Options of a collector.

use std::time::Duration;

use jiff::Timestamp;

use crate::hosts::Hosts;
use crate::limits::Limits;
use crate::measurements::Retention;
use crate::proxies::Proxies;
use crate::tls::Tls;
use crate::tokens::Tokens;

/// Options of a collector. The default: no authentication, and reports are kept indefinitely, samples for 7 days.
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
    /// Ages after which measurements of single sensors are deleted.
    pub measurements: KeepMeasurements,
}

/// Ages after which measurements of single sensors are deleted, per resolution. `None`: they are kept indefinitely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeepMeasurements {
    /// Age of samples; 7 days by default.
    pub samples: Option<Duration>,
    /// Age of sums per minute; 90 days by default.
    pub minutes: Option<Duration>,
    /// Age of sums per hour; kept by default.
    pub hours: Option<Duration>,
}

impl Default for KeepMeasurements {
    fn default() -> KeepMeasurements {
        let days = |days: u64| Some(Duration::from_secs(days * 86_400));
        KeepMeasurements { samples: days(7), minutes: days(90), hours: None }
    }
}

impl KeepMeasurements {
    /// Returns the times before which data is deleted.
    pub(crate) fn retention(&self, now: Timestamp) -> Retention {
        let before = |keep: Option<Duration>| Some(now.checked_sub(keep?).ok()?.as_millisecond());
        Retention { samples: before(self.samples), minutes: before(self.minutes), hours: before(self.hours) }
    }
}
