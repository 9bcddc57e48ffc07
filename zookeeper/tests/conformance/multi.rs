//! Tests of several operations in one request: all or none take effect, and each has its result.

use crate::raw::{Packet, Raw, op};
use crate::target::Target;
use crate::wire::{self, Body, Fields, multi_end, multi_header};

on_both!(
    all_take_effect_in_one_transaction,
    none_takes_effect_when_one_fails,
    an_operation_sees_those_before_it,
    events_come_in_the_order_of_operations,
    an_empty_multi_does_nothing,
    reads_are_answered_one_by_one,
    operations_that_a_multi_cannot_contain_are_refused,
);

fn create(path: &str, flags: i32) -> Body {
    multi_header(op::CREATE).with(wire::create(path, b"data", &wire::open(), flags))
}

fn check(path: &str, version: i32) -> Body {
    multi_header(op::CHECK).string(path).int(version)
}

fn set(path: &str, data: &[u8], version: i32) -> Body {
    multi_header(op::SET_DATA).string(path).bytes(data).int(version)
}

fn delete(path: &str) -> Body {
    multi_header(op::DELETE).string(path).int(-1)
}

fn all(parts: impl IntoIterator<Item = Body>) -> Body {
    parts.into_iter().fold(Body::new(), Body::with).with(multi_end())
}

fn header(fields: &mut Fields<'_>) -> (i32, bool, i32) {
    (fields.int(), fields.bool(), fields.int())
}

/// Returns the errors of a failed multi.
fn errors(body: &[u8]) -> Vec<i32> {
    let mut fields = Fields(body);
    let mut errors = Vec::new();
    loop {
        let (operation, done, error) = header(&mut fields);
        assert_eq!(operation, -1);
        if done {
            assert!(error == -1 && fields.is_empty());
            return errors;
        }
        assert_eq!(fields.int(), error);
        errors.push(error);
    }
}

fn all_take_effect_in_one_transaction(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let (a, b) = (target.path("/a"), target.path("/b"));
    raw.create(&b, b"", 0).unwrap();
    let body =
        raw.call(op::MULTI, &all([create(&a, 0), set(&b, b"new", 0), check(&b, 1), delete(&b)])).unwrap();
    let mut fields = Fields(&body);
    assert_eq!(header(&mut fields), (op::CREATE, false, 0));
    assert_eq!(fields.string(), a);
    assert_eq!(header(&mut fields), (op::SET_DATA, false, 0));
    let stat = fields.stat();
    assert_eq!((stat.version, stat.data_length), (1, 3));
    assert_eq!(header(&mut fields), (op::CHECK, false, 0));
    assert_eq!(header(&mut fields), (op::DELETE, false, 0));
    assert_eq!(header(&mut fields), (-1, true, -1));
    assert!(fields.is_empty());
    assert_eq!(raw.exists(&a, false).unwrap().czxid, stat.mzxid);
    assert_eq!(raw.exists(&b, false), Err(-101));
}

fn none_takes_effect_when_one_fails(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let (a, b) = (target.path("/a"), target.path("/b"));
    raw.create(&b, b"old", 0).unwrap();
    let root = raw.exists(&target.path(""), false).unwrap();
    let before = raw.get(&b, false).unwrap();
    let parts = [
        create(&a, 0),
        create(&format!("{a}/n-"), 3),
        set(&b, b"new", -1),
        delete(&b),
        check(&b, 0),
        delete(&a),
    ];
    // The reply itself has no error.
    let body = raw.call(op::MULTI, &all(parts)).unwrap();
    assert_eq!(errors(&body), [0, 0, 0, 0, -101, -2]);
    assert_eq!(raw.exists(&a, false), Err(-101));
    assert_eq!(raw.get(&b, false), Ok(before));
    assert_eq!(raw.exists(&target.path(""), false), Ok(root));
    let body = raw.call(op::GET_EPHEMERALS, &Body::new().string("/")).unwrap();
    assert!(Fields(&body).names().is_empty());
}

fn an_operation_sees_those_before_it(target: &Target) {
    let (mut raw, a) = target.raw("/a");
    let numbered = format!("{a}/n-");
    let body =
        raw.call(op::MULTI, &all([create(&a, 0), create(&numbered, 2), create(&numbered, 2)])).unwrap();
    let mut fields = Fields(&body);
    let mut paths = Vec::new();
    while header(&mut fields) == (op::CREATE, false, 0) {
        paths.push(fields.string());
    }
    assert_eq!(paths, [a.clone(), format!("{numbered}0000000000"), format!("{numbered}0000000001")]);
    let body =
        raw.call(op::MULTI, &all([delete(&paths[1]), delete(&paths[2]), delete(&a), create(&a, 1)])).unwrap();
    assert_eq!(header(&mut Fields(&body)), (op::DELETE, false, 0));
    assert_eq!(raw.exists(&a, false).unwrap().ephemeral_owner, raw.session);
}

fn events_come_in_the_order_of_operations(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let (root, a, b) = (target.path(""), target.path("/a"), target.path("/b"));
    raw.create(&a, b"", 0).unwrap();
    raw.get(&a, true).unwrap();
    assert_eq!(raw.exists(&b, true), Err(-101));
    raw.children(&root, true).unwrap();
    let (before, reply) = raw.exchange(op::MULTI, &all([create(&b, 0), set(&a, b"", -1), delete(&b)]));
    assert!(reply.is_ok());
    let event = |kind, path: &str| Packet::Event { kind, state: 3, path: path.to_owned() };
    assert_eq!(before, [event(1, &b), event(4, &root), event(3, &a)]);
    // A multi that fails fires no watch.
    raw.get(&a, true).unwrap();
    let (before, _) = raw.exchange(op::MULTI, &all([set(&a, b"", -1), delete(&b)]));
    assert_eq!(before, []);
}

fn an_empty_multi_does_nothing(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    assert_eq!(raw.call(op::MULTI, &all([])), Ok(multi_end().0));
    assert_eq!(raw.call(op::MULTI_READ, &all([])), Ok(multi_end().0));
}

fn reads_are_answered_one_by_one(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let (a, none) = (target.path("/a"), target.path("/none"));
    raw.create(&a, b"data", 0).unwrap();
    raw.create(&format!("{a}/child"), b"", 0).unwrap();
    let read = |operation, path: &str| multi_header(operation).string(path).bool(false);
    let parts = [read(op::GET_DATA, &a), read(op::GET_DATA, &none), read(op::GET_CHILDREN, &a)];
    let body = raw.call(op::MULTI_READ, &all(parts)).unwrap();
    let mut fields = Fields(&body);
    assert_eq!(header(&mut fields), (op::GET_DATA, false, 0));
    assert_eq!(fields.bytes().unwrap(), b"data");
    assert_eq!(fields.stat(), raw.exists(&a, false).unwrap());
    assert_eq!(header(&mut fields), (-1, false, -101));
    assert_eq!(fields.int(), -101);
    assert_eq!(header(&mut fields), (op::GET_CHILDREN, false, 0));
    assert_eq!(fields.names(), ["child"]);
    assert_eq!(header(&mut fields), (-1, true, -1));
    assert!(fields.is_empty());
}

fn operations_that_a_multi_cannot_contain_are_refused(target: &Target) {
    let (mut raw, a) = target.raw("/a");
    let acl = multi_header(op::SET_ACL).string(&a).acl(&wire::open()).int(-1);
    assert_eq!(raw.call(op::MULTI, &all([create(&a, 0), acl])), Err(-5));
    assert_eq!(raw.call(op::MULTI, &create(&a, 0)), Err(-5));
    assert_eq!(raw.exists(&a, false), Err(-101));
}
