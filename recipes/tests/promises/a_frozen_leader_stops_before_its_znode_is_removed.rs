//! The lease: whoever cannot hear from ZooKeeper stops leading by itself, before ZooKeeper lets another one lead.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Session, SessionOptions, Standing};
use atalaya_testbed::{Process, eventually};

use crate::support::{Bed, ELECTION, SLACK, SOON, SYNC, TIMEOUT};

#[test]
fn when_the_network_freezes() {
    let bed = Bed::start();
    let probe = bed.probe();
    let witness = bed.connection();
    let proxy = bed.proxy();
    let leader = bed.contender("leader", &proxy);
    let reign = leader.until_leading();
    let next = bed.contender_beside("next");
    next.until(Standing::Waiting { ahead: 1 });
    let (stat, watcher) = bed.wait(witness.stat_and_watch(&reign.znode)).unwrap();
    assert!(stat.is_some());
    let removed = bed.spawn(async move {
        watcher.changed().await;
        Instant::now()
    });

    let frozen = Instant::now();
    proxy.freeze(true);
    let removed = bed.wait(removed).unwrap();
    let ended = leader.until_ended(1).to.unwrap();
    let next_began = next.until_leading().from;
    assert!(
        ended < removed && ended < next_began,
        "it led on {:?} too long",
        ended - removed.min(next_began)
    );
    assert!(ended - frozen < TIMEOUT * 6 / 10 + SLACK / 4, "{:?}", ended - frozen);
    assert!(leader.is(Standing::Inactive));

    proxy.freeze(false);
    leader.until(Standing::Waiting { ahead: 1 });
    assert_eq!(probe.contenders(ELECTION), ["next", "leader"]);
    assert_eq!(leader.journal.reigns().len(), 1);
    next.finish(&bed);
    leader.until_leading();
}

/// As a laptop's lid does it: all its timers stand still, its state still says "connected" when it wakes up, and the
/// leader's code must not run again on the strength of that.
#[test]
fn when_its_whole_process_stands_still() {
    if let Ok(servers) = std::env::var(SERVERS) {
        return leads_at(&servers);
    }
    let bed = Bed::start();
    let proxy = bed.proxy();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["when_its_whole_process_stands_still", "--nocapture"]);
    command.env(SERVERS, proxy.connect_string());
    let mut leader = Process::spawn(command);
    leader.wait_for_line("ran", SOON);
    let next = bed.contender_beside("next");
    next.until(Standing::Waiting { ahead: 1 });

    leader.stop();
    // The server's goodbye would wake it up wiser than a machine that was asleep.
    proxy.freeze(true);
    let next_began = next.until_leading().from;
    leader.cont();
    leader.wait_for_line("ended", SOON);
    proxy.freeze(false);
    leader.wait_for_line("waiting", SOON);
    let log = leader.log();
    let ran = log.iter().rev().find(|line| line.text == "ran").unwrap();
    assert!(ran.at < next_began, "it ran {:?} beside the next", ran.at - next_began);
}

/// Where the copy of this test that leads, and is stopped, finds ZooKeeper. Set in that copy only.
const SERVERS: &str = "ATALAYA_TEST_SERVERS";

/// Stands in the election there, and says whenever its leader's code runs.
fn leads_at(servers: &str) {
    struct Ended;
    impl Drop for Ended {
        fn drop(&mut self) {
            println!("\nended");
        }
    }
    let servers = servers.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = Session::start(SessionOptions { servers, timeout: TIMEOUT });
        let election = Election::new(session, ELECTION, "leader", Naming::Kazoo);
        let mut standing = election.standing();
        let waiting = async {
            let waits = |standing: &Standing| matches!(standing, Standing::Waiting { .. });
            standing.wait_for(waits).await.unwrap();
            println!("\nwaiting");
        };
        let lead = |_| async {
            let _ended = Ended;
            let mut tick = tokio::time::interval(Duration::from_millis(5));
            // For as long as somebody listens.
            while writeln!(std::io::stdout(), "\nran").is_ok() {
                tick.tick().await;
            }
        };
        tokio::join!(waiting, election.run(lead));
    });
}

/// A follower that has lost its ensemble answers pings for a while; the session may be over on the other side.
#[test]
fn when_its_server_answers_pings_only() {
    let bed = Bed::start();
    let proxy = bed.proxy();
    let leader = bed.contender("leader", &proxy);
    let reign = leader.until_leading();
    let connection = leader.session.state().connection;
    let muted = Instant::now();
    proxy.mute(Some(SYNC));
    let ended = leader.until_ended(1).to.unwrap();
    assert!(ended - muted < TIMEOUT / 2 + SLACK, "{:?}", ended - muted);
    assert_eq!(
        leader.session.state().connection,
        connection,
        "the lease should have ended it, not a disconnect"
    );
    proxy.mute(None);
    let again = leader.until_leading();
    assert_eq!((again.term, leader.session.state().connection), (reign.term, connection));
}

#[test]
fn and_a_healthy_one_leads_on() {
    let bed = Bed::start();
    let leader = bed.contender_beside("leader");
    let reign = leader.until_leading();
    eventually("it has led for longer than a session may last", SOON, || {
        let now = leader.journal.reigns().pop()?;
        (now.polled - now.from > TIMEOUT * 3 / 2).then_some(())
    });
    assert_eq!(leader.until_leading().from, reign.from, "its lease was not renewed");
}
