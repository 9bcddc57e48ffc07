//! Listen address: `host:port`, or `:port` for all addresses of the machine.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::str::FromStr;

use socket2::{Domain, Protocol, Socket, Type};

/// Maximum number of connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// A host, as a name or an IP address, and a port. Port 0: any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenAddr {
    /// Host without the brackets of an IPv6 address. Empty: all addresses, IPv4 and IPv6.
    pub(crate) host: String,
    port: u16,
}

impl ListenAddr {
    /// Listens on the first of the host's addresses on which that is possible.
    ///
    /// # Errors
    /// The host has no address, another process listens on it, or this machine does not have it.
    pub fn bind(&self) -> io::Result<TcpListener> {
        if self.host.is_empty() {
            return bind_all(self.port);
        }
        let addresses: Vec<_> = (self.host.as_str(), self.port).to_socket_addrs()?.collect();
        TcpListener::bind(&addresses[..])
    }

    /// Returns the first address, for callers that bind it themselves. For all addresses that is `[::]`, which includes
    /// IPv4 on Linux, or `0.0.0.0` on a machine without IPv6.
    ///
    /// # Errors
    /// The host has no address.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        if self.host.is_empty() {
            let has_ipv6 = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
            let ip: IpAddr =
                if has_ipv6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
            return Ok((ip, self.port).into());
        }
        let mut addresses = (self.host.as_str(), self.port).to_socket_addrs()?;
        addresses.next().ok_or_else(|| io::Error::new(ErrorKind::NotFound, "the host has no address"))
    }
}

/// Listens on all addresses, IPv4 and IPv6, also where sockets are IPv6-only by default.
fn bind_all(port: u16) -> io::Result<TcpListener> {
    let both = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_only_v6(false)?;
        // As in the standard library: a port with connections in TIME_WAIT counts as free.
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)).into())?;
        socket.listen(BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    match both() {
        Err(error) if !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
            // A machine without IPv6.
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).map_err(|_| error)
        }
        bound => bound,
    }
}

impl std::fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl FromStr for ListenAddr {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<ListenAddr, &'static str> {
        let text = text.trim();
        if text.contains(['"', '\'', '`']) {
            return Err("it contains quotation marks; remove them");
        }
        if text.contains("://") {
            return Err("it is a URL; write HOST:PORT, without http://");
        }
        let (host, port) =
            text.rsplit_once(':').ok_or("it has no port; write HOST:PORT, or :PORT for all addresses")?;
        // "+1" is a number to Rust.
        let port = port.parse().ok().filter(|_| !port.starts_with('+'));
        let port = port.ok_or("its port is not a number from 0 to 65535")?;
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(Some(address)) if is_ipv6(address) => address,
            Some(_) => return Err("the text in brackets is not an IPv6 address"),
            None if host.contains(':') => return Err("an IPv6 address is written in brackets"),
            None if !is_name(host) => return Err("its host is not a name or an address"),
            None => host,
        };
        Ok(ListenAddr { host: host.to_owned(), port })
    }
}

/// Returns true if this is an IPv6 address, with or without a zone as in `fe80::1%eth0`.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').map_or((text, None), |(address, zone)| (address, Some(zone)));
    address.parse::<Ipv6Addr>().is_ok() && zone.is_none_or(|zone| !zone.is_empty() && is_name(zone))
}

fn is_name(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn listen_addr_parses_hosts_and_ports_and_rejects_the_rest() {
        for good in [
            "127.0.0.1:9100",
            "[::]:9100",
            "[::1]:0",
            "localhost:80",
            "node-1.example:65535",
            ":8000",
            ":0",
            "[fe80::1%eth0]:80",
        ] {
            assert_eq!(good.parse::<ListenAddr>().unwrap().to_string(), good);
        }
        for (bad, words) in [
            ("9100", "no port"),
            ("8000", ":PORT"),
            ("", "no port"),
            ("h:", "port"),
            ("h:70000", "65535"),
            (":70000", "65535"),
            ("h:+1", "port"),
            ("h:-1", "port"),
            ("::1:9100", "brackets"),
            ("::", "port"),
            ("[::1:9100", "IPv6"),
            ("[h]:1", "IPv6"),
            ("[fe80::1%]:1", "IPv6"),
            ("http://h:1", "URL"),
            ("http://h", "URL"),
            ("\"127.0.0.1:8000\"", "quotation marks"),
            ("'127.0.0.1:8000'", "quotation marks"),
            ("'127.0.0.1':8000", "quotation marks"),
            ("a b:1", "name"),
            ("*:8000", "name"),
            ("h/x:1", "name"),
        ] {
            let problem = bad.parse::<ListenAddr>().unwrap_err();
            assert!(problem.contains(words), "{bad}: {problem}");
        }
    }

    #[test]
    fn listen_addr_without_a_host_listens_on_all_addresses() {
        let listener = ":0".parse::<ListenAddr>().unwrap().bind().unwrap();
        let port = listener.local_addr().unwrap().port();
        assert!(listener.local_addr().unwrap().ip().is_unspecified());
        TcpStream::connect(("127.0.0.1", port)).unwrap();
        // Only if this machine has IPv6.
        if TcpListener::bind("[::1]:0").is_ok() {
            TcpStream::connect(("::1", port)).unwrap();
        }
        assert!(":0".parse::<ListenAddr>().unwrap().resolve().unwrap().ip().is_unspecified());
        let taken: ListenAddr = format!(":{port}").parse().unwrap();
        assert_eq!(taken.bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn listen_addr_with_a_port_in_use_is_an_error() {
        let first = "127.0.0.1:0".parse::<ListenAddr>().unwrap().bind().unwrap();
        let same: ListenAddr = first.local_addr().unwrap().to_string().parse().unwrap();
        assert_eq!(same.bind().unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    proptest! {
        #[test]
        fn listen_addr_parses_any_text_without_panic(text in ".{0,40}") {
            if let Ok(listen) = text.parse::<ListenAddr>() {
                prop_assert_eq!(listen.to_string().parse::<ListenAddr>(), Ok(listen));
            }
        }
    }
}
