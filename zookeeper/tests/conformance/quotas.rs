//! Tests of quotas: the stats, and the refusals if quotas are enforced.

use crate::raw::{Raw, op};
use crate::target::Target;
use crate::wire::{self, Body};

on_both!(
    stats_follow_the_tree,
    the_innermost_quota_counts,
    limits_are_created_and_deleted,
    stats_may_exist_before_limits,
    a_multi_is_counted_when_it_is_complete,
    changes_are_added_to_the_stored_stats,
    hard_limits_have_no_effect_unless_enforced,
);

const QUOTA_EXCEEDED: i32 = -125;

/// Znodes of a quota.
struct Quota {
    folder: String,
}

impl Quota {
    /// Creates the folder of a quota with its parents, which are not quotas themselves.
    fn at(raw: &mut Raw, path: &str) -> Self {
        let folder = format!("/zookeeper/quota{path}");
        for (end, _) in folder.match_indices('/').skip(3) {
            let _ = raw.create(&folder[..end], b"", 0);
        }
        raw.create(&folder, b"", 0).unwrap();
        Self { folder }
    }

    fn set(raw: &mut Raw, path: &str, limits: &str) -> Self {
        let quota = Self::at(raw, path);
        raw.create(&quota.limits(), limits.as_bytes(), 0).unwrap();
        raw.create(&quota.stats(), b"", 0).unwrap();
        quota
    }

    fn limits(&self) -> String {
        format!("{}/zookeeper_limits", self.folder)
    }

    fn stats(&self) -> String {
        format!("{}/zookeeper_stats", self.folder)
    }

    #[track_caller]
    fn counts(&self, raw: &mut Raw, expected: &str) {
        let (data, stat) = raw.get(&self.stats(), false).unwrap();
        assert_eq!(String::from_utf8(data).unwrap(), expected);
        assert_eq!(usize::try_from(stat.data_length), Ok(expected.len()));
    }
}

fn stats_follow_the_tree(target: &Target) {
    let (mut raw, path) = target.created("/q", b"four");
    raw.create(&format!("{path}/a"), b"12", 0).unwrap();
    let quota = Quota::set(&mut raw, &path, "count=100,bytes=1000");
    quota.counts(&mut raw, "count=2,bytes=6");
    let made = raw.exists(&quota.stats(), false).unwrap();
    raw.set(&path, b"fifteen letters").unwrap();
    quota.counts(&mut raw, "count=2,bytes=17");
    raw.call(op::SET_DATA, &Body::new().string(&path).none().int(-1)).unwrap();
    quota.counts(&mut raw, "count=2,bytes=2");
    raw.create(&format!("{path}/n"), b"123", 3).unwrap();
    raw.create(&format!("{path}/a/b"), b"1", 0).unwrap();
    raw.call(op::CREATE_TTL, &wire::create(&format!("{path}/ttl"), b"1", &wire::open(), 5).long(90_000))
        .unwrap();
    quota.counts(&mut raw, "count=5,bytes=7");
    raw.delete(&format!("{path}/a/b")).unwrap();
    quota.counts(&mut raw, "count=4,bytes=6");
    assert_eq!(raw.set(&format!("{path}/none"), b"1"), Err(-101));
    // A neighbour with a longer name is not below the path.
    raw.create(&format!("{path}q"), b"123", 0).unwrap();
    quota.counts(&mut raw, "count=4,bytes=6");
    // Ephemerals are deleted with their session; the stats are updated without a transaction.
    let mut later = Raw::connect(&target.hosts());
    raw.close();
    quota.counts(&mut later, "count=3,bytes=3");
    let now = later.exists(&quota.stats(), false).unwrap();
    assert_eq!((now.mzxid, now.mtime, now.version), (made.mzxid, made.mtime, 0));
}

fn the_innermost_quota_counts(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let (outer, inner) = (target.path("/o"), target.path("/o/i"));
    raw.create(&outer, b"1", 0).unwrap();
    let of_outer = Quota::set(&mut raw, &outer, "count=100,bytes=-1");
    let of_inner = Quota::set(&mut raw, &inner, "count=-1,bytes=100");
    of_inner.counts(&mut raw, "count=0,bytes=0");
    raw.create(&inner, b"22", 0).unwrap();
    raw.create(&format!("{inner}/x"), b"333", 0).unwrap();
    raw.create(&format!("{outer}/y"), b"4444", 0).unwrap();
    of_outer.counts(&mut raw, "count=2,bytes=5");
    of_inner.counts(&mut raw, "count=2,bytes=5");
    raw.delete(&of_inner.limits()).unwrap();
    raw.delete(&format!("{inner}/x")).unwrap();
    of_outer.counts(&mut raw, "count=1,bytes=2");
    of_inner.counts(&mut raw, "count=2,bytes=5");
}

fn limits_are_created_and_deleted(target: &Target) {
    let (mut raw, path) = target.created("/q", b"");
    let quota = Quota::set(&mut raw, &path, "count=9,bytes=9");
    raw.delete(&quota.limits()).unwrap();
    raw.create(&format!("{path}/unseen"), b"1", 0).unwrap();
    quota.counts(&mut raw, "count=1,bytes=0");
    raw.create(&quota.limits(), b"count=9,bytes=9", 0).unwrap();
    raw.create(&format!("{path}/seen"), b"1", 0).unwrap();
    quota.counts(&mut raw, "count=2,bytes=1");
    raw.delete(&quota.stats()).unwrap();
    raw.create(&format!("{path}/without"), b"1", 0).unwrap();
    raw.create(&quota.stats(), b"anything", 0).unwrap();
    quota.counts(&mut raw, "count=4,bytes=3");
}

fn stats_may_exist_before_limits(target: &Target) {
    let (mut raw, path) = target.created("/q", b"12");
    let quota = Quota::at(&mut raw, &path);
    let body = raw.call(op::CREATE2, &wire::create(&quota.stats(), b"1", &wire::open(), 0)).unwrap();
    let mut fields = wire::Fields(&body);
    fields.string();
    assert_eq!(fields.stat().data_length, 1, "as it was asked for");
    quota.counts(&mut raw, "count=1,bytes=2");
    raw.create(&format!("{path}/a"), b"1", 0).unwrap();
    quota.counts(&mut raw, "count=1,bytes=2");
    raw.create(&quota.limits(), b"", 0).unwrap();
    raw.create(&format!("{path}/b"), b"1", 0).unwrap();
    quota.counts(&mut raw, "count=2,bytes=3");
}

fn a_multi_is_counted_when_it_is_complete(target: &Target) {
    let (mut raw, path) = target.created("/q", b"");
    let quota = Quota::at(&mut raw, &path);
    let create = |path: &str, data: &[u8]| {
        wire::multi_header(op::CREATE).with(wire::create(path, data, &wire::open(), 0))
    };
    let child = |name: &str| create(&format!("{path}/{name}"), b"12");
    let all =
        [child("a"), create(&quota.limits(), b"count=9,bytes=9"), child("b"), create(&quota.stats(), b"")]
            .into_iter()
            .chain([child("c"), wire::multi_end()]);
    raw.call(op::MULTI, &all.fold(Body::new(), Body::with)).unwrap();
    quota.counts(&mut raw, "count=4,bytes=6");
    let delete = |path: String| wire::multi_header(op::DELETE).with(Body::new().string(&path).int(-1));
    let fails = [
        child("d"),
        delete(quota.limits()),
        delete(quota.stats()),
        child("e"),
        delete(format!("{path}/none")),
    ];
    let fails = fails.into_iter().chain([wire::multi_end()]).fold(Body::new(), Body::with);
    let body = raw.call(op::MULTI, &fails).unwrap();
    assert_eq!(body.len(), 5 * 13 + 9);
    quota.counts(&mut raw, "count=4,bytes=6");
    raw.create(&format!("{path}/f"), b"", 0).unwrap();
    quota.counts(&mut raw, "count=5,bytes=6");
}

fn changes_are_added_to_the_stored_stats(target: &Target) {
    let (mut raw, path) = target.created("/q", b"");
    let quota = Quota::set(&mut raw, &path, "count=9,bytes=9");
    for (at, (written, counted)) in [
        ("count=10,bytes=20", "count=11,bytes=21"),
        ("bytes=5", "count=0,bytes=6"),
        ("", "count=0,bytes=0"),
        ("count=1,bytes=2=;zebra=7;ape=-3;", "count=2,bytes=3=;ape=-3;zebra=7"),
        ("count=1;;bytes==7", "count=2,bytes=0"),
    ]
    .into_iter()
    .enumerate()
    {
        raw.set(&quota.stats(), written.as_bytes()).unwrap();
        raw.create(&format!("{path}/{at}"), b"1", 0).unwrap();
        quota.counts(&mut raw, counted);
    }
}

fn hard_limits_have_no_effect_unless_enforced(target: &Target) {
    let (mut raw, path) = target.created("/q", b"");
    let quota = Quota::set(&mut raw, &path, "count=1,bytes=1=;byteHardLimit=1;countHardLimit=1");
    raw.create(&format!("{path}/a"), b"1234", 0).unwrap();
    quota.counts(&mut raw, "count=2,bytes=4");
}

/// Tests with enforced quotas.
mod enforced {
    use super::*;

    #[test]
    fn memory() {
        scenario(&Target::memory_with(|builder| builder.enforce_quota(true)));
    }

    #[test]
    fn apache() {
        scenario(&Target::apache_with("enforceQuota=true"));
    }

    fn scenario(target: &Target) {
        let mut raw = Raw::connect(&target.hosts());
        limits_refuse(&mut raw, &target.path("/hard"));
        errors_come_in_the_same_order(&mut raw, &target.path("/order"));
        a_multi_is_held_against_what_was_before(&mut raw, &target.path("/multi"));
    }

    fn limits_refuse(raw: &mut Raw, path: &str) {
        raw.create(path, b"", 0).unwrap();
        let quota = Quota::set(raw, path, "count=1,bytes=1=;byteHardLimit=10;countHardLimit=4");
        // A hard limit takes precedence over the soft one.
        raw.create(&format!("{path}/a"), b"12345678", 0).unwrap();
        assert_eq!(raw.create(&format!("{path}/b"), b"123", 0), Err(QUOTA_EXCEEDED));
        raw.create(&format!("{path}/b"), b"12", 0).unwrap();
        assert_eq!(raw.set(&format!("{path}/b"), b"123"), Err(QUOTA_EXCEEDED));
        raw.set(&format!("{path}/b"), b"1").unwrap();
        raw.create(&format!("{path}/c"), b"", 1).unwrap();
        for flags in [0, 1, 2] {
            assert_eq!(raw.create(&format!("{path}/d"), b"", flags), Err(QUOTA_EXCEEDED));
        }
        quota.counts(raw, "count=4,bytes=9");
        raw.delete(&format!("{path}/c")).unwrap();
        raw.create(&format!("{path}/d"), b"", 0).unwrap();
        // Changes that do not grow are allowed even above a limit that was set later.
        raw.set(&quota.limits(), b"byteHardLimit=1").unwrap();
        assert_eq!(raw.set(&format!("{path}/a"), b"1234567"), Err(QUOTA_EXCEEDED));
        raw.set(&format!("{path}/b"), b"2").unwrap();
        raw.create(&format!("{path}/e"), b"", 0).unwrap();
        // Soft limits refuse nothing, and neither does a quota without stats.
        raw.set(&quota.limits(), b"count=1,bytes=1").unwrap();
        raw.create(&format!("{path}/f"), b"123", 0).unwrap();
        quota.counts(raw, "count=6,bytes=12");
        raw.set(&quota.limits(), b"countHardLimit=0").unwrap();
        assert_eq!(raw.create(&format!("{path}/g"), b"", 0), Err(QUOTA_EXCEEDED));
        raw.delete(&quota.stats()).unwrap();
        raw.create(&format!("{path}/g"), b"", 0).unwrap();
    }

    fn errors_come_in_the_same_order(raw: &mut Raw, path: &str) {
        raw.create(path, b"1", 0).unwrap();
        raw.create(&format!("{path}/e"), b"", 1).unwrap();
        Quota::set(raw, path, "countHardLimit=0;byteHardLimit=0");
        assert_eq!(raw.create(path, b"", 0), Err(-110));
        assert_eq!(raw.create(&format!("{path}/e/child"), b"", 0), Err(-108));
        let set = |data: &[u8], version| Body::new().string(path).bytes(data).int(version);
        assert_eq!(raw.call(op::SET_DATA, &set(b"12", 7)), Err(QUOTA_EXCEEDED));
        assert_eq!(raw.call(op::SET_DATA, &set(b"2", 7)), Err(-103));
        raw.delete(&format!("{path}/e")).unwrap();
    }

    /// Checks that each operation is compared with the quota alone, so that together they may exceed the limit.
    fn a_multi_is_held_against_what_was_before(raw: &mut Raw, path: &str) {
        raw.create(path, b"", 0).unwrap();
        let quota = Quota::set(raw, path, "countHardLimit=2");
        let create = |name: &str| {
            let body = wire::create(&format!("{path}/{name}"), b"1", &wire::open(), 0);
            wire::multi_header(op::CREATE).with(body)
        };
        let set = Body::new().string(&quota.limits()).bytes(b"countHardLimit=0").int(-1);
        let multi = [wire::multi_header(op::SET_DATA).with(set), create("a"), create("b"), wire::multi_end()];
        raw.call(op::MULTI, &multi.into_iter().fold(Body::new(), Body::with)).unwrap();
        quota.counts(raw, "count=3,bytes=2");
        let set = Body::new().string(path).bytes(b"1").int(-1);
        let multi = [wire::multi_header(op::SET_DATA).with(set), create("c"), wire::multi_end()];
        let body = raw.call(op::MULTI, &multi.into_iter().fold(Body::new(), Body::with)).unwrap();
        let expected = wire::multi_header(-1).0;
        assert_eq!(body[..5], expected[..5]);
        let mut fields = wire::Fields(&body[13..]);
        assert_eq!((fields.int(), fields.bool(), fields.int()), (-1, false, QUOTA_EXCEEDED));
        quota.counts(raw, "count=3,bytes=2");
    }
}
