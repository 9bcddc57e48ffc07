//! ACLs: every request that creates a znode gets its ACL from the session's provider; reading and changing ACLs.

use std::sync::Arc;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{AclProvider, ConnectError, Connection, Credentials, Lock, Session, SessionOptions};
use zookeeper_client::{Acl, Acls, AuthId, Error, Permission};

use crate::support::memory::{TIMEOUT, TestBed, soon};

/// Returns an ACL that shows the path it was decided for: an entry for a digest user of that name, and all permissions
/// for all clients, so that children can be created.
fn mark(path: &str) -> Arc<[Acl]> {
    let user = path.replace('/', "_");
    Arc::new([
        Acl::new(Permission::READ, AuthId::new("digest", &format!("{user}:AAAAAAAAAAAAAAAAAAAAAAAAAAA="))),
        Acl::new(Permission::ALL, AuthId::anyone()),
    ])
}

fn marked_options(bed: &TestBed, chroot: &str) -> SessionOptions {
    let servers = format!("{}{chroot}", bed.connect_string()).parse().unwrap();
    SessionOptions::new(servers, TIMEOUT).with_acl(AclProvider::by_path(mark))
}

async fn connect(options: SessionOptions) -> Connection {
    soon("a connection", Session::start(options).connection()).await
}

/// Asserts that the znode at `path` has the ACL that the provider returned for `decided`.
#[track_caller]
fn has_acl_of(bed: &TestBed, path: &str, decided: &str) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let (acl, _) = bed.observer.get_acl(path).await.unwrap();
        assert_eq!(acl, &*mark(decided), "{caller}: {path}");
    }
}

#[tokio::test]
async fn provider_decides_the_acl_of_created_parents_containers_and_sequential_znodes() {
    let bed = TestBed::start().await;
    let connection = connect(marked_options(&bed, "")).await;
    connection.create("/persistent", b"", CreateMode::Persistent).await.unwrap();
    connection.create("/container", b"", CreateMode::Container).await.unwrap();
    connection.create_ephemeral("/ephemeral", b"").await.unwrap();
    connection.ensure("/a/b/c").await.unwrap();
    connection.ensure_container("/x/y").await.unwrap();
    connection.get_or_create("/read/one").await.unwrap();
    for path in [
        "/persistent",
        "/container",
        "/ephemeral",
        "/a",
        "/a/b",
        "/a/b/c",
        "/x",
        "/x/y",
        "/read",
        "/read/one",
    ] {
        has_acl_of(&bed, path, path).await;
    }
    let path = connection.create_sequential("/a/s-", b"").await.unwrap();
    has_acl_of(&bed, &path, "/a/s-").await;
}

#[tokio::test]
async fn provider_decides_the_acl_of_znodes_created_in_a_multi() {
    let bed = TestBed::start().await;
    let connection = connect(marked_options(&bed, "")).await;
    let writes = [
        Write::Create { path: "/one", data: b"", mode: CreateMode::Persistent },
        Write::Create { path: "/one/two", data: b"", mode: CreateMode::Ephemeral },
        Write::CreateSequential { prefix: "/one/s-", data: b"" },
    ];
    connection.multi(&writes).await.unwrap();
    has_acl_of(&bed, "/one", "/one").await;
    has_acl_of(&bed, "/one/two", "/one/two").await;
    has_acl_of(&bed, "/one/s-0000000001", "/one/s-").await;
}

#[tokio::test]
async fn missing_chroot_that_the_client_may_not_create_is_reported_until_it_exists() {
    let bed = TestBed::start().await;
    let options = SessionOptions::new(bed.connect_string().parse().unwrap(), TIMEOUT);
    let admin = connect(options.with_auth(Credentials::new("admin", "secret"))).await;
    let read_only = Acl::new(Permission::READ, AuthId::anyone());
    let administrator = Acls::creator_all()[0].clone();
    admin.set_acl("/", &[administrator, read_only], None).await.unwrap();
    let servers = format!("{}/fleet", bed.connect_string()).parse().unwrap();
    let session = Session::start(SessionOptions::new(servers, TIMEOUT));
    let error = soon("the error", session.try_connection()).await.unwrap_err();
    assert_eq!(error, ConnectError::NoChroot("/fleet".into()));
    let all = Acl::new(Permission::ALL, AuthId::anyone());
    admin.set_acl("/", &[all], None).await.unwrap();
    soon("a connection", session.connection()).await;
    assert_eq!(*session.connect_error().borrow(), None);
}

#[tokio::test]
async fn provider_decides_the_acl_of_the_chroot_as_that_of_the_root() {
    let bed = TestBed::start().await;
    let connection = connect(marked_options(&bed, "/fleets/north")).await;
    connection.ensure("/a").await.unwrap();
    has_acl_of(&bed, "/fleets", "/").await;
    has_acl_of(&bed, "/fleets/north", "/").await;
    has_acl_of(&bed, "/fleets/north/a", "/a").await;
}

#[tokio::test]
async fn provider_decides_the_acl_of_the_znodes_of_a_lock() {
    let bed = TestBed::start().await;
    let connection = connect(marked_options(&bed, "")).await;
    let lock = Lock::new(connection.session().clone(), "/locks/crane", "1");
    let guard = soon("the lock", lock.acquire()).await.unwrap();
    has_acl_of(&bed, "/locks", "/locks").await;
    has_acl_of(&bed, "/locks/crane", "/locks/crane").await;
    let contender = bed.children("/locks/crane").await.remove(0);
    let path = format!("/locks/crane/{contender}");
    has_acl_of(&bed, &path, path.trim_end_matches(|c: char| c.is_ascii_digit())).await;
    guard.release().await;
}

#[tokio::test]
async fn znodes_are_open_to_all_clients_by_default() {
    let bed = TestBed::start().await;
    bed.observer.ensure("/a/b").await.unwrap();
    for path in ["/a", "/a/b"] {
        let (acl, _) = bed.observer.get_acl(path).await.unwrap();
        assert_eq!(acl, &*Acls::anyone_all());
    }
}

#[tokio::test]
async fn set_acl_takes_effect_only_at_the_expected_version() {
    let bed = TestBed::start().await;
    bed.observer.ensure("/a").await.unwrap();
    let acl = [Acl::new(Permission::READ | Permission::ADMIN, AuthId::anyone())];
    let stat = bed.observer.set_acl("/a", &acl, Some(0)).await.unwrap();
    assert_eq!(stat.aversion, 1);
    let conflict = bed.observer.set_acl("/a", &Acls::anyone_all(), Some(0)).await.unwrap_err();
    assert!(conflict.is_bad_version(), "{conflict}");
    let (found, stat) = bed.observer.get_acl("/a").await.unwrap();
    assert_eq!((found.as_slice(), stat.aversion), (acl.as_slice(), 1));
    let refused = bed.observer.set("/a", b"x", None).await.unwrap_err();
    assert!(refused.to_string().contains("lacks the WRITE permission on /a"), "{refused}");
    assert!(bed.observer.get_acl("/b").await.unwrap_err().is_no_node());
}

#[tokio::test]
async fn acl_of_the_creator_is_refused_without_an_identity() {
    let bed = TestBed::start().await;
    let servers = bed.connect_string().parse().unwrap();
    let connection = connect(SessionOptions::new(servers, TIMEOUT).with_acl(AclProvider::creator())).await;
    let refused = connection.ensure("/a").await.unwrap_err();
    assert_eq!(refused.answer(), Some(&Error::InvalidAcl));
    assert!(refused.to_string().contains("this client has no identity"), "{refused}");
}

#[tokio::test]
async fn znodes_of_an_identity_are_closed_to_clients_without_it() {
    let bed = TestBed::start().await;
    let options = |password: &str| {
        let servers = bed.connect_string().parse().unwrap();
        SessionOptions::new(servers, TIMEOUT)
            .with_acl(AclProvider::creator())
            .with_auth(Credentials::new("fleet", password))
    };
    let node = connect(options("right")).await;
    node.ensure("/a/b").await.unwrap();
    let (acl, _) = node.get_acl("/a").await.unwrap();
    assert_eq!(acl.iter().map(Acl::scheme).collect::<Vec<_>>(), ["digest"]);
    let same = connect(options("right")).await;
    same.set("/a/b", b"x", None).await.unwrap();
    for other in [&bed.observer, &connect(options("wrong")).await] {
        for refused in [
            other.get("/a").await.map(drop),
            other.set("/a", b"x", None).await.map(drop),
            other.create("/a/c", b"", CreateMode::Persistent).await.map(drop),
            other.create_sequential("/a/s-", b"").await.map(drop),
            other.delete("/a/b", None).await,
            other.set_acl("/a", &Acls::anyone_all(), None).await.map(drop),
            other.ensure("/a/c/d").await,
        ] {
            assert_eq!(refused.unwrap_err().answer(), Some(&Error::NoAuth));
        }
    }
}

#[tokio::test]
async fn connect_error_says_that_no_server_is_reachable() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let servers = format!("127.0.0.1:{port}").parse().unwrap();
    let session = Session::start(SessionOptions::new(servers, TIMEOUT));
    let mut errors = session.connect_error();
    let error = soon("an error", errors.wait_for(Option::is_some)).await.unwrap().clone();
    assert_eq!(error, Some(ConnectError::Unreachable));
}
