//! A holder that loses ZooKeeper knows that before ZooKeeper lets the next contender acquire the lock.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_recipes::{Guard, Lock, Session, SessionOptions};
use atalaya_testbed::{Ensemble, Process, ZkProbe};

use crate::support::election::{DEADLINE, TIMEOUT, TestBed, wait_until};

const LOCK: &str = "/locks/crane";

fn acquire(bed: &TestBed, session: &Session, name: &str) -> Guard {
    bed.wait(Lock::new(session.clone(), LOCK, name).acquire()).unwrap()
}

#[test]
fn holder_loses_its_guard_before_the_next_acquires_when_the_network_freezes() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let holder = acquire(&bed, &bed.session_to(&proxy.connect_string()), "holder");
    let next = Lock::new(bed.connection().session().clone(), LOCK, "next");
    let (znode, fence) = (holder.znode().to_owned(), holder.fencing_token());
    let lost = bed.spawn(async move {
        holder.lost().await;
        (Instant::now(), holder)
    });
    let next = bed.spawn(async move { (next.acquire().await.unwrap(), Instant::now()) });
    wait_until("the next one waits", || probe.ls(LOCK).len() == 2);
    let frozen = Instant::now();
    proxy.freeze(true);
    let (lost, holder) = bed.wait(lost).unwrap();
    let (next, entered) = bed.wait(next).unwrap();
    assert!(lost < entered, "two held for {:?}", lost - entered);
    assert!(lost - frozen < TIMEOUT, "{:?}", lost - frozen);
    assert!(next.holds() && !holder.holds() && next.fencing_token() > fence);
    // After the freeze, the old holder does not delete the new holder's znode.
    proxy.freeze(false);
    drop(holder);
    wait_until("its znode is gone", || probe.exists(&znode).is_none());
    assert!(next.holds());
}

/// As with a closed laptop: after the wake-up the connection still looks established, but the guard must not hold.
#[test]
fn holder_does_not_hold_after_its_process_was_stopped() {
    if let Ok(servers) = std::env::var(SERVERS) {
        return holds_at(&servers);
    }
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "lock::handover::holder_does_not_hold_after_its_process_was_stopped",
        "--exact",
        "--nocapture",
    ]);
    command.env(SERVERS, proxy.connect_string());
    let mut holder = Process::start(command, "holds", DEADLINE);
    let next = Lock::new(bed.connection().session().clone(), LOCK, "next");
    let next = bed.spawn(async move { (next.acquire().await.unwrap(), Instant::now()) });
    wait_until("the next one waits", || probe.ls(LOCK).len() == 2);

    holder.stop();
    // Without the freeze, the closed connection would tell the process what a machine that was asleep does not know.
    proxy.freeze(true);
    let (next, entered) = bed.wait(next).unwrap();
    holder.cont();
    holder.wait_for_line("lost", DEADLINE);
    proxy.freeze(false);
    let log = holder.log();
    let held = log.iter().rev().find(|line| line.text == "holds").unwrap();
    assert!(held.at < entered, "it held {:?} beside the next", held.at - entered);
    assert!(next.holds());
}

/// The connect string for the copy of this test that holds the lock and is stopped. Set only in that copy.
const SERVERS: &str = "ATALAYA_TEST_LOCK_SERVERS";

/// Acquires the lock and prints a line for as long as it holds.
fn holds_at(servers: &str) {
    let servers = servers.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = Session::start(SessionOptions::new(servers, TIMEOUT));
        let guard = Lock::new(session, LOCK, "holder").acquire().await.unwrap();
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        // Ends when the reader of the pipe is gone.
        while guard.holds() && writeln!(std::io::stdout(), "\nholds").is_ok() {
            tick.tick().await;
        }
        println!("\nlost");
        guard.lost().await;
    });
}

#[test]
fn holder_loses_its_guard_when_its_server_is_killed() {
    let mut bed = TestBed::apache();
    let session = bed.connection().session().clone();
    let holder = acquire(&bed, &session, "holder");
    let fence = holder.fencing_token();
    bed.zookeeper().kill();
    bed.wait(holder.lost());
    assert!(!holder.holds());
    drop(holder);
    bed.zookeeper().restart();
    // In the same or in another session: the znode of the first guard is not in the way.
    let next = bed.wait(Lock::new(session, LOCK, "next").acquire_within(DEADLINE)).unwrap().unwrap();
    assert!(next.holds() && next.fencing_token() > fence);
}

/// Kills the one server of three that the holder knows: once the ensemble's leader, once a follower. The next contender
/// uses another server.
#[test]
fn holder_loses_its_guard_when_its_server_of_three_is_killed() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _inside = runtime.enter();
    let mut ensemble = Ensemble::start();
    let start = |servers: String| Session::start(SessionOptions::new(servers.parse().unwrap(), TIMEOUT));
    for of_the_leader in [true, false] {
        let leader = ensemble.leader().unwrap();
        let killed = if of_the_leader { leader } else { (leader + 1) % 3 };
        let stays = (leader + 2) % 3;
        let session = start(ensemble.server(killed).connect_string());
        let (holder, next) = runtime.block_on(async {
            let holder = Lock::new(session, LOCK, "holder").acquire_within(DEADLINE).await.unwrap().unwrap();
            (holder, Lock::new(start(ensemble.server(stays).connect_string()), LOCK, "next"))
        });
        let fence = holder.fencing_token();
        let next = runtime.spawn(async move { (next.acquire().await.unwrap(), Instant::now()) });
        let probe = ZkProbe::connect(&ensemble.server(stays).connect_string());
        wait_until("the next one waits", || probe.ls(LOCK).len() == 2);
        let lost = runtime.spawn(async move {
            holder.lost().await;
            (Instant::now(), holder)
        });
        ensemble.kill(killed);
        let both = async { (lost.await.unwrap(), next.await.unwrap()) };
        let ((lost, holder), (next, entered)) =
            runtime.block_on(async { tokio::time::timeout(DEADLINE, both).await.unwrap() });
        assert!(lost < entered, "two held for {:?}", lost - entered);
        assert!(!holder.holds() && next.fencing_token() > fence);
        runtime.block_on(next.release());
        ensemble.restart(killed);
        ensemble.wait_for_quorum(DEADLINE);
    }
}

#[test]
fn dropped_guard_releases_the_lock_at_once() {
    let bed = TestBed::apache();
    let sessions = [bed.connection().session().clone(), bed.connection().session().clone()];
    let mut fence = 0;
    for turn in 0..20 {
        let start = Instant::now();
        let guard = acquire(&bed, &sessions[turn % 2], "turn");
        assert!(guard.fencing_token() > fence);
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        fence = guard.fencing_token();
    }
}
