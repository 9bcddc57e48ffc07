//! Tests of a server that is stopped and started again with its disk, which the in-memory server simulates.

use atalaya_testbed::ZooKeeper;
use atalaya_zookeeper::Server;

use crate::raw::{Packet, Raw};
use crate::target::TICK;

#[test]
fn memory() {
    let server = Server::builder().tick(TICK).start_thread().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let faults = server.faults();
    scenario(&server.connect_string(), || {
        runtime.block_on(async {
            faults.stop().await;
            faults.restart().await;
        });
    });
}

#[test]
fn apache() {
    let mut server = ZooKeeper::start();
    scenario(&server.connect_string(), || {
        server.end();
        server.restart();
    });
}

/// Checks that connections are lost and the other state is kept.
fn scenario(hosts: &str, restart: impl FnOnce()) {
    let mut raw = Raw::connect(hosts);
    raw.create("/q", b"12", 0).unwrap();
    raw.create("/q/e", b"", 1).unwrap();
    let stats = "/zookeeper/quota/q/zookeeper_stats";
    for (path, data) in
        [("/zookeeper/quota/q", ""), ("/zookeeper/quota/q/zookeeper_limits", "count=9,bytes=9"), (stats, "")]
    {
        raw.create(path, data.as_bytes(), 0).unwrap();
    }
    raw.set(stats, b"count=70,bytes=70").unwrap();
    raw.create("/q/f", b"1", 0).unwrap();
    raw.exists("/q", true).unwrap();
    let before = raw.exists("/q/e", false).unwrap();
    restart();
    assert_eq!(raw.next(), Packet::Closed);
    let mut again = Raw::hello(hosts, &raw.reconnect()).unwrap();
    assert_eq!((again.session, &again.password), (raw.session, &raw.password));
    assert_eq!(again.exists("/q/e", false), Ok(before));
    assert_eq!(again.get(stats, false).unwrap().0, b"count=71,bytes=71");
    // Watches ended with the connection, transaction numbers continue.
    let mut other = Raw::connect(hosts);
    other.create("/q/later", b"", 0).unwrap();
    assert!(other.exists("/q/later", false).unwrap().czxid > before.czxid);
    other.set("/q", b"").unwrap();
    assert_eq!(again.received(), []);
    again.close();
    assert_eq!(other.exists("/q/e", false), Err(-101));
}
