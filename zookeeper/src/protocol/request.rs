//! Requests of clients, decoded from frames: the format is validated here, the meaning is not.

use bytes::Bytes;

use super::operation::Operation;
use super::record::decode_acl;
use crate::acl::RequestedAcl;
use crate::error::Code;
use crate::jute::{Malformed, Reader};

/// Flags of a container.
const CONTAINER: i32 = 4;

/// Kind of create request; together with the flags it determines the kind of znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateKind {
    /// The reply contains only the path.
    Plain,
    /// The reply also contains a `Stat`.
    WithStat,
    Container,
    /// Milliseconds.
    Ttl(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Create {
    /// Null is refused, after invalid flags.
    pub(crate) path: Option<String>,
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Vec<RequestedAcl>,
    pub(crate) flags: i32,
    pub(crate) kind: CreateKind,
}

/// An operation that changes the tree. A version of -1 means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create(Create),
    Delete { path: String, version: i32 },
    SetData { path: String, data: Option<Bytes>, version: i32 },
    SetAcl { path: String, acl: Vec<RequestedAcl>, version: i32 },
    Check { path: String, version: i32 },
}

/// One of the reads of a `MultiRead`. It sets no watch, as in Apache ZooKeeper, even if the request asks for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Data { path: String },
    Children { path: String },
}

/// Lifetime and scope of a watch of `AddWatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchMode {
    Persistent,
    PersistentRecursive,
}

/// Watches that `RemoveWatches` and `CheckWatches` apply to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatcherKind {
    Children,
    Data,
    Any,
    Persistent,
    PersistentRecursive,
}

/// Paths of a request. A null list or a null path is refused, after the paths before it have taken effect.
pub(crate) type Paths = Option<Vec<Option<String>>>;

/// Watches that a client had when it lost its connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SetWatches {
    pub(crate) relative_zxid: i64,
    pub(crate) data: Paths,
    pub(crate) exist: Paths,
    pub(crate) child: Paths,
    pub(crate) persistent: Paths,
    pub(crate) recursive: Paths,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Write(Write),
    Multi(Vec<Write>),
    MultiRead(Vec<Read>),
    Exists { path: String, watch: bool },
    GetData { path: String, watch: bool },
    GetChildren { path: String, watch: bool, with_stat: bool },
    GetAcl { path: String },
    Sync { path: Option<String> },
    Ping,
    Reconfig,
    CheckWatches { path: String, kind: WatcherKind },
    RemoveWatches { path: String, kind: WatcherKind },
    Auth { scheme: String, data: Option<Bytes> },
    Sasl { token: Option<Bytes> },
    SetWatches(SetWatches),
    GetEphemerals { prefix: String },
    GetAllChildrenNumber { path: String },
    AddWatch { path: String, mode: WatchMode },
    WhoAmI,
    CloseSession,
}

impl Request {
    /// Returns true if a path of the request contains this text.
    pub(crate) fn mentions(&self, part: &str) -> bool {
        match self {
            Self::Write(write) => write.path().contains(part),
            Self::Multi(writes) => writes.iter().any(|write| write.path().contains(part)),
            Self::MultiRead(reads) => {
                reads.iter().any(|(Read::Data { path } | Read::Children { path })| path.contains(part))
            }
            Self::Exists { path, .. }
            | Self::GetData { path, .. }
            | Self::GetChildren { path, .. }
            | Self::GetAcl { path }
            | Self::Sync { path: Some(path) }
            | Self::CheckWatches { path, .. }
            | Self::RemoveWatches { path, .. }
            | Self::GetAllChildrenNumber { path }
            | Self::AddWatch { path, .. } => path.contains(part),
            _ => false,
        }
    }
}

impl Write {
    pub(crate) fn path(&self) -> &str {
        match self {
            Self::Create(create) => create.path.as_deref().unwrap_or_default(),
            Self::Delete { path, .. }
            | Self::SetData { path, .. }
            | Self::SetAcl { path, .. }
            | Self::Check { path, .. } => path,
        }
    }
}

/// Reads the header of a request: its number and the kind.
pub(crate) fn header(reader: &mut Reader) -> Result<(i32, i32), Malformed> {
    Ok((reader.int()?, reader.int()?))
}

/// Decodes a complete frame, header and request.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode(frame: Bytes) -> Result<(i32, Result<Request, Code>), Malformed> {
    let mut reader = Reader::new(frame);
    let (xid, number) = header(&mut reader)?;
    Ok((
        xid,
        Operation::from_number(number)
            .ok_or(Code::Unimplemented)
            .and_then(|op| Request::decode(op, &mut reader)),
    ))
}

impl Request {
    /// Decodes the data after the header.
    pub(crate) fn decode(operation: Operation, reader: &mut Reader) -> Result<Self, Code> {
        let watched = |reader: &mut Reader| Ok::<_, Malformed>((reader.required_string()?, reader.bool()?));
        Ok(match operation {
            Operation::Create
            | Operation::Create2
            | Operation::CreateContainer
            | Operation::CreateTtl
            | Operation::Delete
            | Operation::SetData
            | Operation::SetAcl
            | Operation::Check => Self::Write(write(operation, reader)?),
            Operation::Multi | Operation::MultiRead => multi(reader, operation)?,
            Operation::Exists => {
                let (path, watch) = watched(reader)?;
                Self::Exists { path, watch }
            }
            Operation::GetData => {
                let (path, watch) = watched(reader)?;
                Self::GetData { path, watch }
            }
            Operation::GetChildren | Operation::GetChildren2 => {
                let (path, watch) = watched(reader)?;
                Self::GetChildren { path, watch, with_stat: operation == Operation::GetChildren2 }
            }
            Operation::GetAcl => Self::GetAcl { path: reader.required_string()? },
            Operation::Sync => Self::Sync { path: reader.string()? },
            Operation::Ping => Self::Ping,
            Operation::Sasl => Self::Sasl { token: reader.buffer()? },
            Operation::Reconfig => {
                // Joining members, leaving members, all members, version: only the format is validated.
                let _members = (reader.string()?, reader.string()?, reader.string()?);
                let _version = reader.long()?;
                Self::Reconfig
            }
            Operation::CheckWatches => {
                Self::CheckWatches { path: reader.required_string()?, kind: watcher_kind(reader)? }
            }
            Operation::RemoveWatches => {
                let (path, kind) = (reader.string()?, watcher_kind(reader)?);
                // No client can watch a null path.
                Self::RemoveWatches { path: path.ok_or(Code::NoWatcher)?, kind }
            }
            Operation::Auth => {
                let _kind = reader.int()?;
                // A null scheme is unknown, like an empty one.
                Self::Auth { scheme: reader.string()?.unwrap_or_default(), data: reader.buffer()? }
            }
            Operation::SetWatches | Operation::SetWatches2 => {
                Self::SetWatches(set_watches(operation, reader)?)
            }
            // A null prefix is the prefix of all paths.
            Operation::GetEphemerals => Self::GetEphemerals { prefix: reader.string()?.unwrap_or_default() },
            Operation::GetAllChildrenNumber => Self::GetAllChildrenNumber { path: reader.required_string()? },
            Operation::AddWatch => Self::AddWatch {
                // Apache ZooKeeper 3.8 watches a null path, and then cannot close the connection.
                path: reader.required_string()?,
                mode: match reader.int()? {
                    0 => WatchMode::Persistent,
                    1 => WatchMode::PersistentRecursive,
                    _ => return Err(Code::Marshalling),
                },
            },
            Operation::WhoAmI => Self::WhoAmI,
            Operation::CloseSession => Self::CloseSession,
        })
    }
}

fn set_watches(operation: Operation, reader: &mut Reader) -> Result<SetWatches, Malformed> {
    let mut watches = SetWatches {
        relative_zxid: reader.long()?,
        data: reader.strings()?,
        exist: reader.strings()?,
        child: reader.strings()?,
        persistent: Some(Vec::new()),
        recursive: Some(Vec::new()),
    };
    if operation == Operation::SetWatches2 {
        watches.persistent = reader.strings()?;
        watches.recursive = reader.strings()?;
    }
    Ok(watches)
}

fn watcher_kind(reader: &mut Reader) -> Result<WatcherKind, Malformed> {
    Ok(match reader.int()? {
        1 => WatcherKind::Children,
        2 => WatcherKind::Data,
        3 => WatcherKind::Any,
        4 => WatcherKind::Persistent,
        5 => WatcherKind::PersistentRecursive,
        _ => return Err(Malformed),
    })
}

fn write(operation: Operation, reader: &mut Reader) -> Result<Write, Malformed> {
    let path = reader.string()?;
    // Where null is refused like an invalid path, it is decoded as an empty path.
    let or_empty = |path: Option<String>| path.unwrap_or_default();
    Ok(match operation {
        Operation::Delete => Write::Delete { path: path.ok_or(Malformed)?, version: reader.int()? },
        Operation::SetData => {
            Write::SetData { path: or_empty(path), data: reader.buffer()?, version: reader.int()? }
        }
        Operation::SetAcl => {
            Write::SetAcl { path: or_empty(path), acl: decode_acl(reader)?, version: reader.int()? }
        }
        Operation::Check => Write::Check { path: or_empty(path), version: reader.int()? },
        Operation::Create | Operation::Create2 | Operation::CreateContainer | Operation::CreateTtl => {
            let data = reader.buffer()?;
            let acl = decode_acl(reader)?;
            let flags = reader.int()?;
            let kind = match operation {
                Operation::Create => CreateKind::Plain,
                Operation::CreateContainer => CreateKind::Container,
                Operation::CreateTtl => CreateKind::Ttl(reader.long()?),
                _ => CreateKind::WithStat,
            };
            Write::Create(Create { path, data, acl, flags, kind })
        }
        _ => return Err(Malformed),
    })
}

/// Decodes the operations of a `Multi` or `MultiRead`, which have the same format: a sequence of header and operation,
/// ended by a header with the done flag. All operations must be of the same sort.
fn multi(reader: &mut Reader, operation: Operation) -> Result<Request, Malformed> {
    let mut writes = Vec::new();
    let mut reads = Vec::new();
    loop {
        let (number, done, _error) = (reader.int()?, reader.bool()?, reader.int()?);
        if done {
            break;
        }
        let part = Operation::from_number(number).ok_or(Malformed)?;
        match (operation, part) {
            (Operation::MultiRead, Operation::GetData) => {
                let (path, _watch) = (reader.required_string()?, reader.bool()?);
                reads.push(Read::Data { path });
            }
            (Operation::MultiRead, Operation::GetChildren) => {
                let (path, _watch) = (reader.required_string()?, reader.bool()?);
                reads.push(Read::Children { path });
            }
            (Operation::Multi, part) if part != Operation::SetAcl => {
                let path_is_null = reader.next_is_null();
                let mut write = write(part, reader)?;
                if path_is_null {
                    return Err(Malformed);
                }
                if let Write::Create(create) = &mut write
                    && create.flags == CONTAINER
                {
                    // Inside a `multi`, unlike outside, the flags determine the kind of znode.
                    create.kind = CreateKind::Container;
                }
                writes.push(write);
            }
            _ => return Err(Malformed),
        }
    }
    Ok(match operation {
        Operation::Multi => Request::Multi(writes),
        _ => Request::MultiRead(reads),
    })
}
