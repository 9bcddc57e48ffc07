use proptest::prelude::*;

use super::*;

const HASH: &str = "TUfNZWz3g3L1ka6tyYpfXItX8Jw=";
const OTHER_HASH: &str = "fvr2cB/fjGeAiX8g1aGhUm3ZICk=";

fn sasl(user: &str) -> AuthId {
    AuthId::new("sasl", user)
}

fn digest(user: &str, hash: &str) -> AuthId {
    AuthId::new("digest", &format!("{user}:{hash}"))
}

fn entry(permission: Permission, id: &AuthId) -> Acl {
    Acl::new(permission, id.clone())
}

fn policy() -> AclPolicy {
    AclPolicy::fleet(&[sasl("fleet")], &[sasl("admin")]).unwrap()
}

#[test]
fn nodes_write_state_and_only_read_configuration() {
    for path in ["/", "/mediciones", "/atalaya/term", "/configs", "/election/config", "/counter__adders__/1"]
    {
        assert_eq!(format_acl(&policy().acl(path)), "sasl:admin:cdrwa,sasl:fleet:cdrw", "{path}");
    }
    for path in ["/config", "/config/api_url", "/config/nodes/1/log"] {
        assert_eq!(format_acl(&policy().acl(path)), "sasl:admin:cdrwa,sasl:fleet:r", "{path}");
    }
}

#[test]
fn nodes_have_all_permissions_without_an_administrator() {
    let policy = AclPolicy::read_world(&[sasl("fleet")], &[]).unwrap();
    for class in PathClass::ALL {
        assert_eq!(format_acl(&policy.class_acl(class)), "sasl:fleet:cdrwa,world:anyone:r");
    }
    assert_eq!(format_acl(&AclPolicy::open().acl("/config")), "world:anyone:cdrwa");
    assert_eq!(AclPolicy::fleet(&[], &[sasl("admin")]), None, "the nodes would have no access");
}

#[test]
fn acl_with_other_order_or_split_entries_or_hidden_hashes_matches_the_policy() {
    let (old, new) = (digest("fleet", HASH), digest("fleet", OTHER_HASH));
    let policy = AclPolicy::fleet(&[old.clone(), new.clone()], &[sasl("admin")]).unwrap();
    let rest = Permission::CREATE | Permission::DELETE | Permission::WRITE;
    let admin = entry(Permission::ALL, &sasl("admin"));
    let all = rest | Permission::READ;
    let split = [entry(rest, &new), entry(all, &old), entry(Permission::READ, &new), admin.clone()];
    assert!(policy.matches("/counter", &split));
    let masked = digest("fleet", "x");
    assert!(policy.matches("/counter", &[admin.clone(), entry(all, &masked), entry(all, &masked)]));
    for (acl, difference) in [
        (vec![admin.clone(), entry(all, &old)], "an identity is missing"),
        (vec![admin.clone(), entry(all, &old), entry(Permission::READ, &new)], "too few permissions"),
        (vec![admin.clone(), entry(all, &old), entry(Permission::ALL, &new)], "too many permissions"),
        (vec![admin, entry(all, &masked), entry(Permission::READ, &AuthId::anyone())], "another identity"),
        (vec![], "no entry"),
    ] {
        assert!(!policy.matches("/counter", &acl), "{difference}");
    }
    assert!(!policy.matches("/config", &split), "the ACL is that of another class");
}

#[test]
fn foreign_writer_is_an_entry_that_lets_other_clients_write() {
    let policy = AclPolicy::fleet(&[sasl("fleet"), digest("fleet", HASH)], &[sasl("admin")]).unwrap();
    let single = [Permission::CREATE, Permission::DELETE, Permission::WRITE, Permission::ADMIN];
    for id in [
        AuthId::anyone(),
        AuthId::new("ip", "10.0.0.0/8"),
        AuthId::new("auth", ""),
        sasl("other"),
        AuthId::new("x509", "CN=fleet"),
        digest("fleet", OTHER_HASH),
        digest("other", "x"),
    ] {
        for permission in single {
            let acl = [entry(Permission::ALL, &sasl("admin")), entry(permission, &id)];
            assert_eq!(policy.foreign_writer(&acl), Some(&acl[1]));
        }
        assert_eq!(policy.foreign_writer(&[entry(Permission::READ, &id)]), None, "reading is allowed");
    }
    for id in [sasl("fleet"), sasl("admin"), digest("fleet", "x"), AuthId::new("super", "")] {
        assert_eq!(policy.foreign_writer(&[entry(Permission::ALL, &id)]), None, "{id:?}");
    }
    let everyone = [entry(Permission::ALL, &AuthId::anyone())];
    assert_eq!(AclPolicy::open().foreign_writer(&everyone), None);
}

#[test]
fn administrator_is_a_client_that_may_set_every_acl() {
    assert!(policy().is_administrator(&[sasl("admin")]));
    assert!(!policy().is_administrator(&[sasl("fleet"), sasl("other")]));
    assert!(!policy().is_administrator(&[]));
    assert!(AclPolicy::open().is_administrator(&[]));
    assert!(AclPolicy::fleet(&[sasl("fleet")], &[]).unwrap().is_administrator(&[sasl("fleet")]));
}

#[test]
fn identities_are_separated_by_commas_that_a_scheme_follows() {
    let one = |scheme, id| AuthId::new(scheme, id);
    for (text, identities) in [
        ("sasl:fleet", vec![one("sasl", "fleet")]),
        (" sasl:fleet , sasl:fleet ", vec![one("sasl", "fleet")]),
        ("sasl:node/host@REALM", vec![one("sasl", "node/host@REALM")]),
        ("x509:CN=node,O=Farm Ltd", vec![one("x509", "CN=node,O=Farm Ltd")]),
        (
            "x509:CN=a,O=Farm,x509:CN=b\\,sasl:c,O=Farm, sasl:fleet",
            vec![one("x509", "CN=a,O=Farm"), one("x509", "CN=b\\,sasl:c,O=Farm"), one("sasl", "fleet")],
        ),
        (
            "digest:fleet:TUfNZWz3g3L1ka6tyYpfXItX8Jw=,sasl:admin",
            vec![one("digest", "fleet:TUfNZWz3g3L1ka6tyYpfXItX8Jw="), one("sasl", "admin")],
        ),
    ] {
        assert_eq!(parse_identities(text), Ok(identities), "{text}");
    }
}

#[test]
fn wrong_identities_are_refused_with_the_reason() {
    for (text, message) in [
        ("", "an identity is empty"),
        ("sasl:fleet,", "an identity is empty"),
        ("fleet", "\"fleet\": an identity begins with sasl:, digest: or x509:"),
        ("sasl:fleet,admin", "\"admin\": an identity begins with sasl:, digest: or x509:"),
        (
            "world:anyone",
            "\"world\": world names all clients; for that, use acl = \"open\" or \"read-world\"",
        ),
        ("auth:", "\"auth\": auth names the client that sets the ACL; write its identity"),
        ("ip:10.0.0.1", "\"ip\": ip names a machine, not a client; use firewall rules for that"),
        ("super:", "\"super\": superusers have all permissions without an ACL"),
        ("sasl:", "an identity of scheme sasl: the user name is missing"),
        ("sasl:a\u{1b}", "an identity of scheme sasl: the id contains control characters"),
        ("digest:fleet", "an identity of scheme digest: write user:hash, as zkCli.sh getAcl shows it"),
    ] {
        assert_eq!(parse_identities(text).unwrap_err().to_string(), message, "{text}");
    }
    for subject in ["node", "CN=node, O=Farm", "CN = node", "CN=node,", "CN=node,sasl fleet"] {
        let error = parse_identities(&format!("x509:{subject}")).unwrap_err().to_string();
        assert!(error.contains("write the subject as ZooKeeper does"), "{subject}: {error}");
    }
    let many = vec!["sasl:a"; MAX_IDENTITIES + 1].join(",");
    assert_eq!(parse_identities(&many), Err(BadIdentities::TooMany));
}

#[test]
fn error_about_an_identity_does_not_contain_a_password() {
    for text in ["digest:fleet:s3cret-word", "unknown:fleet:s3cret-word", "digest:fleet:s3cret-word,sasl:a"] {
        let error = parse_identities(text).unwrap_err().to_string();
        assert!(!error.contains("s3cret"), "{error}");
    }
    let error = parse_identities("digest:fleet:s3cret-word").unwrap_err().to_string();
    assert!(error.contains("never write the password here"), "{error}");
}

fn identity() -> impl Strategy<Value = AuthId> {
    let user = "[a-c]";
    prop_oneof![
        user.prop_map(|user| sasl(&user)),
        (user, prop_oneof![Just(HASH), Just(OTHER_HASH)]).prop_map(|(user, hash)| digest(&user, hash)),
        user.prop_map(|user| AuthId::new("x509", &format!("CN={user},O=Farm"))),
    ]
}

proptest! {
    #[test]
    fn only_the_open_policy_lets_the_world_write(
        fleet in prop::collection::vec(identity(), 1..5),
        administrators in prop::collection::vec(identity(), 0..4),
        path in prop_oneof!["(/[a-c]{1,3}){1,3}", "/config(/[a-z]{1,3}){0,2}", Just("/".to_owned())],
    ) {
        let closed = AclPolicy::fleet(&fleet, &administrators).unwrap();
        let readable = AclPolicy::read_world(&fleet, &administrators).unwrap();
        for (policy, world) in [(&closed, Permission::NONE), (&readable, Permission::READ)] {
            let acl = policy.acl(&path);
            prop_assert_eq!(granted(&acl, &AuthId::anyone()), world);
            prop_assert_eq!(policy.foreign_writer(&acl), None);
            prop_assert!(policy.matches(&path, &acl));
            for administrator in &administrators {
                prop_assert_eq!(granted(&acl, administrator), Permission::ALL);
            }
            for node in &fleet {
                prop_assert!(granted(&acl, node).has(Permission::READ));
                let is_admin = administrators.is_empty() || administrators.contains(node);
                prop_assert_eq!(granted(&acl, node).has(Permission::ADMIN), is_admin);
                let is_state = PathClass::of(&path) == PathClass::State;
                prop_assert_eq!(granted(&acl, node).has(Permission::CREATE), is_state || is_admin);
                prop_assert_eq!(granted(&acl, node).has(Permission::WRITE), is_state || is_admin);
            }
            let everyone = [Acl::new(Permission::ALL, AuthId::anyone())];
            prop_assert_eq!(policy.foreign_writer(&everyone), Some(&everyone[0]));
            prop_assert!(!policy.is_open() && !policy.matches(&path, &everyone));
        }
    }

    #[test]
    fn identities_can_be_written_and_parsed(identities in prop::collection::vec(identity(), 1..10)) {
        let text = identities.iter().map(|id| format!("{}:{}", id.scheme(), id.id())).collect::<Vec<_>>().join(",");
        let parsed = parse_identities(&text).unwrap();
        prop_assert!(identities.iter().all(|id| parsed.contains(id)) && parsed.iter().all(|id| identities.contains(id)));
    }

    #[test]
    fn parser_of_identities_never_panics(text in "(sasl:|digest:|x509:|CN=|[a,\\\\: =é])*") {
        let _ = parse_identities(&text);
    }
}
