//! Failing stores, through the API: answers are 503 with `Retry-After`, nothing is acknowledged that is not stored,
//! nothing is stored twice, and the same collector works again once the cause is removed.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use atalaya_collector::{Store, open_store};
use atalaya_testbed::{Redis, SmallDisk};

use crate::common::ledger::{Sent, judge, kept, send};
use crate::common::{Running, eventually, open_to_all, refused};

/// Configuration that a store requires.
const KEEPING: &str = "appendonly yes\nappendfsync always";
/// Maximum duration of an answer: `Limits::answer`, with a margin for a busy machine.
const LIMIT: Duration = Duration::from_secs(15);

/// A collector, and the reports that it has acknowledged.
struct Trial {
    collector: Running,
    store: Arc<dyn Store>,
    name: String,
    acknowledged: BTreeSet<i64>,
    next: i64,
}

impl Trial {
    async fn of(name: String) -> Trial {
        let store = open_store(&name).unwrap();
        let collector = crate::common::run(Arc::clone(&store), open_to_all()).await;
        Trial { collector, store, name, acknowledged: BTreeSet::new(), next: 0 }
    }

    /// Starts a collector with this file, and sends the first reports.
    async fn file(path: &Path) -> Trial {
        let mut trial = Trial::of(format!("sqlite:{}", path.display())).await;
        trial.works().await;
        trial
    }

    /// Starts a Redis and a collector, and sends the first reports.
    async fn redis() -> (Redis, Trial) {
        let server = Redis::with(KEEPING);
        let mut trial = Trial::of(server.url()).await;
        trial.works().await;
        (server, trial)
    }

    /// Sends the next report, or the last one again if it was not acknowledged.
    async fn send(&mut self) -> Sent {
        let start = Instant::now();
        let sent = send(&self.collector.client, &self.collector.url("/api/v1/reports"), self.next).await;
        assert!(start.elapsed() < LIMIT, "answered after {:?}", start.elapsed());
        if matches!(sent, Sent::Recorded | Sent::Repeated) {
            self.acknowledged.insert(self.next);
            self.next += 1;
        }
        sent
    }

    async fn works(&mut self) {
        for _ in 0..5 {
            let sent = self.send().await;
            assert!(matches!(sent, Sent::Recorded | Sent::Repeated), "{sent:?}");
        }
        assert_eq!(self.collector.get("/readyz").send().await.unwrap().status(), 200);
    }

    /// Checks that the collector reports the failure, more than once.
    async fn fails(&mut self, why: &str) {
        for _ in 0..2 {
            assert_eq!(self.send().await, Sent::Unavailable, "{why}");
        }
        let problem = refused(self.collector.get("/readyz"), 503).await;
        assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
        assert_eq!(self.collector.get("/healthz").send().await.unwrap().status(), 200, "alive");
    }

    /// Waits until it works again without any action, and checks that all acknowledged reports are stored.
    async fn recovers(&mut self) {
        let sent = async || (self.send().await != Sent::Unavailable).then_some(());
        eventually("the collector recovers", LIMIT, sent).await;
        self.works().await;
        judge(&kept(&self.store).await, &self.acknowledged);
    }

    async fn recovers_and_ends(mut self) {
        self.recovers().await;
        self.collector.stop().await;
        let store = open_store(&self.name).unwrap();
        judge(&kept(&store).await, &self.acknowledged);
        store.close().await;
    }
}

#[tokio::test]
async fn file_on_a_full_disk() {
    let disk = SmallDisk::mount(1 << 20);
    let mut trial = Trial::file(&disk.path().join("reports.db")).await;
    let filling = disk.fill();
    // The write-ahead log may have space left from before.
    let full = loop {
        let sent = trial.send().await;
        if sent != Sent::Recorded {
            break sent;
        }
    };
    assert_eq!(full, Sent::Unavailable);
    trial.fails("full").await;
    judge(&kept(&trial.store).await, &trial.acknowledged);
    fs::remove_file(filling).unwrap();
    trial.recovers_and_ends().await;
}

/// File that another process should lock. Not set in the test itself.
const LOCK: &str = "COLLECTOR_TEST_LOCK";

/// Not a test: the entry point of the other process, which runs until its input ends.
#[test]
fn locker() {
    let Ok(path) = std::env::var(LOCK) else { return };
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    println!("\nlocked");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[tokio::test]
async fn file_that_another_process_locks() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let mut trial = Trial::file(&path).await;
    let mut locker = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "failing::locker", "--nocapture"])
        .env(LOCK, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(locker.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "locked"));
    trial.fails("locked").await;
    assert_eq!(trial.collector.means().await.len(), 5, "reads continue");
    drop(locker.stdin.take());
    locker.wait().unwrap();
    trial.recovers_and_ends().await;
}

fn parts(path: &Path) -> [PathBuf; 3] {
    ["", "-wal", "-shm"].map(|end| PathBuf::from(format!("{}{end}", path.display())))
}

#[tokio::test]
async fn file_that_is_damaged_and_restored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let mut trial = Trial::file(&path).await;
    trial.collector.stop.cancel();
    trial.collector.done.await.unwrap();
    let whole = fs::read(&path).unwrap();
    // The header is intact, the tables are not.
    let mut file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.seek(SeekFrom::Start(4096)).unwrap();
    file.write_all(&vec![0xa5; whole.len() - 4096]).unwrap();
    drop(file);
    trial.store = open_store(&trial.name).unwrap();
    trial.collector = crate::common::run(Arc::clone(&trial.store), open_to_all()).await;
    assert_eq!(trial.send().await, Sent::Unavailable);
    refused(trial.collector.get("/api/v1/reports"), 503).await;
    for part in &parts(&path)[1..] {
        let _ = fs::remove_file(part);
    }
    // A usual restore: the new file replaces the old one.
    fs::write(folder.path().join("whole"), &whole).unwrap();
    fs::rename(folder.path().join("whole"), &path).unwrap();
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn file_that_is_moved_away_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reports.db");
    let mut trial = Trial::file(&path).await;
    let away = folder.path().join("away");
    fs::create_dir(&away).unwrap();
    let moved = |from: &Path, to: &Path| {
        for part in parts(from) {
            let _ = fs::rename(&part, to.join(part.file_name().unwrap()));
        }
    };
    moved(&path, &away);
    // With a folder in its place the file can neither be opened nor created.
    fs::create_dir(&path).unwrap();
    trial.fails("opened").await;
    fs::remove_dir(&path).unwrap();
    moved(&away.join("reports.db"), folder.path());
    trial.recovers().await;
    // The file is deleted: reports that are acknowledged from now on are stored in a new one.
    for part in parts(&path) {
        let _ = fs::remove_file(part);
    }
    trial.acknowledged.clear();
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_that_is_killed() {
    let (mut server, mut trial) = Trial::redis().await;
    server.kill();
    trial.fails("reached").await;
    refused(trial.collector.get("/api/v1/reports"), 503).await;
    server.restart();
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_that_hangs() {
    let (mut server, mut trial) = Trial::redis().await;
    server.stop_process();
    trial.fails("answer").await;
    refused(trial.collector.get("/api/v1/reports"), 503).await;
    // Concurrent calls do not time out one after the other.
    let start = Instant::now();
    let url = trial.collector.url("/api/v1/reports");
    let all = (100..150).map(|cycle| send(&trial.collector.client, &url, cycle));
    let all = futures_util::future::join_all(all).await;
    assert!(all.iter().all(|sent| *sent == Sent::Unavailable), "{all:?}");
    assert!(start.elapsed() < LIMIT, "{:?}", start.elapsed());
    server.continue_process();
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_whose_memory_is_full() {
    let (server, mut trial) = Trial::redis().await;
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    trial.fails("memory of Redis is full").await;
    assert_eq!(trial.collector.means().await.len(), 5, "reads continue");
    judge(&kept(&trial.store).await, &trial.acknowledged);
    // Operations that free memory are still executed.
    let now = jiff::Timestamp::now();
    let horizon = atalaya_collector::store::Horizon { reports: now, hours: None };
    assert_eq!(trial.store.prune(horizon).await.unwrap(), 5);
    trial.acknowledged.clear();
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    trial.recovers().await;
    let url = trial.collector.url("/api/v1/reports");
    assert_eq!(send(&trial.collector.client, &url, 0).await, Sent::Repeated);
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_on_a_full_disk() {
    let disk = SmallDisk::mount(2 << 20);
    let mut server = Redis::in_folder(disk.path(), KEEPING);
    let mut trial = Trial::of(server.url()).await;
    trial.works().await;
    let filling = disk.fill();
    while trial.send().await == Sent::Recorded {}
    // Redis exits by itself, because it cannot store its data.
    trial.fails("reached").await;
    assert!(!server.is_running());
    fs::remove_file(filling).unwrap();
    server.restart();
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_that_is_restarted_without_data() {
    let (mut server, mut trial) = Trial::redis().await;
    server.kill();
    server.lose_all();
    server.restart();
    // The lost data cannot be recovered; everything that is acknowledged from now on must be stored.
    trial.acknowledged.clear();
    trial.recovers().await;
    server.kill();
    server.restart();
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_that_becomes_a_replica() {
    let server = Redis::with(KEEPING);
    let other = Redis::with(KEEPING);
    let mut trial = Trial::of(server.url()).await;
    trial.works().await;
    let held = kept(&trial.store).await;
    server.ask(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    trial.fails("replica").await;
    server.ask(&["REPLICAOF", "NO", "ONE"]);
    // The server may have replicated the other one's data, which is empty.
    if kept(&trial.store).await != held {
        trial.acknowledged.clear();
    }
    trial.recovers_and_ends().await;
}

#[tokio::test]
async fn redis_that_cannot_save() {
    let (server, mut trial) = Trial::redis().await;
    // A folder replaces the dump file. Redis then refuses writes, because it is configured to save periodically.
    let file = server.folder().join("dump.rdb");
    fs::create_dir(&file).unwrap();
    server.ask(&["CONFIG", "SET", "save", "3600 1000000"]);
    let saved = |how: &str| {
        server.ask(&["BGSAVE"]);
        atalaya_testbed::eventually("Redis has tried to save", LIMIT, || {
            let info = server.ask(&["INFO", "persistence"]);
            let done = info.contains("rdb_bgsave_in_progress:0") && info.contains(how);
            done.then_some(())
        });
    };
    saved("rdb_last_bgsave_status:err");
    trial.fails("cannot write to its disk").await;
    fs::remove_dir(&file).unwrap();
    saved("rdb_last_bgsave_status:ok");
    trial.recovers_and_ends().await;
}
