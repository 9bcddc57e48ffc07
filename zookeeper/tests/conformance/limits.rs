//! Tests of size limits and of malformed input: a client that sends it loses its connection, other clients do not.

use crate::raw::{Packet, Raw, op};
use crate::target::Target;
use crate::wire::{self, Body};

on_both!(
    frames_have_at_most_a_mebibyte_less_one,
    a_negative_length_ends_the_connection,
    invalid_input_closes_only_the_connection_of_its_sender,
    incomplete_request_is_a_marshalling_error,
    unknown_operations_are_unimplemented,
    many_requests_in_one_write,
);

const LONGEST: usize = 0xf_ffff;

fn frames_have_at_most_a_mebibyte_less_one(target: &Target) {
    let (mut raw, path) = target.raw("/large");
    let around = wire::create(&path, b"", &wire::open(), 0).0.len() + 8;
    let data = vec![b'x'; LONGEST - around];
    raw.call(op::CREATE2, &wire::create(&path, &data, &wire::open(), 0)).unwrap();
    assert_eq!(raw.get(&path, false).unwrap().0, data);
    raw.send(op::SET_DATA, &Body::new().string(&path).bytes(&vec![b'y'; LONGEST]).int(-1));
    assert_eq!(raw.next(), Packet::Closed);
    let mut again = Raw::hello(&target.hosts(), &raw.reconnect()).unwrap();
    assert_eq!(again.session, raw.session);
    assert_eq!(again.exists(&path, false).unwrap().version, 0);
}

fn a_negative_length_ends_the_connection(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    raw.bytes(&(-1_i32).to_be_bytes());
    assert_eq!(raw.next(), Packet::Closed);
    let mut raw = Raw::open(&target.hosts());
    raw.bytes(&i32::MIN.to_be_bytes());
    assert_eq!(raw.next(), Packet::Closed);
}

fn invalid_input_closes_only_the_connection_of_its_sender(target: &Target) {
    let mut witness = Raw::connect(&target.hosts());
    // Not a valid first frame.
    let mut raw = Raw::open(&target.hosts());
    raw.frame(b"short");
    assert_eq!(raw.next(), Packet::Closed);
    let mut raw = Raw::open(&target.hosts());
    raw.bytes(b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(raw.next(), Packet::Closed);
    // A request without a complete header.
    let mut raw = Raw::connect(&target.hosts());
    raw.frame(b"\0");
    assert_eq!(raw.next(), Packet::Closed);
    assert_eq!(witness.received(), []);
}

fn incomplete_request_is_a_marshalling_error(target: &Target) {
    let (mut raw, path) = target.raw("/half");
    let whole = wire::create(&path, b"data", &wire::open(), 0).0;
    for length in [0, 3, 4, 10, whole.len() - 1] {
        assert_eq!(raw.call(op::CREATE2, &Body(whole[..length].to_vec())), Err(-5), "{length}");
    }
    for operation in [op::EXISTS, op::GET_DATA, op::GET_CHILDREN2, op::MULTI, op::MULTI_READ, op::ADD_WATCH] {
        assert_eq!(raw.call(operation, &Body::new().int(i32::MAX)), Err(-5), "{operation}");
    }
    assert_eq!(raw.exists(&path, false), Err(-101));
}

fn unknown_operations_are_unimplemented(target: &Target) {
    for operation in [10, 23, 108, -3, i32::MAX] {
        let mut raw = Raw::connect(&target.hosts());
        assert_eq!(raw.call(operation, &Body::new()), Err(-6), "{operation}");
        assert_eq!(raw.next(), Packet::Closed);
    }
}

fn many_requests_in_one_write(target: &Target) {
    let (mut raw, path) = target.raw("/many");
    raw.create(&path, &[7; 1_000], 0).unwrap();
    let request = Body::new().int(9).int(op::GET_DATA).string(&path).bool(false).0;
    let mut bytes = Vec::new();
    for _ in 0..500 {
        bytes.extend(u32::try_from(request.len()).unwrap().to_be_bytes());
        bytes.extend(&request);
    }
    // The pieces end in the middle of a frame.
    for piece in bytes.chunks(777) {
        raw.bytes(piece);
    }
    for _ in 0..500 {
        match raw.next() {
            Packet::Reply { xid: 9, error: 0, body, .. } => assert_eq!(body.len(), 4 + 1_000 + 68),
            other => panic!("{other:?}"),
        }
    }
}
