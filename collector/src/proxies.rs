//! Trusted proxies: the address of the client behind them. Pure.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use axum::http::HeaderMap;
use ipnet::IpNet;

use crate::invalid::Invalid;

/// Trusted proxies: their `X-Forwarded-For` contains the address of the client. The default: none.
///
/// The `Forwarded` header of RFC 7239 is not read: a proxy that sets one of the two headers passes on whatever its
/// clients write into the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proxies {
    networks: Vec<IpNet>,
}

impl FromStr for Proxies {
    type Err = Invalid;

    /// Parses addresses and networks, as in `10.0.0.7, 172.16.0.0/12, fd00::/8`.
    fn from_str(text: &str) -> Result<Proxies, Invalid> {
        let network = |word: &str| {
            let address = || word.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical()));
            word.parse().ok().or_else(address).ok_or_else(|| {
                Invalid::new(format!("{word:?} is neither an address nor a network such as 172.16.0.0/12"))
            })
        };
        let words = text.split([',', ' ']).filter(|word| !word.is_empty());
        Ok(Proxies { networks: words.map(network).collect::<Result<_, _>>()? })
    }
}

impl Proxies {
    /// Returns true if the address belongs to a trusted proxy.
    pub(crate) fn include(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Returns the address of the client if `peer` has opened the connection. Each proxy appends the address of its own
    /// client, so the client is the last address that is not a trusted proxy. Any client may have written the addresses
    /// before it.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines: Vec<&[u8]> =
            headers.get_all("x-forwarded-for").iter().map(|line| line.as_bytes()).collect();
        let mut hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        while self.include(client) {
            let hop = hops.next().and_then(|hop| address(std::str::from_utf8(hop).ok()?));
            let Some(hop) = hop else { break };
            client = hop;
        }
        client
    }
}

/// Parses an address with or without a port.
fn address(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().ok().or_else(|| hop.parse::<SocketAddr>().ok().map(|socket| socket.ip()));
    address.map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        let name = axum::http::HeaderName::from_static("x-forwarded-for");
        lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).unwrap())).collect()
    }

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies: Proxies = "10.0.0.7, 172.16.0.0/12 fd00::/8".parse().unwrap();
        proxies.client(peer.parse().unwrap(), &headers(lines)).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_determines_the_client() {
        assert_eq!(client("192.0.2.1", &["198.51.100.1"]), "192.0.2.1", "not a proxy");
        assert_eq!(client("10.0.0.8", &["198.51.100.1"]), "10.0.0.8", "its neighbour");
        assert_eq!(client("10.0.0.7", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.7", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(client("10.0.0.7", &[]), "10.0.0.7", "without the header");
    }

    #[test]
    fn client_is_the_last_address_that_is_not_a_trusted_proxy() {
        for (lines, expected) in [
            (&["203.0.113.9, 198.51.100.1"][..], "198.51.100.1"),
            (&["203.0.113.9, 198.51.100.1, 172.20.0.2"], "198.51.100.1"),
            (&["203.0.113.9", "198.51.100.1,172.20.0.2"], "198.51.100.1"),
            (&["172.20.0.3, 172.20.0.2"], "172.20.0.3"),
            (&["198.51.100.1:4711"], "198.51.100.1"),
            (&["[2001:db8::1]:4711"], "2001:db8::1"),
            (&["[2001:db8::1]"], "2001:db8::1"),
            (&["::ffff:198.51.100.1"], "198.51.100.1"),
            (&["198.51.100.1, unknown"], "10.0.0.7"),
            (&["198.51.100.1, nonsense, 172.20.0.2"], "172.20.0.2"),
            (&["198.51.100.1,"], "10.0.0.7"),
            (&[""], "10.0.0.7"),
        ] {
            assert_eq!(client("10.0.0.7", lines), expected, "{lines:?}");
        }
    }

    #[test]
    fn text_that_is_not_a_network_is_refused() {
        assert_eq!("".parse(), Ok(Proxies::default()));
        for wrong in ["10.0.0.0/33", "proxy", "10.0.0", "10.0.0.1:80", "*"] {
            assert!(wrong.parse::<Proxies>().is_err(), "{wrong}");
        }
    }

    proptest! {
        /// The proxy appends the client's own address, whatever the client writes.
        #[test]
        fn client_cannot_forge_its_address(forged in "[ -~]{0,60}") {
            prop_assert_eq!(client("10.0.0.7", &[&forged, "198.51.100.1"]), "198.51.100.1");
            prop_assert_eq!(client("10.0.0.7", &[&format!("{forged},198.51.100.1")]), "198.51.100.1");
        }
    }
}
