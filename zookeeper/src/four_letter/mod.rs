//! Four-letter words, for people and for monitoring, and for Kazoo, which reads the version from `envi`. Used by
//! connections whose first bytes are one of them. The words that list sessions and watches are in [`lists`].
//!
//! Latencies are not measured; the lines exist because programs look for them. The same holds for folders.

mod lists;

use std::fmt::Write as _;

use super::core::{Core, Counters, Now, Peer};

/// Reported version: the behaviour is that of Apache ZooKeeper 3.8.
const VERSION: &str =
    concat!("3.8.0-atalaya-sim-", env!("CARGO_PKG_VERSION"), ", built on 01/01/1970 00:00 UTC");

/// Supported words; others close the connection.
const WORDS: [&[u8; 4]; 14] = [
    b"ruok", b"srvr", b"stat", b"mntr", b"isro", b"cons", b"envi", b"conf", b"dump", b"wchs", b"wchc",
    b"wchp", b"srst", b"crst",
];

/// Returns the word that a connection begins with, if any.
pub(crate) fn recognise(start: [u8; 4]) -> Option<&'static str> {
    WORDS.into_iter().find(|word| **word == start).and_then(|word| str::from_utf8(word).ok())
}

/// Returns the answer to a word, of a server that listens on this port.
pub(crate) fn answer(word: &str, core: &mut Core, port: u16, now: Now) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = match word {
        "ruok" => write!(text, "imok"),
        "isro" => write!(text, "rw"),
        "envi" => writeln!(text, "Environment:\nzookeeper.version={VERSION}"),
        "cons" => connections(&mut text, core).and_then(|()| writeln!(text)),
        "stat" => writeln!(text, "Zookeeper version: {VERSION}\nClients:")
            .and_then(|()| clients(&mut text, core))
            .and_then(|()| writeln!(text))
            .and_then(|()| server(&mut text, core)),
        "srvr" => writeln!(text, "Zookeeper version: {VERSION}").and_then(|()| server(&mut text, core)),
        "mntr" => monitor(&mut text, core),
        "conf" => configuration(&mut text, core, port),
        "dump" => lists::dump(&mut text, core, now),
        "wchs" => lists::watch_summary(&mut text, core),
        "wchc" => lists::watches_by_session(&mut text, core),
        "wchp" => lists::watches_by_path(&mut text, core),
        "srst" => {
            core.counters = Counters::default();
            writeln!(text, "Server stats reset.")
        }
        "crst" => {
            for peer in core.peers.values_mut() {
                (peer.counters, peer.latest) = (Counters::default(), (0, None));
            }
            writeln!(text, "Connection stats reset.")
        }
        _ => Ok(()),
    };
    text
}

fn server(text: &mut String, core: &Core) -> std::fmt::Result {
    writeln!(text, "Latency min/avg/max: 0/0.0/0")?;
    writeln!(text, "Received: {}", core.counters.received)?;
    writeln!(text, "Sent: {}", core.counters.sent)?;
    writeln!(text, "Connections: {}", core.peers.len())?;
    writeln!(text, "Outstanding: 0")?;
    writeln!(text, "Zxid: {:#x}", core.zxid)?;
    writeln!(text, "Mode: standalone")?;
    writeln!(text, "Node count: {}", core.tree.len())
}

/// Returns the connections in order of arrival.
fn sorted(core: &Core) -> Vec<&Peer> {
    let mut peers: Vec<_> = core.peers.iter().collect();
    peers.sort_unstable_by_key(|(connection, _)| **connection);
    peers.into_iter().map(|(_, peer)| peer).collect()
}

fn clients(text: &mut String, core: &Core) -> std::fmt::Result {
    sorted(core).into_iter().try_for_each(|peer| {
        let sent = peer.counters;
        writeln!(text, " /{}[1](queued=0,recved={},sent={})", peer.address, sent.received, sent.sent)
    })
}

fn connections(text: &mut String, core: &Core) -> std::fmt::Result {
    sorted(core).into_iter().try_for_each(|peer| {
        let sent = peer.counters;
        let (xid, operation) = peer.latest;
        let timeout = core.sessions.get(peer.session).map_or(0, |session| session.timeout);
        write!(text, " /{}[1](queued=0,recved={},sent={}", peer.address, sent.received, sent.sent)?;
        write!(text, ",sid={:#x},lop=", peer.session)?;
        match operation {
            Some(operation) => write!(text, "{operation:?}")?,
            None => write!(text, "NA")?,
        }
        writeln!(text, ",to={timeout},lcxid={xid:#x})")
    })
}

fn configuration(text: &mut String, core: &Core, port: u16) -> std::fmt::Result {
    let (shortest, longest) = core.sessions.limits();
    writeln!(text, "clientPort={port}\nsecureClientPort=-1")?;
    writeln!(text, "dataDir=\ndataDirSize=0\ndataLogDir=\ndataLogSize=0")?;
    writeln!(text, "tickTime={}\nmaxClientCnxns=0", core.limits.tick)?;
    writeln!(text, "minSessionTimeout={shortest}\nmaxSessionTimeout={longest}")?;
    writeln!(text, "clientPortListenBacklog=-1\nserverId=0")
}

fn monitor(text: &mut String, core: &Core) -> std::fmt::Result {
    let (watches, _, _) = core.watches.counts();
    writeln!(text, "zk_version\t{VERSION}")?;
    writeln!(text, "zk_server_state\tstandalone")?;
    let (shortest, longest) = core.sessions.limits();
    let figures: [(&str, i64); 13] = [
        ("zk_packets_received", figure(core.counters.received)),
        ("zk_packets_sent", figure(core.counters.sent)),
        ("zk_num_alive_connections", figure(core.peers.len())),
        ("zk_outstanding_requests", 0),
        ("zk_znode_count", figure(core.tree.len())),
        ("zk_watch_count", figure(watches)),
        ("zk_ephemerals_count", figure(core.tree.ephemeral_count())),
        ("zk_approximate_data_size", figure(core.tree.approximate_size())),
        ("zk_global_sessions", figure(core.sessions.len())),
        ("zk_last_zxid", core.zxid),
        ("zk_tick_time", core.limits.tick),
        ("zk_min_session_timeout", shortest.into()),
        ("zk_max_session_timeout", longest.into()),
    ];
    figures.into_iter().try_for_each(|(name, value)| writeln!(text, "{name}\t{value}"))
}

fn figure(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
