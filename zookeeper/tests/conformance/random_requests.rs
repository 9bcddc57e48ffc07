//! Random requests for [`differential`](crate::differential), most of them valid.

use proptest::prelude::*;

use crate::raw::op;
use crate::wire::{self, Body, acl};

/// A request, with paths below the case's own znode.
#[derive(Clone, Debug)]
pub(crate) enum RandomRequest {
    Write(Write),
    Multi(Vec<Write>),
    MultiRead(Vec<(bool, String)>),
    Exists(String, bool),
    Get(String, bool),
    Children(String, bool),
    Children2(String, bool),
    GetAcl(String),
    Sync(String),
    Watch(String, i32),
    RemoveWatches(String, i32),
    SetWatches {
        old: bool,
        watches: [Vec<String>; 3],
    },
    Ephemerals(String),
    Count(String),
    Auth(&'static str),
    WhoAmI,
    /// Stats of a quota on `/a`.
    Quota,
    /// Ends the session and opens another one.
    Reconnect,
}

#[derive(Clone, Debug)]
pub(crate) enum Write {
    Create { operation: i32, path: String, data: Vec<u8>, flags: i32, acl: usize, ttl: i64 },
    Delete(String, i32),
    Set(String, Vec<u8>, i32),
    SetAcl(String, usize, i32),
    Check(String, i32),
}

/// Returns an ACL by number; half of them are invalid.
fn acls(at: usize) -> Vec<wire::Acl> {
    match at {
        0 => vec![acl(1, "world", "anyone")],
        1 => vec![acl(31, "auth", "")],
        2 => vec![acl(27, "digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0="), acl(1, "world", "anyone")],
        3 => vec![],
        4 => vec![acl(31, "world", "bob")],
        5 => vec![acl(31, "nothing", "bob")],
        6 => vec![acl(31, "digest", "bob")],
        7 => vec![acl(31, "ip", "127.0.0.1"), acl(31, "ip", "127.0.0.1")],
        8 => vec![acl(31, "ip", "10.0.0.0/8"), acl(4, "world", "anyone")],
        _ => wire::open(),
    }
}

impl Write {
    pub(crate) fn operation(&self) -> i32 {
        match self {
            Self::Create { operation, .. } => *operation,
            Self::Delete(..) => op::DELETE,
            Self::Set(..) => op::SET_DATA,
            Self::SetAcl(..) => op::SET_ACL,
            Self::Check(..) => op::CHECK,
        }
    }

    fn body(&self, root: &str) -> Body {
        let at = |path: &str| Body::new().string(&format!("{root}{path}"));
        match self {
            Self::Create { operation, path, data, flags, acl, ttl } => {
                let body = at(path).bytes(data).acl(&acls(*acl)).int(*flags);
                if *operation == op::CREATE_TTL { body.long(*ttl) } else { body }
            }
            Self::Delete(path, version) | Self::Check(path, version) => at(path).int(*version),
            Self::Set(path, data, version) => at(path).bytes(data).int(*version),
            Self::SetAcl(path, acl, version) => at(path).acl(&acls(*acl)).int(*version),
        }
    }
}

impl RandomRequest {
    pub(crate) fn encode(&self, root: &str) -> (i32, Body) {
        let full = |path: &str| format!("{root}{path}");
        let at = |path: &str| Body::new().string(&full(path));
        match self {
            Self::Write(write) => (write.operation(), write.body(root)),
            Self::Multi(writes) => {
                let body = writes.iter().fold(Body::new(), |body, write| {
                    body.with(wire::multi_header(write.operation())).with(write.body(root))
                });
                (op::MULTI, body.with(wire::multi_end()))
            }
            Self::MultiRead(reads) => {
                let body = reads.iter().fold(Body::new(), |body, (data, path)| {
                    let operation = if *data { op::GET_DATA } else { op::GET_CHILDREN };
                    body.with(wire::multi_header(operation)).with(at(path).bool(false))
                });
                (op::MULTI_READ, body.with(wire::multi_end()))
            }
            Self::Exists(path, watch) => (op::EXISTS, at(path).bool(*watch)),
            Self::Get(path, watch) => (op::GET_DATA, at(path).bool(*watch)),
            Self::Children(path, watch) => (op::GET_CHILDREN, at(path).bool(*watch)),
            Self::Children2(path, watch) => (op::GET_CHILDREN2, at(path).bool(*watch)),
            Self::GetAcl(path) => (op::GET_ACL, at(path)),
            Self::Sync(path) => (op::SYNC, at(path)),
            Self::Watch(path, mode) => (op::ADD_WATCH, at(path).int(*mode)),
            Self::RemoveWatches(path, kind) => (op::REMOVE_WATCHES, at(path).int(*kind)),
            Self::SetWatches { old, watches } => {
                let zxid = if *old { 0 } else { i64::MAX };
                let watches =
                    watches.iter().map(|paths| paths.iter().map(|path| full(path)).collect::<Vec<_>>());
                (op::SET_WATCHES, watches.fold(Body::new().long(zxid), |body, paths| body.strings(&paths)))
            }
            Self::Ephemerals(path) => (op::GET_EPHEMERALS, at(path)),
            Self::Count(path) => (op::GET_ALL_CHILDREN_NUMBER, at(path)),
            Self::Auth(secret) => (op::AUTH, Body::new().int(0).string("digest").string(secret)),
            Self::Quota => {
                let path = format!("/zookeeper/quota{root}/a/zookeeper_stats");
                (op::GET_DATA, Body::new().string(&path).bool(false))
            }
            Self::WhoAmI => (op::WHO_AM_I, Body::new()),
            Self::Reconnect => (op::CLOSE_SESSION, Body::new()),
        }
    }
}

fn paths() -> impl Strategy<Value = String> {
    let good = prop::sample::select(vec!["/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "/a/b/b"]);
    let odd =
        prop::sample::select(vec!["", "/", "/a/", "//", "/a//b", "/a/./b", "/..", "/\u{1}", "/\0", "/á"]);
    prop_oneof![15 => good, 1 => odd].prop_map(str::to_owned)
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..4)
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![6 => Just(-1), 3 => 0..3_i32, 1 => Just(-2)]
}

fn write() -> impl Strategy<Value = Write> {
    let acl = || prop_oneof![12 => Just(10_usize), 3 => 0..9_usize];
    let create = (
        prop::sample::select(vec![
            op::CREATE,
            op::CREATE2,
            op::CREATE2,
            op::CREATE2,
            op::CREATE_CONTAINER,
            op::CREATE_TTL,
        ]),
        paths(),
        data(),
        prop_oneof![12 => 0..4_i32, 2 => 4..7_i32, 1 => Just(9)],
        acl(),
        prop_oneof![4 => Just(100_000_i64), 1 => Just(0), 1 => Just(1 << 40)],
    )
        .prop_map(|(operation, path, data, flags, acl, ttl)| {
            // Flags and operation are mostly consistent.
            let flags = match operation {
                op::CREATE_CONTAINER if flags != 9 => 4,
                op::CREATE_TTL if flags != 9 => 5 + flags % 2,
                _ => flags,
            };
            Write::Create { operation, path, data, flags, acl, ttl }
        });
    prop_oneof![
        8 => create,
        4 => (paths(), version()).prop_map(|(path, version)| Write::Delete(path, version)),
        3 => (paths(), data(), version()).prop_map(|(path, data, version)| Write::Set(path, data, version)),
        1 => (paths(), acl(), version()).prop_map(|(path, acl, version)| Write::SetAcl(path, acl, version)),
    ]
}

/// Generates operations that a `multi` may contain.
fn part() -> impl Strategy<Value = Write> {
    let check = (paths(), version()).prop_map(|(path, version)| Write::Check(path, version));
    let others = write().prop_filter("no setACL in a multi", |write| !matches!(write, Write::SetAcl(..)));
    // 3.8.0 answers a create with `Stat` like one without (ZOOKEEPER-4026), and fails to cast a request with the flags
    // of a TTL and no TTL.
    prop_oneof![5 => others, 1 => check].prop_map(|mut write| {
        if let Write::Create { operation, flags, .. } = &mut write
            && matches!(*operation, op::CREATE | op::CREATE2)
        {
            *operation = op::CREATE;
            *flags = if *flags < 9 { *flags % 5 } else { 9 };
        }
        write
    })
}

pub(crate) fn random_request() -> impl Strategy<Value = RandomRequest> {
    let some = || prop::collection::vec(paths(), 0..3);
    let watched = || (paths(), any::<bool>());
    prop_oneof![
        20 => write().prop_map(RandomRequest::Write),
        5 => prop::collection::vec(part(), 0..5).prop_map(RandomRequest::Multi),
        2 => prop::collection::vec((any::<bool>(), paths()), 0..4).prop_map(RandomRequest::MultiRead),
        3 => watched().prop_map(|(path, watch)| RandomRequest::Exists(path, watch)),
        3 => watched().prop_map(|(path, watch)| RandomRequest::Get(path, watch)),
        2 => watched().prop_map(|(path, watch)| RandomRequest::Children(path, watch)),
        3 => watched().prop_map(|(path, watch)| RandomRequest::Children2(path, watch)),
        1 => paths().prop_map(RandomRequest::GetAcl),
        1 => paths().prop_map(RandomRequest::Sync),
        2 => (paths(), prop_oneof![8 => 0..2_i32, 1 => Just(2)]).prop_map(|(path, mode)| RandomRequest::Watch(path, mode)),
        1 => (paths(), 1..4_i32).prop_map(|(path, kind)| RandomRequest::RemoveWatches(path, kind)),
        1 => (any::<bool>(), some(), some(), some())
            .prop_map(|(old, data, exist, child)| RandomRequest::SetWatches { old, watches: [data, exist, child] }),
        1 => paths().prop_map(RandomRequest::Ephemerals),
        1 => paths().prop_map(RandomRequest::Count),
        1 => prop::sample::select(vec!["bob:secret", "ann:secret"]).prop_map(RandomRequest::Auth),
        1 => Just(RandomRequest::WhoAmI),
        4 => Just(RandomRequest::Quota),
        1 => Just(RandomRequest::Reconnect),
    ]
}

/// Adapts a request to 3.8.0, which lets a connection watch a path in one way only (ZOOKEEPER-4466): the first client
/// sets persistent watches, recursive ones on separate paths, and the others set one-shot watches.
pub(crate) fn without_watch_conflicts(client: usize, request: RandomRequest) -> RandomRequest {
    match request {
        RandomRequest::Watch(path, 1) if client == 0 && path != "/a" => {
            RandomRequest::Watch("/a".to_owned(), 1)
        }
        RandomRequest::Watch(path, 0) if client == 0 && path == "/a" => {
            RandomRequest::Watch("/b".to_owned(), 0)
        }
        RandomRequest::Watch(path, _) if client != 0 => RandomRequest::Sync(path),
        RandomRequest::RemoveWatches(path, _) if client == 0 => RandomRequest::RemoveWatches(path, 3),
        RandomRequest::SetWatches { .. } if client == 0 => RandomRequest::WhoAmI,
        RandomRequest::Exists(path, _) if client == 0 => RandomRequest::Exists(path, false),
        RandomRequest::Get(path, _) if client == 0 => RandomRequest::Get(path, false),
        RandomRequest::Children(path, _) if client == 0 => RandomRequest::Children(path, false),
        RandomRequest::Children2(path, _) if client == 0 => RandomRequest::Children2(path, false),
        request => request,
    }
}
