//! Tests of watches of every kind: the changes that fire them, once or permanently, and the order of an event before
//! the reply that shows its change.

use crate::raw::{Packet, Raw, op};
use crate::target::Target;
use crate::wire::{self, Body};

on_both!(
    data_watches_fire_once,
    exist_watches_fire_at_a_creation,
    child_watches_fire_once,
    client_with_two_watches_receives_one_event,
    an_event_precedes_the_reply_that_shows_its_change,
    persistent_watches_stay,
    recursive_watches_fire_for_all_descendants,
    watches_are_removed,
    watches_set_again_report_missed_events,
    persistent_watches_set_again_report_nothing,
    watches_end_with_their_connection,
    client_without_read_permission_receives_no_event,
);

const CREATED: i32 = 1;
const DELETED: i32 = 2;
const CHANGED: i32 = 3;
const CHILDREN: i32 = 4;

fn event(kind: i32, path: &str) -> Packet {
    Packet::Event { kind, state: 3, path: path.to_owned() }
}

/// Connects a client that watches and a client that makes changes.
fn two(target: &Target, below: &str) -> (Raw, Raw, String) {
    let (raw, path) = target.raw(below);
    (Raw::connect(&target.hosts()), raw, path)
}

fn data_watches_fire_once(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/d");
    raw.create(&path, b"", 0).unwrap();
    watcher.get(&path, true).unwrap();
    raw.create(&format!("{path}/child"), b"", 0).unwrap();
    assert_eq!(watcher.received(), []);
    raw.set(&path, b"1").unwrap();
    raw.set(&path, b"2").unwrap();
    assert_eq!(watcher.received(), [event(CHANGED, &path)]);
    watcher.get(&path, true).unwrap();
    raw.delete(&format!("{path}/child")).unwrap();
    raw.delete(&path).unwrap();
    assert_eq!(watcher.received(), [event(DELETED, &path)]);
    // A failed read sets no watch.
    assert_eq!(watcher.get(&path, true), Err(-101));
    raw.create(&path, b"", 0).unwrap();
    assert_eq!(watcher.received(), []);
}

fn exist_watches_fire_at_a_creation(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/e");
    assert_eq!(watcher.exists(&path, true), Err(-101));
    raw.create(&path, b"", 0).unwrap();
    assert_eq!(watcher.received(), [event(CREATED, &path)]);
    watcher.exists(&path, true).unwrap();
    raw.set(&path, b"").unwrap();
    assert_eq!(watcher.received(), [event(CHANGED, &path)]);
    watcher.exists(&path, true).unwrap();
    raw.delete(&path).unwrap();
    assert_eq!(watcher.received(), [event(DELETED, &path)]);
}

fn child_watches_fire_once(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/c");
    let child = format!("{path}/child");
    raw.create(&path, b"", 0).unwrap();
    watcher.children(&path, true).unwrap();
    raw.set(&path, b"").unwrap();
    assert_eq!(watcher.received(), []);
    raw.create(&child, b"", 0).unwrap();
    raw.set(&child, b"").unwrap();
    assert_eq!(watcher.received(), [event(CHILDREN, &path)]);
    watcher.children(&path, true).unwrap();
    raw.set(&child, b"").unwrap();
    raw.delete(&child).unwrap();
    assert_eq!(watcher.received(), [event(CHILDREN, &path)]);
    watcher.children(&path, true).unwrap();
    raw.delete(&path).unwrap();
    assert_eq!(watcher.received(), [event(DELETED, &path)]);
}

fn client_with_two_watches_receives_one_event(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/twice");
    raw.create(&path, b"", 0).unwrap();
    watcher.get(&path, true).unwrap();
    watcher.exists(&path, true).unwrap();
    watcher.children(&path, true).unwrap();
    raw.delete(&path).unwrap();
    assert_eq!(watcher.received(), [event(DELETED, &path)]);
    raw.create(&path, b"", 0).unwrap();
    raw.create(&format!("{path}/x"), b"", 0).unwrap();
    assert_eq!(watcher.received(), []);
}

fn an_event_precedes_the_reply_that_shows_its_change(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/first");
    raw.create(&path, b"0", 0).unwrap();
    for round in 1..=50_u8 {
        watcher.get(&path, true).unwrap();
        // Both requests are sent at once: in either order, a reply with the new data comes after the event.
        raw.send(op::SET_DATA, &Body::new().string(&path).bytes(&[round]).int(-1));
        let (before, reply) = watcher.exchange(op::GET_DATA, &Body::new().string(&path).bool(false));
        let shows = reply.unwrap()[4] == round;
        assert_eq!(before, if shows { vec![event(CHANGED, &path)] } else { vec![] }, "{round}");
        raw.next();
        assert_eq!(watcher.received(), if shows { vec![] } else { vec![event(CHANGED, &path)] });
    }
    // A client's own changes fire its watches too.
    watcher.children(&path, true).unwrap();
    let child = format!("{path}/child");
    assert_eq!(watcher.exists(&child, true), Err(-101));
    let (before, reply) = watcher.exchange(op::CREATE2, &wire::create(&child, b"", &wire::open(), 0));
    assert!(reply.is_ok());
    assert_eq!(before, [event(CREATED, &child), event(CHILDREN, &path)]);
}

fn add(raw: &mut Raw, path: &str, mode: i32) -> Result<Vec<u8>, i32> {
    raw.call(op::ADD_WATCH, &Body::new().string(path).int(mode))
}

fn persistent_watches_stay(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/p");
    let child = format!("{path}/child");
    assert_eq!(add(&mut watcher, &path, 0), Ok(vec![0; 4]));
    for _ in 0..2 {
        raw.create(&path, b"", 0).unwrap();
        raw.set(&path, b"").unwrap();
        raw.create(&child, b"", 0).unwrap();
        raw.set(&child, b"").unwrap();
        raw.delete(&child).unwrap();
        raw.delete(&path).unwrap();
        let events = [CREATED, CHANGED, CHILDREN, CHILDREN, DELETED].map(|kind| event(kind, &path));
        assert_eq!(watcher.received(), events);
    }
    assert_eq!(add(&mut watcher, &path, 2), Err(-5));
}

fn recursive_watches_fire_for_all_descendants(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/r");
    let child = format!("{path}/child");
    let deep = format!("{child}/deep");
    add(&mut watcher, &path, 1).unwrap();
    for each in [&path, &child, &deep] {
        raw.create(each, b"", 0).unwrap();
    }
    raw.set(&deep, b"").unwrap();
    raw.create(&target.path("/rest"), b"", 0).unwrap();
    for each in [&deep, &child, &path] {
        raw.delete(each).unwrap();
    }
    let events = [
        event(CREATED, &path),
        event(CREATED, &child),
        event(CREATED, &deep),
        event(CHANGED, &deep),
        event(DELETED, &deep),
        event(DELETED, &child),
        event(DELETED, &path),
    ];
    assert_eq!(watcher.received(), events);
}

fn watches_are_removed(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/gone");
    raw.create(&path, b"", 0).unwrap();
    let ask = |raw: &mut Raw, operation, kind| raw.call(operation, &Body::new().string(&path).int(kind));
    let (data, children, any) = (2, 1, 3);
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, any), Err(-121));
    assert_eq!(ask(&mut watcher, op::CHECK_WATCHES, any), Err(-121));
    watcher.get(&path, true).unwrap();
    assert_eq!(ask(&mut watcher, op::CHECK_WATCHES, data), Ok(vec![]));
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, children), Err(-121));
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, data), Ok(vec![]));
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, data), Err(-121));
    watcher.children(&path, true).unwrap();
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, children), Ok(vec![]));
    add(&mut watcher, &path, 1).unwrap();
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, any), Ok(vec![]));
    raw.create(&format!("{path}/child"), b"", 0).unwrap();
    raw.set(&path, b"").unwrap();
    assert_eq!(watcher.received(), []);
    assert_eq!(ask(&mut watcher, op::REMOVE_WATCHES, 9), Err(-5));
}

fn watches_set_again_report_missed_events(target: &Target) {
    let (mut watcher, mut raw, _) = two(target, "");
    let at = |name: &str| target.path(&format!("/{name}"));
    for name in ["same", "changed", "deleted", "parent", "still"] {
        raw.create(&at(name), b"", 0).unwrap();
    }
    let since = raw.exists(&at("still"), false).unwrap().czxid;
    raw.set(&at("changed"), b"").unwrap();
    raw.delete(&at("deleted")).unwrap();
    raw.create(&at("parent/child"), b"", 0).unwrap();
    raw.create(&at("created"), b"", 0).unwrap();
    let body = Body::new()
        .long(since)
        .strings(&[at("same"), at("changed"), at("deleted")])
        .strings(&[at("created"), at("missing")])
        .strings(&[at("still"), at("parent"), at("deleted")]);
    let (before, reply) = watcher.exchange(op::SET_WATCHES, &body);
    assert_eq!(reply, Ok(vec![]));
    let missed = [
        event(CHANGED, &at("changed")),
        event(DELETED, &at("deleted")),
        event(CREATED, &at("created")),
        event(CHILDREN, &at("parent")),
        event(DELETED, &at("deleted")),
    ];
    assert_eq!(before, missed);
    // Watches that missed no event remain set.
    raw.set(&at("same"), b"").unwrap();
    raw.create(&at("missing"), b"", 0).unwrap();
    raw.create(&at("still/child"), b"", 0).unwrap();
    raw.set(&at("changed"), b"").unwrap();
    let now = [event(CHANGED, &at("same")), event(CREATED, &at("missing")), event(CHILDREN, &at("still"))];
    assert_eq!(watcher.received(), now);
}

fn persistent_watches_set_again_report_nothing(target: &Target) {
    let (mut watcher, mut raw, _) = two(target, "");
    let (one, all) = (target.path("/one"), target.path("/all"));
    raw.create(&one, b"", 0).unwrap();
    let none: [&str; 0] = [];
    let body =
        Body::new().long(0).strings(&none).strings(&none).strings(&none).strings(&[&one]).strings(&[&all]);
    assert_eq!(watcher.call(op::SET_WATCHES2, &body), Ok(vec![]));
    raw.set(&one, b"").unwrap();
    raw.create(&all, b"", 0).unwrap();
    raw.create(&format!("{all}/below"), b"", 0).unwrap();
    let below = format!("{all}/below");
    assert_eq!(watcher.received(), [event(CHANGED, &one), event(CREATED, &all), event(CREATED, &below)]);
}

fn watches_end_with_their_connection(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/w");
    raw.create(&path, b"", 0).unwrap();
    watcher.get(&path, true).unwrap();
    add(&mut watcher, &path, 1).unwrap();
    let mut again = Raw::hello(&target.hosts(), &watcher.reconnect()).unwrap();
    assert_eq!(again.session, watcher.session);
    raw.set(&path, b"").unwrap();
    assert_eq!(again.received(), []);
}

fn client_without_read_permission_receives_no_event(target: &Target) {
    let (mut watcher, mut raw, path) = two(target, "/secret");
    assert_eq!(watcher.exists(&path, true), Err(-101));
    raw.call(op::AUTH, &Body::new().int(0).string("digest").string("bob:secret")).unwrap();
    let create = wire::create(&path, b"", &[wire::acl(31, "auth", "")], 0);
    raw.call(op::CREATE2, &create).unwrap();
    assert_eq!(watcher.received(), []);
    add(&mut watcher, &path, 0).unwrap();
    raw.set(&path, b"").unwrap();
    raw.delete(&path).unwrap();
    assert_eq!(watcher.received(), []);
}
