//! Requests that ZooKeeper refuses again and again: how often they are repeated, and how often that is logged.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, PersistentNode, Standing, WriteCounter};
use tokio::sync::watch;
use zookeeper_client as zk;

use crate::support::{Logs, TestBed, until};

/// Observed time. At 13 attempts a second, 80 attempts fit into it; with growing pauses, about 8.
const WINDOW: Duration = Duration::from_secs(6);
/// Maximum number of requests in it. An attempt has up to four; pings and the test's own come on top.
const REQUESTS: u64 = 60;

/// Creates a znode that everyone may read, and whose ACL everyone may change, with its missing parents open to all.
fn create_readable(bed: &TestBed, path: &str, data: &[u8]) {
    let (servers, path, data) = (bed.connect_string(), path.to_owned(), data.to_owned());
    bed.wait(async move {
        let client = zk::Client::connect(&servers).await.unwrap();
        let permission = zk::Permission::READ | zk::Permission::ADMIN;
        let acls = [zk::Acl::new(permission, zk::AuthId::anyone())];
        let options = zk::CreateMode::Persistent.with_acls(zk::Acls::new(&acls));
        client.create(&path, &data, &options).await.unwrap();
    });
}

/// Lets everyone do everything with a znode again.
fn grant_everything(bed: &TestBed, path: &str) {
    let (servers, path) = (bed.connect_string(), path.to_owned());
    bed.wait(async move {
        let client = zk::Client::connect(&servers).await.unwrap();
        client.set_acl(&path, &zk::Acls::anyone_all(), None).await.unwrap();
    });
}

/// Number of requests that the server has received, its own `srvr` included.
pub(crate) fn received(bed: &TestBed) -> u64 {
    let mut stream = TcpStream::connect(bed.connect_string()).unwrap();
    stream.write_all(b"srvr").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let line =
        text.lines().find_map(|line| line.strip_prefix("Received: ")).unwrap_or_else(|| panic!("{text}"));
    line.trim().parse().unwrap()
}

/// Lets `work` run for [`WINDOW`]. Returns the number of requests, and the warnings.
fn observe(bed: &TestBed, work: impl Future<Output = ()> + Send + 'static) -> (u64, Vec<String>) {
    let logs = Logs::default();
    let before = received(bed);
    bed.wait(async { tokio::time::timeout(WINDOW, logs.of(work)).await.expect_err("it ended") });
    (received(bed) - before, logs.warnings())
}

/// Asserts that one warning names each of `reasons`, and that requests were few.
#[track_caller]
fn assert_quiet((requests, warnings): (u64, Vec<String>), reasons: &[&str]) {
    println!("{requests} requests in {WINDOW:?}; warnings: {warnings:#?}");
    assert!(requests <= REQUESTS, "{requests} requests: {warnings:#?}");
    assert_eq!(warnings.len(), reasons.len(), "{warnings:#?}");
    for reason in reasons {
        assert!(warnings.iter().any(|warning| warning.contains(reason)), "{reason}: {warnings:#?}");
    }
}

fn publisher_repeats_a_refused_create_seldom_and_logs_it_once(bed: &TestBed) {
    create_readable(bed, "/mediciones", b"");
    let session = bed.calm_session();
    let (data, newest) = watch::channel(Some(b"1".to_vec()));
    let node = PersistentNode::new(session, "/mediciones/1");
    let work = async move {
        let _data = data;
        node.run(newest).await;
    };
    assert_quiet(observe(bed, work), &["CREATE permission on /mediciones"]);
}

/// In the pauses between refusals, no more time passes than their bound of 10 s says.
fn contender_leads_soon_after_the_permission_is_granted(bed: &TestBed) {
    create_readable(bed, "/election", b"");
    let election = Election::new(bed.session(), "/election", "1", Naming::Kazoo);
    let mut standing = election.standing();
    bed.spawn(async move { election.run(|_| std::future::pending::<()>()).await });
    let granted = bed.wait(async {
        // Long enough for the pauses to have their full length.
        let refused = standing.wait_for(|standing| *standing == Standing::Leading);
        tokio::time::timeout(WINDOW * 2, refused).await.expect_err("it leads without permission");
        std::time::Instant::now()
    });
    grant_everything(bed, "/election");
    bed.wait(standing.wait_for(|standing| *standing == Standing::Leading)).unwrap();
    assert!(granted.elapsed() < Duration::from_secs(12), "{:?}", granted.elapsed());
}

fn contender_repeats_a_refused_create_seldom_and_logs_it_once(bed: &TestBed) {
    create_readable(bed, "/election", b"");
    let election = Election::new(bed.calm_session(), "/election", "1", Naming::Kazoo);
    let work = async move { election.run(|_| std::future::pending()).await };
    assert_quiet(observe(bed, work), &["CREATE permission on /election"]);
}

/// A counter that refuses writes must not keep the measurement out of ZooKeeper, nor make the node repeat the write at once.
fn publisher_stores_its_data_uncounted_while_the_counter_refuses_writes(bed: &TestBed) {
    create_readable(bed, "/counter", b"7");
    let session = bed.calm_session();
    let (data, newest) = watch::channel(Some(b"1".to_vec()));
    let node = PersistentNode::new(session.clone(), "/mediciones/1")
        .counted(WriteCounter::new(session.clone(), "/counter"));
    let state = node.state();
    let work = async move {
        let _data = data;
        node.run(newest).await;
    };
    assert_quiet(observe(bed, work), &["WRITE permission on /counter"]);
    assert_eq!(state.borrow().stored, 1);
    bed.wait(until("the data is stored", async || {
        let connection = session.connection().await;
        connection.get("/mediciones/1").await.ok().filter(|(data, _)| data == b"1")
    }));
}

on_both!(
    publisher_repeats_a_refused_create_seldom_and_logs_it_once,
    contender_repeats_a_refused_create_seldom_and_logs_it_once,
    contender_leads_soon_after_the_permission_is_granted,
    publisher_stores_its_data_uncounted_while_the_counter_refuses_writes,
);
