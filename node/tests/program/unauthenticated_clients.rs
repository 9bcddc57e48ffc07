//! Clients of a secured ZooKeeper that are not part of the fleet. They have a certificate, so that the servers accept
//! their connections, but no identity that the ACLs of the fleet name.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use atalaya_testbed::{ApiMode, Process};
use zookeeper_client::{Acl, Acls, AuthId, Client, Connector, CreateMode, Error, Permission, SaslOptions};

use crate::common::tls_tunnel::tls_tunnel;
use crate::common::{DEADLINE, Fleet, TestEnv, goes_on_publishing, wait_until};

/// Root of the fleet.
const CHROOT: &str = "/fleets/north";
/// Part of the name of everything that the clients try to create.
const INTRUDER: &str = "intruder";
/// Parents of the quotas. ZooKeeper opens them to all clients.
const QUOTAS: [&str; 2] = ["/zookeeper", "/zookeeper/quota"];

fn connector() -> Connector {
    Client::connector().with_session_timeout(Duration::from_secs(20))
}

/// Returns the ACLs of the znodes at and below `path`.
async fn tree(client: &Client, path: &str) -> BTreeMap<String, Vec<Acl>> {
    let mut found = BTreeMap::new();
    let mut paths = vec![path.to_owned()];
    while let Some(path) = paths.pop() {
        let read = async {
            let (acl, _) = client.get_acl(&path).await?;
            Ok::<_, Error>((acl, client.list_children(&path).await?))
        };
        match read.await {
            Ok((acl, children)) => {
                let parent = path.trim_end_matches('/');
                paths.extend(children.into_iter().map(|name| format!("{parent}/{name}")));
                found.insert(path, acl);
            }
            // The fleet has deleted it in the meantime.
            Err(Error::NoNode) => {}
            Err(error) => panic!("{path}: {error}"),
        }
    }
    found
}

/// A fleet in lock-step whose outbox and rejected reports are not empty, with dynamic configuration.
fn start(fleet: &Fleet, around: &TestEnv, acl: &str) -> [Process; 2] {
    let node = |id| {
        let mut command = around.command(id, &["--sync", "barrier", "--counter", "per-node"]);
        command.env("ATALAYA_ACL", acl);
        Process::spawn(command)
    };
    around.api.set(ApiMode::Status(422));
    let one = node("1");
    one.wait_for_line(" leading epoch=", DEADLINE);
    let two = node("2");
    two.wait_for_line("following: waiting", DEADLINE);
    for (path, value) in [("/config/sampling_period", "1s"), ("/config/nodes/1/log", "info")] {
        let mut command = around.tool();
        command.args(["config", "set", path, value, "--zookeeper", &around.hosts]).env("ATALAYA_ACL", acl);
        let output = command.output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let probe = fleet.probe();
    let has_children = |path: &str| {
        let path = format!("{CHROOT}{path}");
        wait_until(&path, || !probe.ls(&path).is_empty());
    };
    has_children("/atalaya/aside");
    around.api.set(ApiMode::Refuse);
    has_children("/atalaya/reports");
    has_children("/mediciones");
    [one, two]
}

/// Tries every operation that changes a znode, or creates one below it. Returns those that were not refused.
async fn try_to_change(client: &Client, path: &str) -> Vec<String> {
    let anyone = Acls::anyone_all();
    let below = |name: &str| format!("{}/{INTRUDER}{name}", path.trim_end_matches('/'));
    let mut done = Vec::new();
    let mut note = |operation: &str, result: Result<(), Error>| {
        if result != Err(Error::NoAuth) {
            done.push(format!("{operation} at {path}: {result:?}"));
        }
    };
    let modes = [
        ("", CreateMode::Persistent),
        ("-ephemeral", CreateMode::Ephemeral),
        ("-container", CreateMode::Container),
        ("-", CreateMode::PersistentSequential),
        ("-00000000000000000000000000000000__lock__", CreateMode::EphemeralSequential),
    ];
    for (name, mode) in modes {
        let options = mode.with_acls(anyone);
        note(&format!("{mode:?}"), client.create(&below(name), b"", &options).await.map(drop));
        let mut multi = client.new_multi_writer();
        multi.add_create(&below(name), b"", &options).unwrap();
        note(&format!("multi {mode:?}"), multi.commit().await.map(drop).map_err(Error::from));
    }
    let ttl = CreateMode::Persistent.with_acls(anyone).with_ttl(Duration::from_secs(60));
    note("TTL", client.create(&below("-ttl"), b"", &ttl).await.map(drop));
    let parents = CreateMode::Container.with_acls(anyone);
    note("parents", client.mkdir(&below("-parent/child"), &parents).await);
    note("set", client.set_data(path, b"", None).await.map(drop));
    note("setACL", client.set_acl(path, &anyone, None).await.map(drop));
    let mut multi = client.new_multi_writer();
    multi.add_set_data(path, b"", None).unwrap();
    note("multi set", multi.commit().await.map(drop).map_err(Error::from));
    if path != "/fleets" {
        // Whether this one can be deleted depends on the root of the servers. It has a child, and therefore stays.
        note("delete", client.delete(path, None).await);
        let mut multi = client.new_multi_writer();
        multi.add_delete(path, None).unwrap();
        note("multi delete", multi.commit().await.map(drop).map_err(Error::from));
    }
    done
}

/// Tries to limit the fleet by quotas. Returns those that could be created.
async fn try_to_set_quotas(client: &Client) -> Vec<String> {
    let mut done = Vec::new();
    for path in ["/zookeeper/quota/fleets", "/zookeeper/quota/fleets/zookeeper_limits"] {
        let created =
            client.create(path, b"count=1,bytes=1", &CreateMode::Persistent.with_acls(Acls::anyone_all()));
        if created.await.is_ok() {
            done.push(path.to_owned());
        }
    }
    done
}

/// Tries to read a znode. Returns the operations that succeeded.
async fn try_to_read(client: &Client, path: &str) -> Vec<&'static str> {
    let mut multi = client.new_multi_reader();
    multi.add_get_data(path).unwrap();
    let multi = multi.commit().await;
    let multi_is_ok = multi.is_ok_and(|results| !format!("{results:?}").contains("Error"));
    let results = [
        ("get", client.get_data(path).await.is_ok()),
        ("children", client.list_children(path).await.is_ok()),
        ("getACL", client.get_acl(path).await.is_ok()),
        ("multi read", multi_is_ok),
    ];
    results.into_iter().filter_map(|(name, is_ok)| is_ok.then_some(name)).collect()
}

async fn changes_nothing(fleet: &Fleet, hosts: &str, reads: &[&str]) {
    let security = fleet.security.as_ref().expect("the fleet is secured");
    let tunnel = tls_tunnel(hosts, &security.ca(), &security.certificate(), &security.key()).await;
    let user = |name: &str| {
        let password = fs::read_to_string(security.password_file(name)).unwrap();
        connector().with_sasl(SaslOptions::digest_md5(name.to_owned(), password.trim().to_owned()))
    };
    let admin = user("admin").connect(&tunnel).await.unwrap();
    for path in QUOTAS {
        let admin_only = [Acl::new(Permission::ALL, AuthId::new("sasl", "admin"))];
        admin.set_acl(path, &admin_only, None).await.unwrap();
    }
    let before = tree(&admin, "/fleets").await;
    for part in ["", "/atalaya/term", "/atalaya/nodes/1", "/barrier", "/config/nodes/1/log", "/counter"] {
        assert!(before.contains_key(&format!("{CHROOT}{part}")), "{part}: {:?}", before.keys());
    }
    let intruders = [
        ("without a user", connector()),
        ("another user", user("outsider")),
        ("a user of the same name", connector().with_auth("digest", b"fleet:guess")),
    ];
    for (who, intruder) in intruders {
        let client = intruder.connect(&tunnel).await.unwrap();
        for path in before.keys() {
            let done = try_to_change(&client, path).await;
            assert!(done.is_empty(), "{who}: {done:#?}");
            assert_eq!(try_to_read(&client, path).await, reads, "{who}: {path}");
        }
        assert_eq!(try_to_set_quotas(&client).await, [""; 0], "{who}");
        assert_eq!(client.delete("/fleets", None).await, Err(Error::NotEmpty), "{who}");
    }
    let after = tree(&admin, "/").await;
    let created: Vec<_> = after.keys().filter(|path| path.contains(INTRUDER)).collect();
    assert!(created.is_empty(), "{created:?}");
    for (path, acl) in &before {
        assert_eq!(after.get(path), Some(acl), "{path}");
    }
}

fn client_changes_nothing(acl: &str, reads: &[&str]) {
    let fleet = Fleet::secured();
    let around = fleet.below(CHROOT);
    let mut nodes = start(&fleet, &around, acl);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(DEADLINE * 4, changes_nothing(&fleet, &fleet.hosts, reads)).await.unwrap();
    });
    let probe = around.probe();
    for (node, id) in nodes.iter_mut().zip(["1", "2"]) {
        goes_on_publishing(&probe, id, 2);
        assert!(node.is_running());
    }
}

#[test]
fn client_without_credentials_changes_nothing_in_a_secured_fleet() {
    client_changes_nothing("fleet", &[]);
}

#[test]
fn client_without_credentials_only_reads_in_a_fleet_that_all_may_read() {
    client_changes_nothing("read-world", &["get", "children", "getACL", "multi read"]);
}
