//! A single server: it serves, survives faults, and never outlives the test.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use atalaya_testbed::{Process, ZkProbe, ZooKeeper, eventually};

const SECONDS: Duration = Duration::from_secs(30);

#[test]
fn serves_with_short_sessions_allowed() {
    let zookeeper = ZooKeeper::start();
    assert_eq!(zookeeper.mode().as_deref(), Some("standalone"));
    assert_eq!(zookeeper.four("ruok"), "imok");
    assert!(zookeeper.four("mntr").contains("zk_server_state\tstandalone"));
    let configuration = zookeeper.four("conf");
    assert!(configuration.contains("minSessionTimeout=1000"), "{configuration}");
    assert!(configuration.contains("tickTime=500"), "{configuration}");
    assert!(zookeeper.connect_string().ends_with(&format!(":{}", zookeeper.port())));
}

#[test]
fn killed_and_restarted_on_the_same_port_with_the_same_data() {
    let mut zookeeper = ZooKeeper::with_tick(1_000);
    let (port, pid) = (zookeeper.port(), zookeeper.pid());
    let probe = ZkProbe::connect(&zookeeper.connect_string());
    probe.create("/kept/over/the/restart", b"data", false).unwrap();
    let (_, before) = probe.get("/kept/over/the/restart").unwrap();
    zookeeper.kill();
    assert!(!zookeeper.is_up());
    assert_eq!(zookeeper.try_four("ruok"), None);
    zookeeper.restart();
    assert_eq!(zookeeper.port(), port);
    assert_ne!(zookeeper.pid(), pid);
    assert_eq!(probe.get("/kept/over/the/restart"), Some((b"data".to_vec(), before)));
}

#[test]
fn frozen_it_answers_nobody_and_goes_on_afterwards() {
    let mut zookeeper = ZooKeeper::start();
    zookeeper.stop_process();
    assert_eq!(zookeeper.try_four("ruok"), None);
    zookeeper.continue_process();
    eventually("it answers again", SECONDS, || zookeeper.try_four("ruok").filter(|answer| answer == "imok"));
}

#[test]
fn several_at_once_do_not_collide() {
    let servers: Vec<_> = std::thread::scope(|scope| {
        let starts: Vec<_> = (0..3).map(|_| scope.spawn(ZooKeeper::start)).collect();
        starts.into_iter().map(|start| start.join().unwrap()).collect()
    });
    // Each outlives the thread that started it, and only its own clients reach it.
    for (i, server) in servers.iter().enumerate() {
        assert_eq!(server.four("ruok"), "imok");
        ZkProbe::connect(&server.connect_string()).create(&format!("/{i}"), b"", false).unwrap();
    }
    for (i, server) in servers.iter().enumerate() {
        assert_eq!(
            ZkProbe::connect(&server.connect_string()).ls("/"),
            [i.to_string(), "zookeeper".to_owned()]
        );
    }
}

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
    command.args(["killed_with_the_process_that_owns_it", "--exact", "--nocapture"]).env(OWNER, "1");
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
