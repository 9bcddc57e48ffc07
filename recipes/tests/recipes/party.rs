//! Parties: each member is listed once, over lost connections and sessions, until it leaves.

use std::sync::{Arc, Mutex};

use atalaya_recipes::{Party, PartyError};
use atalaya_zookeeper::{Disconnect, Operation};

use crate::support::{TestBed, until};

const PATH: &str = "/parties/workers";

#[test]
fn party_members_join_and_leave() {
    let (bed, session) = TestBed::memory_with_session();
    for shallow in [false, true] {
        let make = if shallow { Party::shallow } else { Party::new };
        let (one, two) = (make(session.clone(), PATH, "one"), make(bed.session(), PATH, "two-2"));
        bed.wait(async {
            assert!(one.members().await.unwrap().is_empty());
            let first = one.join().await.unwrap();
            let second = two.join().await.unwrap();
            let again = two.join().await.unwrap();
            assert!(first.is_held());
            assert_eq!(one.members().await.unwrap(), ["one", "two-2", "two-2"]);
            first.leave().await;
            assert_eq!(one.members().await.unwrap(), ["two-2", "two-2"]);
            second.leave().await;
            drop(again);
            until("nobody", async || two.members().await.unwrap().is_empty().then_some(())).await;
        });
    }
}

#[test]
fn party_refuses_an_invalid_name() {
    let (bed, session) = TestBed::memory_with_session();
    for identifier in ["a/b", "a\0"] {
        let refused = bed.wait(Party::shallow(session.clone(), PATH, identifier).join());
        assert!(matches!(refused, Err(PartyError::Identifier(_))), "{refused:?}");
    }
}

#[test]
fn party_member_joins_again_after_its_session_expires() {
    let bed = TestBed::memory();
    let (session, other) = (bed.session(), bed.session());
    let party = Party::new(other, PATH, "");
    bed.wait(async {
        let membership = Party::new(session.clone(), PATH, "it").join().await.unwrap();
        let old = session.connection().await;
        bed.faults().expire(old.session_id()).await;
        session.connection_after(old.number()).await;
        until("it is back", async || (party.members().await.unwrap() == ["it"]).then_some(())).await;
        membership.leave().await;
        assert!(party.members().await.unwrap().is_empty());
    });
}

#[test]
fn party_member_joins_once_when_a_reply_is_lost() {
    let (bed, session) = TestBed::memory_with_session();
    bed.wait(async {
        let party = Party::new(session.clone(), PATH, "it");
        let armed = bed.cut(Disconnect::BeforeReply, &session, Operation::Create2, "__party__").await;
        let membership = party.join().await.unwrap();
        armed.happened().await.unwrap();
        assert_eq!(party.members().await.unwrap(), ["it"]);
        membership.leave().await;
        assert!(party.members().await.unwrap().is_empty());
    });
}

#[test]
fn party_members_can_be_followed() {
    let (bed, session) = TestBed::memory_with_session();
    let party = Party::new(session.clone(), PATH, "");
    let seen = Arc::new(Mutex::new(None));
    let (follows, newest) = (party.clone(), seen.clone());
    bed.spawn(async move { follows.follow(|members| *newest.lock().unwrap() = Some(members)).await });
    let are = async |members: &[&str]| {
        let now = async || (seen.lock().unwrap().as_deref()? == members).then_some(());
        until("they are seen", now).await;
    };
    bed.wait(async {
        are(&[]).await;
        let one = Party::new(bed.session(), PATH, "one").join().await.unwrap();
        are(&["one"]).await;
        let connection = session.connection().await;
        bed.faults().disconnect(connection.session_id()).await;
        let two = Party::new(bed.session(), PATH, "two").join().await.unwrap();
        are(&["one", "two"]).await;
        bed.faults().expire(session.connection().await.session_id()).await;
        one.leave().await;
        are(&["two"]).await;
        two.leave().await;
        are(&[]).await;
    });
}

#[test]
fn party_is_shared_with_kazoo() {
    let bed = TestBed::apache();
    for recipe in ["party", "shallow"] {
        let path = format!("{PATH}-{recipe}");
        let make = if recipe == "party" { Party::new } else { Party::shallow };
        let party = make(bed.session(), path.clone(), "ours");
        // Our member joins first, then Kazoo's; then in the other order.
        let membership = bed.wait(party.join()).unwrap();
        let mut kazoo = bed.kazoo(recipe, &path, &["theirs"]);
        assert_eq!(kazoo.call("members"), "ours");
        kazoo.call("join");
        assert_eq!(kazoo.call("count"), "2");
        assert_eq!(bed.wait(party.members()).unwrap(), ["ours", "theirs"]);
        bed.wait(membership.leave());
        assert_eq!(kazoo.call("members"), "theirs");
        let membership = bed.wait(party.join()).unwrap();
        assert_eq!(kazoo.call("members"), "ours theirs");
        kazoo.call("leave");
        assert_eq!(bed.wait(party.members()).unwrap(), ["ours"]);
        bed.wait(membership.leave());
        assert_eq!(kazoo.call("count"), "0");
    }
}
