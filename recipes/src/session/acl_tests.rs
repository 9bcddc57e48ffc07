use std::fs;
use std::path::{Path, PathBuf};

use zookeeper_client::{AuthId, Permission};

use super::*;

/// Files that may name an ACL: the provider and its tests.
const PROVIDER: [&str; 2] = ["session/acl.rs", "session/acl_tests.rs"];
/// Names with which a create gets an ACL without asking the provider.
const FIXED_ACLS: [&str; 5] = ["anyone_all", "anyone_read", "creator_all", "Acl::new", "client.mkdir"];

fn source_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            source_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn no_create_outside_the_provider_has_a_fixed_acl() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    source_files(&root, &mut files);
    let mut options = 0;
    for file in files {
        let name = file.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
        if PROVIDER.contains(&name.as_str()) {
            continue;
        }
        for (index, line) in fs::read_to_string(&file).unwrap().lines().enumerate() {
            let fixed = FIXED_ACLS.iter().find(|name| line.contains(**name));
            assert_eq!(fixed, None, "{name}:{}: take the ACL from the session's provider", index + 1);
            if line.contains("with_acls(") {
                let expected = ["with_acls(zk::Acls::new(&acl))", "with_acls(zk::Acls::new(&acl.acl(path)))"];
                assert!(expected.iter().any(|text| line.contains(text)), "{name}:{}: {line}", index + 1);
                options += 1;
            }
        }
    }
    assert_eq!(options, 2, "Connection::create_with_acl and Write::add_to");
}

#[test]
fn provider_returns_the_acl_of_the_path() {
    let read = zk::Acl::new(Permission::READ, AuthId::anyone());
    let fixed = AclProvider::fixed(std::slice::from_ref(&read));
    assert_eq!(&*fixed.acl("/a"), std::slice::from_ref(&read));
    let by_path = AclProvider::by_path(move |path| match path {
        "/a" => Arc::new([read.clone()]),
        _ => AclProvider::open().acl(path),
    });
    assert_eq!(by_path.acl("/a")[0].permission(), Permission::READ);
    assert_eq!(by_path.acl("/b")[0].permission(), Permission::ALL);
    assert_eq!(&*AclProvider::default().acl("/"), &*zk::Acls::anyone_all());
    assert_eq!(AclProvider::creator().acl("/")[0].scheme(), "auth");
}
