use std::sync::{Arc, Mutex};

use atalaya_recipes::{Phase, Session, children_watch};
use atalaya_testbed::{Proxy, eventually};

use crate::support::election::{DEADLINE, TestBed, until_another_session, until_phase};

const PARENT: &str = "/mediciones";

struct Follower {
    session: Session,
    lists: Arc<Mutex<Vec<Vec<String>>>>,
}

impl Follower {
    fn behind(bed: &TestBed, proxy: &Proxy) -> Follower {
        let session = bed.session_to(&proxy.connect_string());
        let lists = Arc::<Mutex<Vec<Vec<String>>>>::default();
        let (followed, recorded) = (session.clone(), Arc::clone(&lists));
        bed.spawn(async move {
            children_watch::follow(&followed, PARENT, |list| recorded.lock().unwrap().push(list)).await;
        });
        Follower { session, lists }
    }

    #[track_caller]
    fn sees(&self, names: &[&str]) {
        eventually(&format!("the children are {names:?}"), DEADLINE, || {
            (self.lists.lock().unwrap().last()? == names).then_some(())
        });
    }
}

#[test]
fn children_watch_follows_children_and_their_parent() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let follower = Follower::behind(&bed, &proxy);
    follower.sees(&[]);
    // Creates the parent too.
    probe.create("/mediciones/b", b"", false).unwrap();
    follower.sees(&["b"]);
    probe.create("/mediciones/a", b"", false).unwrap();
    follower.sees(&["a", "b"]);
    probe.delete("/mediciones/b").unwrap();
    follower.sees(&["a"]);
    probe.delete("/mediciones/a").unwrap();
    follower.sees(&[]);
    probe.delete(PARENT).unwrap();
    probe.create("/mediciones/c", b"", false).unwrap();
    follower.sees(&["c"]);
}

#[test]
fn children_watch_follows_over_disconnects_and_expiry() {
    let (bed, proxy) = TestBed::behind_proxy();
    let probe = bed.probe();
    let follower = Follower::behind(&bed, &proxy);
    probe.create("/mediciones/1", b"", false).unwrap();
    follower.sees(&["1"]);

    proxy.refuse(true);
    proxy.cut();
    until_phase(&follower.session, Phase::Suspended);
    probe.create("/mediciones/2", b"", false).unwrap();
    follower.sees(&["1"]);
    proxy.refuse(false);
    follower.sees(&["1", "2"]);
    proxy.cut();
    probe.create("/mediciones/3", b"", false).unwrap();
    follower.sees(&["1", "2", "3"]);

    let old = follower.session.state().session;
    proxy.freeze(true);
    until_phase(&follower.session, Phase::Connecting);
    probe.delete("/mediciones/1").unwrap();
    proxy.freeze(false);
    until_another_session(&follower.session, old);
    follower.sees(&["2", "3"]);
    probe.delete("/mediciones/2").unwrap();
    follower.sees(&["3"]);
}
