use atalaya_recipes::{PersistentNode, WriteCounter};
use atalaya_testbed::{ZkProbe, eventually};
use tokio::sync::watch;

use crate::support::election::{DEADLINE, MULTI, TestBed, until_another_session, wait_until};

const PATH: &str = "/mediciones/1";
const COUNTER: &str = "/counter";

/// Waits until the znode has this data, and checks the count up to then.
fn stored(probe: &ZkProbe, text: &str, count: &str) {
    eventually(&format!("{text} is stored"), DEADLINE, || (probe.text(PATH)? == text).then_some(()));
    assert_eq!(probe.text(COUNTER).as_deref(), Some(count), "when {text} was stored");
}

#[test]
fn counted_node_counts_each_write_once_under_faults() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let session = bed.session_to(&proxy.connect_string());
    let tally = WriteCounter::new(session.clone(), COUNTER);
    let node = PersistentNode::new(session.clone(), PATH).counted(tally.clone());
    let state = node.state();
    let (data, newest) = watch::channel(Some(b"1".to_vec()));
    bed.spawn(node.run(newest));
    stored(&probe, "1", "1");
    // The server applies a write before the node receives the reply.
    wait_until("the first is stored, as far as it knows", || state.borrow().stored == 1);

    // First the reply is lost, then the request.
    for (text, count) in [("2", "2"), ("3", "3")] {
        match text {
            "2" => proxy.cut_after_request(MULTI),
            _ => proxy.cut_before_request(MULTI),
        }
        let before = state.borrow().stored;
        data.send_replace(Some(text.into()));
        wait_until("it is stored, as far as it knows", || state.borrow().stored > before);
        assert!(!proxy.is_armed());
        stored(&probe, text, count);
    }

    // Other writers increment the counter as well.
    for count in ["4", "5", "6"] {
        probe.set(COUNTER, count.as_bytes()).unwrap();
    }
    let before = state.borrow().stored;
    data.send_replace(Some(b"4".to_vec()));
    wait_until("it is stored, as far as it knows", || state.borrow().stored > before);
    stored(&probe, "4", "7");

    // The reply is missing until the session expires: the znode is created again and not counted again.
    let old = session.state().session;
    proxy.swallow_replies(true);
    data.send_replace(Some(b"5".to_vec()));
    stored(&probe, "5", "8");
    wait_until("the znode went with the session", || probe.exists(PATH).is_none());
    proxy.swallow_replies(false);
    proxy.cut();
    until_another_session(&session, old);
    stored(&probe, "5", "8");
    data.send_replace(Some(b"6".to_vec()));
    stored(&probe, "6", "9");

    // Data that cannot be counted is stored without a count.
    probe.set(COUNTER, b"many").unwrap();
    data.send_replace(Some(b"7".to_vec()));
    stored(&probe, "7", "many");
    bed.wait(tally.close());
    assert_eq!(probe.ls("/counter__adders__"), Vec::<String>::new());
}

#[test]
fn counted_nodes_of_twenty_writers_add_up() {
    let bed = TestBed::apache();
    let probe = bed.probe();
    let nodes: Vec<_> = (0..20)
        .map(|number| {
            let session = bed.calm_session();
            let node = PersistentNode::new(session.clone(), format!("/mediciones/{number}"));
            let node = node.counted(WriteCounter::new(session, COUNTER));
            let state = node.state();
            let (data, newest) = watch::channel(Some(b"0".to_vec()));
            bed.spawn(node.run(newest));
            (data, state)
        })
        .collect();
    for round in 1..=5_u64 {
        wait_until("all have stored", || nodes.iter().all(|(_, state)| state.borrow().stored == round));
        assert_eq!(probe.text(COUNTER), Some((20 * round).to_string()));
        nodes.iter().for_each(|(data, _)| drop(data.send_replace(Some(round.to_string().into_bytes()))));
    }
}
