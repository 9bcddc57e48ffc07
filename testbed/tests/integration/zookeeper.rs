//! A single server never outlives the test.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, ZooKeeper, eventually};

const SECONDS: Duration = Duration::from_secs(30);

#[test]
fn dropped_it_is_gone_with_its_folder() {
    let zookeeper = ZooKeeper::start();
    let pid = zookeeper.pid();
    drop(zookeeper);
    assert!(!is_alive(pid));
}

/// Set in the copy of this test that owns a server until it is killed.
#[cfg(target_os = "linux")]
const OWNER: &str = "ATALAYA_TESTBED_OWNER";

#[test]
#[cfg(target_os = "linux")]
fn killed_with_the_process_that_owns_it() {
    if std::env::var_os(OWNER).is_some() {
        let zookeeper = ZooKeeper::start();
        println!("\nowned {}", zookeeper.pid());
        loop {
            std::thread::park();
        }
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["zookeeper::killed_with_the_process_that_owns_it", "--exact", "--nocapture"])
        .env(OWNER, "1");
    let mut owner = Process::spawn(command);
    let line = owner.wait_for_line("owned ", Duration::from_secs(90));
    let pid: u32 = line.text["owned ".len()..].parse().unwrap();
    assert!(is_alive(pid));
    let killed = Instant::now();
    owner.kill9();
    eventually("the server is gone", SECONDS, || (!is_alive(pid)).then_some(()));
    assert!(killed.elapsed() < Duration::from_secs(5));
}

fn is_alive(pid: u32) -> bool {
    // A zombie that is not reaped yet is not alive.
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"));
    status.is_ok_and(|status| !status.contains(") Z "))
}
