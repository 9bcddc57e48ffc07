//! Examples of the tree's behaviour, and random operations on it and on a naive [`Model`].

use bytes::Bytes;
use proptest::prelude::*;

use super::model::Model;
use super::*;
use crate::protocol::{Create, CreateKind, Write};

const ANYONE: i64 = 7;

fn create(path: &str, flags: i32, kind: CreateKind) -> Write {
    Write::Create(Create {
        path: Some(path.to_owned()),
        data: Some(Bytes::from_static(b"data")),
        acl: acl::open().iter().cloned().map(Into::into).collect(),
        flags,
        kind,
    })
}

fn at(zxid: i64) -> Transaction {
    Transaction { zxid, time: zxid * 10 }
}

fn by(session: i64) -> Caller<'static> {
    Caller { session, ids: &[] }
}

fn apply(tree: &mut Tree, write: &Write, zxid: i64) -> Result<Outcome, Code> {
    tree.apply(write, by(ANYONE), at(zxid), &mut Vec::new())
}

/// Creates a tree without ZooKeeper's own znodes, to compare with a model.
fn bare() -> Tree {
    let mut tree = Tree::new();
    tree.nodes.retain(|path, _| &**path == "/");
    tree.nodes.get_mut("/").unwrap().children.clear();
    tree
}

#[test]
fn sequence_numbers_count_creations_only() {
    let mut tree = Tree::new();
    apply(&mut tree, &create("/q", 0, CreateKind::Plain), 1).unwrap();
    let mut names = Vec::new();
    for zxid in 2..5 {
        let Ok(Outcome::Created(path, _)) = apply(&mut tree, &create("/q/n-", 2, CreateKind::Plain), zxid)
        else {
            panic!("not created")
        };
        apply(&mut tree, &Write::Delete { path: path.to_string(), version: -1 }, zxid + 10).unwrap();
        names.push(path.to_string());
    }
    assert_eq!(names, ["/q/n-0000000000", "/q/n-0000000001", "/q/n-0000000002"]);
    assert_eq!(tree.get("/q").unwrap().stat().cversion, 6);
}

#[test]
fn invalid_writes_are_refused_without_effect() {
    let mut tree = Tree::new();
    apply(&mut tree, &create("/e", 1, CreateKind::Plain), 1).unwrap();
    apply(&mut tree, &create("/p", 0, CreateKind::Plain), 1).unwrap();
    apply(&mut tree, &create("/p/c", 0, CreateKind::Plain), 1).unwrap();
    let delete = |path: &str, version| Write::Delete { path: path.to_owned(), version };
    let cases = [
        (create("/e/child", 0, CreateKind::Plain), Code::NoChildrenForEphemerals),
        (create("/p", 0, CreateKind::Plain), Code::NodeExists),
        (create("/", 0, CreateKind::Plain), Code::NodeExists),
        (create("/no/child", 0, CreateKind::Plain), Code::NoNode),
        (create("relative", 0, CreateKind::Plain), Code::BadArguments),
        (create("/p/", 0, CreateKind::Plain), Code::BadArguments),
        (create("/a", 7, CreateKind::Plain), Code::BadArguments),
        (create("/a", 5, CreateKind::Plain), Code::BadArguments),
        (create("/a", 5, CreateKind::Ttl(0)), Code::BadArguments),
        (create("/a", 0, CreateKind::Ttl(5)), Code::BadArguments),
        (delete("/p", -1), Code::NotEmpty),
        (delete("/p/c", 1), Code::BadVersion),
        (delete("/no", -1), Code::NoNode),
        (delete("/zookeeper/quota", -1), Code::BadArguments),
        (Write::Check { path: "/p".to_owned(), version: 1 }, Code::BadVersion),
        (Write::SetData { path: "/zookeeper/config".to_owned(), data: None, version: -1 }, Code::NoAuth),
        (Write::SetAcl { path: "/p".to_owned(), acl: Vec::new(), version: -1 }, Code::InvalidAcl),
    ];
    for (write, code) in cases {
        let before = format!("{:?}", tree.get("/p"));
        assert_eq!(apply(&mut tree, &write, 9), Err(code), "{write:?}");
        assert_eq!(format!("{:?}", tree.get("/p")), before);
    }
}

#[test]
fn containers_and_ttls_expire() {
    let mut tree = Tree::new();
    apply(&mut tree, &create("/box", 4, CreateKind::Container), 1).unwrap();
    apply(&mut tree, &create("/brief", 5, CreateKind::Ttl(1_000)), 1).unwrap();
    assert_eq!(tree.expired(1_010), []);
    assert_eq!(tree.expired(1_011), ["/brief".into()]);
    apply(&mut tree, &create("/brief/child", 0, CreateKind::Plain), 2).unwrap();
    apply(&mut tree, &create("/box/child", 0, CreateKind::Plain), 2).unwrap();
    assert_eq!(tree.expired(9_999), []);
    apply(&mut tree, &Write::Delete { path: "/box/child".to_owned(), version: -1 }, 3).unwrap();
    assert_eq!(tree.expired(9_999), ["/box".into()]);
    tree.delete_expired("/box", at(4), &mut Vec::new());
    assert!(tree.get("/box").is_none());
    assert!(tree.has_expiring());
}

/// `tests/conformance/extreme_values.rs` expects the same of Apache ZooKeeper.
#[test]
fn sequence_numbers_stop_at_the_largest_int_except_within_a_multi() {
    let mut tree = Tree::new();
    apply(&mut tree, &create("/parent", 0, CreateKind::Plain), 1).unwrap();
    apply(&mut tree, &create("/parent/child", 0, CreateKind::Plain), 2).unwrap();
    tree.nodes.get_mut("/parent").unwrap().created = i64::from(i32::MAX) - 1;
    let mut zxid = 2;
    let mut sequential = |tree: &mut Tree, name: &str| {
        zxid += 1;
        let created = apply(tree, &create(&format!("/parent/{name}"), 2, CreateKind::Plain), zxid)?;
        let Outcome::Created(path, _) = created else { unreachable!() };
        let stat = tree.get("/parent").unwrap().stat();
        Ok((path.rsplit_once(name).unwrap().1.to_owned(), stat.cversion, stat.pzxid))
    };
    assert_eq!(sequential(&mut tree, "a-"), Ok(("2147483646".to_owned(), -4, 3)));
    assert_eq!(sequential(&mut tree, "a-"), Ok(("2147483647".to_owned(), -5, 3)));
    assert_eq!(sequential(&mut tree, "a-"), Err(Code::NodeExists));
    assert_eq!(sequential(&mut tree, "b-"), Ok(("2147483647".to_owned(), -6, 3)));
    let write = create("/parent/m-", 2, CreateKind::Plain);
    let outcomes = tree
        .multi(&[write.clone(), write.clone(), write.clone()], by(ANYONE), at(9), &mut Vec::new())
        .unwrap();
    let paths = outcomes.iter().map(|outcome| match outcome {
        Outcome::Created(path, _) => path.rsplit_once("m-").unwrap().1.to_owned(),
        _ => unreachable!(),
    });
    assert_eq!(paths.collect::<Vec<_>>(), ["2147483647", "-2147483648", "-2147483647"]);
    let stat = tree.get("/parent").unwrap().stat();
    assert_eq!((stat.cversion, stat.pzxid, stat.num_children), (-9, 3, 7));
    // The first child remains from the last transaction; nothing of the failed multi remains.
    assert_eq!(
        tree.multi(&[create("/parent/c-", 2, CreateKind::Plain), write], by(ANYONE), at(10), &mut Vec::new()),
        Err((1, Code::NodeExists))
    );
    assert_eq!(tree.get("/parent").unwrap().stat(), stat);
    tree.check(|_| true);
}

/// 3.8.0 also has version -1, which means any version in a request; later versions skip it (ZOOKEEPER-4743).
#[test]
fn versions_continue_with_the_smallest_int_and_skip_minus_one() {
    let mut tree = Tree::new();
    apply(&mut tree, &create("/top", 0, CreateKind::Plain), 1).unwrap();
    let set = |tree: &mut Tree, expected: i32| {
        let write = Write::SetData { path: "/top".to_owned(), data: None, version: expected };
        apply(tree, &write, 2).map(|outcome| match outcome {
            Outcome::DataSet(stat) => stat.version,
            _ => unreachable!(),
        })
    };
    tree.nodes.get_mut("/top").unwrap().version = i32::MAX;
    assert_eq!(set(&mut tree, i32::MIN), Err(Code::BadVersion));
    assert_eq!(set(&mut tree, i32::MAX), Ok(i32::MIN));
    assert_eq!(set(&mut tree, i32::MIN), Ok(i32::MIN + 1));
    tree.nodes.get_mut("/top").unwrap().version = -3;
    assert_eq!(set(&mut tree, -1), Ok(-2));
    assert_eq!(set(&mut tree, -2), Ok(0));
}

#[test]
fn hashes_are_hidden_without_the_admin_permission() {
    let mut tree = Tree::new();
    let Write::Create(mut guarded) = create("/guarded", 0, CreateKind::Plain) else { unreachable!() };
    let bob = Id::new("digest", "bob:hash");
    guarded.acl = vec![
        Acl { perms: perms::ALL, id: bob.clone() }.into(),
        Acl { perms: perms::READ, id: Id::new("world", "anyone") }.into(),
    ];
    apply(&mut tree, &Write::Create(guarded), 1).unwrap();
    let seen = |ids: &[Id]| tree.acl("/guarded", Caller { session: 1, ids }).unwrap().0[0].id.id.to_string();
    assert_eq!(seen(&[]), "bob:x");
    assert_eq!(seen(&[bob]), "bob:hash");
    assert_eq!(apply(&mut tree, &create("/guarded/child", 0, CreateKind::Plain), 2), Err(Code::NoAuth));
}

fn paths() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["/a", "/b", "/a/a", "/a/b", "/b/a", "/a/a/a", "/a/b/b"]).prop_map(str::to_owned)
}

fn writes() -> impl Strategy<Value = Write> {
    let version = prop_oneof![4 => Just(-1), 1 => 0..3_i32];
    prop_oneof![
        6 => (paths(), 0..4_i32).prop_map(|(path, flags)| create(&path, flags, CreateKind::WithStat)),
        1 => paths().prop_map(|path| create(&path, 4, CreateKind::Container)),
        1 => (paths(), 5..7_i32).prop_map(|(path, flags)| create(&path, flags, CreateKind::Ttl(50))),
        4 => (paths(), version.clone()).prop_map(|(path, version)| Write::Delete { path, version }),
        2 => (paths(), prop::collection::vec(any::<u8>(), 0..4), version.clone()).prop_map(|(path, data, version)| {
            Write::SetData { path, data: Some(data.into()), version }
        }),
        1 => (paths(), version).prop_map(|(path, version)| Write::Check { path, version }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    One(Write),
    Many(Vec<Write>),
    End,
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        10 => writes().prop_map(Step::One),
        4 => prop::collection::vec(writes(), 1..6).prop_map(Step::Many),
        1 => Just(Step::End),
    ];
    prop::collection::vec((1..4_i64, step), 0..60)
}

proptest! {
    #[test]
    fn tree_behaves_like_the_model(steps in steps()) {
        let (mut tree, mut model) = (bare(), Model::new());
        for (zxid, (session, step)) in (1..).zip(steps) {
            let mut changes = Vec::new();
            match step {
                Step::One(write) => {
                    let actual = tree.apply(&write, by(session), at(zxid), &mut changes).map(|outcome| match outcome {
                        Outcome::Created(path, _) => Some(path.to_string()),
                        _ => None,
                    });
                    prop_assert_eq!(actual, model.write(&write, session, zxid));
                }
                Step::Many(writes) => {
                    let actual = tree.multi(&writes, by(session), at(zxid), &mut changes).map(drop);
                    prop_assert!(actual.is_ok() || changes.is_empty());
                    prop_assert_eq!(actual, model.multi(&writes, session, zxid));
                }
                Step::End => {
                    tree.end_session(session, at(zxid), &mut changes);
                    model.end_session(session, zxid);
                    prop_assert_eq!(tree.ephemerals(session).count(), 0);
                }
            }
            let mut all: Vec<_> = tree.nodes.iter()
                .map(|(path, node)| (path.to_string(), node.data.as_deref().unwrap_or_default().to_vec(), node.stat()))
                .collect();
            all.sort_by(|a, b| a.0.cmp(&b.0));
            prop_assert_eq!(&all, &model.all());
            prop_assert_eq!(tree.descendants("/"), all.len() - 1);
            for (path, _, _) in &all {
                let names: Vec<&str> = tree.get(path).unwrap().children.iter().map(|name| &**name).collect();
                prop_assert_eq!(names, model.children(path));
            }
            tree.check(|_| true);
        }
    }
}
