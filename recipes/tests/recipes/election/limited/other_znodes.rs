//! Znodes in the line that are no places, a line that is deleted, and requests that are refused.

use std::sync::Arc;

use atalaya_recipes::session::{CreateMode, Write};
use atalaya_recipes::{Credentials, Session, SessionOptions, Standing};
use zookeeper_client as zk;

use super::{Contender, ELECTION, LIMIT, LINE, end_leader, fleet, leader, settled};
use crate::support::memory::{TIMEOUT, TestBed, soon};
use crate::support::until;

/// Returns the data of a place.
fn place_data(more: &str) -> Vec<u8> {
    format!("0123456789abcdef0123456789abcdef{more}").into_bytes()
}

#[tokio::test]
async fn znodes_that_are_no_places_stop_nobody() {
    let bed = TestBed::start().await;
    bed.observer.create(LINE, b"", CreateMode::Persistent).await.unwrap();
    for name in ["0000000000", "7", "x", "-000000001", "9999999999"] {
        let data = place_data("");
        bed.observer.create(&format!("{LINE}/{name}"), &data, CreateMode::Persistent).await.unwrap();
    }
    // Ephemeral, but of no client of the line.
    for data in [&b""[..], b"7", &[b'x'; 32], &[0xff; 64]] {
        bed.observer.create_sequential(&format!("{LINE}/"), data).await.unwrap();
    }
    let junk = bed.children(LINE).await;
    let contenders = fleet(&bed, LIMIT + 2).await;
    soon("contenders", bed.wait_for_contenders(ELECTION, LIMIT)).await;
    soon("places", bed.wait_for_contenders(LINE, junk.len() + 2)).await;
    for name in junk {
        bed.observer.delete(&format!("{LINE}/{name}"), None).await.unwrap();
    }
    settled(&bed, &contenders, 0).await;
}

#[tokio::test]
async fn huge_znodes_in_the_line_stop_nobody() {
    let bed = TestBed::start().await;
    bed.observer.create(LINE, b"", CreateMode::Persistent).await.unwrap();
    // Together more than a response may have.
    let data = vec![b'x'; 1_000_000];
    for _ in 0..40 {
        bed.observer.create_sequential(&format!("{LINE}/"), &data).await.unwrap();
    }
    let mut contenders = fleet(&bed, LIMIT + 2).await;
    soon("places", bed.wait_for_contenders(LINE, 40 + 2)).await;
    for left in (LIMIT..LIMIT + 2).rev() {
        end_leader(&bed, &mut contenders).await;
        soon("places", bed.wait_for_contenders(LINE, 40 + left - LIMIT)).await;
        soon("contenders", bed.wait_for_contenders(ELECTION, LIMIT)).await;
    }
}

#[tokio::test]
async fn many_znodes_that_are_no_places_are_read_once() {
    let bed = TestBed::start().await;
    bed.observer.create(LINE, b"", CreateMode::Persistent).await.unwrap();
    for _ in 0..1_100 {
        bed.observer.create_sequential(&format!("{LINE}/"), b"").await.unwrap();
    }
    let before = bed.faults.stats().await.unwrap();
    let _contenders = fleet(&bed, LIMIT + 2).await;
    soon("places", bed.wait_for_contenders(LINE, 1_100 + 2)).await;
    soon("contenders", bed.wait_for_contenders(ELECTION, LIMIT)).await;
    let after = bed.faults.stats().await.unwrap();
    // Each of five clients lists the line a few times, and so does this test.
    let listed = after.names_listed - before.names_listed;
    assert!(listed < 1_100 * 40, "{listed} names");
}

#[tokio::test]
async fn place_of_a_newer_version_counts_until_its_session_ends() {
    let bed = TestBed::start().await;
    bed.observer.create(LINE, b"", CreateMode::Persistent).await.unwrap();
    let newer = bed.session().await;
    newer.connection().await.create_sequential(&format!("{LINE}/"), &place_data(" v2")).await.unwrap();
    let contenders = fleet(&bed, 2).await;
    soon("places", bed.wait_for_contenders(LINE, 3)).await;
    assert_eq!(bed.children(ELECTION).await, [""; 0]);
    bed.expire(&newer).await;
    settled(&bed, &contenders, 0).await;
}

#[tokio::test]
async fn line_that_is_deleted_is_created_again() {
    let bed = TestBed::start().await;
    let mut contenders = fleet(&bed, LIMIT + 5).await;
    for _ in 0..3 {
        settled(&bed, &contenders, 0).await;
        // In one transaction: the clients enter the line again at once.
        let places = bed.children(LINE).await.into_iter().map(|name| format!("{LINE}/{name}"));
        let all: Vec<String> = places.chain([LINE.to_owned()]).collect();
        let deletions: Vec<Write<'_>> =
            all.iter().map(|path| Write::Delete { path, version: None }).collect();
        bed.observer.multi(&deletions).await.unwrap();
        end_leader(&bed, &mut contenders).await;
    }
    settled(&bed, &contenders, 0).await;
}

/// Clients whose requests ZooKeeper refuses do not hold up the line, and neither do places that others may not read.
#[tokio::test]
async fn clients_that_may_not_contend_leave_the_line() {
    let bed = TestBed::start().await;
    let fleet = Credentials::new("fleet", "secret");
    let client = zk::Client::connector().with_auth("digest", b"fleet:secret");
    let client = client.connect(&bed.connect_string()).await.unwrap();
    let acls = [
        zk::Acl::new(zk::Permission::READ, zk::AuthId::anyone()),
        zk::Acl::new(zk::Permission::ALL, zk::AuthId::authed()),
    ];
    client.create(ELECTION, b"", &zk::CreateMode::Persistent.with_acls(zk::Acls::new(&acls))).await.unwrap();
    client.create(LINE, b"", &zk::CreateMode::Persistent.with_acls(zk::Acls::anyone_all())).await.unwrap();
    let hidden = zk::Client::connector().with_auth("digest", b"other:secret");
    let hidden = hidden.connect(&bed.connect_string()).await.unwrap();
    let place = zk::CreateMode::EphemeralSequential.with_acls(zk::Acls::creator_all());
    hidden.create(&format!("{LINE}/"), &place_data(""), &place).await.unwrap();

    let leaders = Arc::default();
    let refused: Vec<Contender> = futures_util::future::join_all((0..3).map(|_| bed.session()))
        .await
        .into_iter()
        .map(|session| Contender::start(session, "refused", &leaders))
        .collect();
    until("the first places", async || (bed.changes(LINE).await >= 10).then_some(())).await;
    let mut contenders = Vec::new();
    for number in 0..LIMIT + 2 {
        let options = SessionOptions::new(bed.connect_string().parse().unwrap(), TIMEOUT);
        let session = Session::start(options.with_auth(fleet.clone()));
        contenders.push(Contender::start(session, &number.to_string(), &leaders));
    }
    soon("contenders", bed.wait_for_contenders(ELECTION, LIMIT)).await;
    end_leader(&bed, &mut contenders).await;
    soon("contenders", bed.wait_for_contenders(ELECTION, LIMIT)).await;
    leader(&contenders).await;
    let is_refused = |contender: &Contender| !matches!(contender.standing(), Standing::Waiting { .. });
    assert!(refused.iter().all(is_refused));
}
