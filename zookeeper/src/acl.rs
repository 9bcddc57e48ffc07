//! Access control: access control lists, and the identities of a connection. Used by [`tree`](super::tree) for every
//! check, and by [`state_machine`](super::state_machine) for `auth`.
//!
//! Schemes are `world`, `digest`, `ip` and `auth`, as in a server without plug-ins, and `sasl` if it is allowed.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

use super::error::Code;
use super::jute::MAX_FRAME;

/// Maximum number of entries of an ACL after `auth` was replaced: the number that fits in a frame.
const MAX_ENTRIES: usize = MAX_FRAME / 12;

/// Permission bits.
pub(crate) mod perms {
    pub(crate) const READ: i32 = 1;
    pub(crate) const WRITE: i32 = 2;
    pub(crate) const CREATE: i32 = 4;
    pub(crate) const DELETE: i32 = 8;
    pub(crate) const ADMIN: i32 = 16;
    pub(crate) const ALL: i32 = 31;
}

/// An identity: a scheme and an id within that scheme.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Id {
    /// `world`, `digest`, `ip` or `auth`.
    pub(crate) scheme: Box<str>,
    /// `anyone`, `user:hash`, or an address with or without a prefix length.
    pub(crate) id: Box<str>,
}

/// An entry of an ACL: an identity with its permissions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acl {
    /// Bits: read 1, write 2, create 4, delete 8, administer 16.
    pub(crate) perms: i32,
    /// Identity that has these permissions.
    pub(crate) id: Id,
}

/// An entry of an ACL as sent in a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestedAcl {
    pub(crate) perms: i32,
    pub(crate) scheme: Option<Box<str>>,
    /// Null is Kazoo's encoding of the empty id of the scheme `auth`.
    pub(crate) id: Option<Box<str>>,
}

impl From<Acl> for RequestedAcl {
    fn from(Acl { perms, id: Id { scheme, id } }: Acl) -> Self {
        Self { perms, scheme: Some(scheme), id: Some(id) }
    }
}

impl Id {
    pub(crate) fn new(scheme: &str, id: &str) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }

    /// Returns the identity that every connection has: its address.
    pub(crate) fn address(address: IpAddr) -> Self {
        Self::new("ip", &address.to_canonical().to_string())
    }

    /// Returns the identity of `user:password`.
    fn digest(secret: &[u8]) -> Self {
        let user = String::from_utf8_lossy(secret.split(|byte| *byte == b':').next().unwrap_or(secret));
        let hash = BASE64.encode(Sha1::digest(secret));
        Self::new("digest", &format!("{user}:{hash}"))
    }

    /// Returns the identity that `auth` with this scheme and data adds; `digest` is the only scheme that a client may
    /// claim. `None` means that the request is refused.
    pub(crate) fn claimed(scheme: &str, data: Option<&[u8]>, address: IpAddr) -> Option<Self> {
        match scheme {
            "digest" => data.map(Self::digest),
            "ip" => Some(Self::address(address)),
            _ => None,
        }
    }

    /// Returns the name without secrets, for `whoami`.
    pub(crate) fn user(&self) -> &str {
        match &*self.scheme {
            "digest" => self.id.split(':').next().unwrap_or(&self.id),
            _ => &self.id,
        }
    }

    fn is_anyone(&self) -> bool {
        &*self.scheme == "world" && &*self.id == "anyone"
    }

    /// Returns true if an ACL may contain this identity.
    fn is_valid(&self) -> bool {
        match &*self.scheme {
            "digest" => {
                matches!(&self.id.split(':').collect::<Vec<_>>()[..], [user, hash] if !user.is_empty() || !hash.is_empty())
            }
            "ip" => Network::parse(&self.id).is_some(),
            _ => false,
        }
    }

    /// Returns true if `named`, an identity in an ACL, includes `self`.
    fn matches(&self, named: &Id) -> bool {
        self.scheme == named.scheme
            && match (&*self.scheme, Network::parse(&named.id)) {
                ("ip", Some(network)) => self.id.parse().is_ok_and(|address| network.contains(address)),
                _ => self.id == named.id,
            }
    }
}

/// An address with a prefix length.
struct Network {
    address: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address.parse().ok()?, Some(bits.parse().ok()?)),
            None => (text.parse().ok()?, None),
        };
        let width = if matches!(address, IpAddr::V4(_)) { 32 } else { 128 };
        let bits = bits.unwrap_or(width);
        (bits <= width).then_some(Self { address, bits })
    }

    fn contains(&self, other: IpAddr) -> bool {
        let differ = |a: u128, b: u128, width: u32| {
            let ignored = width - self.bits;
            ignored < width && (a ^ b) >> ignored != 0
        };
        match (self.address, other) {
            (IpAddr::V4(a), IpAddr::V4(b)) => !differ(a.to_bits().into(), b.to_bits().into(), 32),
            (IpAddr::V6(a), IpAddr::V6(b)) => !differ(a.to_bits(), b.to_bits(), 128),
            _ => false,
        }
    }
}

/// Returns the ACL that grants everything to everyone: the ACL of nearly every znode.
pub(crate) fn open() -> Arc<[Acl]> {
    Arc::new([Acl { perms: perms::ALL, id: Id::new("world", "anyone") }])
}

/// Checks the ACL of a request, drops repeated entries, and replaces the scheme `auth` by the caller's own identities.
/// A null scheme is treated as unknown; a null id is a marshalling error if its scheme requires an id.
pub(crate) fn resolve(wanted: &[RequestedAcl], caller: &[Id], allow_sasl: bool) -> Result<Vec<Acl>, Code> {
    let mut resolved: Vec<Acl> = Vec::with_capacity(wanted.len());
    for RequestedAcl { perms, scheme, id } in unique(wanted)? {
        let id = match (scheme.as_deref(), id) {
            (Some("auth"), _) => {
                let authenticated = caller.iter().filter(|id| &*id.scheme != "ip");
                let before = resolved.len();
                resolved.extend(authenticated.map(|id| Acl { perms: *perms, id: id.clone() }));
                if resolved.len() == before || resolved.len() > MAX_ENTRIES {
                    return Err(Code::InvalidAcl);
                }
                continue;
            }
            (Some("world" | "digest" | "ip"), None) => return Err(Code::Marshalling),
            (None, _) | (_, None) => return Err(Code::InvalidAcl),
            (Some(scheme), Some(id)) => Id::new(scheme, id),
        };
        let is_sasl = allow_sasl && &*id.scheme == "sasl";
        if !id.is_anyone() && !id.is_valid() && !is_sasl {
            return Err(Code::InvalidAcl);
        }
        resolved.push(Acl { perms: *perms, id });
    }
    if resolved.is_empty() { Err(Code::InvalidAcl) } else { Ok(resolved) }
}

/// Returns the entries without those that repeat an earlier one. Apache ZooKeeper compares an entry with the earlier
/// ones field by field, and fails if this requires a comparison with a null of the later entry.
fn unique(wanted: &[RequestedAcl]) -> Result<Vec<&RequestedAcl>, Code> {
    let mut unique: Vec<&RequestedAcl> = Vec::with_capacity(wanted.len());
    // Sets, because one request may have 87,000 entries.
    let (mut perms, mut schemes, mut entries) = (HashSet::new(), HashSet::new(), HashSet::new());
    for entry in wanted {
        if (entry.scheme.is_none() && perms.contains(&entry.perms))
            || (entry.id.is_none() && schemes.contains(&(entry.perms, &entry.scheme)))
        {
            return Err(Code::Marshalling);
        }
        if entries.insert(entry) {
            perms.insert(entry.perms);
            schemes.insert((entry.perms, &entry.scheme));
            unique.push(entry);
        }
    }
    Ok(unique)
}

/// Checks that the ACL grants the caller at least one of `wanted`'s bits.
pub(crate) fn check(acl: &[Acl], wanted: i32, caller: &[Id]) -> Result<(), Code> {
    let allows = |acl: &Acl| {
        acl.perms & wanted != 0 && (acl.id.is_anyone() || caller.iter().any(|id| id.matches(&acl.id)))
    };
    if acl.is_empty() || acl.iter().any(allows) { Ok(()) } else { Err(Code::NoAuth) }
}

/// Returns the ACL without hashes, for callers without the permission to administer.
pub(crate) fn masked(acl: &[Acl]) -> Vec<Acl> {
    let mask = |acl: &Acl| match &*acl.id.scheme {
        "digest" => Acl { perms: acl.perms, id: Id::new("digest", &format!("{}:x", acl.id.user())) },
        _ => acl.clone(),
    };
    acl.iter().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn acl(perms: i32, scheme: &str, id: &str) -> Acl {
        Acl { perms, id: Id::new(scheme, id) }
    }

    #[test]
    fn digest_is_sha1_in_base64() {
        // Example from ZooKeeper's documentation on ACLs.
        let id = Id::claimed("digest", Some(b"super:test"), HERE).unwrap();
        assert_eq!(&*id.id, "super:D/InIHSb7yEEbrWz8b9l71RjZJU=");
        assert_eq!(id.user(), "super");
    }

    #[test]
    fn unknown_schemes_are_refused() {
        assert_eq!(Id::claimed("sasl", Some(b""), HERE), None);
        assert_eq!(Id::claimed("digest", None, HERE), None);
        for bad in
            [acl(31, "sasl", "bob"), acl(31, "world", "bob"), acl(31, "digest", "bob"), acl(31, "ip", "x")]
        {
            assert_eq!(resolve(&[bad.clone().into()], &[], false), Err(Code::InvalidAcl), "{bad:?}");
        }
        assert_eq!(resolve(&[], &[], false), Err(Code::InvalidAcl));
        assert_eq!(resolve(&[acl(31, "sasl", "bob").into()], &[], true), Ok(vec![acl(31, "sasl", "bob")]));
    }

    #[test]
    fn auth_is_replaced_by_the_identities_of_the_caller() {
        let ip = Id::address(HERE);
        let auth = RequestedAcl::from(acl(3, "auth", ""));
        assert_eq!(
            resolve(std::slice::from_ref(&auth), std::slice::from_ref(&ip), false),
            Err(Code::InvalidAcl)
        );
        let bob = Id::new("digest", "bob:hash");
        let resolved = resolve(&[auth.clone(), auth], &[ip, bob.clone()], false).unwrap();
        assert_eq!(resolved, [Acl { perms: 3, id: bob }]);
    }

    #[test]
    fn nulls_in_an_acl_are_refused_as_by_apache_except_the_id_of_auth() {
        let entry = |scheme: Option<&str>, id: Option<&str>| RequestedAcl {
            perms: 31,
            scheme: scheme.map(Into::into),
            id: id.map(Into::into),
        };
        let bob = Id::new("digest", "bob:hash");
        let resolved =
            |acl: &[RequestedAcl]| resolve(acl, std::slice::from_ref(&bob), false).map(|acl| acl.len());
        assert_eq!(resolved(&[entry(Some("auth"), None)]), Ok(1));
        for scheme in ["world", "digest", "ip"] {
            assert_eq!(resolved(&[entry(Some(scheme), None)]), Err(Code::Marshalling), "{scheme}");
        }
        for scheme in [None, Some(""), Some("sasl")] {
            assert_eq!(resolved(&[entry(scheme, None)]), Err(Code::InvalidAcl), "{scheme:?}");
        }
        let anyone = entry(Some("world"), Some("anyone"));
        assert_eq!(resolved(&[anyone.clone(), entry(None, None)]), Err(Code::Marshalling));
        let less = RequestedAcl { perms: 1, ..entry(None, None) };
        assert_eq!(resolved(&[anyone, less]), Err(Code::InvalidAcl));
        assert_eq!(
            resolved(&[entry(Some("auth"), Some("")), entry(Some("auth"), None)]),
            Err(Code::Marshalling)
        );
    }

    #[test]
    fn networks() {
        let check = |named: &str| check(&[acl(1, "ip", named)], perms::READ, &[Id::address(HERE)]).is_ok();
        assert!(check("127.0.0.1") && check("127.0.0.0/8") && check("0.0.0.0/0"));
        assert!(!check("127.0.0.2") && !check("10.0.0.0/8") && !check("::1"));
    }
}
