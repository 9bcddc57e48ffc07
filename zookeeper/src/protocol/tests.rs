//! Decoding arbitrary input results in a request or a refusal.

use bytes::{BufMut as _, Bytes, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::error::Code;
use crate::fuzz::codec;
use crate::jute::Write as _;

fn numbers() -> impl Strategy<Value = i32> {
    prop_oneof![4 => -11..110_i32, 1 => any::<i32>()]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bodies_never_panic(number in numbers(), body in prop::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255), any::<u8>()], 0..80)) {
        let mut frame = BytesMut::new();
        frame.int(7);
        frame.int(number);
        frame.put_slice(&body);
        let (xid, _) = decode(frame.clone().freeze()).unwrap();
        prop_assert_eq!(xid, 7);
        codec(&frame);
    }

    #[test]
    fn a_connect_request_is_read(zxid: i64, timeout: i32, session: i64, password: Vec<u8>, read_only: Option<bool>) {
        let mut frame = BytesMut::new();
        frame.int(0);
        frame.long(zxid);
        frame.int(timeout);
        frame.long(session);
        frame.buffer(Some(&password));
        if let Some(read_only) = read_only {
            frame.bool(read_only);
        }
        let request = ConnectRequest::decode(frame.freeze()).unwrap();
        let expected = ConnectRequest { last_zxid: zxid, timeout, session, password: password.into(), read_only };
        prop_assert_eq!(request, expected);
    }

    #[test]
    fn a_create_is_read(path: Option<String>, data: Option<Vec<u8>>, flags: i32, ttl: i64) {
        let mut frame = BytesMut::new();
        frame.int(1);
        frame.int(Operation::CreateTtl as i32);
        frame.optional_string(path.as_deref());
        frame.buffer(data.as_deref());
        frame.int(0);
        frame.int(flags);
        frame.long(ttl);
        let (_, request) = decode(frame.freeze()).unwrap();
        let data = data.map(Bytes::from);
        let create = Create { path, data, acl: Vec::new(), flags, kind: CreateKind::Ttl(ttl) };
        prop_assert_eq!(request, Ok(Request::Write(Write::Create(create))));
    }
}

#[test]
fn unknown_operations_are_unimplemented() {
    for number in [0, 10, 20, 23, 108, -1, -10, i32::MAX] {
        let mut frame = BytesMut::new();
        frame.int(1);
        frame.int(number);
        assert_eq!(decode(frame.freeze()).unwrap(), (1, Err(Code::Unimplemented)), "{number}");
    }
}
