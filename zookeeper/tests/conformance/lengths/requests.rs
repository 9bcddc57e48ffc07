//! One valid request of each kind, below a znode of the case.

use super::fields::Field::{self, Bool, Buffer, Int, List, Long, Text};
use crate::raw::op;

/// A request: its name in failures, its operation and its fields.
pub(crate) struct Request {
    pub(crate) name: String,
    pub(crate) operation: i32,
    pub(crate) fields: Vec<Field>,
}

fn request(name: &str, operation: i32, fields: Vec<Field>) -> Request {
    Request { name: name.to_owned(), operation, fields }
}

fn acl(entries: &[(&str, &str)]) -> Field {
    let entry = |(scheme, id): &(&str, &str)| vec![Int(31), Text((*scheme).into()), Text((*id).into())];
    List(entries.iter().map(entry).collect())
}

/// Returns ACLs whose ids differ in how they are checked.
fn acls() -> Vec<(&'static str, Field)> {
    vec![
        ("world", acl(&[("world", "anyone")])),
        ("auth", acl(&[("auth", "")])),
        ("digest", acl(&[("digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=")])),
        ("ip", acl(&[("ip", "127.0.0.1")])),
        ("unknown scheme", acl(&[("unknown", "bob")])),
        ("two entries", acl(&[("world", "anyone"), ("digest", "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=")])),
        ("the same twice", acl(&[("world", "anyone"), ("world", "anyone")])),
    ]
}

fn create(path: &str, acl: Field, flags: i32) -> Vec<Field> {
    vec![Text(path.into()), Buffer(b"data".to_vec()), acl, Int(flags)]
}

fn strings(paths: &[&str]) -> Field {
    List(paths.iter().map(|path| vec![Text((*path).into())]).collect())
}

fn header(operation: i32) -> Vec<Field> {
    vec![Int(operation), Bool(false), Int(-1)]
}

fn multi(parts: Vec<(i32, Vec<Field>)>) -> Vec<Field> {
    let mut fields: Vec<Field> =
        parts.into_iter().flat_map(|(operation, part)| header(operation).into_iter().chain(part)).collect();
    fields.extend([Int(-1), Bool(true), Int(-1)]);
    fields
}

fn creates(root: &str) -> Vec<Request> {
    let mut requests = Vec::new();
    let (path, open) = (format!("{root}/new"), || acl(&[("world", "anyone")]));
    for (name, acl) in acls() {
        requests.push(request(&format!("create2, {name}"), op::CREATE2, create(&path, acl.clone(), 0)));
        let fields = vec![Text(format!("{root}/child")), acl, Int(-1)];
        requests.push(request(&format!("setACL, {name}"), op::SET_ACL, fields));
    }
    requests.push(request("create", op::CREATE, create(&path, open(), 0)));
    requests.push(request("create, sequential", op::CREATE, create(&path, open(), 3)));
    requests.push(request("create, bad flags", op::CREATE, create(&path, open(), 99)));
    requests.push(request("createContainer", op::CREATE_CONTAINER, create(&path, open(), 4)));
    let mut timed = create(&path, open(), 5);
    timed.push(Long(100_000));
    requests.push(request("createTTL", op::CREATE_TTL, timed));
    requests
}

fn reads(root: &str) -> Vec<Request> {
    let child = || Text(format!("{root}/child"));
    let mut requests = Vec::new();
    for (name, operation) in [
        ("exists", op::EXISTS),
        ("getData", op::GET_DATA),
        ("getChildren", op::GET_CHILDREN),
        ("getChildren2", op::GET_CHILDREN2),
    ] {
        requests.push(request(name, operation, vec![child(), Bool(false)]));
        requests.push(request(&format!("{name}, watch"), operation, vec![child(), Bool(true)]));
    }
    for (name, operation) in [
        ("getACL", op::GET_ACL),
        ("sync", op::SYNC),
        ("getEphemerals", op::GET_EPHEMERALS),
        ("getAllChildrenNumber", op::GET_ALL_CHILDREN_NUMBER),
    ] {
        requests.push(request(name, operation, vec![child()]));
    }
    let reads = vec![
        (op::GET_DATA, vec![child(), Bool(true)]),
        (op::GET_CHILDREN, vec![Text(root.into()), Bool(true)]),
        (op::GET_DATA, vec![Text(format!("{root}/none")), Bool(true)]),
    ];
    requests.push(request("multiRead", op::MULTI_READ, multi(reads)));
    requests.push(request("multiRead, empty", op::MULTI_READ, multi(vec![])));
    requests
}

fn writes(root: &str) -> Vec<Request> {
    let child = || Text(format!("{root}/child"));
    let open = || acl(&[("world", "anyone")]);
    let mut timed = create(&format!("{root}/timed"), open(), 5);
    timed.push(Long(100_000));
    let parts = vec![
        (op::CREATE, create(&format!("{root}/new"), open(), 0)),
        (op::CREATE, create(&format!("{root}/seq-"), acl(&[("auth", "")]), 3)),
        (op::CREATE_CONTAINER, create(&format!("{root}/container"), open(), 4)),
        (op::CREATE_TTL, timed),
        (op::SET_DATA, vec![child(), Buffer(b"set".to_vec()), Int(-1)]),
        (op::CHECK, vec![child(), Int(1)]),
        (op::DELETE, vec![child(), Int(-1)]),
    ];
    let failing = vec![
        (op::CREATE, create(&format!("{root}/new"), open(), 0)),
        (op::CHECK, vec![child(), Int(7)]),
        (op::SET_DATA, vec![child(), Buffer(b"set".to_vec()), Int(-1)]),
    ];
    vec![
        request("delete", op::DELETE, vec![child(), Int(-1)]),
        request("setData", op::SET_DATA, vec![child(), Buffer(b"set".to_vec()), Int(-1)]),
        request("setData, wrong version", op::SET_DATA, vec![child(), Buffer(b"set".to_vec()), Int(9)]),
        request("check", op::CHECK, vec![child(), Int(-1)]),
        request("multi", op::MULTI, multi(parts)),
        request("multi, failing", op::MULTI, multi(failing)),
        request("multi, empty", op::MULTI, multi(vec![])),
        request(
            "reconfig",
            op::RECONFIG,
            vec![Text("server.1=a".into()), Text("2".into()), Text("server.1=a".into()), Long(-1)],
        ),
    ]
}

fn watches(root: &str) -> Vec<Request> {
    let child = format!("{root}/child");
    let mut requests = Vec::new();
    for zxid in [0, i64::MAX] {
        let mut fields = vec![
            Long(zxid),
            strings(&[&child, root]),
            strings(&[&child, &format!("{root}/none")]),
            strings(&[root]),
        ];
        requests.push(request("setWatches", op::SET_WATCHES, fields.clone()));
        // 3.8.0 watches a path in one way only (ZOOKEEPER-4466), so these are separate paths.
        let (persistent, recursive) = (format!("{root}/new"), format!("{root}/seq-"));
        fields.extend([strings(&[&persistent]), strings(&[&recursive, &format!("{recursive}/below")])]);
        requests.push(request("setWatches2", op::SET_WATCHES2, fields));
    }
    for mode in [0, 1] {
        requests.push(request("addWatch", op::ADD_WATCH, vec![Text(child.clone()), Int(mode)]));
    }
    for (name, operation) in [("checkWatches", op::CHECK_WATCHES), ("removeWatches", op::REMOVE_WATCHES)] {
        for kind in [1, 2, 3] {
            requests.push(request(name, operation, vec![Text(child.clone()), Int(kind)]));
        }
    }
    requests
}

/// Returns every request, below the znode `root` that has a child `child`.
pub(crate) fn all(root: &str) -> Vec<Request> {
    let mut requests = creates(root);
    requests.extend(reads(root));
    requests.extend(writes(root));
    requests.extend(watches(root));
    for scheme in ["digest", "ip", "unknown"] {
        let fields = vec![Int(0), Text(scheme.into()), Buffer(b"ann:secret".to_vec())];
        requests.push(request(&format!("auth, {scheme}"), op::AUTH, fields));
    }
    requests.push(request("whoAmI", op::WHO_AM_I, vec![]));
    requests.push(request("ping", op::PING, vec![]));
    requests.push(request("closeSession", op::CLOSE_SESSION, vec![]));
    requests
}
