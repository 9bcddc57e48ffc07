//! The lease: a leader that loses contact with ZooKeeper stops before ZooKeeper lets another one lead.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::{Election, Session, SessionOptions, Standing};
use atalaya_testbed::{Process, eventually};

use crate::support::election::{DEADLINE, ELECTION, SLACK, SYNC, TIMEOUT, TestBed};

#[test]
fn leader_stops_before_its_znode_is_removed_when_the_network_freezes() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let observer = bed.connection();
    let proxy = bed.proxy();
    let leader = bed.contender("leader", &proxy);
    let leader_run = leader.until_leading();
    let next = bed.direct_contender("next");
    next.until(Standing::Waiting { ahead: 1 });
    let (stat, watcher) = bed.wait(observer.stat_and_watch(&leader_run.znode)).unwrap();
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
    assert_eq!(leader.run_log.runs().len(), 1);
    next.finish(&bed);
    leader.until_leading();
}

/// As with a closed laptop: all timers pause, the state after the wake-up is still "connected", and the leader code
/// must not run again because of that.
#[test]
fn leader_does_not_run_on_after_its_process_was_stopped() {
    if let Ok(servers) = std::env::var(SERVERS) {
        return leads_at(&servers);
    }
    let (bed, proxy) = TestBed::behind_proxy();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["leader_does_not_run_on_after_its_process_was_stopped", "--nocapture"]);
    command.env(SERVERS, proxy.connect_string());
    let mut leader = Process::start(command, "ran", DEADLINE);
    let next = bed.direct_contender("next");
    next.until(Standing::Waiting { ahead: 1 });

    leader.stop();
    // Without the freeze, the closed connection would tell the process what a machine that was asleep does not know.
    proxy.freeze(true);
    let next_began = next.until_leading().from;
    leader.cont();
    leader.wait_for_line("ended", DEADLINE);
    proxy.freeze(false);
    leader.wait_for_line("waiting", DEADLINE);
    let log = leader.log();
    let ran = log.iter().rev().find(|line| line.text == "ran").unwrap();
    assert!(ran.at < next_began, "it ran {:?} beside the next", ran.at - next_began);
}

/// The connect string for the copy of this test that leads and is stopped. Set only in that copy.
const SERVERS: &str = "ATALAYA_TEST_SERVERS";

/// Contends in the election, and prints a line whenever its leader code runs.
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
        let session = Session::start(SessionOptions::new(servers, TIMEOUT));
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
            // Ends when the reader of the pipe is gone.
            while writeln!(std::io::stdout(), "\nran").is_ok() {
                tick.tick().await;
            }
        };
        tokio::join!(waiting, election.run(lead));
    });
}

/// A ZooKeeper follower that has lost its ensemble answers pings for a while, although the ensemble may have ended the
/// session.
#[test]
fn leader_stops_when_its_server_answers_only_pings() {
    let (bed, proxy) = TestBed::behind_proxy();
    let leader = bed.contender("leader", &proxy);
    let leader_run = leader.until_leading();
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
    assert_eq!(
        (again.fencing_token, leader.session.state().connection),
        (leader_run.fencing_token, connection)
    );
}

#[test]
fn healthy_leader_renews_its_lease() {
    let bed = TestBed::apache();
    let leader = bed.direct_contender("leader");
    let leader_run = leader.until_leading();
    eventually("it has led for longer than a session may last", DEADLINE, || {
        let now = leader.run_log.runs().pop()?;
        (now.poll_times - now.from > TIMEOUT * 3 / 2).then_some(())
    });
    assert_eq!(leader.until_leading().from, leader_run.from, "its lease was not renewed");
}
