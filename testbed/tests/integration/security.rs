//! Servers with TLS and SASL: the clients that they accept, and the ACLs of the znodes that these create.

use std::time::Duration;

use atalaya_testbed::{FLEET_ACL, Issue, Kazoo, Process, Security, ZkProbe, ZooKeeper};

const SECONDS: Duration = Duration::from_secs(60);

fn probe(security: &Security, user: &str, hosts: &str) -> ZkProbe {
    ZkProbe::connect_by(&Kazoo::secured(security, user, FLEET_ACL), hosts)
}

/// Waits for a line in the log of a Kazoo program that cannot connect.
fn assert_refused(security: &Security, user: &str, hosts: &str, reason: &str) {
    let kazoo = Kazoo::secured(security, user, FLEET_ACL);
    let program: Process = kazoo.script("follower.py", &["1", hosts, "1", "60"]);
    program.wait_for_line(reason, SECONDS);
}

#[test]
fn server_with_tls_and_sasl_closes_znodes_to_other_users() {
    let security = Security::new();
    let server = ZooKeeper::secured(&security);
    let hosts = server.connect_string();
    let fleet = probe(&security, "fleet", &hosts);
    fleet.create("/a/b", b"data", false).unwrap();
    let admin = probe(&security, "admin", &hosts);
    assert_eq!(admin.text("/a/b").as_deref(), Some("data"));
    admin.set("/a/b", b"other").unwrap();
    let outsider = probe(&security, "outsider", &hosts);
    let refused = Err("NoAuthError".to_owned());
    assert_eq!(outsider.set("/a/b", b"x"), refused);
    assert_eq!(outsider.create_below("/a/c", b"", false), refused);
    assert_eq!(outsider.delete("/a/b"), refused);
    assert_eq!(outsider.unrestrict("/a"), refused);
    assert!(server.journal(0).len() > 3, "the log of a secured server is read like any other");
}

#[test]
fn clients_with_another_certificate_or_password_are_refused() {
    let security = Security::new();
    let server = ZooKeeper::secured(&security);
    let hosts = server.connect_string();
    for issue in [Issue::Expired, Issue::OtherAuthority] {
        security.issue_client_certificate(issue, "client");
        assert_refused(&security, "fleet", &hosts, "Connection dropped");
    }
    security.issue_client_certificate(Issue::Valid, "client");
    std::fs::write(security.password_file("fleet"), "wrong").unwrap();
    assert_refused(&security, "fleet", &hosts, "AuthFailedError");
}
