//! The names in the `Host` header that a collector answers to. Pure, except for the name of this machine.
//!
//! A web page can point its own domain name at 127.0.0.1 or at an address of the local network (DNS rebinding); its
//! scripts then talk to the collector as if it were the page's own server. Such requests carry the page's name in
//! `Host`, so requests with a name that is not known are refused. The check applies to all clients: over plain HTTP
//! to an address other than loopback, a browser sends no other header that identifies it reliably.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};

use crate::invalid::Invalid;

/// Names that a collector answers to. Always allowed are IP addresses, `localhost`, the name of this machine, and names
/// without a dot (`collector`, as in compose files): public DNS has no such names, so no web page can point one at this
/// machine. Clones are independent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    any: bool,
    /// In lower case. Those of this machine are not among them.
    given: BTreeSet<String>,
    machine: BTreeSet<String>,
}

impl Default for Hosts {
    /// Returns the names that are always allowed.
    fn default() -> Hosts {
        Hosts { any: false, given: BTreeSet::new(), machine: machine_names() }
    }
}

impl Hosts {
    /// Allows one more name, without a port; `*` allows every name.
    ///
    /// # Errors
    /// The text is not a host name.
    pub fn allow(&mut self, name: &str) -> Result<(), Invalid> {
        let name = name.trim();
        if name == "*" {
            self.any = true;
            return Ok(());
        }
        let known = host_of(name).filter(|_| !name.contains(':') || name.parse::<Ipv6Addr>().is_ok());
        let known = known.ok_or_else(|| {
            Invalid::new("expected a host name without a port, such as reports.example.org, or * for any")
        })?;
        self.given.insert(known);
        Ok(())
    }

    /// Returns true if requests with this `Host`, with or without a port, are answered.
    pub(crate) fn allow_request(&self, host: &str) -> bool {
        let Some(name) = host_of(host) else { return self.any };
        let is_local = name == "localhost" || name.ends_with(".localhost") || !name.contains('.');
        self.any
            || name.parse::<IpAddr>().is_ok()
            || is_local
            || self.given.contains(&name)
            || self.machine.contains(&name)
    }

    /// Returns true if this host was named explicitly.
    pub(crate) fn are_given(&self, host: &str) -> bool {
        host_of(host).is_some_and(|name| self.given.contains(&name))
    }
}

/// Returns the host of `host[:port]` in lower case, an IPv6 address without brackets; `None` if it is not a host.
pub(crate) fn host_of(text: &str) -> Option<String> {
    let text = text.trim();
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let port_is_valid = port.is_empty() || is_port(port.strip_prefix(':')?);
        return port_is_valid.then(|| address.parse::<Ipv6Addr>().ok())?.map(|address| address.to_string());
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(address.to_string());
    }
    let (name, port) = text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port)));
    let name = name.strip_suffix('.').unwrap_or(name);
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let is_valid = !name.is_empty() && name.len() <= 253 && name.bytes().all(plain);
    (is_valid && port.is_none_or(is_port)).then(|| name.to_ascii_lowercase())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || (text.parse::<u16>().is_ok() && text.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Returns the names of this machine: from the system, and as multicast DNS announces it.
fn machine_names() -> BTreeSet<String> {
    #[cfg(unix)]
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    let Some(name) = host_of(&name) else { return BTreeSet::new() };
    let first = name.split('.').next().unwrap_or_default();
    BTreeSet::from([format!("{first}.local"), name])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_allow_addresses_and_local_names_and_no_others() {
        let hosts = Hosts::default();
        let allowed = "127.0.0.1:8000 127.0.0.1 192.168.1.7 [::1]:8000 [fd00::7] localhost LOCALHOST:8000 localhost. \
                       app.localhost:1 collector:8000 x";
        for good in allowed.split(' ') {
            assert!(hosts.allow_request(good), "{good}");
        }
        let refused = "evil.example evil.example:8000 127.0.0.1.evil.example localhost.evil.example 127.1 [::1 [::1]x [evil] \
                       user@localhost localhost:x localhost:70000 localhost:+1 127.0.0.1/evil.example evil.example.";
        for bad in refused.split(' ').chain(["", "a b"]) {
            assert!(!hosts.allow_request(bad), "{bad}");
        }
    }

    #[test]
    fn hosts_allow_the_name_of_this_machine() {
        let names = machine_names();
        assert!(!names.is_empty());
        for name in &names {
            assert!(Hosts::default().allow_request(&format!("{name}:8000")), "{name}");
        }
    }

    #[test]
    fn hosts_allow_names_that_were_given() {
        let mut hosts = Hosts::default();
        hosts.allow("Reports.example.org").unwrap();
        assert!(hosts.allow_request("reports.EXAMPLE.org:443") && hosts.are_given("reports.example.org"));
        assert!(!hosts.allow_request("other.example.org") && !hosts.are_given("localhost"));
        for wrong in ["http://reports.example.org", "h:8000", "", "*.example.org", "a,b"] {
            assert!(hosts.allow(wrong).is_err(), "{wrong}");
        }
        hosts.allow("*").unwrap();
        assert!(hosts.allow_request("evil.example"));
    }

    proptest! {
        #[test]
        fn hosts_allow_no_name_below_a_foreign_domain(name in "[ -~]{0,60}") {
            let host = format!("{name}.evil.example");
            prop_assert!(!Hosts::default().allow_request(&host));
        }
    }
}
