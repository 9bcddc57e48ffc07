//! Number of requests that a lock needs.

use atalaya_recipes::Lock;

use crate::support::memory::{PATH, TestBed, poll_once, soon};

async fn requests(bed: &TestBed) -> u64 {
    bed.faults.stats().await.unwrap().requests
}

/// Create, list, watch; delete. Pings and lease renewals may come between, so the minimum of several attempts counts.
#[tokio::test]
async fn free_lock_takes_three_requests_to_acquire_and_one_to_release() {
    let bed = TestBed::start().await;
    bed.observer.ensure(PATH).await.unwrap();
    let lock = Lock::new(bed.session().await, PATH, "a");
    let mut min = (u64::MAX, u64::MAX);
    for _ in 0..5 {
        let before = requests(&bed).await;
        let guard = soon("the lock", lock.acquire()).await.unwrap();
        let held = requests(&bed).await;
        assert!(guard.release().await);
        let after = requests(&bed).await;
        min = (min.0.min(held - before), min.1.min(after - held));
    }
    println!("requests to acquire and to release: {min:?}");
    assert!(min.0 <= 3 && min.1 <= 1, "{min:?}");
}

/// Only the next waiter is notified.
#[tokio::test]
async fn release_wakes_only_the_next_waiter() {
    let bed = TestBed::start().await;
    let mut waiting = Vec::new();
    let guard = Lock::new(bed.session().await, PATH, "first").acquire().await.unwrap();
    for count in 2..12 {
        let lock = Lock::new(bed.session().await, PATH, "next");
        let mut acquiring: std::pin::Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { lock.acquire().await });
        poll_once(&mut acquiring).await;
        bed.wait_for_contenders(PATH, count).await;
        waiting.push(acquiring);
    }
    let mut guard = guard;
    let mut min = u64::MAX;
    for acquiring in waiting.into_iter().take(8) {
        let before = requests(&bed).await;
        assert!(guard.release().await);
        guard = soon("its turn", acquiring).await.unwrap();
        min = min.min(requests(&bed).await - before);
    }
    println!("requests per hand-over: {min}");
    assert!(min <= 4, "{min} requests for one hand-over");
}
