//! SASL DIGEST-MD5 on Apache ZooKeeper: the identity of a session, and the reasons why it is refused.

use atalaya_recipes::{AclProvider, ConnectError, Credentials, Session, SessionOptions};
use atalaya_testbed::ZooKeeper;
use zookeeper_client::{Acl, AuthId, Permission};

use crate::support::memory::{TIMEOUT, soon};

fn options(server: &ZooKeeper, credentials: &Credentials) -> SessionOptions {
    let servers = server.connect_string().parse().unwrap();
    SessionOptions::new(servers, TIMEOUT).with_sasl(credentials.clone()).with_acl(AclProvider::creator())
}

async fn wait_for_error(session: &Session, error: ConnectError) {
    let mut errors = session.connect_error();
    let error = Some(error);
    soon("the error", errors.wait_for(|found| *found == error)).await.unwrap();
}

#[tokio::test]
async fn session_connects_with_its_identity_after_its_password_was_corrected() {
    let server = ZooKeeper::with_sasl(&[("fleet", "right")]);
    let credentials = Credentials::new("fleet", "wrong");
    let session = Session::start(options(&server, &credentials));
    wait_for_error(&session, ConnectError::AuthFailed).await;
    credentials.set_password("right");
    let connection = soon("a connection", session.connection()).await;
    assert_eq!(*session.connect_error().borrow(), None);
    connection.ensure("/a").await.unwrap();
    let (acl, _) = connection.get_acl("/a").await.unwrap();
    assert_eq!(acl, [Acl::new(Permission::ALL, AuthId::new("sasl", "fleet"))]);
}

#[tokio::test]
async fn connect_error_says_that_the_servers_ignore_sasl() {
    let server = ZooKeeper::start();
    let session = Session::start(options(&server, &Credentials::new("fleet", "right")));
    wait_for_error(&session, ConnectError::SaslIgnored).await;
}
