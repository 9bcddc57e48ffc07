//! Leases on the in-memory server, with a clock that the test sets: one holder at a time, whatever is lost.

mod failures;
mod schedules;
mod with_kazoo;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use atalaya_recipes::{Acquire, Connection, HeldLease, Lease, LeaseError, Lock, Session};

use crate::support::{TestBed, until};

pub(crate) const PATH: &str = "/leases/cleanup";
pub(crate) const HOLDER: &str = "/leases/cleanup/lease_holder";
pub(crate) const LENGTH: Duration = Duration::from_secs(60);

/// A wall clock that the test sets.
#[derive(Clone)]
pub(crate) struct Wall(Arc<Mutex<SystemTime>>);

impl Wall {
    pub(crate) fn new() -> Wall {
        Wall(Arc::new(Mutex::new(SystemTime::UNIX_EPOCH + Duration::from_millis(1_761_355_800_250))))
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }

    pub(crate) fn pass(&self, time: Duration) {
        *self.0.lock().unwrap() += time;
    }

    pub(crate) fn lease(&self, session: &Session, holder: &str) -> Lease {
        let wall = self.clone();
        Lease::new(session.clone(), PATH, holder, LENGTH).with_clock(move || wall.now())
    }
}

pub(crate) async fn obtained(lease: &Lease) -> HeldLease {
    lease.acquire().await.unwrap().acquired().expect("the lease is free")
}

pub(crate) async fn refused(lease: &Lease) -> String {
    match lease.acquire().await.unwrap() {
        Acquire::Acquired(held) => panic!("{held:?}"),
        Acquire::HeldByOther(holding) => holding.holder,
    }
}

/// Waits until no contender is queued for the lock at `path`.
pub(crate) async fn wait_until_queue_is_empty(connection: &Connection, path: &str) {
    until("an empty line", async || match connection.children(path).await {
        Ok(children) => children.iter().all(|name| name == "lease_holder").then_some(()),
        Err(error) if error.is_no_node() => Some(()),
        Err(error) => panic!("{error}"),
    })
    .await;
}

#[test]
fn lease_is_exclusive_until_it_ends_and_can_be_renewed() {
    let bed = TestBed::memory();
    let (wall, connection) = (Wall::new(), bed.connection());
    let (a, b) = (wall.lease(&bed.session(), "a"), wall.lease(&bed.session(), "b"));
    bed.wait(async {
        assert_eq!(a.current().await.unwrap(), None);
        let mut held = obtained(&a).await;
        let end = wall.now() + Duration::from_millis(59_750);
        assert!(held.holds() && held.end() == end && held.remaining() <= Duration::from_millis(59_750));
        let (data, stat) = connection.get(HOLDER).await.unwrap();
        assert_eq!(data, br#"{"version": 1, "holder": "a", "end": "2025-10-25T01:31:00"}"#);
        assert!(held.fencing_token() == stat.mzxid && stat.ephemeral_owner == 0);
        let current = b.current().await.unwrap().unwrap();
        assert_eq!(
            (current.holder.as_str(), current.end, current.fencing_token),
            ("a", end, held.fencing_token())
        );

        assert_eq!(refused(&b).await, "a");
        wall.pass(Duration::from_secs(59));
        assert_eq!(refused(&b).await, "a");
        let before = held.fencing_token();
        assert!(held.renew().await.unwrap());
        assert!(held.end() == end + Duration::from_secs(59) && held.fencing_token() > before);
        assert!(obtained(&a).await.fencing_token() > held.fencing_token(), "the same holder renews");

        wall.pass(Duration::from_millis(59_749));
        assert!(held.holds());
        assert_eq!(refused(&b).await, "a");
        wall.pass(Duration::from_millis(1));
        held.expired().await;
        assert!(!held.holds() && b.current().await.unwrap().is_none());
        let other = obtained(&b).await;
        assert!(other.holds() && other.fencing_token() > held.fencing_token());
        assert!(!held.renew().await.unwrap() && !held.holds());
        // A holder whose lease has ended cannot release the lease of its successor.
        held.release().await.unwrap();
        assert_eq!(refused(&a).await, "b");
        other.release().await.unwrap();
        assert_eq!(a.current().await.unwrap(), None);
        assert_eq!(connection.children(PATH).await.unwrap(), [""; 0]);
        assert!(obtained(&a).await.holds());
        wait_until_queue_is_empty(&connection, PATH).await;
    });
}

#[test]
fn lease_outlives_the_session_of_its_holder() {
    let bed = TestBed::memory();
    let wall = Wall::new();
    let (session, other) = (bed.session(), bed.session());
    let a = wall.lease(&session, "a");
    bed.wait(async {
        let held = obtained(&a).await;
        session.close(Duration::from_secs(10)).await;
        assert!(held.holds());
        assert_eq!(refused(&wall.lease(&other, "b")).await, "a");
        // The holder returns in another session, as after a restart.
        assert!(obtained(&wall.lease(&other, "a")).await.fencing_token() > held.fencing_token());
    });
}

#[test]
fn lease_grace_allows_for_different_clocks() {
    let bed = TestBed::memory();
    let wall = Wall::new();
    let (a, b) = (wall.lease(&bed.session(), "a"), wall.lease(&bed.session(), "b"));
    let careful = b.clone().with_grace(Duration::from_secs(5));
    bed.wait(async {
        obtained(&a).await;
        wall.pass(Duration::from_secs(64));
        assert_eq!(refused(&careful).await, "a");
        wall.pass(Duration::from_secs(1));
        assert!(obtained(&careful).await.holds());
    });
}

#[test]
fn refused_lease_writes_nothing() {
    let bed = TestBed::memory();
    let (wall, connection) = (Wall::new(), bed.connection());
    let (a, b) = (wall.lease(&bed.session(), "a"), wall.lease(&bed.session(), "b"));
    bed.wait(async {
        obtained(&a).await;
        let before = connection.stat(PATH).await.unwrap().unwrap();
        assert_eq!(refused(&b).await, "a");
        assert_eq!(connection.stat(PATH).await.unwrap().unwrap(), before);
    });
}

#[test]
fn lease_reports_foreign_data_and_keeps_it() {
    let bed = TestBed::memory();
    let connection = bed.connection();
    let a = Wall::new().lease(connection.session(), "a");
    bed.wait(async {
        connection.ensure(HOLDER).await.unwrap();
        let huge = vec![b'['; 500_000];
        for held in [&b""[..], b"\xff\0", b"{}", br#"{"version":1,"holder":"a","end":"soon"}"#, &huge] {
            connection.set(HOLDER, held, None).await.unwrap();
            for error in [a.acquire().await.err(), a.current().await.err()] {
                let Some(LeaseError::NotALease { path, found }) = error else { panic!("{error:?}") };
                assert!(path == HOLDER && found.len() <= 320, "{found}");
            }
            assert_eq!(connection.get(HOLDER).await.unwrap().0, held);
        }
        let newer = br#"{"version":2,"holder":"a","end":"2025-10-25T01:31:00"}"#;
        connection.set(HOLDER, newer, None).await.unwrap();
        let error = a.acquire().await.err();
        assert!(
            matches!(&error, Some(LeaseError::UnsupportedVersion { version, .. }) if version == "2"),
            "{error:?}"
        );
        assert_eq!(connection.get(HOLDER).await.unwrap().0, newer);
        wait_until_queue_is_empty(&connection, PATH).await;
    });
}

#[test]
fn lease_refuses_invalid_arguments() {
    let (bed, session) = TestBed::memory_with_session();
    let unfit = |error| matches!(error, Err(LeaseError::Invalid { .. }));
    let lease = |holder: &str, length| Lease::new(session.clone(), PATH, holder, length);
    bed.wait(async {
        assert!(unfit(lease("a", Duration::from_millis(999)).acquire().await));
        assert!(unfit(lease(&"a".repeat(4097), LENGTH).acquire().await));
        assert!(unfit(lease("a", LENGTH).with_slots(0).acquire().await));
        let for_ever = obtained(&lease("a", Duration::MAX)).await;
        assert!(for_ever.remaining() > Duration::from_secs(7_000 * 365 * 86_400));
    });
}

#[test]
fn lease_calls_end_within_their_timeout() {
    let bed = TestBed::memory();
    let (wall, session, other) = (Wall::new(), bed.session(), bed.session());
    let a = wall.lease(&session, "a").with_timeout(Duration::from_millis(300));
    bed.wait(async {
        session.connection().await;
        let start = Instant::now();
        let lock = Lock::new(other, PATH, "somebody").acquire().await.unwrap();
        let busy = a.acquire().await;
        assert!(matches!(busy, Err(LeaseError::Busy { .. })), "{busy:?}");
        lock.release().await;
        let held = obtained(&a.clone().with_timeout(Duration::from_secs(5))).await;
        let connection = session.connection().await;
        bed.faults().stop().await;
        connection.lost().await;
        assert!(matches!(a.acquire().await, Err(LeaseError::Failed(_))));
        assert!(matches!(a.current().await, Err(LeaseError::Failed(_))));
        assert!(held.holds(), "it needs no connection");
        assert!(matches!(held.release().await, Err(LeaseError::Failed(_))));
        bed.faults().restart().await;
        assert!(start.elapsed() < Duration::from_secs(20));
    });
}

#[test]
fn lease_of_a_closed_session_is_refused() {
    let (bed, session) = TestBed::memory_with_session();
    let a = Wall::new().lease(&session, "a").with_timeout(Duration::from_millis(100));
    bed.wait(async {
        session.connection().await;
        session.close(Duration::from_secs(10)).await;
        assert!(a.acquire().await.is_err());
    });
}

#[test]
fn multi_lease_has_one_holder_per_place() {
    let bed = TestBed::memory();
    let (wall, connection) = (Wall::new(), bed.connection());
    let leases = |holder: &str| wall.lease(&bed.session(), holder).with_slots(2);
    let (a, b, c) = (leases("a"), leases("b"), leases("c"));
    bed.wait(async {
        let first = a.acquire().await.unwrap().acquired().unwrap();
        assert_eq!(first.path(), format!("{PATH}/0"));
        wall.pass(Duration::from_secs(30));
        let mut second = b.acquire().await.unwrap().acquired().unwrap();
        assert_eq!(second.path(), format!("{PATH}/1"));
        let Acquire::HeldByOther(holding) = c.acquire().await.unwrap() else { panic!("a third") };
        assert_eq!((holding.holder.as_str(), holding.end), ("a", first.end()), "its lease ends first");

        // The first place is free, but the second is renewed because it is held already.
        first.release().await.unwrap();
        assert!(second.renew().await.unwrap());
        let second = b.acquire().await.unwrap().acquired().unwrap();
        assert_eq!(second.path(), format!("{PATH}/1"));
        let third = c.acquire().await.unwrap().acquired().unwrap();
        assert_eq!(third.path(), format!("{PATH}/0"));
        let names = async || {
            let all = a.current().await.unwrap();
            all.into_iter().map(|holding| (holding.path, holding.holder)).collect::<Vec<_>>()
        };
        let place = |number, holder: &str| (format!("{PATH}/{number}"), holder.to_owned());
        assert_eq!(names().await, [place(0, "c"), place(1, "b")]);

        // A place with invalid data is skipped. It is reported only if no other place is free.
        connection.set(&format!("{PATH}/0/lease_holder"), b"?", None).await.unwrap();
        assert!(matches!(a.acquire().await, Err(LeaseError::NotALease { .. })));
        second.release().await.unwrap();
        assert_eq!(a.acquire().await.unwrap().acquired().unwrap().path(), format!("{PATH}/1"));
    });
}

#[test]
fn multi_lease_gives_each_place_once_under_contention() {
    let bed = TestBed::memory();
    let wall = Wall::new();
    let all: Vec<_> = (0..6)
        .map(|who| {
            let leases = wall.lease(&bed.session(), &format!("holder {who}")).with_slots(40);
            bed.spawn(async move { leases.acquire().await })
        })
        .collect();
    let mut paths: Vec<String> = bed.wait(async {
        let mut paths = Vec::new();
        for one in all {
            paths.push(one.await.unwrap().unwrap().acquired().unwrap().path().to_owned());
        }
        paths
    });
    paths.sort_unstable();
    assert_eq!(paths, (0..6).map(|number| format!("{PATH}/{number}")).collect::<Vec<_>>());
}
