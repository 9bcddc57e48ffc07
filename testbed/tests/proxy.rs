//! The proxy between Kazoo and Apache ZooKeeper: a lost reply is lost only to the client, a lost request only to the
//! server.

use atalaya_testbed::{Proxy, ZkProbe, ZooKeeper};

const CREATE: i32 = 1;
const SET: i32 = 5;

#[test]
fn a_lost_reply_and_a_lost_request() {
    let zookeeper = ZooKeeper::start();
    let proxy = Proxy::to(zookeeper.port());
    let probe = ZkProbe::connect(&proxy.connect_string());
    let session = probe.session_id();
    probe.create("/a", b"", false).unwrap();

    // The probe retries after a loss: the second attempt shows the effect of the first one.
    proxy.cut_after_request(CREATE);
    assert_eq!(probe.create("/b", b"", false), Err("NodeExistsError".to_owned()));
    proxy.cut_before_request(CREATE);
    assert_eq!(probe.create("/c", b"", false), Ok(()));
    proxy.cut_after_request(SET);
    probe.set("/a", b"").unwrap();
    assert_eq!(probe.exists("/a").unwrap().version, 2);
    proxy.cut_before_request(SET);
    probe.set("/a", b"").unwrap();
    assert_eq!(probe.exists("/a").unwrap().version, 3);
    assert!(!proxy.is_armed());
    assert_eq!(probe.session_id(), session);
}
