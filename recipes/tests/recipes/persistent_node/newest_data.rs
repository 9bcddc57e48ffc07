use atalaya_recipes::{PersistentNode, Phase};
use atalaya_testbed::eventually;
use tokio::sync::watch;

use crate::support::election::{DEADLINE, TestBed, until_phase, wait_until};

const PATH: &str = "/mediciones/1";

#[test]
fn node_stores_only_the_newest_data_after_a_disconnect() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let session = bed.calm_session_to(&proxy.connect_string());
    let node = PersistentNode::new(session.clone(), PATH);
    let state = node.state();
    let (data, newest) = watch::channel(None);
    bed.spawn(node.run(newest));
    bed.wait(session.connection());
    assert_eq!(probe.exists(PATH), None, "no data yet");
    data.send_replace(Some(b"1".to_vec()));
    let before = eventually("it is there", DEADLINE, || probe.exists(PATH));
    assert_eq!(before.version, 0);
    // The server applies a write before the node receives the reply, which the cut could drop.
    wait_until("the first write is counted", || state.borrow().stored == 1);

    proxy.refuse(true);
    proxy.cut();
    until_phase(&session, Phase::Suspended);
    wait_until("the node is not held", || !state.borrow().held);
    for text in ["2", "3", "4"] {
        data.send_replace(Some(text.into()));
    }
    assert_eq!(probe.text(PATH).as_deref(), Some("1"));
    proxy.refuse(false);
    eventually("the newest is there", DEADLINE, || (probe.text(PATH)? == "4").then_some(()));
    wait_until("it is held", || state.borrow().held);
    let after = probe.exists(PATH).unwrap();
    assert_eq!((after.czxid, after.version), (before.czxid, 1), "2 and 3 were stored as well");
    wait_until("both writes are counted", || state.borrow().stored == 2);

    data.send_replace(Some(b"5".to_vec()));
    eventually("it goes on", DEADLINE, || (probe.text(PATH)? == "5").then_some(()));
    assert_eq!(probe.exists(PATH).unwrap().version, 2);
}
