//! Requests to ZooKeeper, counted: what a lock costs.

use atalaya_recipes::Lock;

use crate::support::memory::{Bed, PATH, begin, soon};

async fn requests(bed: &Bed) -> u64 {
    bed.faults.figures().await.unwrap().requests
}

/// Made, listed, watched; deleted. Pings and renewals of the lease may come between: so the least of some tries.
#[tokio::test]
async fn free_lock_takes_three_requests_to_acquire_and_one_to_release() {
    let bed = Bed::start().await;
    bed.witness.ensure(PATH).await.unwrap();
    let lock = Lock::new(bed.session().await, PATH, "a");
    let mut least = (u64::MAX, u64::MAX);
    for _ in 0..5 {
        let before = requests(&bed).await;
        let guard = soon("the lock", lock.acquire()).await.unwrap();
        let held = requests(&bed).await;
        assert!(guard.release().await);
        let after = requests(&bed).await;
        least = (least.0.min(held - before), least.1.min(after - held));
    }
    println!("requests to acquire and to release: {least:?}");
    assert!(least.0 <= 3 && least.1 <= 1, "{least:?}");
}

/// The one just behind hears of it, and nobody else.
#[tokio::test]
async fn release_wakes_only_the_next_waiter() {
    let bed = Bed::start().await;
    let mut waiting = Vec::new();
    let guard = Lock::new(bed.session().await, PATH, "first").acquire().await.unwrap();
    for count in 2..12 {
        let lock = Lock::new(bed.session().await, PATH, "next");
        let mut acquiring: std::pin::Pin<Box<dyn Future<Output = _>>> =
            Box::pin(async move { lock.acquire().await });
        begin(&mut acquiring).await;
        bed.until_in_line(PATH, count).await;
        waiting.push(acquiring);
    }
    let mut guard = guard;
    let mut least = u64::MAX;
    for acquiring in waiting.into_iter().take(8) {
        let before = requests(&bed).await;
        assert!(guard.release().await);
        guard = soon("its turn", acquiring).await.unwrap();
        least = least.min(requests(&bed).await - before);
    }
    println!("requests to hand over: {least}");
    assert!(least <= 4, "{least} requests for one hand-over");
}
