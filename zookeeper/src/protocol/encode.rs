//! Client-side encoding of requests, for tests and for fuzzing: a decoded request is encoded and decoded again.

use bytes::BytesMut;

use super::operation::Operation;
use super::record::encode_requested_acl;
use super::request::{Create, CreateKind, Paths, Read, Request, SetWatches, WatchMode, WatcherKind, Write};
use super::{ConnectRequest, multi};
use crate::jute::Write as _;

impl ConnectRequest {
    /// Encodes the first frame, without its length.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        out.int(0);
        out.long(self.last_zxid);
        out.int(self.timeout);
        out.long(self.session);
        out.buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.bool(read_only);
        }
    }
}

impl Request {
    /// Encodes header and request, without the frame's length.
    pub(crate) fn encode(&self, xid: i32, out: &mut BytesMut) {
        out.int(xid);
        out.int(self.operation() as i32);
        match self {
            Self::Write(write) => write.encode(out),
            Self::Multi(writes) => {
                for write in writes {
                    multi::header(out, write.operation());
                    write.encode(out);
                }
                multi::end(out);
            }
            Self::MultiRead(reads) => {
                for read in reads {
                    let (operation, path) = match read {
                        Read::Data { path } => (Operation::GetData, path),
                        Read::Children { path } => (Operation::GetChildren, path),
                    };
                    multi::header(out, operation);
                    out.string(path);
                    out.bool(false);
                }
                multi::end(out);
            }
            Self::Exists { path, watch }
            | Self::GetData { path, watch }
            | Self::GetChildren { path, watch, .. } => {
                out.string(path);
                out.bool(*watch);
            }
            Self::Sync { path } => out.optional_string(path.as_deref()),
            Self::GetAcl { path }
            | Self::GetEphemerals { prefix: path }
            | Self::GetAllChildrenNumber { path } => out.string(path),
            Self::CheckWatches { path, kind } | Self::RemoveWatches { path, kind } => {
                out.string(path);
                out.int(number(*kind));
            }
            Self::Auth { scheme, data } => {
                out.int(0);
                out.string(scheme);
                out.buffer(data.as_deref());
            }
            Self::Sasl { token } => out.buffer(token.as_deref()),
            Self::SetWatches(SetWatches { relative_zxid, data, exist, child, persistent, recursive }) => {
                out.long(*relative_zxid);
                for paths in [data, exist, child, persistent, recursive] {
                    put_paths(paths, out);
                }
            }
            Self::AddWatch { path, mode } => {
                out.string(path);
                out.int(match mode {
                    WatchMode::Persistent => 0,
                    WatchMode::PersistentRecursive => 1,
                });
            }
            Self::Reconfig => {
                [None, None, None].into_iter().for_each(|members| out.optional_string(members));
                out.long(-1);
            }
            Self::Ping | Self::WhoAmI | Self::CloseSession => {}
        }
    }

    /// Returns the kind of the request. If two kinds have the same request, returns the newer one.
    fn operation(&self) -> Operation {
        match self {
            Self::Write(write) => write.operation(),
            Self::Multi(_) => Operation::Multi,
            Self::MultiRead(_) => Operation::MultiRead,
            Self::Exists { .. } => Operation::Exists,
            Self::GetData { .. } => Operation::GetData,
            Self::GetChildren { with_stat: false, .. } => Operation::GetChildren,
            Self::GetChildren { with_stat: true, .. } => Operation::GetChildren2,
            Self::GetAcl { .. } => Operation::GetAcl,
            Self::Sync { .. } => Operation::Sync,
            Self::Ping => Operation::Ping,
            Self::Reconfig => Operation::Reconfig,
            Self::CheckWatches { .. } => Operation::CheckWatches,
            Self::RemoveWatches { .. } => Operation::RemoveWatches,
            Self::Auth { .. } => Operation::Auth,
            Self::Sasl { .. } => Operation::Sasl,
            Self::SetWatches(_) => Operation::SetWatches2,
            Self::GetEphemerals { .. } => Operation::GetEphemerals,
            Self::GetAllChildrenNumber { .. } => Operation::GetAllChildrenNumber,
            Self::AddWatch { .. } => Operation::AddWatch,
            Self::WhoAmI => Operation::WhoAmI,
            Self::CloseSession => Operation::CloseSession,
        }
    }
}

fn put_paths(paths: &Paths, out: &mut BytesMut) {
    match paths {
        None => out.int(-1),
        Some(paths) => {
            out.count(paths.len());
            paths.iter().for_each(|path| out.optional_string(path.as_deref()));
        }
    }
}

fn number(kind: WatcherKind) -> i32 {
    match kind {
        WatcherKind::Children => 1,
        WatcherKind::Data => 2,
        WatcherKind::Any => 3,
        WatcherKind::Persistent => 4,
        WatcherKind::PersistentRecursive => 5,
    }
}

impl Write {
    fn operation(&self) -> Operation {
        match self {
            Self::Create(create) => match create.kind {
                CreateKind::Plain => Operation::Create,
                CreateKind::WithStat => Operation::Create2,
                CreateKind::Container => Operation::CreateContainer,
                CreateKind::Ttl(_) => Operation::CreateTtl,
            },
            Self::Delete { .. } => Operation::Delete,
            Self::SetData { .. } => Operation::SetData,
            Self::SetAcl { .. } => Operation::SetAcl,
            Self::Check { .. } => Operation::Check,
        }
    }

    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Create(create) => out.optional_string(create.path.as_deref()),
            _ => out.string(self.path()),
        }
        match self {
            Self::Create(Create { data, acl, flags, kind, .. }) => {
                out.buffer(data.as_deref());
                encode_requested_acl(acl, out);
                out.int(*flags);
                if let CreateKind::Ttl(milliseconds) = kind {
                    out.long(*milliseconds);
                }
            }
            Self::SetData { data, version, .. } => {
                out.buffer(data.as_deref());
                out.int(*version);
            }
            Self::SetAcl { acl, version, .. } => {
                encode_requested_acl(acl, out);
                out.int(*version);
            }
            Self::Delete { version, .. } | Self::Check { version, .. } => out.int(*version),
        }
    }
}
