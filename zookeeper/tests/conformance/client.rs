//! Tests of zookeeper-client, the client that Atalaya uses.

use std::time::Duration;

use zookeeper_client::{
    Acls, AddWatchMode, Client, CreateMode, CreateOptions, Error, EventType, MultiReadResult,
    MultiWriteResult, SessionState,
};

use crate::target::Target;

on_both!(
    client_creates_reads_changes_and_lists_znodes,
    client_does_not_see_its_chroot,
    watchers_are_notified,
    multi_writes_are_atomic,
    thousands_of_znodes_are_read_at_once,
    ephemerals_of_a_dropped_client_are_deleted,
    protected_znodes_require_authentication,
);

const TIMEOUT: Duration = Duration::from_secs(20);
const OPEN: CreateOptions<'static> = CreateMode::Persistent.with_acls(Acls::anyone_all());

async fn connect(target: &Target) -> Client {
    Client::connect(&format!("{}{}", target.hosts(), target.path(""))).await.unwrap()
}

fn client_creates_reads_changes_and_lists_znodes(target: &Target) {
    target.run(async {
        let client = connect(target).await;
        let (created, _) = client.create("/a", b"one", &OPEN).await.unwrap();
        assert_eq!(client.get_data("/a").await, Ok((b"one".to_vec(), created)));
        assert_eq!(client.create("/a", b"", &OPEN).await, Err(Error::NodeExists));
        let stat = client.set_data("/a", b"two", Some(0)).await.unwrap();
        assert_eq!((stat.version, client.check_stat("/a").await), (1, Ok(Some(stat))));
        assert_eq!(client.set_data("/a", b"two", Some(0)).await, Err(Error::BadVersion));
        let numbered = CreateMode::EphemeralSequential.with_acls(Acls::anyone_all());
        let (stat, sequence) = client.create("/a/n-", b"", &numbered).await.unwrap();
        assert_eq!((sequence.into_i64(), stat.ephemeral_owner), (0, client.session_id().0));
        assert_eq!(client.list_children("/a").await.unwrap(), ["n-0000000000"]);
        assert_eq!(client.list_ephemerals("/").await.unwrap(), ["/a/n-0000000000"]);
        assert_eq!(client.count_descendants_number("/a").await, Ok(1));
        client.sync("/").await.unwrap();
        client.mkdir("/x/y/z", &OPEN).await.unwrap();
        let container = CreateMode::Container.with_acls(Acls::anyone_all());
        client.create("/box", b"", &container).await.unwrap();
        client.create("/brief", b"", &OPEN.clone().with_ttl(Duration::from_secs(60))).await.unwrap();
        assert_eq!(client.delete("/x", None).await, Err(Error::NotEmpty));
        assert_eq!(client.get_data("/none").await, Err(Error::NoNode));
    });
}

fn client_does_not_see_its_chroot(target: &Target) {
    target.run(async {
        let client = connect(target).await;
        client.create("/below", b"data", &OPEN).await.unwrap();
        let whole = Client::connect(&target.hosts()).await.unwrap();
        assert_eq!(whole.get_data(&target.path("/below")).await.unwrap().0, b"data");
        let (_, _, watcher) = client.get_and_watch_data("/below").await.unwrap();
        whole.set_data(&target.path("/below"), b"", None).await.unwrap();
        let event = tokio::time::timeout(TIMEOUT, watcher.changed()).await.unwrap();
        assert_eq!((event.event_type, &*event.path), (EventType::NodeDataChanged, "/below"));
    });
}

fn watchers_are_notified(target: &Target) {
    target.run(async {
        let (client, other) = (connect(target).await, connect(target).await);
        let (_, exists) = client.check_and_watch_stat("/w").await.unwrap();
        let mut all = client.watch("/w", AddWatchMode::PersistentRecursive).await.unwrap();
        other.create("/w", b"", &OPEN).await.unwrap();
        let event = tokio::time::timeout(TIMEOUT, exists.changed()).await.unwrap();
        assert_eq!(event.event_type, EventType::NodeCreated);
        let (_, _, children) = client.get_and_watch_children("/w").await.unwrap();
        other.create("/w/c", b"", &OPEN).await.unwrap();
        let event = tokio::time::timeout(TIMEOUT, children.changed()).await.unwrap();
        assert_eq!(event.event_type, EventType::NodeChildrenChanged);
        other.delete("/w/c", None).await.unwrap();
        for (kind, path) in [
            (EventType::NodeCreated, "/w"),
            (EventType::NodeCreated, "/w/c"),
            (EventType::NodeDeleted, "/w/c"),
        ] {
            let event = tokio::time::timeout(TIMEOUT, all.changed()).await.unwrap();
            assert_eq!((event.event_type, &*event.path), (kind, path));
        }
    });
}

fn multi_writes_are_atomic(target: &Target) {
    target.run(async {
        let client = connect(target).await;
        client.create("/a", b"", &OPEN).await.unwrap();
        let mut writer = client.new_multi_writer();
        writer.add_check_version("/a", 0).unwrap();
        writer.add_create("/b", b"", &OPEN).unwrap();
        writer.add_set_data("/a", b"x", Some(0)).unwrap();
        writer.add_delete("/b", None).unwrap();
        let results = writer.commit().await.unwrap();
        let kinds = results.iter().map(|result| match result {
            MultiWriteResult::Check => "check",
            MultiWriteResult::Create { .. } => "create",
            MultiWriteResult::SetData { .. } => "set",
            MultiWriteResult::Delete => "delete",
            _ => "unknown",
        });
        assert_eq!(kinds.collect::<Vec<_>>(), ["check", "create", "set", "delete"]);
        let mut writer = client.new_multi_writer();
        writer.add_set_data("/a", b"y", None).unwrap();
        writer.add_check_version("/a", 0).unwrap();
        assert!(format!("{:?}", writer.commit().await.unwrap_err()).contains("BadVersion"));
        assert_eq!(client.get_data("/a").await.unwrap().0, b"x");
    });
}

fn thousands_of_znodes_are_read_at_once(target: &Target) {
    target.run(async {
        let client = connect(target).await;
        client.create("/m", b"", &OPEN).await.unwrap();
        for chunk in 0..4 {
            let mut writer = client.new_multi_writer();
            for at in 0..500 {
                let number = chunk * 500 + at;
                writer.add_create(&format!("/m/{number}"), number.to_string().as_bytes(), &OPEN).unwrap();
            }
            writer.commit().await.unwrap();
        }
        let names = client.list_children("/m").await.unwrap();
        assert_eq!(names.len(), 2_000);
        let mut reader = client.new_multi_reader();
        for name in &names {
            reader.add_get_data(&format!("/m/{name}")).unwrap();
        }
        reader.add_get_data("/m/none").unwrap();
        let results = reader.commit().await.unwrap();
        for (name, result) in names.iter().zip(&results) {
            assert!(
                matches!(result, MultiReadResult::Data { data, .. } if data == name.as_bytes()),
                "{result:?}"
            );
        }
        assert!(matches!(results[2_000], MultiReadResult::Error { err: Error::NoNode }));
    });
}

fn ephemerals_of_a_dropped_client_are_deleted(target: &Target) {
    target.run(async {
        let (client, other) = (connect(target).await, connect(target).await);
        let ephemeral = CreateMode::Ephemeral.with_acls(Acls::anyone_all());
        client.create("/e", b"", &ephemeral).await.unwrap();
        let (_, gone) = other.check_and_watch_stat("/e").await.unwrap();
        let mut state = client.state_watcher();
        drop(client);
        let event = tokio::time::timeout(TIMEOUT, gone.changed()).await.unwrap();
        assert_eq!(event.event_type, EventType::NodeDeleted);
        while state.state() != SessionState::Closed {
            tokio::time::timeout(TIMEOUT, state.changed()).await.unwrap();
        }
    });
}

fn protected_znodes_require_authentication(target: &Target) {
    target.run(async {
        let (client, stranger) = (connect(target).await, connect(target).await);
        client.auth("digest", b"bob:secret").await.unwrap();
        client.create("/g", b"", &CreateMode::Persistent.with_acls(Acls::creator_all())).await.unwrap();
        assert_eq!(stranger.get_data("/g").await, Err(Error::NoAuth));
        stranger.auth("digest", b"bob:secret").await.unwrap();
        assert!(stranger.get_data("/g").await.is_ok());
        let (acls, _) = client.get_acl("/g").await.unwrap();
        assert_eq!(acls[0].scheme(), "digest");
        assert_eq!(client.list_auth_users().await.unwrap().len(), 2);
    });
}
