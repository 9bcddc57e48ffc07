//! Where to listen: `host:port`.

use std::io;
use std::net::{Ipv6Addr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

/// A host, by name or number, and a port. Port 0: one that is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Without the brackets of an IPv6 address.
    host: String,
    port: u16,
}

impl Listen {
    /// Listens there, or at the first of its addresses where that is possible.
    ///
    /// # Errors
    /// The host has no address, or another process listens there, or this machine has no such address.
    pub fn bind(&self) -> io::Result<TcpListener> {
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        TcpListener::bind(&addresses[..])
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Listen, &'static str> {
        let (host, port) = text.trim().rsplit_once(':').ok_or("it has no port")?;
        // "+1" is a number to Rust.
        let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
        let port =
            digits.and_then(|digits| digits.parse().ok()).ok_or("its port is no number up to 65535")?;
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(Some(address)) if address.parse::<Ipv6Addr>().is_ok() => address,
            Some(_) => return Err("what is in brackets is no IPv6 address"),
            None if host.is_empty() => return Err("it has no host"),
            None if host.contains(':') => return Err("an IPv6 address is written in brackets"),
            None if host.contains(|c: char| c.is_whitespace() || c.is_control() || "/[]@".contains(c)) => {
                return Err("that is no name of a host");
            }
            None => host,
        };
        Ok(Listen { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_an_address_and_what_is_not() {
        for good in ["127.0.0.1:9100", "[::]:9100", "[::1]:0", "localhost:80", "node-1.example:65535"] {
            assert_eq!(good.parse::<Listen>().unwrap().to_string(), good);
        }
        for (bad, words) in [
            ("9100", "no port"),
            (":9100", "no host"),
            ("h:", "port"),
            ("h:70000", "port"),
            ("h:+1", "port"),
            ("::1:9100", "brackets"),
            ("[::1:9100", "IPv6"),
            ("[h]:1", "IPv6"),
            ("http://h:1", "brackets"),
            ("a b:1", "name"),
        ] {
            let problem = bad.parse::<Listen>().unwrap_err();
            assert!(problem.contains(words), "{bad}: {problem}");
        }
    }

    #[test]
    fn a_port_that_is_taken_is_an_error() {
        let first = "127.0.0.1:0".parse::<Listen>().unwrap().bind().unwrap();
        let same: Listen = first.local_addr().unwrap().to_string().parse().unwrap();
        assert_eq!(same.bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in ".{0,40}") {
            if let Ok(listen) = text.parse::<Listen>() {
                prop_assert_eq!(listen.to_string().parse::<Listen>(), Ok(listen));
            }
        }
    }
}
