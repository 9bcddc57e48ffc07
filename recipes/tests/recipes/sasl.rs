//! SASL DIGEST-MD5 on Apache ZooKeeper and on the in-memory server, also with Kazoo: the identity of a session, and the
//! reasons why it is refused.

use atalaya_recipes::{AclProvider, ConnectError, Credentials, Session, SessionOptions};
use atalaya_testbed::{Kazoo, ZooKeeper};
use atalaya_zookeeper::Server;
use zookeeper_client::{Acl, AuthId, Permission};

use crate::support::memory::{DEADLINE, TIMEOUT, soon};

fn options(servers: &str, credentials: &Credentials) -> SessionOptions {
    let options = SessionOptions::new(servers.parse().unwrap(), TIMEOUT);
    options.with_sasl(credentials.clone()).with_acl(AclProvider::creator())
}

async fn memory_server(users: &[(&str, &str)]) -> Server {
    let users = users.iter().map(|(user, password)| ((*user).to_owned(), (*password).to_owned()));
    Server::builder().tick(TIMEOUT / 4).sasl_users(users).start().await.unwrap()
}

async fn wait_for_error(session: &Session, error: ConnectError) {
    let mut errors = session.connect_error();
    let error = Some(error);
    soon("the error", errors.wait_for(|found| *found == error)).await.unwrap();
}

async fn connect_after_correction(servers: &str) {
    let credentials = Credentials::new("fleet", "wrong");
    let session = Session::start(options(servers, &credentials));
    wait_for_error(&session, ConnectError::AuthFailed).await;
    credentials.set_password("right");
    let connection = soon("a connection", session.connection()).await;
    assert_eq!(*session.connect_error().borrow(), None);
    connection.ensure("/a").await.unwrap();
    let (acl, _) = connection.get_acl("/a").await.unwrap();
    assert_eq!(acl, [Acl::new(Permission::ALL, AuthId::new("sasl", "fleet"))]);
}

#[tokio::test]
async fn session_connects_with_its_identity_after_its_password_was_corrected() {
    let server = ZooKeeper::with_sasl(&[("fleet", "right")]);
    connect_after_correction(&server.connect_string()).await;
}

#[tokio::test]
async fn session_connects_to_the_in_memory_server_after_its_password_was_corrected() {
    let server = memory_server(&[("fleet", "right"), ("other", "password")]).await;
    connect_after_correction(&server.connect_string()).await;
}

#[tokio::test]
async fn in_memory_server_accepts_every_nonce_of_a_client_and_protects_znodes_from_other_users() {
    let server = memory_server(&[("fleet", "right"), ("other", "password")]).await;
    let servers = server.connect_string();
    // The nonce of one client in 16 contains a null.
    for number in 0..100 {
        let session = Session::start(options(&servers, &Credentials::new("fleet", "right")));
        soon("a connection", session.connection()).await.ensure(&format!("/{number}")).await.unwrap();
    }
    let session = Session::start(options(&servers, &Credentials::new("other", "password")));
    let refused = soon("a connection", session.connection()).await.get("/1").await.unwrap_err();
    assert!(matches!(refused.answer(), Some(zookeeper_client::Error::NoAuth)), "{refused}");
}

#[tokio::test]
async fn connect_error_says_that_the_servers_ignore_sasl() {
    let server = ZooKeeper::start();
    let session = Session::start(options(&server.connect_string(), &Credentials::new("fleet", "right")));
    wait_for_error(&session, ConnectError::SaslIgnored).await;
}

#[tokio::test]
async fn in_memory_server_without_users_refuses_sasl() {
    let server = memory_server(&[]).await;
    let session = Session::start(options(&server.connect_string(), &Credentials::new("fleet", "right")));
    wait_for_error(&session, ConnectError::AuthFailed).await;
}

#[test]
fn kazoo_authenticates_with_apache_and_with_the_in_memory_server() {
    let apache = ZooKeeper::with_sasl(&[("fleet", "right")]);
    let users = [("fleet".to_owned(), "right".to_owned())];
    let memory = Server::builder().sasl_users(users).start_thread().unwrap();
    for servers in [apache.connect_string(), memory.connect_string()] {
        for (password, expected) in [("right", "created /kazoo"), ("wrong", "refused")] {
            let kazoo = Kazoo::ready().script("sasl.py", &[&servers, "fleet", password, "/kazoo"]);
            kazoo.wait_for_line(expected, DEADLINE);
        }
    }
}
