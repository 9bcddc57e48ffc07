//! Tests of creating, reading, changing, listing and deleting znodes, and of refused requests.

use crate::raw::{Raw, op};
use crate::target::Target;
use crate::wire::{self, Body, Fields};

on_both!(
    written_data_is_read,
    no_data_and_empty_data_differ,
    versions_are_compared_with_the_expected_ones,
    requests_are_refused_with_the_same_errors,
    children_are_listed_and_counted,
    replies_come_in_the_order_of_requests,
);

fn written_data_is_read(target: &Target) {
    let (mut raw, path) = target.raw("/á");
    assert_eq!(raw.exists(&path, false), Err(-101));
    assert_eq!(raw.create(&path, b"one", 0).as_deref(), Ok(&*path));
    assert_eq!(raw.get(&path, false).unwrap().0, b"one");
    raw.set(&path, b"two").unwrap();
    let (data, stat) = raw.get(&path, false).unwrap();
    assert_eq!((data, stat), (b"two".to_vec(), raw.exists(&path, false).unwrap()));
    raw.delete(&path).unwrap();
    assert_eq!(raw.get(&path, false), Err(-101));
    // A create of the first protocol version is answered with the path alone.
    let body = raw.call(op::CREATE, &wire::create(&path, b"", &wire::open(), 0)).unwrap();
    assert_eq!(body, Body::new().string(&path).0);
    assert_eq!(raw.call(op::SYNC, &Body::new().string(&path)).unwrap(), body);
}

fn no_data_and_empty_data_differ(target: &Target) {
    let (mut raw, path) = target.raw("/none");
    let create = Body::new().string(&path).none().acl(&wire::open()).int(0);
    raw.call(op::CREATE2, &create).unwrap();
    let read = |raw: &mut Raw| {
        let body = raw.call(op::GET_DATA, &Body::new().string(&path).bool(false)).unwrap();
        Fields(&body).bytes()
    };
    assert_eq!(read(&mut raw), None);
    raw.set(&path, b"").unwrap();
    assert_eq!(read(&mut raw), Some(Vec::new()));
    raw.call(op::SET_DATA, &Body::new().string(&path).none().int(-1)).unwrap();
    assert_eq!(read(&mut raw), None);
    assert_eq!(raw.exists(&path, false).unwrap().data_length, 0);
}

fn versions_are_compared_with_the_expected_ones(target: &Target) {
    let (mut raw, path) = target.created("/v", b"");
    let set =
        |raw: &mut Raw, version| raw.call(op::SET_DATA, &Body::new().string(&path).bytes(b"x").int(version));
    let delete = |raw: &mut Raw, version| raw.call(op::DELETE, &Body::new().string(&path).int(version));
    assert_eq!(set(&mut raw, 1), Err(-103));
    assert_eq!(set(&mut raw, -2), Err(-103));
    assert!(set(&mut raw, 0).is_ok());
    assert_eq!(set(&mut raw, 0), Err(-103));
    assert!(set(&mut raw, -1).is_ok());
    assert_eq!(delete(&mut raw, 1), Err(-103));
    assert_eq!(raw.exists(&path, false).unwrap().version, 2);
    assert!(delete(&mut raw, 2).is_ok());
}

fn requests_are_refused_with_the_same_errors(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    raw.create(&target.path("/p"), b"", 0).unwrap();
    raw.create(&target.path("/p/c"), b"", 0).unwrap();
    raw.create(&target.path("/e"), b"", 1).unwrap();
    assert_eq!(raw.create(&target.path("/p"), b"", 0), Err(-110));
    assert_eq!(raw.create("/", b"", 0), Err(-110));
    assert_eq!(raw.create(&target.path("/no/c"), b"", 0), Err(-101));
    assert_eq!(raw.create(&target.path("/e/c"), b"", 0), Err(-108));
    assert_eq!(raw.create(&target.path("/bad"), b"", 9), Err(-8));
    for bad in ["relative", "", "/a/", "/a//b", "/a/../b", "/.", "/a\0", "/\u{1}", "/\u{e000}"] {
        assert_eq!(
            raw.create(bad, b"", 0),
            Err(if bad == "/a//b" || bad == "/a/../b" || bad == "/a/" { -101 } else { -8 }),
            "{bad:?}"
        );
        assert_eq!(raw.set(bad, b""), Err(-8), "{bad:?}");
    }
    assert_eq!(raw.delete(&target.path("/p")), Err(-111));
    assert_eq!(raw.delete(&target.path("/no")), Err(-101));
    assert_eq!(raw.delete("/"), Err(-8));
    assert_eq!(raw.delete("/zookeeper"), Err(-8));
    assert_eq!(raw.delete("relative"), Err(-8));
    assert_eq!(raw.set(&target.path("/no"), b""), Err(-101));
    assert_eq!(raw.children(&target.path("/no"), false), Err(-101));
    assert_eq!(raw.call(op::RECONFIG, &Body::new().none().none().none().long(-1)), Err(-123));
    let acl = raw.call(op::GET_ACL, &Body::new().string(&target.path("/no")));
    assert_eq!(acl, Err(-101));
}

fn children_are_listed_and_counted(target: &Target) {
    let (mut raw, parent) = target.created("/p", b"");
    assert_eq!(raw.children(&parent, false), Ok(vec![]));
    for name in ["b", "a", "a/x", "a/x/y", "c"] {
        raw.create(&format!("{parent}/{name}"), b"", 0).unwrap();
    }
    assert_eq!(raw.children(&parent, false).unwrap(), ["a", "b", "c"]);
    let body = raw.call(op::GET_CHILDREN2, &Body::new().string(&parent).bool(false)).unwrap();
    let mut fields = Fields(&body);
    assert_eq!((fields.names().len(), fields.stat().num_children), (3, 3));
    let count = |raw: &mut Raw, path: &str| {
        raw.call(op::GET_ALL_CHILDREN_NUMBER, &Body::new().string(path)).map(|body| Fields(&body).int())
    };
    assert_eq!(count(&mut raw, &parent), Ok(5));
    assert_eq!(count(&mut raw, &format!("{parent}/b")), Ok(0));
    assert_eq!(count(&mut raw, &format!("{parent}/z")), Err(-101));
    assert!(raw.children("/", false).unwrap().contains(&"zookeeper".to_owned()));
    assert_eq!(raw.children("/zookeeper", false).unwrap(), ["config", "quota"]);
}

fn replies_come_in_the_order_of_requests(target: &Target) {
    let (mut raw, path) = target.raw("/o");
    let mut sent = Vec::new();
    for round in 0..200 {
        sent.push(raw.send(op::CREATE2, &wire::create(&path, b"", &wire::open(), 0)));
        sent.push(raw.send(op::GET_DATA, &Body::new().string(&path).bool(false)));
        if round % 3 == 0 {
            sent.push(raw.send(op::PING, &Body::new()));
        }
        sent.push(raw.send(op::DELETE, &Body::new().string(&path).int(-1)));
    }
    for expected in sent {
        match raw.next() {
            crate::raw::Packet::Reply { xid, error, .. } => assert_eq!((xid, error), (expected, 0)),
            other => panic!("{other:?}"),
        }
    }
}
