//! A lease of ours and one of Kazoo at the same path.

use std::time::Duration;

use atalaya_recipes::{Acquire, Lease};

use crate::support::{DEADLINE, TestBed};

const PATH: &str = "/lease";
const LENGTH: Duration = Duration::from_secs(3600);

fn holder(bed: &TestBed, lease: &Lease) -> Option<String> {
    bed.wait(lease.current()).unwrap().map(|holding| holding.holder)
}

#[test]
fn lease_of_ours_excludes_kazoo_until_it_ends() {
    let bed = TestBed::apache();
    let lease = Lease::new(bed.session(), PATH, "ours", LENGTH);
    let held = bed.wait(lease.acquire()).unwrap().acquired().unwrap();
    let mut kazoo = bed.kazoo("lease", PATH, &["3600", "theirs"]);
    assert_eq!(kazoo.call("obtain"), "False");
    // The clock is 59 minutes ahead, then an hour.
    assert_eq!(kazoo.call("obtain 3540"), "False");
    assert_eq!(holder(&bed, &lease).as_deref(), Some("ours"));
    assert_eq!(kazoo.call("obtain 3601"), "True");
    assert_eq!(holder(&bed, &lease).as_deref(), Some("theirs"));
    // A released lease is free at once.
    bed.wait(held.release()).unwrap();
    assert_eq!(holder(&bed, &lease).as_deref(), Some("theirs"));
}

#[test]
fn lease_of_kazoo_excludes_us_until_it_ends() {
    let bed = TestBed::apache();
    let mut kazoo = bed.kazoo("lease", PATH, &["3600", "theirs"]);
    assert_eq!(kazoo.call("obtain"), "True");
    let lease = Lease::new(bed.session(), PATH, "ours", LENGTH);
    let later = |seconds| {
        let clock = move || std::time::SystemTime::now() + Duration::from_secs(seconds);
        lease.clone().with_clock(clock)
    };
    bed.wait(async {
        for lease in [&lease, &later(3_540)] {
            let Acquire::HeldByOther(holding) = lease.acquire().await.unwrap() else { panic!("two hold it") };
            assert_eq!(holding.holder, "theirs");
            let left = holding.end.duration_since(std::time::SystemTime::now()).unwrap();
            assert!(left <= LENGTH && left > LENGTH - DEADLINE, "{left:?}");
        }
        let held = later(3_601).acquire().await.unwrap().acquired().unwrap();
        assert!(held.holds());
    });
    assert_eq!(kazoo.call("obtain"), "False");
}

#[test]
fn lease_holder_is_the_same_for_kazoo_and_us() {
    let bed = TestBed::apache();
    let lease = Lease::new(bed.session(), PATH, "nøde \"1\"", LENGTH);
    let mut kazoo = bed.kazoo("lease", PATH, &["3600", "nøde \"1\""]);
    let mut other = bed.kazoo("lease", PATH, &["3600", "other"]);
    assert_eq!(kazoo.call("obtain"), "True");
    let held = bed.wait(lease.acquire()).unwrap().acquired().unwrap();
    assert_eq!(kazoo.call("obtain"), "True", "Kazoo renews what we renewed");
    assert_eq!(other.call("obtain"), "False");
    // Kazoo has replaced the record that we wrote.
    bed.wait(held.release()).unwrap();
    assert_eq!(other.call("obtain"), "False");
    let held = bed.wait(lease.acquire()).unwrap().acquired().unwrap();
    bed.wait(held.release()).unwrap();
    assert_eq!(other.call("obtain"), "True");
    assert!(bed.wait(lease.acquire()).unwrap().acquired().is_none());
}

/// Both use the same lock, and one of two concurrent requests succeeds.
#[test]
fn lease_has_one_holder_when_kazoo_and_we_compete() {
    let bed = TestBed::apache();
    let session = bed.session();
    let mut kazoo = bed.kazoo("times", PATH, &["3600", "theirs"]);
    let asked = kazoo.ask("obtain 20");
    let mut ours = 0;
    bed.wait(async {
        for number in 0..20 {
            let lease = Lease::new(session.clone(), format!("{PATH}/{number}"), "ours", LENGTH);
            ours += usize::from(lease.acquire().await.unwrap().acquired().is_some());
        }
    });
    let theirs: usize = kazoo.answer(asked).parse().unwrap();
    assert_eq!(ours + theirs, 20);
}

#[test]
fn multi_lease_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    let leases = |holder: &str| Lease::new(bed.session(), PATH, holder, LENGTH).with_slots(2);
    let mut kazoo = bed.kazoo("leases", PATH, &["2", "3600", "theirs"]);
    let (ours, third) = (leases("ours"), leases("third"));
    let held = bed.wait(ours.acquire()).unwrap().acquired().unwrap();
    assert_eq!(kazoo.call("obtain"), "True");
    assert!(bed.wait(third.acquire()).unwrap().acquired().is_none());
    assert_eq!(kazoo.call("obtain"), "True", "it renews");
    let holders: Vec<String> =
        bed.wait(ours.current()).unwrap().into_iter().map(|holding| holding.holder).collect();
    assert_eq!(holders, ["ours", "theirs"]);

    // Kazoo takes the first place as well if that is free. Ours does not, so the roles are swapped.
    bed.wait(held.release()).unwrap();
    assert_eq!(kazoo.call("obtain"), "True");
    assert!(bed.wait(third.acquire()).unwrap().acquired().is_none());
}

#[test]
fn multi_lease_renewal_keeps_our_place_only() {
    let bed = TestBed::apache();
    let leases = |holder: &str| Lease::new(bed.session(), PATH, holder, LENGTH).with_slots(2);
    let (first, ours) = (leases("first"), leases("ours"));
    let held = bed.wait(first.acquire()).unwrap().acquired().unwrap();
    bed.wait(ours.acquire()).unwrap().acquired().unwrap();
    bed.wait(held.release()).unwrap();
    assert_eq!(bed.wait(ours.acquire()).unwrap().acquired().unwrap().path(), format!("{PATH}/1"));
    let mut kazoo = bed.kazoo("leases", PATH, &["2", "3600", "theirs"]);
    assert_eq!(kazoo.call("obtain"), "True");
    assert!(bed.wait(first.acquire()).unwrap().acquired().is_none());
}
