//! The ACLs of a fleet's znodes: an ACL per class of path. No I/O.
//!
//! | class | path | nodes | administrators |
//! |---|---|---|---|
//! | configuration | `/config` and all znodes below it | read | all permissions |
//! | state | all others, also the chroot itself | create, delete, read, write | all permissions |
//!
//! Without administrators, the nodes have all permissions everywhere.

use std::sync::Arc;

use atalaya_recipes::{Acl, AuthId, Permission};

use super::text::sanitize_for_log;

/// Parent of the dynamic configuration.
pub const CONFIGURATION_PATH: &str = "/config";
/// Maximum number of identities in one setting. Every ACL contains all of them.
const MAX_IDENTITIES: usize = 32;
/// Minimum length of the hash in an identity of scheme `digest`: SHA-1 in base64.
const MIN_HASH_LENGTH: usize = 28;
/// Hash that the servers show to clients without the permission ADMIN.
const MASKED_HASH: &str = "x";

/// Permissions and their letters, in the order of `zkCli.sh getAcl`.
const LETTERS: [(Permission, char); 5] = [
    (Permission::CREATE, 'c'),
    (Permission::DELETE, 'd'),
    (Permission::READ, 'r'),
    (Permission::WRITE, 'w'),
    (Permission::ADMIN, 'a'),
];

/// Class of a path. All znodes of a class have the same ACL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathClass {
    /// Znodes that the nodes create and write.
    State,
    /// Dynamic configuration, which the nodes only read.
    Configuration,
}

impl PathClass {
    /// All classes.
    pub const ALL: [PathClass; 2] = [PathClass::State, PathClass::Configuration];

    /// Returns the class of a path, which is relative to the chroot.
    pub fn of(path: &str) -> PathClass {
        match path.strip_prefix(CONFIGURATION_PATH) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') => PathClass::Configuration,
            _ => PathClass::State,
        }
    }

    /// Returns the name for output.
    pub fn name(self) -> &'static str {
        match self {
            PathClass::State => "state",
            PathClass::Configuration => "configuration",
        }
    }
}

/// Policy for the ACLs of a fleet's znodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AclPolicy {
    state: Arc<[Acl]>,
    configuration: Arc<[Acl]>,
    /// Identities of the nodes and of the administrators. Empty: all clients have all permissions.
    trusted: Vec<AuthId>,
}

impl Default for AclPolicy {
    fn default() -> AclPolicy {
        AclPolicy::open()
    }
}

impl AclPolicy {
    /// Returns the policy `open`: all clients have all permissions.
    pub fn open() -> AclPolicy {
        let everyone: Arc<[Acl]> = Arc::new([Acl::new(Permission::ALL, AuthId::anyone())]);
        AclPolicy { state: Arc::clone(&everyone), configuration: everyone, trusted: Vec::new() }
    }

    /// Returns the policy `fleet`: only `fleet`, the identities of the nodes, and `administrators` have permissions. An
    /// identity in both lists is an administrator.
    ///
    /// Returns `None` if `fleet` is empty: the nodes would have no access.
    pub fn fleet(fleet: &[AuthId], administrators: &[AuthId]) -> Option<AclPolicy> {
        AclPolicy::restricted(fleet, administrators, false)
    }

    /// Returns the policy `read-world`: like [`AclPolicy::fleet`], but all clients may read.
    pub fn read_world(fleet: &[AuthId], administrators: &[AuthId]) -> Option<AclPolicy> {
        AclPolicy::restricted(fleet, administrators, true)
    }

    fn restricted(fleet: &[AuthId], administrators: &[AuthId], world_reads: bool) -> Option<AclPolicy> {
        if fleet.is_empty() {
            return None;
        }
        let trusted = administrators.iter().chain(fleet).cloned().collect();
        let acl = |nodes: Permission| {
            let nodes = if administrators.is_empty() { Permission::ALL } else { nodes };
            let mut acl: Vec<Acl> = Vec::new();
            let administrators = administrators.iter().map(|id| (id.clone(), Permission::ALL));
            let nodes = fleet.iter().map(|id| (id.clone(), nodes));
            let world = world_reads.then(|| (AuthId::anyone(), Permission::READ));
            for (id, permission) in administrators.chain(nodes).chain(world) {
                if !acl.iter().any(|entry| *entry.auth_id() == id) {
                    acl.push(Acl::new(permission, id));
                }
            }
            acl.into()
        };
        let create_and_write = Permission::CREATE | Permission::DELETE | Permission::READ | Permission::WRITE;
        Some(AclPolicy { state: acl(create_and_write), configuration: acl(Permission::READ), trusted })
    }

    /// Returns true if all clients have all permissions.
    pub fn is_open(&self) -> bool {
        self.trusted.is_empty()
    }

    /// Returns the ACL of the znode at `path`, which is relative to the chroot.
    pub fn acl(&self, path: &str) -> Arc<[Acl]> {
        self.class_acl(PathClass::of(path))
    }

    /// Returns the ACL of all znodes of a class.
    pub fn class_acl(&self, class: PathClass) -> Arc<[Acl]> {
        Arc::clone(match class {
            PathClass::State => &self.state,
            PathClass::Configuration => &self.configuration,
        })
    }

    /// Returns true if a client with one of `identities` has the permission ADMIN on every znode.
    pub fn is_administrator(&self, identities: &[AuthId]) -> bool {
        let is_admin = |entry: &Acl| {
            entry.permission().has(Permission::ADMIN)
                && (*entry.auth_id() == AuthId::anyone()
                    || identities.iter().any(|id| is_same(id, entry.auth_id())))
        };
        PathClass::ALL.into_iter().all(|class| self.class_acl(class).iter().any(is_admin))
    }

    /// Returns the identities with all permissions.
    pub fn administrators(&self) -> impl Iterator<Item = &AuthId> {
        let all = self.state.iter().filter(|entry| entry.permission() == Permission::ALL);
        all.map(Acl::auth_id)
    }

    /// Returns true if `acl`, as the servers returned it for the znode at `path`, grants the same permissions as this
    /// policy. The order of the entries does not matter. A hash that the servers hide is assumed to be right.
    pub fn matches(&self, path: &str, acl: &[Acl]) -> bool {
        let wanted = self.acl(path);
        let covers = |all: &[Acl], part: &[Acl]| {
            part.iter().all(|entry| granted(all, entry.auth_id()) == granted(part, entry.auth_id()))
        };
        covers(acl, &wanted) && covers(&wanted, acl)
    }

    /// Returns the first entry of `acl` that lets a client other than the nodes and the administrators create, write or
    /// delete, or change the ACL. Returns `None` if there is none, or if the policy is `open`.
    ///
    /// - An entry of scheme `world` or `ip` names no identity of the fleet, so it always counts.
    /// - An entry of scheme `auth` counts as well: servers replace it by identities when an ACL is set, so a stored one
    ///   is not from this fleet.
    /// - An entry of scheme `super` grants nothing: superusers have all permissions without an entry.
    pub fn foreign_writer<'a>(&self, acl: &'a [Acl]) -> Option<&'a Acl> {
        if self.is_open() {
            return None;
        }
        acl.iter().find(|entry| {
            LETTERS.iter().any(|(one, _)| *one != Permission::READ && entry.permission().has(*one))
                && entry.scheme() != "super"
                && !self.trusted.iter().any(|id| is_same(id, entry.auth_id()))
        })
    }
}

fn granted(acl: &[Acl], id: &AuthId) -> Permission {
    let of_id = acl.iter().filter(|entry| is_same(entry.auth_id(), id));
    of_id.fold(Permission::NONE, |all, entry| all | entry.permission())
}

/// Returns true if both are the same identity, or may be: the servers hide the hash of scheme `digest` from clients
/// without the permission ADMIN.
fn is_same(a: &AuthId, b: &AuthId) -> bool {
    if a.scheme() != "digest" || b.scheme() != "digest" {
        return a == b;
    }
    let (user_a, hash_a) = a.id().split_once(':').unwrap_or((a.id(), ""));
    let (user_b, hash_b) = b.id().split_once(':').unwrap_or((b.id(), ""));
    user_a == user_b && (hash_a == hash_b || hash_a == MASKED_HASH || hash_b == MASKED_HASH)
}

/// Formats entries as `zkCli.sh setAcl` expects them, such as `sasl:fleet:cdrw,world:anyone:r`, with the hashes of scheme
/// `digest`. The text may contain control characters.
pub fn format_acl(acl: &[Acl]) -> String {
    let entry = |entry: &Acl| format!("{}:{}:{}", entry.scheme(), entry.id(), letters(entry.permission()));
    acl.iter().map(entry).collect::<Vec<_>>().join(",")
}

/// Formats an identity without the hash of scheme `digest`.
pub fn format_id(id: &AuthId) -> String {
    match id.scheme() {
        "digest" => format!("digest:{}", id.id().split(':').next().unwrap_or_default()),
        scheme => format!("{scheme}:{}", id.id()),
    }
}

/// Returns the letters of permissions, such as `cdrwa`.
fn letters(permission: Permission) -> String {
    LETTERS.iter().filter(|(one, _)| permission.has(*one)).map(|(_, letter)| *letter).collect()
}

/// Error for a list of identities.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadIdentities {
    /// The list, or a part of it, is empty.
    #[error("an identity is empty")]
    Empty,
    /// More identities than an ACL may have.
    #[error("there are more than {MAX_IDENTITIES} identities")]
    TooMany,
    /// A part has no scheme, or one that names no client.
    #[error("\"{0}\": {1}")]
    Scheme(String, &'static str),
    /// The id does not fit the scheme. The id is not part of the message, because it may be a password.
    #[error("an identity of scheme {0}: {1}")]
    Id(&'static str, &'static str),
}

/// Description of a valid list of identities.
pub const IDENTITIES_HINT: &str = "identities separated by commas, such as sasl:fleet, digest:fleet:HASH or \
     x509:CN=node,O=Farm";

/// Parses identities separated by commas: `sasl:USER`, `digest:USER:HASH` and `x509:SUBJECT`.
///
/// A subject contains commas as well: a comma ends a subject only if a scheme and a colon follow it, as in
/// `x509:CN=node,O=Farm,sasl:fleet`. This is not ambiguous, because each part of a subject begins with a name and `=`.
/// A backslash before a comma makes it a part of a value, as in RFC 2253.
///
/// # Errors
/// See [`BadIdentities`].
pub fn parse_identities(text: &str) -> Result<Vec<AuthId>, BadIdentities> {
    let mut identities: Vec<(Scheme, String)> = Vec::new();
    for part in split_at_commas(text) {
        match (Scheme::split(part.trim()), identities.last_mut()) {
            (Some((scheme, id)), _) => identities.push((scheme, id.to_owned())),
            (None, Some((Scheme::X509, subject))) => {
                subject.push(',');
                subject.push_str(part);
            }
            (None, _) => return Err(no_scheme(part.trim())),
        }
    }
    if identities.len() > MAX_IDENTITIES {
        return Err(BadIdentities::TooMany);
    }
    let mut found: Vec<AuthId> = Vec::new();
    for (scheme, id) in identities {
        scheme.check(&id)?;
        let id = AuthId::new(scheme.name(), &id);
        if !found.contains(&id) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Splits a text at the commas that have no backslash before them.
fn split_at_commas(text: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    text.split(move |character| {
        let is_separator = character == ',' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        is_separator
    })
}

fn no_scheme(part: &str) -> BadIdentities {
    let scheme = part.split(':').next().unwrap_or_default();
    let problem = match scheme {
        "" => return BadIdentities::Empty,
        "world" => "world names all clients; for that, use acl = \"open\" or \"read-world\"",
        "auth" => "auth names the client that sets the ACL; write its identity",
        "ip" => "ip names a machine, not a client; use firewall rules for that",
        "super" => "superusers have all permissions without an ACL",
        _ => "an identity begins with sasl:, digest: or x509:",
    };
    // The rest may be a password.
    BadIdentities::Scheme(sanitize_for_log(scheme), problem)
}

/// Scheme of an identity that can be granted permissions.
#[derive(Clone, Copy)]
enum Scheme {
    Sasl,
    Digest,
    X509,
}

impl Scheme {
    /// Returns the scheme and the id of an identity.
    fn split(text: &str) -> Option<(Scheme, &str)> {
        let (scheme, id) = text.split_once(':')?;
        let scheme =
            [Scheme::Sasl, Scheme::Digest, Scheme::X509].into_iter().find(|one| one.name() == scheme)?;
        Some((scheme, id))
    }

    fn name(self) -> &'static str {
        match self {
            Scheme::Sasl => "sasl",
            Scheme::Digest => "digest",
            Scheme::X509 => "x509",
        }
    }

    fn check(self, id: &str) -> Result<(), BadIdentities> {
        let problem = match self {
            _ if id.contains(char::is_control) => Some("the id contains control characters"),
            Scheme::Sasl if id.is_empty() => Some("the user name is missing"),
            Scheme::Sasl => None,
            Scheme::Digest => check_digest(id),
            Scheme::X509 => check_subject(id),
        };
        problem.map_or(Ok(()), |problem| Err(BadIdentities::Id(self.name(), problem)))
    }
}

/// Returns the mistake in an id of scheme `digest`.
fn check_digest(id: &str) -> Option<&'static str> {
    let is_base64 = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
    match id.split_once(':') {
        None | Some(("", _)) => Some("write user:hash, as zkCli.sh getAcl shows it"),
        Some((_, hash)) if hash.len() < MIN_HASH_LENGTH || !hash.chars().all(is_base64) => Some(
            "the part after the user name is not a hash; never write the password here. The hash is the base64 of \
             the SHA-1 of user:password",
        ),
        Some(_) => None,
    }
}

/// Returns the mistake in the subject of a certificate.
fn check_subject(subject: &str) -> Option<&'static str> {
    let is_attribute = |part: &str| {
        part.split_once('=').is_some_and(|(name, value)| {
            let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
            !name.is_empty() && name.chars().all(is_name) && !value.is_empty() && !value.starts_with(' ')
        })
    };
    (!split_at_commas(subject).all(is_attribute)).then_some(
        "write the subject as ZooKeeper does, without blanks beside = and after commas: CN=node,O=Farm \
         (openssl x509 -noout -subject -nameopt RFC2253)",
    )
}

#[cfg(test)]
#[path = "acl_policy_tests.rs"]
mod tests;
