//! The policy for ACLs from the settings, and the identity that the servers give to this client.

use atalaya_recipes::{AuthId, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha1::{Digest as _, Sha1};

use super::values::InvalidValue;
use super::{AclMode, AuthScheme, Settings};
use crate::model::acl_policy::{self, AclPolicy, IDENTITIES_HINT};

/// Parses a list of identities.
pub(super) fn identities(text: &str) -> Result<Vec<AuthId>, InvalidValue> {
    acl_policy::parse_identities(text)
        .map_err(|error| InvalidValue::new(format!("bad list of identities: {error}"), IDENTITIES_HINT))
}

/// Formats identities for people, without the hashes of scheme `digest`.
pub(super) fn identities_text(identities: &[AuthId]) -> Option<String> {
    let texts: Vec<String> = identities.iter().map(acl_policy::format_id).collect();
    (!texts.is_empty()).then(|| texts.join(","))
}

/// Returns the identity of a client that authenticates with this user and password.
pub(super) fn own_identity(scheme: AuthScheme, user: &str, password: &Secret) -> AuthId {
    match scheme {
        AuthScheme::Sasl => AuthId::new("sasl", user),
        AuthScheme::Digest => {
            let hash = Sha1::digest(format!("{user}:{}", password.expose()));
            AuthId::new("digest", &format!("{user}:{}", BASE64.encode(hash)))
        }
    }
}

/// Returns the policy of the settings. `own` is the identity of this client by user and password, if it has one. Returns
/// `None` if the policy is not `open`, and the nodes have no identity.
pub(super) fn policy(settings: &Settings, own: Option<&AuthId>) -> Option<AclPolicy> {
    let own: Vec<AuthId> = own.cloned().into_iter().collect();
    let fleet = if settings.acl_fleet.is_empty() { &own } else { &settings.acl_fleet };
    match settings.acl {
        AclMode::Open => Some(AclPolicy::open()),
        AclMode::ReadWorld => AclPolicy::read_world(fleet, &settings.acl_admin),
        AclMode::Fleet => AclPolicy::fleet(fleet, &settings.acl_admin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::acl_policy::format_acl;

    #[test]
    fn identity_of_scheme_digest_is_the_one_that_zookeeper_computes() {
        let secret = Secret::from("secret");
        let id = own_identity(AuthScheme::Digest, "fleet", &secret);
        assert_eq!((id.scheme(), id.id()), ("digest", "fleet:TUfNZWz3g3L1ka6tyYpfXItX8Jw="));
        assert_eq!(own_identity(AuthScheme::Sasl, "fleet", &secret), AuthId::new("sasl", "fleet"));
    }

    #[test]
    fn policy_has_the_identities_of_the_settings_or_the_own_one() {
        let own = AuthId::new("sasl", "me");
        let state =
            |settings: &Settings, own| policy(settings, own).map(|policy| format_acl(&policy.acl("/")));
        let mut settings = Settings { acl_admin: identities("sasl:admin").unwrap(), ..Settings::default() };
        assert_eq!(state(&settings, None).unwrap(), "world:anyone:cdrwa", "the default is open");
        settings.acl = AclMode::Fleet;
        assert_eq!(state(&settings, Some(&own)).unwrap(), "sasl:admin:cdrwa,sasl:me:cdrw");
        assert_eq!(state(&settings, None), None);
        settings.acl = AclMode::ReadWorld;
        settings.acl_fleet = identities("x509:CN=node,O=Farm").unwrap();
        let acl = state(&settings, Some(&own)).unwrap();
        assert_eq!(acl, "sasl:admin:cdrwa,x509:CN=node,O=Farm:cdrw,world:anyone:r");
    }
}
