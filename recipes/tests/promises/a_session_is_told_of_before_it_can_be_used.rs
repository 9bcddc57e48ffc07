use std::sync::{Arc, Mutex};

use atalaya_recipes::node_names::{ContenderId, Naming};
use atalaya_recipes::{Election, Session, SessionOptions};
use atalaya_testbed::eventually;

use crate::support::{Bed, ELECTION, SOON, TIMEOUT, until_another_session};

#[test]
fn and_so_is_the_name_of_an_election_znode() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (telling, servers) = (told.clone(), proxy.connect_string().parse().unwrap());
    let options = SessionOptions { servers, timeout: TIMEOUT };
    let session = bed.wait(async {
        Session::start_with_callback(options, move |session| telling.lock().unwrap().push(session))
    });
    let first = bed.wait(session.connection()).session_id();
    assert_eq!(*told.lock().unwrap(), [first], "told when the link is there");

    let token = ContenderId::random();
    let prefix = Naming::Kazoo.prefix(&token);
    let election = Election::with_contender_id(session.clone(), ELECTION, "1", Naming::Kazoo, token);
    bed.spawn(election.run(|_| std::future::pending::<()>()));
    let connection = bed.connection();
    let stands =
        || bed.line(&connection).iter().any(|path| path.starts_with(&format!("{ELECTION}/{prefix}")));
    eventually("its own name in line", SOON, || stands().then_some(()));

    proxy.freeze(true);
    eventually("the server gives the session up", SOON, || (!stands()).then_some(()));
    proxy.freeze(false);
    until_another_session(&session, first);
    assert_eq!(*told.lock().unwrap(), [first, session.state().session]);
    eventually("the same name in line", SOON, || stands().then_some(()));
}
