//! Records shared by several messages: session establishment, a znode's `Stat`, an ACL.

use bytes::{BufMut, Bytes, BytesMut};

use crate::acl::{Acl, RequestedAcl};
use crate::jute::{Malformed, Reader, Write as _};

/// The first frame of a connection; it has no header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnectRequest {
    pub(crate) last_zxid: i64,
    /// Milliseconds.
    pub(crate) timeout: i32,
    /// 0 for a new session.
    pub(crate) session: i64,
    pub(crate) password: Bytes,
    /// Not present in clients before 3.4, which do not expect it in the response either.
    pub(crate) read_only: Option<bool>,
}

impl ConnectRequest {
    pub(crate) fn decode(frame: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(frame);
        let _protocol_version = reader.int()?;
        Ok(Self {
            last_zxid: reader.long()?,
            timeout: reader.int()?,
            session: reader.long()?,
            password: reader.buffer()?.unwrap_or_default(),
            read_only: reader.bool().ok(),
        })
    }
}

/// Response with the session's parameters; a timeout of 0 means that the session does not exist.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectResponse {
    /// Milliseconds.
    pub(crate) timeout: i32,
    pub(crate) session: i64,
    pub(crate) password: [u8; 16],
    pub(crate) with_read_only: bool,
}

impl ConnectResponse {
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.int(0);
        out.int(self.timeout);
        out.long(self.session);
        out.buffer(Some(&self.password));
        if self.with_read_only {
            out.bool(false);
        }
    }
}

/// Metadata of a znode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) czxid: i64,
    pub(crate) mzxid: i64,
    /// Milliseconds since 1970.
    pub(crate) ctime: i64,
    /// Milliseconds since 1970.
    pub(crate) mtime: i64,
    pub(crate) version: i32,
    pub(crate) cversion: i32,
    pub(crate) aversion: i32,
    /// Session of an ephemeral; 0 for every other znode.
    pub(crate) ephemeral_owner: i64,
    pub(crate) data_length: i32,
    pub(crate) num_children: i32,
    pub(crate) pzxid: i64,
}

impl Stat {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.long(self.czxid);
        out.long(self.mzxid);
        out.long(self.ctime);
        out.long(self.mtime);
        out.int(self.version);
        out.int(self.cversion);
        out.int(self.aversion);
        out.long(self.ephemeral_owner);
        out.int(self.data_length);
        out.int(self.num_children);
        out.long(self.pzxid);
    }
}

/// Reads the ACL of a request. A null list reads as an empty one: both are refused for the same reason.
pub(super) fn decode_acl(reader: &mut Reader) -> Result<Vec<RequestedAcl>, Malformed> {
    let entry = |reader: &mut Reader| {
        let perms = reader.int()?;
        let mut part = || reader.string().map(|part| part.map(String::into_boxed_str));
        Ok(RequestedAcl { perms, scheme: part()?, id: part()? })
    };
    Ok(reader.vector(12, entry)?.unwrap_or_default())
}

/// Writes the ACL of a request.
#[cfg(any(test, fuzzing))]
pub(super) fn encode_requested_acl(acl: &[RequestedAcl], out: &mut BytesMut) {
    out.count(acl.len());
    for acl in acl {
        out.int(acl.perms);
        out.optional_string(acl.scheme.as_deref());
        out.optional_string(acl.id.as_deref());
    }
}

pub(super) fn encode_acl(acl: &[Acl], out: &mut BytesMut) {
    out.put_i32(i32::try_from(acl.len()).unwrap_or(i32::MAX));
    for acl in acl {
        out.int(acl.perms);
        out.string(&acl.id.scheme);
        out.string(&acl.id.id);
    }
}
