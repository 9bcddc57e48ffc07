//! Messages of the server: replies, watch events, the results inside a `multi`.

use bytes::BytesMut;

use super::record::{Stat, encode_acl};
use crate::acl::{Acl, Id};
use crate::error::Code;
use crate::jute::{self, Write as _};

/// Value in a watch event at the position of a reply's request number.
const EVENT_XID: i32 = -1;
/// Value in the field of the transaction: Apache ZooKeeper 3.8 does not send the transaction that fired a watch.
const NO_ZXID: i64 = -1;
/// State in every event of a live connection.
const SYNC_CONNECTED: i32 = 3;
/// Type of an error inside a `multi`.
const ERROR: i32 = -1;

/// Type of a watch event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(i32)]
pub(crate) enum EventKind {
    Created = 1,
    Deleted = 2,
    DataChanged = 3,
    ChildrenChanged = 4,
}

/// Part of a reply's body that several replies share.
pub(crate) enum Item<'a> {
    Path(&'a str),
    Stat(&'a Stat),
    Data(Option<&'a [u8]>),
    Acl(&'a [Acl]),
    Int(i32),
    Users(&'a [Id]),
}

impl Item<'_> {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Path(path) => out.string(path),
            Self::Stat(stat) => stat.encode(out),
            Self::Data(data) => out.buffer(*data),
            Self::Acl(acl) => encode_acl(acl, out),
            Self::Int(int) => out.int(*int),
            Self::Users(ids) => {
                out.count(ids.len());
                for id in *ids {
                    out.string(&id.scheme);
                    out.string(id.user());
                }
            }
        }
    }
}

/// Appends the reply to request `xid`: a body, or an error without one.
pub(crate) fn reply(
    out: &mut BytesMut,
    xid: i32,
    zxid: i64,
    outcome: Result<(), Code>,
    body: impl FnOnce(&mut BytesMut),
) {
    jute::frame(out, |out| {
        out.int(xid);
        out.long(zxid);
        out.int(outcome.err().map_or(0, Code::number));
        if outcome.is_ok() {
            body(out);
        }
    });
}

/// Appends a watch event.
pub(crate) fn event(out: &mut BytesMut, kind: EventKind, path: &str) {
    jute::frame(out, |out| {
        out.int(EVENT_XID);
        out.long(NO_ZXID);
        out.int(0);
        out.int(kind as i32);
        out.int(SYNC_CONNECTED);
        out.string(path);
    });
}

/// Results of a `multi` in sequence, followed by [`end`](Self::end).
pub(crate) mod multi {
    use super::{BytesMut, Code, ERROR};
    use crate::jute::Write as _;
    use crate::protocol::Operation;

    /// Appends the header of an operation's result.
    pub(crate) fn header(out: &mut BytesMut, operation: Operation) {
        put(out, operation as i32, false, 0);
    }

    /// Appends the complete result of an operation that failed or, with 0, of one before the failed one.
    pub(crate) fn error(out: &mut BytesMut, code: Option<Code>) {
        let number = code.map_or(0, Code::number);
        put(out, ERROR, false, number);
        out.int(number);
    }

    /// Appends the end of the results.
    pub(crate) fn end(out: &mut BytesMut) {
        put(out, ERROR, true, ERROR);
    }

    fn put(out: &mut BytesMut, kind: i32, done: bool, error: i32) {
        out.int(kind);
        out.bool(done);
        out.int(error);
    }
}
