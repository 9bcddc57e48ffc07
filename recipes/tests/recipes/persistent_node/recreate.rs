use std::time::Instant;

use atalaya_recipes::{PersistentNode, Phase, Session};
use atalaya_testbed::{Proxy, eventually};
use tokio::sync::watch;

use crate::support::election::{
    CREATE, DEADLINE, SET, TIMEOUT, TestBed, until_another_session, until_phase, wait_until,
};

const PATH: &str = "/mediciones/1";

/// A persistent node and the channel with its data.
struct Kept {
    session: Session,
    data: watch::Sender<Option<Vec<u8>>>,
}

impl Kept {
    fn behind(bed: &TestBed, proxy: &Proxy) -> Kept {
        let session = bed.session_to(&proxy.connect_string());
        let (data, newest) = watch::channel(None);
        bed.spawn(PersistentNode::new(session.clone(), PATH).run(newest));
        Kept { session, data }
    }

    fn write(&self, text: &str) {
        self.data.send_replace(Some(text.into()));
    }
}

#[test]
fn node_is_stored_once_after_a_lost_create_reply() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    probe.create("/mediciones", b"", false).unwrap();
    let proxy = bed.proxy();
    proxy.cut_after_request(CREATE);
    let kept = Kept::behind(&bed, &proxy);
    kept.write("1");
    wait_until("a create was lost", || !proxy.is_armed());
    kept.write("2");
    eventually("it is current", DEADLINE, || (probe.text(PATH)? == "2").then_some(()));
    let stat = probe.exists(PATH).unwrap();
    assert_eq!(stat.ephemeral_owner, kept.session.state().session);
    assert_eq!(probe.exists("/mediciones").unwrap().cversion, 1, "it was made more than once");
}

#[test]
fn node_is_stored_once_after_a_lost_write_reply() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let kept = Kept::behind(&bed, &proxy);
    kept.write("1");
    let made = eventually("it is there", DEADLINE, || probe.exists(PATH));
    proxy.cut_after_request(SET);
    kept.write("2");
    wait_until("a write was lost", || !proxy.is_armed());
    kept.write("3");
    eventually("it is current", DEADLINE, || (probe.text(PATH)? == "3").then_some(()));
    let stat = probe.exists(PATH).unwrap();
    assert_eq!((stat.czxid, stat.ephemeral_owner), (made.czxid, made.ephemeral_owner));

    proxy.cut_before_request(SET);
    kept.write("4");
    eventually("it is current again", DEADLINE, || (probe.text(PATH)? == "4").then_some(()));
    assert!(!proxy.is_armed());
}

#[test]
fn node_is_created_again_with_the_next_write_after_a_deletion() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let kept = Kept::behind(&bed, &proxy);
    kept.write("1");
    let first = eventually("it is there", DEADLINE, || probe.exists(PATH));
    probe.delete(PATH).unwrap();
    kept.write("2");
    eventually("it is back", DEADLINE, || (probe.text(PATH)? == "2").then_some(()));
    let second = probe.exists(PATH).unwrap();
    assert!(second.czxid > first.czxid);
    assert_eq!((second.version, second.ephemeral_owner), (0, first.ephemeral_owner));
}

#[test]
fn node_is_created_again_in_the_next_session() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let kept = Kept::behind(&bed, &proxy);
    kept.write("1");
    let first = eventually("it is there", DEADLINE, || probe.exists(PATH));
    proxy.freeze(true);
    wait_until("its session has ended", || probe.exists(PATH).is_none());
    kept.write("2");
    proxy.freeze(false);
    until_another_session(&kept.session, first.ephemeral_owner);
    eventually("it is back", DEADLINE, || (probe.text(PATH)? == "2").then_some(()));
    let second = probe.exists(PATH).unwrap();
    assert_eq!(second.ephemeral_owner, kept.session.state().session);
}

/// A server that was down for longer than the client waits still has the old session for a whole timeout.
#[test]
fn node_of_an_abandoned_own_session_is_replaced_at_once() {
    let mut bed = TestBed::apache();
    let session = bed.session();
    let node = PersistentNode::new(session.clone(), PATH);
    let mut state = node.state();
    let (_data, newest) = watch::channel(Some(b"1".to_vec()));
    bed.spawn(node.run(newest));
    bed.wait(state.wait_for(|state| state.held)).unwrap();
    let old = session.state();
    bed.zookeeper().kill();
    until_phase(&session, Phase::Connecting);
    bed.zookeeper().restart();
    let waited = bed.wait(async {
        let connection = session.connection_after(old.connection).await;
        assert_ne!(connection.session_id(), old.session);
        let began = Instant::now();
        state.wait_for(|state| state.held).await.unwrap();
        began.elapsed()
    });
    assert!(waited < TIMEOUT / 4, "it waited {waited:?} for itself");
    let owner = bed.probe().exists(PATH).unwrap().ephemeral_owner;
    assert_eq!(owner, session.state().session);
}
