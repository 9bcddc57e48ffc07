//! Starts a ZooKeeper server and reads its znodes with Kazoo: `cargo run -p atalaya-testbed --example one_server`.

use atalaya_testbed::{ZkProbe, ZooKeeper};

fn main() {
    let zookeeper = ZooKeeper::start();
    println!("serving at {} as process {}", zookeeper.connect_string(), zookeeper.pid());
    let probe = ZkProbe::connect(&zookeeper.connect_string());
    if let Err(error) = probe.create("/mediciones/1", b"78.4", true) {
        println!("not created: {error}");
    }
    println!("/ holds {:?}; /mediciones/1 holds {:?}", probe.ls("/"), probe.text("/mediciones/1"));
    println!("{}", zookeeper.four("srvr"));
}
