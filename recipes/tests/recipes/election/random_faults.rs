//! Elections under random network faults. The seed is printed, and `ATALAYA_SEED` sets it; the timing differs from run
//! to run.

use std::thread;
use std::time::{Duration, Instant};

use atalaya_recipes::Standing;
use atalaya_testbed::{Proxy, eventually};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::support::election::{Contender, DEADLINE, ELECTION, LeaderRun, SYNC, TestBed, wait_until};

const LENGTH: Duration = Duration::from_secs(18);
/// The requests of contenders: create2, delete, exists, getChildren, getChildren2, multiRead, sync.
const OP_CODES: [i32; 7] = [15, 2, 3, 8, 12, 22, SYNC];

#[test]
fn at_most_one_contender_leads_under_random_network_faults() {
    let seed: u64 =
        std::env::var("ATALAYA_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("ATALAYA_SEED={seed}");
    let bed = TestBed::apache();
    let contenders: Vec<(Proxy, Contender)> = ["a", "b", "c"]
        .into_iter()
        .map(|name| {
            let proxy = bed.proxy();
            let contender = bed.contender(name, &proxy);
            (proxy, contender)
        })
        .collect();
    let end = Instant::now() + LENGTH;
    thread::scope(|scope| {
        for (number, (proxy, _)) in (0..).zip(&contenders) {
            let mut rng = StdRng::seed_from_u64(seed ^ (number << 60));
            scope.spawn(move || {
                while Instant::now() < end {
                    inject_fault(proxy, &mut rng);
                }
            });
        }
    });

    // Without faults, one contender leads, and each is queued once.
    let probe = bed.probe();
    wait_until("three in line", || probe.ls(ELECTION).len() == 3);
    let leader = eventually("one leads and two wait", DEADLINE, || {
        let standings = contenders.iter().map(|(_, contender)| *contender.standing.borrow());
        let waiting = standings.filter(|standing| matches!(standing, Standing::Waiting { .. })).count();
        let leader = contenders.iter().find(|(_, contender)| contender.is(Standing::Leading));
        leader.filter(|_| waiting == 2).map(|(_, contender)| contender)
    });
    let mut line = probe.contenders(ELECTION);
    assert_eq!(line[0], leader.name);
    line.sort_unstable();
    assert_eq!(line, ["a", "b", "c"]);

    let mut runs: Vec<LeaderRun> =
        contenders.iter().flat_map(|(_, contender)| contender.run_log.runs()).collect();
    runs.sort_by_key(|leader_run| leader_run.from);
    println!("{} leader runs", runs.len());
    assert!(runs.len() >= 3, "too few leader changes: {runs:?}");
    for pair in runs.windows(2) {
        assert!(pair[0].poll_times <= pair[1].from, "two led: {pair:?}");
        assert!(pair[0].fencing_token <= pair[1].fencing_token, "fencing tokens decrease: {pair:?}");
        let same = pair[0].fencing_token == pair[1].fencing_token;
        assert_eq!(same, pair[0].who == pair[1].who && pair[0].znode == pair[1].znode, "{pair:?}");
    }
}

/// Injects one fault, then pauses. The pauses are the lengths of the faults; they do not wait for conditions.
fn inject_fault(proxy: &Proxy, rng: &mut StdRng) {
    let op_code = OP_CODES[rng.random_range(0..OP_CODES.len())];
    let kind = rng.random_range(0..10);
    let mut pause = |from, to| thread::sleep(Duration::from_millis(rng.random_range(from..to)));
    match kind {
        0 | 1 => proxy.cut(),
        2 => {
            proxy.refuse(true);
            proxy.cut();
            pause(100, 3_500);
            proxy.refuse(false);
        }
        3 | 4 => {
            proxy.freeze(true);
            pause(100, 4_000);
            proxy.freeze(false);
        }
        5 | 6 => {
            proxy.swallow_replies(true);
            pause(20, 700);
            proxy.swallow_replies(false);
            proxy.cut();
        }
        7 => {
            proxy.mute(Some(SYNC));
            pause(100, 3_000);
            proxy.mute(None);
        }
        8 => proxy.cut_before_request(op_code),
        _ => proxy.cut_after_request(op_code),
    }
    pause(50, 1_000);
}
