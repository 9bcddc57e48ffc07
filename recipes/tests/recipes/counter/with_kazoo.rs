//! A counter of ours and one of Kazoo at the same znode.

use atalaya_recipes::Counter;

use crate::support::TestBed;

const PATH: &str = "/counter";

#[test]
fn counter_continues_from_kazoo_and_back() {
    let bed = TestBed::apache();
    let exact = Counter::exact(bed.session(), PATH);
    let compatible = Counter::compatible(bed.session(), PATH);
    assert_eq!(bed.wait(exact.add(3)).unwrap(), 3);
    let mut kazoo = bed.kazoo("counter", PATH, &[]);
    assert_eq!(kazoo.call("value"), "3");
    assert_eq!(kazoo.call("add 4"), "7");
    assert_eq!(bed.wait(compatible.add(-10)).unwrap(), -3);
    assert_eq!(kazoo.call("add 1"), "-2");
    assert_eq!(bed.wait(exact.add(2)).unwrap(), 0);
    assert_eq!(kazoo.call("value"), "0");
}

#[test]
fn counter_that_kazoo_created_is_used() {
    let bed = TestBed::apache();
    let mut kazoo = bed.kazoo("counter", PATH, &[]);
    assert_eq!(kazoo.call("value"), "0");
    let exact = Counter::exact(bed.session(), PATH);
    assert_eq!(bed.wait(exact.get()).unwrap(), 0);
    assert_eq!(bed.wait(exact.add(1)).unwrap(), 1);
    assert_eq!(kazoo.call("add 5"), "6");
    assert_eq!(bed.wait(exact.get()).unwrap(), 6);
}

/// Both add concurrently, with and without dedup records.
#[test]
fn counter_loses_no_addition_beside_kazoo() {
    let bed = TestBed::apache();
    let exact = Counter::exact(bed.calm_session(), PATH);
    let compatible = Counter::compatible(bed.calm_session(), PATH);
    let mut kazoo = bed.kazoo("counter", PATH, &[]);
    let adding = kazoo.ask("times 100");
    bed.wait(async {
        for _ in 0..100 {
            let (a, b) = tokio::join!(exact.add(1), compatible.add(1));
            a.unwrap();
            b.unwrap();
        }
    });
    kazoo.answer(adding);
    assert_eq!(bed.wait(exact.get()).unwrap(), 300);
}
