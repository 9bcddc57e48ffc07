//! Versions, sequence numbers and transaction ids at the limits of their types. Apache ZooKeeper starts with a
//! transaction log that the test writes; the unit tests of the tree expect the same of the in-memory server.

use std::time::{Duration, Instant};

use crate::raw::{Hello, Packet, Raw, op};
use crate::target::Target;
use crate::wire::{self, Acl, Body, Fields, acl};

/// Types of the transactions that create a znode and that set its data.
const CREATE: i32 = 1;
const SET_DATA: i32 = 5;

/// Encodes a transaction log of entries with a type and a body each, the first of them with this id.
fn log(first_zxid: i64, entries: &[(i32, Body)]) -> Vec<u8> {
    let mut log = b"ZKLG".to_vec();
    log.extend(Body::new().int(2).long(0).0);
    for ((kind, body), zxid) in entries.iter().zip(first_zxid..) {
        let entry = Body::new().long(1).int(0).long(zxid).long(0).int(*kind).with(body.clone());
        log.extend(Body::new().long(adler32(&entry.0)).bytes(&entry.0).0);
        log.push(b'B');
    }
    log
}

fn adler32(bytes: &[u8]) -> i64 {
    let (a, b) = bytes.iter().fold((1, 0), |(a, b), byte| {
        let a = (a + i64::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    b << 16 | a
}

fn created(path: &str, parent_cversion: i32) -> (i32, Body) {
    (CREATE, Body::new().string(path).bytes(b"").acl(&wire::open()).bool(false).int(parent_cversion))
}

fn set(path: &str, version: i32) -> (i32, Body) {
    (SET_DATA, Body::new().string(path).bytes(b"").int(version))
}

#[test]
fn apache_continues_at_the_ends_of_versions_and_transaction_ids() {
    let first = 0xffff_fff0;
    let entries = [created("/top", -1), set("/top", i32::MAX - 1), created("/low", -1), set("/low", -3)];
    let target = Target::apache_with_log(first, &log(first, &entries));
    let mut raw = Raw::connect(&target.hosts());
    let mut set = |path: &str, version: i32| {
        let body = Body::new().string(path).bytes(b"").int(version);
        raw.call(op::SET_DATA, &body).map(|body| {
            let stat = Fields(&body).stat();
            (stat.version, stat.mzxid)
        })
    };
    let versions = [-1, i32::MAX, i32::MIN, -1].map(|expected| set("/top", expected).unwrap().0);
    assert_eq!(versions, [i32::MAX, i32::MIN, i32::MIN + 1, i32::MIN + 2]);
    // Here only Apache has version -1 (ZOOKEEPER-4743).
    let versions = [-3, -2, -1, 0].map(|expected| set("/low", expected).unwrap().0);
    assert_eq!(versions, [-2, -1, 0, 1]);
    let mut latest = 0;
    while latest < 1 << 32 {
        let (_, zxid) = set("/top", -1).unwrap();
        assert!(latest == 0 || zxid == latest + 1, "{latest:#x}, then {zxid:#x}");
        latest = zxid;
    }
}

#[test]
fn apache_stops_sequence_numbers_at_the_largest_int_except_within_a_multi() {
    let first = 0x1_0000;
    let entries = [created("/parent", -1), created("/parent/child", i32::MAX - 1)];
    let target = Target::apache_with_log(first, &log(first, &entries));
    let mut raw = Raw::connect(&target.hosts());
    let sequential = |raw: &mut Raw, name: &str| {
        let path = raw.create(&format!("/parent/{name}"), b"", 2)?;
        let stat = raw.exists("/parent", false).unwrap();
        Ok((path.rsplit_once(name).unwrap().1.to_owned(), stat.cversion, stat.pzxid))
    };
    let (_, _, pzxid) = sequential(&mut raw, "a-").unwrap();
    assert_eq!(sequential(&mut raw, "a-"), Ok(("2147483647".to_owned(), -5, pzxid)));
    assert_eq!(sequential(&mut raw, "a-"), Err(-110));
    assert_eq!(sequential(&mut raw, "b-"), Ok(("2147483647".to_owned(), -6, pzxid)));
    let part = wire::multi_header(op::CREATE).with(wire::create("/parent/m-", b"", &wire::open(), 2));
    let body = part.clone().with(part.clone()).with(part).with(wire::multi_end());
    let results = raw.call(op::MULTI, &body).unwrap();
    let mut fields = Fields(&results);
    for number in ["2147483647", "-2147483648", "-2147483647"] {
        assert_eq!((fields.int(), fields.bool(), fields.int()), (op::CREATE, false, 0));
        assert_eq!(fields.string(), format!("/parent/m-{number}"));
    }
    let stat = raw.exists("/parent", false).unwrap();
    assert_eq!((stat.cversion, stat.pzxid, stat.num_children), (-9, pzxid, 7));
}

on_both!(
    session_timeouts_at_the_ends_of_their_type_are_negotiated,
    request_numbers_may_be_any,
    client_with_a_later_zxid_is_disconnected,
    ttls_at_the_ends_of_their_type,
    versions_at_the_ends_of_their_type,
    set_watches_with_a_frame_full_of_paths,
    a_frame_full_of_operations_is_one_transaction,
    an_acl_with_thousands_of_entries,
    deep_paths_and_long_names,
);

fn session_timeouts_at_the_ends_of_their_type_are_negotiated(target: &Target) {
    for (wanted, timeout) in [(i32::MIN, 1_000), (-1, 1_000), (0, 1_000), (i32::MAX, 40_000)] {
        let raw = Raw::hello(&target.hosts(), &Hello { timeout: wanted, ..Hello::default() }).unwrap();
        assert_eq!(raw.timeout, timeout, "{wanted}");
        raw.close();
    }
}

fn request_numbers_may_be_any(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    for xid in [i32::MAX, i32::MIN, 0, -1, -2, -4, -8, i32::MAX] {
        raw.frame(&Body::new().int(xid).int(op::EXISTS).string("/").bool(false).0);
        let mut reply = raw.receive().unwrap();
        reply.drain(4 + 8..);
        assert_eq!(Fields(&reply).int(), xid);
    }
}

fn client_with_a_later_zxid_is_disconnected(target: &Target) {
    let hello = |last_zxid: i64| Raw::hello(&target.hosts(), &Hello { last_zxid, ..Hello::default() });
    assert!(hello(i64::MAX).is_none());
    for past in [i64::MIN, -1] {
        hello(past).unwrap().close();
    }
}

fn ttls_at_the_ends_of_their_type(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    for (ttl, expected) in [
        (i64::MIN, Err(-8)),
        (-1, Err(-8)),
        (0, Err(-8)),
        (1 << 40, Err(-8)),
        (i64::MAX, Err(-8)),
        ((1 << 40) - 1, Ok(())),
    ] {
        let body = wire::create(&target.path("/timed"), b"", &wire::open(), 5).long(ttl);
        assert_eq!(raw.call(op::CREATE_TTL, &body).map(drop), expected, "{ttl}");
    }
}

fn versions_at_the_ends_of_their_type(target: &Target) {
    let (mut raw, path) = target.created("/versions", b"");
    for version in [i32::MIN, -2, 1, i32::MAX] {
        let at = |body: Body| body.int(version);
        let acl = Body::new().string(&path).acl(&wire::open());
        assert_eq!(raw.call(op::SET_DATA, &at(Body::new().string(&path).bytes(b""))), Err(-103), "{version}");
        assert_eq!(raw.call(op::SET_ACL, &at(acl)), Err(-103), "{version}");
        assert_eq!(raw.call(op::DELETE, &at(Body::new().string(&path))), Err(-103), "{version}");
    }
}

fn set_watches_with_a_frame_full_of_paths(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let paths: Vec<String> = (0..25_000).map(|number| target.path(&format!("/{number}"))).collect();
    let none: [&str; 0] = [];
    let body = Body::new().long(i64::MAX).strings(&none).strings(&paths).strings(&paths);
    let (before, reply) = raw.exchange(op::SET_WATCHES, &body);
    assert_eq!(reply, Ok(vec![]));
    // The child watches report a deletion, because the znodes do not exist; the watches for their creation remain.
    let deleted = |path: &String| Packet::Event { kind: 2, state: 3, path: path.clone() };
    assert!(before.iter().eq(&paths.iter().map(deleted).collect::<Vec<_>>()));
    for number in [0, 24_999] {
        let (before, reply) = raw.exchange(op::CREATE, &wire::create(&paths[number], b"", &wire::open(), 0));
        assert!(reply.is_ok());
        assert_eq!(before, [Packet::Event { kind: 1, state: 3, path: paths[number].clone() }]);
    }
}

/// Returns the errors of a `multi`, in order; 0 where there is none.
fn errors(results: &[u8]) -> Vec<i32> {
    let (mut fields, mut errors) = (Fields(results), Vec::new());
    loop {
        let (operation, done, error) = (fields.int(), fields.bool(), fields.int());
        if done {
            return errors;
        }
        match operation {
            -1 => drop(fields.int()),
            op::CREATE => drop(fields.string()),
            _ => {}
        }
        errors.push(error);
    }
}

fn a_frame_full_of_operations_is_one_transaction(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let check = |version: i32| wire::multi_header(op::CHECK).with(Body::new().string("/").int(version));
    let repeated = |part: Body, count: usize| Body(part.0.repeat(count));
    let mut multi = |parts: Body| {
        let body = parts.with(wire::multi_end());
        assert!(body.0.len() < 0xf_ffff - 8, "{}", body.0.len());
        errors(&raw.call(op::MULTI, &body).unwrap())
    };
    assert_eq!(multi(repeated(check(-1), 58_000)), vec![0; 58_000]);
    let mut expected = vec![0; 57_999];
    expected.push(-103);
    assert_eq!(multi(repeated(check(-1), 57_999).with(check(99))), expected);
    let prefix = target.path("/");
    let create = wire::multi_header(op::CREATE).with(wire::create(&prefix, b"", &wire::open(), 2));
    let mut expected = vec![0; 15_000];
    expected.push(-103);
    assert_eq!(multi(repeated(create.clone(), 15_000).with(check(99))), expected);
    assert_eq!(multi(repeated(create, 15_000)), vec![0; 15_000]);
    let children = raw.children(&target.path(""), false).unwrap();
    assert_eq!((children.len(), &*children[0], &*children[14_999]), (15_000, "0000000000", "0000014999"));
}

fn an_acl_with_thousands_of_entries(target: &Target) {
    let (mut raw, path) = target.raw("/acl");
    // Permissions may be any number.
    let entries: Vec<Acl> = (0..2_000).map(|perms| acl(perms, "world", "anyone")).collect();
    let twice = [entries.clone(), entries.clone()].concat();
    raw.call(op::CREATE, &wire::create(&path, b"", &twice, 0)).unwrap();
    let kept = raw.call(op::GET_ACL, &Body::new().string(&path)).unwrap();
    assert_eq!(Fields(&kept).acl(), entries);
}

fn deep_paths_and_long_names(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let deep = target.path(&"/x".repeat(400_000));
    for operation in [op::EXISTS, op::GET_DATA, op::GET_CHILDREN] {
        assert_eq!(raw.call(operation, &Body::new().string(&deep).bool(true)), Err(-101));
    }
    assert_eq!(raw.create(&deep, b"", 0), Err(-101));
    raw.call(op::ADD_WATCH, &Body::new().string(&deep).int(1)).unwrap();
    let long = target.path(&format!("/{}", "n".repeat(900_000)));
    assert_eq!(raw.create(&long, b"", 0), Ok(long.clone()));
    assert_eq!(raw.children(&target.path(""), false).unwrap()[0].len(), 900_000);
    raw.delete(&long).unwrap();
    raw.call(op::ADD_WATCH, &Body::new().string(&target.path("/d")).int(1)).unwrap();
    let at = |depth: usize| target.path(&"/d".repeat(depth));
    for depth in 1..=500 {
        let (before, reply) = raw.exchange(op::CREATE, &wire::create(&at(depth), b"", &wire::open(), 0));
        assert!(reply.is_ok(), "{depth}");
        assert_eq!(before, [Packet::Event { kind: 1, state: 3, path: at(depth) }]);
    }
    let below = raw.call(op::GET_ALL_CHILDREN_NUMBER, &Body::new().string(&at(1))).unwrap();
    assert_eq!(Fields(&below).int(), 499);
}

#[test]
fn server_in_memory_bounds_the_work_of_an_acl_and_of_identities() {
    let target = Target::memory();
    let (mut raw, path) = target.raw("/acl");
    let entries = |count: i32| {
        let entry = |perms: i32| Body::new().int(perms).string("auth").none();
        let list = (0..count).fold(Body::new().int(count), |list, perms| list.with(entry(perms)));
        Body::new().string(&path).bytes(b"").with(list).int(0)
    };
    let show = |raw: &mut Raw, user: i32| {
        raw.call(op::AUTH, &Body::new().int(0).string("digest").string(&format!("{user}:secret")))
    };
    show(&mut raw, 0).unwrap();
    let start = Instant::now();
    let body = entries(60_000);
    assert!(raw.call(op::CREATE, &body).is_ok());
    assert_eq!(raw.get(&path, false).map(drop), Ok(()));
    // Two identities for each entry exceed the size of a frame.
    show(&mut raw, 1).unwrap();
    assert_eq!(raw.call(op::CREATE, &entries(60_000)), Err(-114));
    // A client may add identities up to the maximum.
    for user in 2..99 {
        show(&mut raw, user).unwrap();
    }
    show(&mut raw, 98).unwrap();
    assert_eq!(show(&mut raw, 99), Err(-115));
    assert_eq!(raw.next(), Packet::Closed);
    // Comparing each entry with every other took minutes.
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
}
