//! Tests of permissions.

use crate::raw::{Packet, Raw, op};
use crate::target::Target;
use crate::wire::{self, Acl, Body, Fields, acl};

on_both!(
    each_permission_guards_its_operations,
    auth_is_replaced_by_the_identities_of_the_creator,
    invalid_acls_are_refused,
    hashes_are_hidden_without_the_admin_permission,
    who_am_i_lists_the_identities,
    unknown_schemes_end_the_connection,
);

/// Hash of `bob:secret`.
const BOB: &str = "bob:fyVmFCwVbTJYrznoSu1koqYEYF0=";

fn auth(raw: &mut Raw, secret: &str) {
    assert_eq!(raw.call(op::AUTH, &Body::new().int(0).string("digest").string(secret)), Ok(vec![]));
}

fn create(raw: &mut Raw, path: &str, acl: &[Acl]) -> Result<(), i32> {
    raw.call(op::CREATE2, &wire::create(path, b"", acl, 0)).map(drop)
}

fn get(raw: &mut Raw, path: &str) -> Result<Vec<Acl>, i32> {
    let mut acl = raw.call(op::GET_ACL, &Body::new().string(path)).map(|body| Fields(&body).acl())?;
    acl.sort();
    Ok(acl)
}

fn set(raw: &mut Raw, path: &str, acl: &[Acl]) -> Result<(), i32> {
    raw.call(op::SET_ACL, &Body::new().string(path).acl(acl).int(-1)).map(drop)
}

fn each_permission_guards_its_operations(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    for perms in [1, 2, 4, 8, 16] {
        let path = target.path(&format!("/only{perms}"));
        let child = format!("{path}/child");
        create(&mut raw, &path, &wire::open()).unwrap();
        raw.create(&child, b"", 0).unwrap();
        set(&mut raw, &path, &[acl(perms, "world", "anyone")]).unwrap();
        let expect = |needed: i32| if perms & needed == 0 { Err(-102) } else { Ok(()) };
        assert_eq!(raw.get(&path, false).map(drop), expect(1), "{perms}");
        assert_eq!(raw.children(&path, false).map(drop), expect(1), "{perms}");
        let count = raw.call(op::GET_ALL_CHILDREN_NUMBER, &Body::new().string(&path)).map(drop);
        assert_eq!(count, expect(1), "{perms}");
        assert_eq!(raw.set(&path, b"").map(drop), expect(2), "{perms}");
        assert_eq!(raw.create(&format!("{path}/other"), b"", 0).map(drop), expect(4), "{perms}");
        assert_eq!(raw.delete(&child), expect(8), "{perms}");
        assert_eq!(get(&mut raw, &path).map(drop), expect(1 | 16), "{perms}");
        assert_eq!(set(&mut raw, &path, &[acl(perms, "world", "anyone")]), expect(16), "{perms}");
        // The existence of a znode is visible to every client.
        assert!(raw.exists(&path, false).is_ok());
    }
}

fn auth_is_replaced_by_the_identities_of_the_creator(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let mut stranger = Raw::connect(&target.hosts());
    let path = target.path("/mine");
    assert_eq!(create(&mut raw, &path, &[acl(31, "auth", "")]), Err(-114));
    auth(&mut raw, "bob:secret");
    create(&mut raw, &path, &[acl(31, "auth", "whatever")]).unwrap();
    assert_eq!(get(&mut raw, &path), Ok(vec![acl(31, "digest", BOB)]));
    assert_eq!(stranger.get(&path, false), Err(-102));
    auth(&mut stranger, "bob:wrong");
    assert_eq!(stranger.get(&path, false), Err(-102));
    auth(&mut stranger, "bob:secret");
    assert!(stranger.get(&path, false).is_ok());
}

fn invalid_acls_are_refused(target: &Target) {
    let (mut raw, path) = target.raw("/none");
    let lists = [
        vec![],
        vec![acl(31, "world", "bob")],
        vec![acl(31, "digest", "bob")],
        vec![acl(31, "ip", "nowhere")],
        vec![acl(31, "unheard of", "bob")],
        vec![acl(31, "world", "anyone"), acl(31, "auth", "")],
    ];
    for list in lists {
        assert_eq!(create(&mut raw, &path, &list), Err(-114), "{list:?}");
    }
    // Repeated entries are stored once.
    create(
        &mut raw,
        &path,
        &[acl(1, "world", "anyone"), acl(1, "world", "anyone"), acl(30, "ip", "127.0.0.0/8")],
    )
    .unwrap();
    let expected = vec![acl(1, "world", "anyone"), acl(30, "ip", "127.0.0.0/8")];
    assert_eq!(get(&mut raw, &path), Ok(expected));
    assert!(raw.set(&path, b"").is_ok());
}

fn hashes_are_hidden_without_the_admin_permission(target: &Target) {
    let (mut raw, path) = target.raw("/hash");
    create(&mut raw, &path, &[acl(1, "world", "anyone"), acl(31, "digest", BOB)]).unwrap();
    assert_eq!(get(&mut raw, &path), Ok(vec![acl(1, "world", "anyone"), acl(31, "digest", "bob:x")]));
    auth(&mut raw, "bob:secret");
    assert_eq!(get(&mut raw, &path), Ok(vec![acl(1, "world", "anyone"), acl(31, "digest", BOB)]));
}

fn who_am_i_lists_the_identities(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    let ask = |raw: &mut Raw| {
        let body = raw.call(op::WHO_AM_I, &Body::new()).unwrap();
        let mut users = Fields(&body).vector(|fields| (fields.string(), fields.string()));
        users.sort();
        users
    };
    let user = |scheme: &str, name: &str| (scheme.to_owned(), name.to_owned());
    assert_eq!(ask(&mut raw), [user("ip", "127.0.0.1")]);
    auth(&mut raw, "bob:secret");
    auth(&mut raw, "bob:secret");
    assert_eq!(ask(&mut raw), [user("digest", "bob"), user("ip", "127.0.0.1")]);
}

fn unknown_schemes_end_the_connection(target: &Target) {
    let mut raw = Raw::connect(&target.hosts());
    assert_eq!(raw.call(op::AUTH, &Body::new().int(0).string("unheard of").string("x")), Err(-115));
    assert_eq!(raw.next(), Packet::Closed);
}
