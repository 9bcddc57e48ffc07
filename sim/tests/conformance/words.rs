//! The four-letter words.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use crate::raw::Raw;
use crate::target::Target;

on_both!(words_that_say_how_it_is, words_that_count);

fn ask(target: &Target, word: &str) -> String {
    let mut stream = TcpStream::connect(target.hosts()).unwrap();
    stream.write_all(word.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

fn words_that_say_how_it_is(target: &Target) {
    assert_eq!(ask(target, "ruok"), "imok");
    assert_eq!(ask(target, "isro"), "rw");
    let server = ask(target, "srvr");
    assert!(server.starts_with("Zookeeper version: 3.8."), "{server}");
    for begin in
        ["Latency min/avg/max: ", "Received: ", "Sent: ", "Connections: ", "Outstanding: ", "Zxid: 0x"]
    {
        assert!(server.lines().any(|line| line.starts_with(begin)), "{begin} in {server}");
    }
    assert!(server.lines().any(|line| line == "Mode: standalone"), "{server}");
    assert!(ask(target, "envi").contains("zookeeper.version=3.8."));
}

fn words_that_count(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    raw.create(&target.path("/e"), b"", 1).unwrap();
    raw.get(&target.path("/e"), true).unwrap();
    let monitor = ask(target, "mntr");
    let figure = |name: &str| {
        let line =
            monitor.lines().find_map(|line| line.strip_prefix(&format!("{name}\t"))).map(str::to_owned);
        line.unwrap_or_else(|| panic!("{name} in {monitor}"))
    };
    assert_eq!(figure("zk_server_state"), "standalone");
    for name in ["zk_num_alive_connections", "zk_znode_count", "zk_watch_count", "zk_ephemerals_count"] {
        assert!(figure(name).parse::<u32>().unwrap() > 0, "{name}");
    }
    let session = format!("sid=0x{:x}", raw.session);
    let connections = ask(target, "cons");
    assert!(connections.contains(&session) && connections.contains("to=10000"), "{connections}");
    assert!(ask(target, "stat").contains("(queued="));
}
