//! Interprets the bytes of a script as numbers, names and requests. After their end every value is zero.

use bytes::Bytes;

use crate::acl::{self, RequestedAcl};
use crate::protocol::{Create, CreateKind, Paths, Read, Request, SetWatches, WatchMode, WatcherKind, Write};

/// Paths that scripts mostly use.
const PATHS: [&str; 20] = [
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/d",
    "/e",
    "/e/f",
    "/q",
    "/zookeeper/quota/a",
    "/zookeeper/quota/a/zookeeper_limits",
    "/zookeeper/quota/a/zookeeper_stats",
    "/zookeeper/quota/a/b",
    "/zookeeper/quota/a/b/zookeeper_limits",
    "/zookeeper/quota/a/b/zookeeper_stats",
    "/zookeeper/quota/zookeeper_stats",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/",
    "",
    "/a/",
    "/a//b",
];
const DATA: [&[u8]; 4] =
    [b"", b"count=2,bytes=9", b"countHardLimit=3;byteHardLimit=20", b"count=x,bytes==;z=1"];

/// Byte that denotes null where a path or a list may be null.
const NULL: u8 = 255;

pub(super) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(super) fn is_over(&self) -> bool {
        self.rest.is_empty()
    }

    pub(super) fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *byte
    }

    /// Returns up to 255 bytes; the first byte is their number.
    pub(super) fn bytes(&mut self) -> &'a [u8] {
        let length = usize::from(self.byte()).min(self.rest.len());
        let (bytes, rest) = self.rest.split_at(length);
        self.rest = rest;
        bytes
    }

    pub(super) fn word(&mut self) -> [u8; 4] {
        std::array::from_fn(|_| self.byte())
    }

    fn flag(&mut self) -> bool {
        self.byte() & 1 == 1
    }

    fn path(&mut self) -> String {
        let which = usize::from(self.byte());
        match PATHS.get(which % 24) {
            Some(path) => (*path).to_owned(),
            None => format!("/{}", String::from_utf8_lossy(self.bytes())),
        }
    }

    /// Returns a path, or sometimes null.
    fn nullable_path(&mut self) -> Option<String> {
        if self.rest.first() == Some(&NULL) {
            self.rest = &self.rest[1..];
            return None;
        }
        Some(self.path())
    }

    /// Returns a list of up to three paths, or sometimes null.
    fn paths(&mut self) -> Paths {
        match self.byte() {
            NULL => None,
            count => Some((0..count % 4).map(|_| self.nullable_path()).collect()),
        }
    }

    fn data(&mut self) -> Option<Bytes> {
        match usize::from(self.byte()) % 8 {
            known @ 0..4 => Some(Bytes::from_static(DATA[known])),
            4 => None,
            _ => Some(Bytes::copy_from_slice(self.bytes())),
        }
    }

    /// Returns a version, in most cases any version.
    fn version(&mut self) -> i32 {
        match self.byte() % 8 {
            version @ 0..3 => version.into(),
            3 => i32::MIN,
            _ => -1,
        }
    }

    fn acl(&mut self) -> Vec<RequestedAcl> {
        let entry = |perms: i32, scheme: Option<&str>, id: Option<&str>| RequestedAcl {
            perms,
            scheme: scheme.map(Into::into),
            id: id.map(Into::into),
        };
        let which = self.byte();
        match if which < 240 { which % 12 } else { which } {
            0 => vec![entry(1, Some("world"), Some("anyone"))],
            1 => vec![entry(31, Some("auth"), Some(""))],
            2 => vec![entry(27, Some("digest"), Some("bob:fyVmFCwVbTJYrznoSu1koqYEYF0="))],
            3 => vec![entry(self.byte().into(), Some("ip"), Some("127.0.0.0/8"))],
            4 => Vec::new(),
            5 => {
                let (scheme, id) =
                    (String::from_utf8_lossy(self.bytes()), String::from_utf8_lossy(self.bytes()));
                vec![entry(31, Some(&scheme), Some(&id))]
            }
            // As Kazoo encodes it.
            240..248 => vec![entry(31, Some("auth"), None)],
            248.. => {
                let schemes = [None, Some("world"), Some("digest"), Some("ip"), Some("auth"), Some("sasl")];
                let ids = [None, Some("anyone")];
                let mut one = || {
                    let (perms, scheme) = (i32::from(self.byte() % 2), usize::from(self.byte()));
                    entry(perms, schemes[scheme % schemes.len()], ids[usize::from(self.byte()) % ids.len()])
                };
                vec![one(), one(), one()]
            }
            _ => acl::open().iter().cloned().map(Into::into).collect(),
        }
    }

    fn kind(&mut self) -> WatcherKind {
        match self.byte() % 5 {
            0 => WatcherKind::Children,
            1 => WatcherKind::Data,
            2 => WatcherKind::Persistent,
            3 => WatcherKind::PersistentRecursive,
            _ => WatcherKind::Any,
        }
    }

    fn write(&mut self) -> Write {
        match self.byte() % 8 {
            0 => Write::SetAcl { path: self.path(), acl: self.acl(), version: self.version() },
            1 => Write::Check { path: self.path(), version: self.version() },
            2 => Write::SetData { path: self.path(), data: self.data(), version: self.version() },
            3 | 4 => Write::Delete { path: self.path(), version: self.version() },
            _ => {
                let how = self.byte();
                let (flags, kind) = match how % 16 {
                    4 => (4, CreateKind::Container),
                    5 | 6 => ((how % 16).into(), CreateKind::Ttl(i64::from(self.byte()) * 100)),
                    flags @ 0..4 => (flags.into(), CreateKind::WithStat),
                    flags => (i32::from(flags) - 8, CreateKind::Plain),
                };
                Write::Create(Create {
                    path: self.nullable_path(),
                    data: self.data(),
                    acl: self.acl(),
                    flags,
                    kind,
                })
            }
        }
    }

    pub(super) fn request(&mut self) -> Request {
        match self.byte() % 32 {
            0 => Request::Exists { path: self.path(), watch: self.flag() },
            1 => Request::GetData { path: self.path(), watch: self.flag() },
            2 => Request::GetChildren { path: self.path(), watch: self.flag(), with_stat: self.flag() },
            3 => Request::GetAcl { path: self.path() },
            4 => Request::Sync { path: self.nullable_path() },
            5 => Request::Ping,
            6 => Request::CheckWatches { path: self.path(), kind: self.kind() },
            7 => Request::RemoveWatches { path: self.path(), kind: self.kind() },
            8 => {
                let how = self.byte();
                let scheme = if how & 1 == 1 { "digest" } else { "ip" }.to_owned();
                let data = (how < 240).then(|| Bytes::copy_from_slice(self.bytes()));
                Request::Auth { scheme, data }
            }
            9 => Request::SetWatches(SetWatches {
                relative_zxid: self.byte().into(),
                data: self.paths(),
                exist: self.paths(),
                child: self.paths(),
                persistent: self.paths(),
                recursive: self.paths(),
            }),
            10 => Request::GetEphemerals { prefix: self.path() },
            11 => Request::GetAllChildrenNumber { path: self.path() },
            12 => Request::AddWatch {
                path: self.path(),
                mode: if self.flag() { WatchMode::PersistentRecursive } else { WatchMode::Persistent },
            },
            13 => Request::WhoAmI,
            14 => Request::CloseSession,
            15 => Request::Reconfig,
            16 => {
                let read = |input: &mut Self| match input.flag() {
                    true => Read::Data { path: input.path() },
                    false => Read::Children { path: input.path() },
                };
                Request::MultiRead((0..self.byte() % 6).map(|_| read(self)).collect())
            }
            17..22 => Request::Multi((0..self.byte() % 8).map(|_| self.write()).collect()),
            _ => Request::Write(self.write()),
        }
    }
}
