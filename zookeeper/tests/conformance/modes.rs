//! Tests of create modes: sequential, ephemeral, container, and with a TTL.

use crate::raw::{Raw, op};
use crate::target::Target;
use crate::wire::{self, Fields};

on_both!(
    sequence_numbers_count_created_children,
    sequence_numbers_continue_after_deletions,
    ephemerals_are_listed_for_their_session,
    containers_and_znodes_with_a_ttl_look_like_others,
    invalid_ttls_are_refused,
);

fn sequence_numbers_count_created_children(target: &Target) {
    let (mut raw, parent) = target.created("/q", b"");
    let mut names = Vec::new();
    for (name, flags) in [("n-", 2), ("plain", 0), ("", 3), ("n-", 3), ("m", 2)] {
        names.push(raw.create(&format!("{parent}/{name}"), b"", flags).unwrap().replace(&parent, ""));
    }
    assert_eq!(names, ["/n-0000000000", "/plain", "/0000000002", "/n-0000000003", "/m0000000004"]);
}

fn sequence_numbers_continue_after_deletions(target: &Target) {
    let (mut raw, parent) = target.created("/q", b"");
    for round in 0..5 {
        let path = raw.create(&format!("{parent}/n-"), b"", 2).unwrap();
        // Not `cversion`, which also counts the deletions below.
        assert_eq!(path, format!("{parent}/n-{round:010}"));
        raw.delete(&path).unwrap();
        assert_eq!(raw.exists(&parent, false).unwrap().cversion, 2 * (round + 1));
    }
}

fn ephemerals_are_listed_for_their_session(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let mut other = Raw::connect(&target.hosts());
    let (a, b, c) = (target.path("/a"), target.path("/b"), target.path("/c"));
    raw.create(&a, b"", 1).unwrap();
    raw.create(&b, b"", 0).unwrap();
    other.create(&c, b"", 1).unwrap();
    let list = |raw: &mut Raw, prefix: &str| {
        let body = raw.call(op::GET_EPHEMERALS, &wire::Body::new().string(prefix)).unwrap();
        Fields(&body).names()
    };
    assert_eq!(list(&mut raw, &target.path("")), std::slice::from_ref(&a));
    assert_eq!(list(&mut raw, "/"), std::slice::from_ref(&a));
    assert_eq!(list(&mut raw, ""), [a]);
    assert_eq!(list(&mut raw, &target.path("/b")), [""; 0]);
    assert_eq!(list(&mut other, "/"), [c]);
}

fn containers_and_znodes_with_a_ttl_look_like_others(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let (container, brief) = (target.path("/container"), target.path("/brief"));
    let create = |raw: &mut Raw, operation, body| {
        let body = raw.call(operation, &body).unwrap();
        let mut fields = Fields(&body);
        (fields.string(), fields.stat().ephemeral_owner)
    };
    let body = wire::create(&container, b"", &wire::open(), 4);
    assert_eq!(create(&mut raw, op::CREATE_CONTAINER, body), (container.clone(), 0));
    let body = wire::create(&brief, b"", &wire::open(), 5).long(100_000);
    assert_eq!(create(&mut raw, op::CREATE_TTL, body), (brief.clone(), 0));
    let body = wire::create(&format!("{brief}/n"), b"", &wire::open(), 6).long(100_000);
    assert_eq!(create(&mut raw, op::CREATE_TTL, body).0, format!("{brief}/n0000000000"));
    for path in [container, brief] {
        raw.create(&format!("{path}/child"), b"", 0).unwrap();
        assert_eq!(raw.delete(&path), Err(-111));
    }
}

fn invalid_ttls_are_refused(target: &Target) {
    let (mut raw, path) = target.raw("/brief");
    for (flags, ttl) in [(5, 0), (5, -1), (5, 1 << 40), (0, 5), (1, 5)] {
        let body = wire::create(&path, b"", &wire::open(), flags).long(ttl);
        assert_eq!(raw.call(op::CREATE_TTL, &body), Err(-8), "{flags} {ttl}");
    }
    assert_eq!(raw.create(&path, b"", 5), Err(-8));
    let body = wire::create(&path, b"", &wire::open(), 5).long((1 << 40) - 1);
    assert!(raw.call(op::CREATE_TTL, &body).is_ok());
}
