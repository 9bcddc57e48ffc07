//! Limits of a client's requests, and of all durations. The token bucket is pure: time is passed in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

/// Limits. The defaults are chosen for fleets: after an outage a node sends at most 200 reports per second.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Maximum size of a body, in bytes.
    pub body: usize,
    /// Maximum number of reports in a batch.
    pub batch: usize,
    /// Maximum number of connections; further ones wait. A quarter is reserved for addresses that have few. If all are
    /// in use, the address with the most connections loses slow and idle ones to others.
    pub connections: usize,
    /// Maximum number of connections of one address (of IPv6: a /64); further ones replace its own slow and idle ones,
    /// or are closed. Those of a trusted proxy are not counted.
    pub connections_of_one: usize,
    /// Maximum number of event streams. If all are in use, the client with the most streams loses its oldest to one
    /// with fewer.
    pub streams: usize,
    /// Maximum number of event streams of one address, or with one token.
    pub streams_of_one: usize,
    /// Sustained rate of requests of one address, or with one token, per second.
    pub rate: f64,
    /// Burst of requests of one address, or with one token.
    pub burst: f64,
    /// Time limit from the start of a connection, or the end of an answer, to the end of the next request's headers.
    pub headers: Duration,
    /// Time limit from the headers to the end of the body.
    pub receive: Duration,
    /// Time limit from the end of the body to the answer.
    pub answer: Duration,
    /// Time after which a client that reads nothing of an answer is disconnected.
    pub send: Duration,
    /// Time limit of accepted requests during the shutdown.
    pub stop: Duration,
    /// Maximum time by which the time or the epoch of a report may be ahead of the collector's clock.
    pub max_clock_skew: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            body: 256 << 10,
            batch: 1_000,
            connections: 256,
            connections_of_one: 128,
            streams: 64,
            streams_of_one: 32,
            rate: 500.0,
            burst: 1_000.0,
            // Not a usual measuring period: a client that sends a request on a connection at the moment at which it is
            // closed has to try again.
            headers: Duration::from_secs(17),
            receive: Duration::from_secs(10),
            answer: Duration::from_secs(10),
            send: Duration::from_secs(15),
            stop: Duration::from_secs(10),
            max_clock_skew: crate::plausibility::MAX_CLOCK_SKEW,
        }
    }
}

/// Maximum number of clients that are remembered.
const MAX_CLIENTS: usize = 4096;

/// Client to which a bucket belongs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Client {
    /// Clients without a known token, by address.
    Address(IpAddr),
    /// Holder of a token: many clients may share one address, and some of them may be hostile.
    Holder(Box<str>),
}

impl Client {
    pub(crate) fn at(address: IpAddr) -> Client {
        Client::Address(client_prefix(address))
    }
}

/// One token bucket per client.
#[derive(Debug)]
pub(crate) struct Buckets {
    rate: f64,
    burst: f64,
    /// Remaining requests of each client, and the time of that count.
    left: HashMap<Client, (f64, Instant)>,
}

impl Buckets {
    pub(crate) fn new(limits: &Limits) -> Buckets {
        Buckets {
            rate: limits.rate.max(f64::MIN_POSITIVE),
            burst: limits.burst.max(1.0),
            left: HashMap::new(),
        }
    }

    /// Takes one request from the client's bucket, or returns the time until one is available.
    pub(crate) fn take(&mut self, client: Client, now: Instant) -> Result<(), Duration> {
        if self.left.len() >= MAX_CLIENTS && !self.left.contains_key(&client) {
            self.forget(now);
        }
        let (left, at) = self.left.entry(client).or_insert((self.burst, now));
        *left = (*left + self.rate * now.saturating_duration_since(*at).as_secs_f64()).min(self.burst);
        *at = now.max(*at);
        if *left >= 1.0 {
            *left -= 1.0;
            return Ok(());
        }
        Err(Duration::try_from_secs_f64((1.0 - *left) / self.rate).unwrap_or(Duration::MAX))
    }

    /// Removes the clients whose bucket is full again, or all clients if there is none: that is lenient, but bounded.
    fn forget(&mut self, now: Instant) {
        let (rate, burst) = (self.rate, self.burst);
        self.left
            .retain(|_, (left, at)| *left + rate * now.saturating_duration_since(*at).as_secs_f64() < burst);
        if self.left.len() >= MAX_CLIENTS {
            self.left.clear();
        }
    }
}

/// Returns the prefix that identifies a client: with IPv6, one client has a whole /64.
pub(crate) fn client_prefix(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn buckets() -> Buckets {
        Buckets::new(&Limits { rate: 2.0, burst: 3.0, ..Limits::default() })
    }

    #[test]
    fn burst_is_accepted_and_then_the_rate() {
        let (mut buckets, start) = (buckets(), Instant::now());
        let one = || Client::at(IpAddr::from([192, 0, 2, 1]));
        for _ in 0..3 {
            assert_eq!(buckets.take(one(), start), Ok(()));
        }
        assert_eq!(buckets.take(one(), start), Err(Duration::from_millis(500)));
        let other = Client::at(IpAddr::from([192, 0, 2, 2]));
        assert_eq!(buckets.take(other, start), Ok(()), "each address has its own bucket");
        assert_eq!(buckets.take(one(), start + Duration::from_millis(500)), Ok(()));
        assert!(buckets.take(one(), start + Duration::from_millis(500)).is_err());
        assert_eq!(buckets.take(one(), start), Err(Duration::from_millis(500)), "the clock goes back");
    }

    #[test]
    fn ipv6_prefix_is_one_client() {
        let (mut buckets, start) = (buckets(), Instant::now());
        let taken = (0..10)
            .map(|last| Client::at(format!("2001:db8::{last}").parse().unwrap()))
            .filter(|client| buckets.take(client.clone(), start).is_ok())
            .count();
        assert_eq!(taken, 3);
        for last in 0..3 * u32::try_from(MAX_CLIENTS).unwrap() {
            let _ = buckets.take(Client::at(IpAddr::from(last.to_be_bytes())), start);
        }
        assert!(buckets.left.len() <= MAX_CLIENTS);
    }
}
