//! Three servers: their quorum, and the transactions that they have committed.

use std::time::Duration;

use atalaya_testbed::{Change, Ensemble, ZkProbe};

const SECONDS: Duration = Duration::from_secs(60);

#[test]
fn a_frozen_server_is_not_waited_for() {
    let mut ensemble = Ensemble::start();
    let frozen = ensemble.leader().unwrap();
    ensemble.server_mut(frozen).stop_process();
    ensemble.wait_for_quorum(SECONDS);
    assert_ne!(ensemble.leader().unwrap(), frozen);
    ensemble.server(frozen).continue_process();
    ensemble.wait_for_quorum(SECONDS);
}

#[test]
#[should_panic(expected = "1 of 3 servers cannot be a quorum")]
fn one_of_three_is_no_quorum() {
    let mut ensemble = Ensemble::start();
    ensemble.kill(0);
    ensemble.kill(2);
    ensemble.wait_for_quorum(SECONDS);
}

#[test]
fn what_was_committed_is_read_from_its_log_also_after_servers_were_killed() {
    let mut ensemble = Ensemble::start();
    let probe = ZkProbe::connect(&ensemble.connect_string());
    let session = probe.session_id();
    probe.create("/first", b"1", false).unwrap();
    for server in 0..3 {
        ensemble.kill(server);
        ensemble.wait_for_quorum(SECONDS);
        probe.set("/first", server.to_string().as_bytes()).unwrap();
        ensemble.restart(server);
        ensemble.wait_for_quorum(SECONDS);
    }
    probe.create("/mine", b"", true).unwrap();
    probe.delete("/first").unwrap();

    let journal = ensemble.journal(0);
    let mine: Vec<_> = journal.iter().filter(|transaction| transaction.session == session).collect();
    let changes: Vec<_> = mine.iter().flat_map(|transaction| transaction.changes.clone()).collect();
    let set = |data: &[u8]| Change::Set { path: "/first".into(), data: data.into() };
    let create = |path: &str, data: &[u8], ephemeral| Change::Create {
        path: path.into(),
        data: data.into(),
        ephemeral,
    };
    let expected = [
        create("/first", b"1", false),
        set(b"0"),
        set(b"1"),
        set(b"2"),
        create("/mine", b"", true),
        Change::Delete { path: "/first".into() },
    ];
    // A session that moved to another server may have been opened or renewed in between.
    let changes: Vec<_> = changes.into_iter().filter(|change| *change != Change::Opened).collect();
    assert_eq!(changes, expected);
    assert!(mine.windows(2).all(|pair| pair[0].zxid < pair[1].zxid && pair[0].time <= pair[1].time));
    let late = mine[mine.len() - 1].zxid;
    assert_eq!(ensemble.journal(late).first(), Some(mine[mine.len() - 1]));
}
