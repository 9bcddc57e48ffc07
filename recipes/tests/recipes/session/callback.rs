use std::sync::{Arc, Mutex};

use atalaya_recipes::node_names::{ContenderId, Naming, Role};
use atalaya_recipes::{Election, Session, SessionOptions};

use crate::support::election::{ELECTION, TIMEOUT, TestBed, until_another_session, wait_until};

#[test]
fn callback_gets_each_session_before_its_first_request_and_the_contender_prefix_is_known() {
    let (bed, proxy) = TestBed::behind_proxy();
    let reported = Arc::new(Mutex::new(Vec::new()));
    let (recorded, servers) = (reported.clone(), proxy.connect_string().parse().unwrap());
    let options = SessionOptions::new(servers, TIMEOUT);
    let session = bed.wait(async {
        Session::start_with_callback(options, move |session| recorded.lock().unwrap().push(session))
    });
    let first = bed.wait(session.connection()).session_id();
    assert_eq!(*reported.lock().unwrap(), [first], "reported before the connection is available");

    let contender_id = ContenderId::random();
    let prefix = Role::from(Naming::Kazoo).prefix(&contender_id);
    let election = Election::with_contender_id(session.clone(), ELECTION, "1", Naming::Kazoo, contender_id);
    bed.spawn(election.run(|_| std::future::pending::<()>()));
    let connection = bed.connection();
    let is_queued =
        || bed.line(&connection).iter().any(|path| path.starts_with(&format!("{ELECTION}/{prefix}")));
    wait_until("its own name in line", &is_queued);

    proxy.freeze(true);
    wait_until("the server gives the session up", || !is_queued());
    proxy.freeze(false);
    until_another_session(&session, first);
    assert_eq!(*reported.lock().unwrap(), [first, session.state().session]);
    wait_until("the same name in line", &is_queued);
}
