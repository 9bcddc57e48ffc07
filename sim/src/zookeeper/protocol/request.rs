//! What a client may ask: decoded from a frame, checked for form, not yet for sense.

use bytes::Bytes;

use super::super::acl::Acl;
use super::super::error::Code;
use super::super::jute::{Malformed, Reader};
use super::record::decode_acl;

/// A kind of request, by its number on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[repr(i32)]
#[expect(missing_docs, reason = "named as in ZooKeeper's `ZooDefs.OpCode`, which says what they are")]
pub enum Operation {
    Create = 1,
    Delete = 2,
    Exists = 3,
    GetData = 4,
    SetData = 5,
    GetAcl = 6,
    SetAcl = 7,
    GetChildren = 8,
    Sync = 9,
    Ping = 11,
    GetChildren2 = 12,
    Check = 13,
    Multi = 14,
    Create2 = 15,
    Reconfig = 16,
    CheckWatches = 17,
    RemoveWatches = 18,
    CreateContainer = 19,
    CreateTtl = 21,
    MultiRead = 22,
    Auth = 100,
    SetWatches = 101,
    Sasl = 102,
    GetEphemerals = 103,
    GetAllChildrenNumber = 104,
    SetWatches2 = 105,
    AddWatch = 106,
    WhoAmI = 107,
    CloseSession = -11,
}

impl Operation {
    const ALL: [Self; 29] = [
        Self::Create,
        Self::Delete,
        Self::Exists,
        Self::GetData,
        Self::SetData,
        Self::GetAcl,
        Self::SetAcl,
        Self::GetChildren,
        Self::Sync,
        Self::Ping,
        Self::GetChildren2,
        Self::Check,
        Self::Multi,
        Self::Create2,
        Self::Reconfig,
        Self::CheckWatches,
        Self::RemoveWatches,
        Self::CreateContainer,
        Self::CreateTtl,
        Self::MultiRead,
        Self::Auth,
        Self::SetWatches,
        Self::Sasl,
        Self::GetEphemerals,
        Self::GetAllChildrenNumber,
        Self::SetWatches2,
        Self::AddWatch,
        Self::WhoAmI,
        Self::CloseSession,
    ];

    pub(crate) fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|operation| *operation as i32 == number)
    }
}

/// The flags of a container.
const CONTAINER: i32 = 4;

/// How a znode to be created was asked for; together with the flags it says what it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CreateKind {
    /// The path is the whole answer.
    Plain,
    /// The answer has a `Stat` too.
    WithStat,
    Container,
    /// Milliseconds.
    Ttl(i64),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) path: String,
    pub(crate) data: Option<Bytes>,
    pub(crate) acl: Vec<Acl>,
    pub(crate) flags: i32,
    pub(crate) kind: CreateKind,
}

/// What changes the tree. A version of -1 means any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create(Create),
    Delete { path: String, version: i32 },
    SetData { path: String, data: Option<Bytes>, version: i32 },
    SetAcl { path: String, acl: Vec<Acl>, version: i32 },
    Check { path: String, version: i32 },
}

/// One of the reads of a `MultiRead`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    Data { path: String, watch: bool },
    Children { path: String, watch: bool },
}

/// `Multi` and `MultiRead` look alike; the operations in it must be all of one sort.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MultiRequest {
    Writes(Vec<Write>),
    Reads(Vec<Read>),
}

/// How long a watch of `AddWatch` stays, and what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatchMode {
    Persistent,
    PersistentRecursive,
}

/// Which watches `RemoveWatches` and `CheckWatches` mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WatcherKind {
    Children,
    Data,
    Any,
    Persistent,
    PersistentRecursive,
}

/// The watches that a client had when it lost its connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SetWatches {
    pub(crate) relative_zxid: i64,
    pub(crate) data: Vec<String>,
    pub(crate) exist: Vec<String>,
    pub(crate) child: Vec<String>,
    pub(crate) persistent: Vec<String>,
    pub(crate) recursive: Vec<String>,
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
    Sync { path: String },
    Ping,
    Reconfig,
    CheckWatches { path: String, kind: WatcherKind },
    RemoveWatches { path: String, kind: WatcherKind },
    Auth { scheme: String, data: Bytes },
    SetWatches(SetWatches),
    GetEphemerals { prefix: String },
    GetAllChildrenNumber { path: String },
    AddWatch { path: String, mode: WatchMode },
    WhoAmI,
    CloseSession,
}

impl Request {
    /// Whether a path that it is about contains this.
    pub(crate) fn mentions(&self, part: &str) -> bool {
        match self {
            Self::Write(write) => write.path().contains(part),
            Self::Multi(writes) => writes.iter().any(|write| write.path().contains(part)),
            Self::MultiRead(reads) => reads
                .iter()
                .any(|(Read::Data { path, .. } | Read::Children { path, .. })| path.contains(part)),
            Self::Exists { path, .. }
            | Self::GetData { path, .. }
            | Self::GetChildren { path, .. }
            | Self::GetAcl { path }
            | Self::Sync { path }
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
            Self::Create(create) => &create.path,
            Self::Delete { path, .. }
            | Self::SetData { path, .. }
            | Self::SetAcl { path, .. }
            | Self::Check { path, .. } => path,
        }
    }
}

/// The header of a request: its number and the kind.
pub(crate) fn header(reader: &mut Reader) -> Result<(i32, i32), Malformed> {
    Ok((reader.int()?, reader.int()?))
}

/// A whole frame, header and request.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn decode(frame: Bytes) -> Result<(i32, Result<Request, Code>), Malformed> {
    let mut reader = Reader::new(frame);
    let (xid, number) = header(&mut reader)?;
    Ok((
        xid,
        Operation::from_number(number).ok_or(Code::Unimplemented).and_then(|op| Request::decode(op, reader)),
    ))
}

impl Request {
    /// What follows the header.
    pub(crate) fn decode(operation: Operation, mut reader: Reader) -> Result<Self, Code> {
        if operation == Operation::Sasl {
            return Err(Code::Unimplemented);
        }
        Self::body(operation, &mut reader).map_err(|Malformed| Code::Marshalling)
    }

    fn body(operation: Operation, reader: &mut Reader) -> Result<Self, Malformed> {
        let watched = |reader: &mut Reader| Ok((reader.string()?, reader.bool()?));
        Ok(match operation {
            Operation::Create
            | Operation::Create2
            | Operation::CreateContainer
            | Operation::CreateTtl
            | Operation::Delete
            | Operation::SetData
            | Operation::SetAcl
            | Operation::Check => Self::Write(write(operation, reader)?),
            Operation::Multi | Operation::MultiRead => match multi(reader, operation)? {
                MultiRequest::Writes(writes) => Self::Multi(writes),
                MultiRequest::Reads(reads) => Self::MultiRead(reads),
            },
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
            Operation::GetAcl => Self::GetAcl { path: reader.string()? },
            Operation::Sync => Self::Sync { path: reader.string()? },
            Operation::Ping => Self::Ping,
            // Nobody is going to look at the rest.
            Operation::Reconfig | Operation::Sasl => Self::Reconfig,
            Operation::CheckWatches => {
                Self::CheckWatches { path: reader.string()?, kind: watcher_kind(reader)? }
            }
            Operation::RemoveWatches => {
                Self::RemoveWatches { path: reader.string()?, kind: watcher_kind(reader)? }
            }
            Operation::Auth => {
                let _kind = reader.int()?;
                Self::Auth { scheme: reader.string()?, data: reader.buffer()?.unwrap_or_default() }
            }
            Operation::SetWatches | Operation::SetWatches2 => {
                let mut watches = SetWatches {
                    relative_zxid: reader.long()?,
                    data: reader.strings()?,
                    exist: reader.strings()?,
                    child: reader.strings()?,
                    ..SetWatches::default()
                };
                if operation == Operation::SetWatches2 {
                    watches.persistent = reader.strings()?;
                    watches.recursive = reader.strings()?;
                }
                Self::SetWatches(watches)
            }
            Operation::GetEphemerals => Self::GetEphemerals { prefix: reader.string()? },
            Operation::GetAllChildrenNumber => Self::GetAllChildrenNumber { path: reader.string()? },
            Operation::AddWatch => Self::AddWatch {
                path: reader.string()?,
                mode: match reader.int()? {
                    0 => WatchMode::Persistent,
                    1 => WatchMode::PersistentRecursive,
                    _ => return Err(Malformed),
                },
            },
            Operation::WhoAmI => Self::WhoAmI,
            Operation::CloseSession => Self::CloseSession,
        })
    }
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
    Ok(match operation {
        Operation::Delete => Write::Delete { path, version: reader.int()? },
        Operation::SetData => Write::SetData { path, data: reader.buffer()?, version: reader.int()? },
        Operation::SetAcl => Write::SetAcl { path, acl: decode_acl(reader)?, version: reader.int()? },
        Operation::Check => Write::Check { path, version: reader.int()? },
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

/// Header, operation, header, operation, and a header that says done.
fn multi(reader: &mut Reader, operation: Operation) -> Result<MultiRequest, Malformed> {
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
                reads.push(Read::Data { path: reader.string()?, watch: reader.bool()? });
            }
            (Operation::MultiRead, Operation::GetChildren) => {
                reads.push(Read::Children { path: reader.string()?, watch: reader.bool()? });
            }
            (Operation::Multi, part) if part != Operation::SetAcl => {
                let mut write = write(part, reader)?;
                if let Write::Create(create) = &mut write
                    && create.flags == CONTAINER
                {
                    // Here, unlike alone, the flags say what it becomes.
                    create.kind = CreateKind::Container;
                }
                writes.push(write);
            }
            _ => return Err(Malformed),
        }
    }
    Ok(match operation {
        Operation::Multi => MultiRequest::Writes(writes),
        _ => MultiRequest::Reads(reads),
    })
}
