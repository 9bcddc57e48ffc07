//! Four-letter words, for people and for monitoring, and for Kazoo, which reads the version from `envi`. Used by
//! connections whose first bytes are one of them. The words that list sessions and watches are in [`lists`].
//!
//! Latencies are not measured; the lines exist because programs look for them. The same holds for folders.

mod lists;

use std::fmt::Write as _;

use super::Settings;
use super::state_machine::{Counters, Now, Peer, StateMachine};

/// Reported version: the behaviour is that of Apache ZooKeeper 3.8.
const VERSION: &str =
    concat!("3.8.0-atalaya-zookeeper-", env!("CARGO_PKG_VERSION"), ", built on 01/01/1970 00:00 UTC");

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
pub(crate) fn answer(word: &str, state: &mut StateMachine, port: u16, now: Now) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = match word {
        "ruok" => write!(text, "imok"),
        "isro" => write!(text, "rw"),
        "envi" => writeln!(text, "Environment:\nzookeeper.version={VERSION}"),
        "cons" => connections(&mut text, state).and_then(|()| writeln!(text)),
        "stat" => writeln!(text, "Zookeeper version: {VERSION}\nClients:")
            .and_then(|()| clients(&mut text, state))
            .and_then(|()| writeln!(text))
            .and_then(|()| server(&mut text, state)),
        "srvr" => writeln!(text, "Zookeeper version: {VERSION}").and_then(|()| server(&mut text, state)),
        "mntr" => monitor(&mut text, state),
        "conf" => configuration(&mut text, state, port),
        "dump" => lists::dump(&mut text, state, now),
        "wchs" => lists::watch_summary(&mut text, state),
        "wchc" => lists::watches_by_session(&mut text, state),
        "wchp" => lists::watches_by_path(&mut text, state),
        "srst" => {
            state.counters = Counters::default();
            writeln!(text, "Server stats reset.")
        }
        "crst" => {
            for peer in state.peers.values_mut() {
                (peer.counters, peer.last_request) = (Counters::default(), (0, None));
            }
            writeln!(text, "Connection stats reset.")
        }
        _ => Ok(()),
    };
    text
}

fn server(text: &mut String, state: &StateMachine) -> std::fmt::Result {
    writeln!(text, "Latency min/avg/max: 0/0.0/0")?;
    writeln!(text, "Received: {}", state.counters.received)?;
    writeln!(text, "Sent: {}", state.counters.sent)?;
    writeln!(text, "Connections: {}", state.peers.len())?;
    writeln!(text, "Outstanding: 0")?;
    writeln!(text, "Zxid: {:#x}", state.zxid)?;
    writeln!(text, "Mode: standalone")?;
    writeln!(text, "Node count: {}", state.tree.len())
}

/// Returns the connections in order of arrival.
fn sorted_peers(state: &StateMachine) -> Vec<&Peer> {
    let mut peers: Vec<_> = state.peers.iter().collect();
    peers.sort_unstable_by_key(|(connection, _)| **connection);
    peers.into_iter().map(|(_, peer)| peer).collect()
}

fn clients(text: &mut String, state: &StateMachine) -> std::fmt::Result {
    sorted_peers(state).into_iter().try_for_each(|peer| {
        let Counters { received, sent } = peer.counters;
        writeln!(text, " /{}[1](queued=0,recved={received},sent={sent})", peer.address)
    })
}

fn connections(text: &mut String, state: &StateMachine) -> std::fmt::Result {
    sorted_peers(state).into_iter().try_for_each(|peer| {
        let Counters { received, sent } = peer.counters;
        let (xid, operation) = peer.last_request;
        let timeout = state.sessions.get(peer.session).map_or(0, |session| session.timeout);
        write!(text, " /{}[1](queued=0,recved={received},sent={sent}", peer.address)?;
        write!(text, ",sid={:#x},lop=", peer.session)?;
        match operation {
            Some(operation) => write!(text, "{operation:?}")?,
            None => write!(text, "NA")?,
        }
        writeln!(text, ",to={timeout},lcxid={xid:#x})")
    })
}

fn configuration(text: &mut String, state: &StateMachine, port: u16) -> std::fmt::Result {
    let Settings { tick, min_timeout, max_timeout, .. } = state.settings;
    writeln!(text, "clientPort={port}\nsecureClientPort=-1")?;
    writeln!(text, "dataDir=\ndataDirSize=0\ndataLogDir=\ndataLogSize=0")?;
    writeln!(text, "tickTime={tick}\nmaxClientCnxns=0")?;
    writeln!(text, "minSessionTimeout={min_timeout}\nmaxSessionTimeout={max_timeout}")?;
    writeln!(text, "clientPortListenBacklog=-1\nserverId=0")
}

fn monitor(text: &mut String, state: &StateMachine) -> std::fmt::Result {
    let (watches, _, _) = state.watches.counts();
    writeln!(text, "zk_version\t{VERSION}")?;
    writeln!(text, "zk_server_state\tstandalone")?;
    let Settings { tick, min_timeout, max_timeout, .. } = state.settings;
    let values: [(&str, i64); 13] = [
        ("zk_packets_received", to_i64(state.counters.received)),
        ("zk_packets_sent", to_i64(state.counters.sent)),
        ("zk_num_alive_connections", to_i64(state.peers.len())),
        ("zk_outstanding_requests", 0),
        ("zk_znode_count", to_i64(state.tree.len())),
        ("zk_watch_count", to_i64(watches)),
        ("zk_ephemerals_count", to_i64(state.tree.ephemeral_count())),
        ("zk_approximate_data_size", to_i64(state.tree.approximate_size())),
        ("zk_global_sessions", to_i64(state.sessions.len())),
        ("zk_last_zxid", state.zxid),
        ("zk_tick_time", tick),
        ("zk_min_session_timeout", min_timeout.into()),
        ("zk_max_session_timeout", max_timeout.into()),
    ];
    values.into_iter().try_for_each(|(name, value)| writeln!(text, "{name}\t{value}"))
}

fn to_i64(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
