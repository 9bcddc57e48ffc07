//! Tests of a znode's `Stat`, field by field.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::raw::{Raw, op};
use crate::target::Target;
use crate::wire::{self, Body, Fields, Stat};

on_both!(a_new_znode, data_changes, children_come_and_go, permissions_change, times_are_those_of_the_changes);

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn a_new_znode(target: &Target) {
    let (mut raw, path) = target.raw("/new");
    let body = raw.call(op::CREATE2, &wire::create(&path, b"four", &wire::open(), 1)).unwrap();
    let mut fields = Fields(&body);
    assert_eq!(fields.string(), path);
    let stat = fields.stat();
    assert!(fields.is_empty());
    let zxid = stat.czxid;
    assert!(zxid > 0 && stat.ctime > 0);
    let expected = Stat {
        czxid: zxid,
        mzxid: zxid,
        pzxid: zxid,
        ctime: stat.ctime,
        mtime: stat.ctime,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: raw.session,
        data_length: 4,
        num_children: 0,
    };
    assert_eq!(stat, expected);
    assert_eq!(raw.exists(&path, false), Ok(expected));
}

fn data_changes(target: &Target) {
    let (mut raw, path) = target.created("/data", b"");
    let before = raw.exists(&path, false).unwrap();
    let after = raw.set(&path, b"12345").unwrap();
    assert!(after.mzxid > before.mzxid && after.mtime >= before.mtime);
    let (mzxid, mtime) = (after.mzxid, after.mtime);
    assert_eq!(after, Stat { mzxid, mtime, version: 1, data_length: 5, ..before });
}

fn children_come_and_go(target: &Target) {
    let (mut raw, path) = target.created("/parent", b"");
    let before = raw.exists(&path, false).unwrap();
    raw.create(&format!("{path}/c"), b"", 0).unwrap();
    let child = raw.exists(&format!("{path}/c"), false).unwrap();
    let with = raw.exists(&path, false).unwrap();
    assert_eq!(with, Stat { pzxid: child.czxid, cversion: 1, num_children: 1, ..before });
    // Changes inside a child do not affect its parent.
    raw.set(&format!("{path}/c"), b"x").unwrap();
    raw.create(&format!("{path}/c/d"), b"", 0).unwrap();
    assert_eq!(raw.exists(&path, false), Ok(with));
    raw.delete(&format!("{path}/c/d")).unwrap();
    raw.delete(&format!("{path}/c")).unwrap();
    let without = raw.exists(&path, false).unwrap();
    assert!(without.pzxid > with.pzxid);
    assert_eq!(without, Stat { pzxid: without.pzxid, cversion: 2, num_children: 0, ..before });
}

fn permissions_change(target: &Target) {
    let (mut raw, path) = target.created("/acl", b"");
    let before = raw.exists(&path, false).unwrap();
    let set = |raw: &mut Raw, version| {
        let body = Body::new().string(&path).acl(&wire::open()).int(version);
        raw.call(op::SET_ACL, &body).map(|body| Fields(&body).stat())
    };
    assert_eq!(set(&mut raw, 0), Ok(Stat { aversion: 1, ..before }));
    assert_eq!(set(&mut raw, 0), Err(-103));
    assert_eq!(set(&mut raw, -1), Ok(Stat { aversion: 2, ..before }));
}

fn times_are_those_of_the_changes(target: &Target) {
    let (mut raw, path) = target.raw("/time");
    let start = now();
    raw.create(&path, b"", 0).unwrap();
    let created = now();
    let stat = raw.exists(&path, false).unwrap();
    assert!((start - 2..=created + 2).contains(&stat.ctime), "{start} {} {created}", stat.ctime);
    let changed = raw.set(&path, b"").unwrap();
    assert!((created - 2..=now() + 2).contains(&changed.mtime));
    assert_eq!(changed.ctime, stat.ctime);
}
