//! What happens, in turn, and how many schedules of that are tried.

use std::time::Duration;

use atalaya_sim::zookeeper::{Cut, Operation};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// How many contenders there are, each with a session of its own.
pub(crate) const CROWD: usize = 4;
/// The session timeout of everyone.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);
/// How many schedules are tried unless `ATALAYA_CHAOS` says otherwise.
const CASES: u32 = 12;

/// One thing that happens. The number is the contender's to whom.
#[derive(Clone, Debug)]
pub(crate) enum Deed {
    /// It begins to acquire, unless it does or has.
    Acquire(usize),
    /// So too, with a patience of so many milliseconds.
    AcquireWithin(usize, u64),
    /// So too, if nobody is in the way.
    Try(usize),
    /// It is cancelled while it acquires, wherever that is.
    Cancel(usize),
    /// It gives back what it has, and waits for the confirmation.
    Release(usize),
    /// It drops what it has.
    Drop(usize),
    /// Its connection is lost at its next request (of this kind), before or after that takes effect.
    Cut(usize, Cut, Option<Operation>),
    /// Its connection is lost.
    Disconnect(usize),
    /// Its session expires; its connection is lost before that, as it is when time does it.
    Expire(usize),
    /// The server stands still for so many milliseconds.
    Pause(u64),
    /// The server says nothing for so many milliseconds.
    Freeze(u64),
    /// Everyone goes on for so many turns.
    Turns(usize),
}

fn deed() -> impl Strategy<Value = Deed> {
    let who = || 0..CROWD;
    let cut = prop_oneof![Just(Cut::BeforeEffect), Just(Cut::BeforeReply)];
    let kind = prop_oneof![
        Just(None),
        Just(Some(Operation::Create2)),
        Just(Some(Operation::Delete)),
        Just(Some(Operation::Exists)),
        Just(Some(Operation::GetChildren)),
        Just(Some(Operation::Multi)),
        Just(Some(Operation::MultiRead)),
        Just(Some(Operation::Sync)),
    ];
    // Long enough, now and then, that leases and sessions end of themselves.
    let pause = || prop_oneof![4 => 1u64..60, 1 => 150u64..700];
    prop_oneof![
        10 => who().prop_map(Deed::Acquire),
        3 => (who(), 0u64..40).prop_map(|(who, ms)| Deed::AcquireWithin(who, ms)),
        4 => who().prop_map(Deed::Try),
        4 => who().prop_map(Deed::Cancel),
        4 => who().prop_map(Deed::Release),
        4 => who().prop_map(Deed::Drop),
        6 => (who(), cut, kind).prop_map(|(who, cut, kind)| Deed::Cut(who, cut, kind)),
        2 => who().prop_map(Deed::Disconnect),
        2 => who().prop_map(Deed::Expire),
        1 => pause().prop_map(Deed::Pause),
        1 => pause().prop_map(Deed::Freeze),
        14 => (1usize..40).prop_map(Deed::Turns),
    ]
}

/// Tries as many schedules as are asked for; of one that fails, the smallest that still does is shown.
#[track_caller]
pub(crate) fn try_schedules(run: impl Fn(Vec<Deed>) -> Result<(), TestCaseError>) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ATALAYA_SEED").unwrap_or_else(rand::random);
    let cases = number("ATALAYA_CHAOS").and_then(|cases| cases.try_into().ok()).unwrap_or(CASES);
    println!("ATALAYA_SEED={seed} ATALAYA_CHAOS={cases}");
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 300,
        // Milliseconds.
        max_shrink_time: 90_000,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    if let Err(error) = runner.run(&prop::collection::vec(deed(), 1..60), run) {
        panic!("ATALAYA_SEED={seed}: {error}");
    }
}
