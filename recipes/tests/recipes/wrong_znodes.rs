//! Znodes of the wrong type on the paths of recipes: each is reported, no recipe deletes it, and none spins on it.

use std::time::Duration;

use atalaya_recipes::node_names::Naming;
use atalaya_recipes::queue::DEFAULT_PRIORITY;
use atalaya_recipes::session::CreateMode;
use atalaya_recipes::{
    Barrier, Counter, DoubleBarrier, Election, Lease, LeaseError, Lock, LockingQueue, Party, Queue,
    ReadWriteLock, Semaphore, Session, Standing, WrongZnode, ZnodeProblem,
};

use crate::refusals::received;
use crate::support::{DEADLINE, Logs, TestBed};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// Creates a znode and its parents.
fn create(bed: &TestBed, path: &str, data: &[u8], mode: CreateMode) -> Session {
    let connection = bed.connection();
    bed.wait(async {
        if let Some((parent, _)) = path.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            connection.ensure(parent).await.unwrap();
        }
        connection.create(path, data, mode).await.unwrap();
    });
    connection.session().clone()
}

/// Waits until `session` reports this znode, and no other.
fn until_reported(bed: &TestBed, session: &Session, path: &str, problem: ZnodeProblem) {
    let mut newest = session.wrong_znodes();
    let expected = WrongZnode::new(path, problem);
    bed.wait(newest.wait_for(|wrong| wrong.len() == 1 && wrong.contains(&expected))).unwrap();
}

fn until_nothing_is_reported(bed: &TestBed, session: &Session) {
    bed.wait(session.wrong_znodes().wait_for(|wrong| wrong.is_empty())).unwrap();
}

fn delete(bed: &TestBed, path: &str) {
    let connection = bed.connection();
    bed.wait(connection.delete(path, None)).unwrap();
}

fn assert_exists(bed: &TestBed, path: &str) {
    let connection = bed.connection();
    assert!(bed.wait(connection.stat(path)).unwrap().is_some(), "{path} was deleted");
}

/// Asserts that one warning names the path and the command that deletes it.
#[track_caller]
fn assert_warned_once(logs: &Logs, path: &str) {
    let warnings = logs.warnings();
    let remedy = format!("deleteall {path}");
    assert_eq!(warnings.iter().filter(|line| line.contains(&remedy)).count(), 1, "{warnings:#?}");
}

fn contender_reports_the_persistent_znode_that_it_waits_for(bed: &TestBed) {
    for (number, kind) in [CreateMode::Persistent, CreateMode::Container].into_iter().enumerate() {
        let parent = format!("/election{number}");
        let squatter = format!("{parent}/{TOKEN}__lock__0000000000");
        create(bed, &squatter, b"", kind);
        create(bed, &format!("{parent}/other"), b"", CreateMode::Persistent);
        let session = bed.session();
        let election = Election::new(session.clone(), &parent, "1", Naming::Kazoo);
        let mut standing = election.standing();
        let logs = Logs::default();
        bed.spawn(logs.of(election.run(|_| std::future::pending::<()>())));
        until_reported(bed, &session, &squatter, ZnodeProblem::NotEphemeral);
        assert_eq!(*standing.borrow_and_update(), Standing::Waiting { ahead: 1 });
        // It reads again, but does not log again.
        let connection = bed.connection();
        bed.wait(connection.set(&squatter, b"new", None)).unwrap();
        assert_warned_once(&logs, &squatter);
        assert_exists(bed, &squatter);
        delete(bed, &squatter);
        bed.wait(standing.wait_for(|standing| *standing == Standing::Leading)).unwrap();
        assert_warned_once(&logs, &squatter);
        until_nothing_is_reported(bed, &session);
    }
}

fn locks_report_the_persistent_znode_that_they_wait_for(bed: &TestBed) {
    let squatter = format!("/lock/{TOKEN}__lock__0000000000");
    create(bed, &squatter, b"", CreateMode::Persistent);
    let session = bed.session();
    let (lock, read) = (
        Lock::new(session.clone(), "/lock", "a"),
        ReadWriteLock::new(session.clone(), "/lock", "a").read_lock(),
    );
    let waiting = bed.spawn(async move { lock.acquire().await.map(drop) });
    until_reported(bed, &session, &squatter, ZnodeProblem::NotEphemeral);
    waiting.abort();
    until_nothing_is_reported(bed, &session);
    let waiting = bed.spawn(async move { read.acquire_within(DEADLINE).await.map(|guard| guard.is_some()) });
    until_reported(bed, &session, &squatter, ZnodeProblem::NotEphemeral);
    assert_exists(bed, &squatter);
    delete(bed, &squatter);
    assert!(bed.wait(waiting).unwrap().unwrap());
}

fn try_lock_logs_the_persistent_znode_in_the_way(bed: &TestBed) {
    let squatter = format!("/lock/{TOKEN}__lock__0000000000");
    create(bed, &squatter, b"", CreateMode::Persistent);
    let session = bed.session();
    bed.wait(session.connection());
    let logs = Logs::default();
    // The task of the lock runs outside this future, so its log is not captured.
    let taken = bed.wait(logs.of(async {
        let mut newest = session.wrong_znodes();
        newest.mark_unchanged();
        let lock = Lock::new(session.clone(), "/lock", "a");
        (lock.try_acquire().await.unwrap().is_none(), newest.has_changed().unwrap())
    }));
    assert_eq!(taken, (true, true), "taken, and reported while waiting");
}

fn semaphore_reports_persistent_places_and_contenders(bed: &TestBed) {
    let permit = format!("/semaphore/{TOKEN}");
    create(bed, &permit, b"", CreateMode::Persistent);
    let session = bed.session();
    let semaphore = Semaphore::new(session.clone(), "/semaphore", "a", 1);
    let acquiring = semaphore.clone();
    let waiting =
        bed.spawn(async move { acquiring.acquire_within(DEADLINE).await.map(|guard| guard.is_some()) });
    until_reported(bed, &session, &permit, ZnodeProblem::NotEphemeral);
    assert_exists(bed, &permit);
    delete(bed, &permit);
    assert!(bed.wait(waiting).unwrap().unwrap());
    let squatter = format!("/semaphore-__lock__/{TOKEN}__lock__0000000000");
    create(bed, &squatter, b"", CreateMode::Persistent);
    let waiting =
        bed.spawn(async move { semaphore.acquire_within(DEADLINE).await.map(|guard| guard.is_some()) });
    until_reported(bed, &session, &squatter, ZnodeProblem::NotEphemeral);
    delete(bed, &squatter);
    assert!(bed.wait(waiting).unwrap().unwrap());
}

fn party_reports_persistent_members(bed: &TestBed) {
    for shallow in [false, true] {
        let path = if shallow { "/shallow" } else { "/party" };
        let member = format!("{path}/{TOKEN}{}", if shallow { "-x" } else { "__party__" });
        create(bed, &member, b"x", CreateMode::Persistent);
        let session = bed.session();
        let party = match shallow {
            true => Party::shallow(session.clone(), path, "a"),
            false => Party::new(session.clone(), path, "a"),
        };
        bed.spawn(async move { party.follow(|_| {}).await });
        until_reported(bed, &session, &member, ZnodeProblem::NotEphemeral);
        delete(bed, &member);
        until_nothing_is_reported(bed, &session);
    }
}

fn double_barrier_reports_a_persistent_member(bed: &TestBed) {
    let member = format!("/together/{TOKEN}");
    create(bed, &member, b"x", CreateMode::Persistent);
    let session = bed.session();
    let barrier = DoubleBarrier::new(session.clone(), "/together", 3, "a");
    bed.spawn(async move { barrier.enter(DEADLINE).await.map(drop) });
    until_reported(bed, &session, &member, ZnodeProblem::NotEphemeral);
    assert_exists(bed, &member);
}

fn queue_skips_and_reports_an_entry_with_children(bed: &TestBed) {
    let child = "/queue/entry-000-0000000000/child";
    create(bed, child, b"", CreateMode::Persistent);
    let session = bed.session();
    let queue = Queue::new(session.clone(), "/queue");
    bed.wait(async {
        assert_eq!(queue.take().await.unwrap(), None);
        queue.put(b"good", DEFAULT_PRIORITY).await.unwrap();
        assert_eq!(queue.take().await.unwrap().as_deref(), Some(&b"good"[..]));
    });
    until_reported(bed, &session, "/queue/entry-000-0000000000", ZnodeProblem::HasChildren);
    let before = received(bed);
    assert_eq!(bed.wait(queue.take_within(Duration::from_secs(1))).unwrap(), None);
    let requests = received(bed) - before;
    assert!(requests < 20, "{requests} requests in a second");
    delete(bed, child);
    bed.wait(async {
        assert!(queue.take().await.unwrap().is_some(), "it can be taken now");
    });
}

fn locking_queue_reports_a_persistent_hold_and_skips_an_entry_with_children(bed: &TestBed) {
    let session = bed.session();
    let queue = LockingQueue::new(session.clone(), "/queue");
    bed.wait(queue.put(b"held", DEFAULT_PRIORITY)).unwrap();
    let name =
        bed.wait(async { session.connection().await.children("/queue/entries").await.unwrap().remove(0) });
    let hold = format!("/queue/taken/{name}");
    create(bed, &hold, b"", CreateMode::Persistent);
    assert!(bed.wait(queue.take()).unwrap().is_none());
    until_reported(bed, &session, &hold, ZnodeProblem::NotEphemeral);
    assert_exists(bed, &hold);
    delete(bed, &hold);
    create(bed, &format!("/queue/entries/{name}/child"), b"", CreateMode::Persistent);
    bed.wait(async {
        assert!(queue.take().await.unwrap().is_none());
        queue.put(b"good", DEFAULT_PRIORITY).await.unwrap();
        let taken = queue.take().await.unwrap().unwrap();
        assert_eq!(taken.data(), b"good");
        taken.consume().await.unwrap();
    });
    until_reported(bed, &session, &format!("/queue/entries/{name}"), ZnodeProblem::HasChildren);
}

fn lease_refuses_an_ephemeral_record(bed: &TestBed) {
    let data = br#"{"version": 1, "holder": "b", "end": "2020-01-01T00:00:00"}"#;
    let _other = create(bed, "/lease/lease_holder", data, CreateMode::Ephemeral);
    let lease = Lease::new(bed.session(), "/lease", "a", Duration::from_secs(60));
    let refused = bed.wait(lease.acquire());
    assert!(matches!(refused, Err(LeaseError::WrongZnode(_))), "{refused:?}");
    let places =
        bed.wait(Lease::new(bed.session(), "/leases", "a", Duration::from_secs(60)).with_slots(1).acquire());
    assert!(places.is_ok());
    assert_exists(bed, "/lease/lease_holder");
}

fn counter_logs_that_it_is_ephemeral(bed: &TestBed) {
    let _other = create(bed, "/counter", b"7", CreateMode::Ephemeral);
    let session = bed.session();
    let counter = Counter::exact(session, "/counter");
    let logs = Logs::default();
    bed.wait(logs.of(async {
        for sum in 8..12 {
            assert_eq!(counter.add(1).await.unwrap(), sum);
        }
    }));
    let warnings = logs.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("/counter is ephemeral"), "{warnings:#?}");
}

fn barrier_that_has_children_names_them_when_it_cannot_be_opened(bed: &TestBed) {
    create(bed, "/barrier/child", b"", CreateMode::Persistent);
    let barrier = Barrier::new(bed.session(), "/barrier");
    let error = bed.wait(barrier.open()).unwrap_err();
    assert_eq!(error.wrong_znode(), Some(WrongZnode::new("/barrier", ZnodeProblem::HasChildren)));
    assert!(error.to_string().contains("atalaya inspect /barrier"), "{error}");
    assert_exists(bed, "/barrier/child");
}

on_both!(
    contender_reports_the_persistent_znode_that_it_waits_for,
    locks_report_the_persistent_znode_that_they_wait_for,
    try_lock_logs_the_persistent_znode_in_the_way,
    semaphore_reports_persistent_places_and_contenders,
    party_reports_persistent_members,
    double_barrier_reports_a_persistent_member,
    queue_skips_and_reports_an_entry_with_children,
    locking_queue_reports_a_persistent_hold_and_skips_an_entry_with_children,
    lease_refuses_an_ephemeral_record,
    counter_logs_that_it_is_ephemeral,
    barrier_that_has_children_names_them_when_it_cannot_be_opened,
);

/// The system's resolver understands the zone of a link-local address. A machine that has none has the loopback address,
/// whose zone is the number of the interface.
#[test]
#[cfg(target_os = "linux")]
fn session_connects_to_an_ipv6_address_with_a_zone() {
    // Address, index, prefix length, scope (20: link-local), flags, name of the interface.
    let interfaces = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let found = interfaces.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let digits = u128::from_str_radix(fields.first()?, 16).ok()?;
        (fields.get(3) == Some(&"20")).then(|| (std::net::Ipv6Addr::from_bits(digits), fields[5].to_owned()))
    });
    let (address, interface) = found.unwrap_or((std::net::Ipv6Addr::LOCALHOST, "1".to_owned()));
    let server = atalaya_zookeeper::Server::builder().listen("[::]:0").start_thread().unwrap();
    let bed = TestBed::memory();
    let session = bed.session_to(&format!("[{address}%{interface}]:{}", server.local_addr().port()));
    let connection = bed.wait(session.connection());
    assert!(bed.wait(connection.stat("/")).unwrap().is_some());
}
