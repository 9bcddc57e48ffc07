//! What happens, in turn, and how many schedules of that are tried.

use std::cell::Cell;
use std::fmt::Debug;
use std::time::Duration;

use atalaya_sim::zookeeper::{Cut, Operation};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::stage::{Play, play};

/// How many there are, each with a session of its own.
pub(crate) const CROWD: usize = 4;
/// The session timeout of everyone.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);
/// How many schedules are tried unless `ATALAYA_CHAOS` says otherwise.
const CASES: u32 = 12;

/// One thing that happens. The number is the one of the crowd to whom.
#[derive(Clone, Debug)]
pub(crate) enum Deed<A> {
    /// It does this of its own will, as far as it can while it does something else.
    Act(usize, A),
    /// So too; everyone goes on until it is done, or waits, or what it does has been polled so often: then that is dropped.
    ActFor(usize, A, usize),
    /// What it does is dropped, wherever that is.
    Cancel(usize),
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
    /// The server is stopped, and started again after so many milliseconds.
    Restart(u64),
    /// Everyone goes on for so many turns.
    Turns(usize),
}

/// What happens, in turn. One line each, however it is to be shown.
#[derive(Clone)]
struct Schedule<A>(Vec<Deed<A>>);

impl<A: Debug> Debug for Schedule<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|deed| write!(f, "\n    {deed:?}"))
    }
}

fn deed<A: Clone + Debug + 'static>(act: BoxedStrategy<A>) -> impl Strategy<Value = Deed<A>> {
    let who = || 0..CROWD;
    let cut = prop_oneof![Just(Cut::BeforeEffect), Just(Cut::BeforeReply)];
    let kind = prop_oneof![
        2 => Just(None),
        1 => Just(Some(Operation::Create2)),
        1 => Just(Some(Operation::Delete)),
        1 => Just(Some(Operation::Exists)),
        1 => Just(Some(Operation::GetChildren)),
        1 => Just(Some(Operation::Multi)),
        1 => Just(Some(Operation::MultiRead)),
        1 => Just(Some(Operation::SetData)),
        1 => Just(Some(Operation::Sync)),
    ];
    // Long enough, now and then, that leases and sessions end of themselves.
    let pause = || prop_oneof![4 => 1u64..60, 1 => 150u64..700];
    prop_oneof![
        50 => (who(), act).prop_map(|(who, act)| Deed::Act(who, act)),
        8 => who().prop_map(Deed::Cancel),
        12 => (who(), cut, kind).prop_map(|(who, cut, kind)| Deed::Cut(who, cut, kind)),
        4 => who().prop_map(Deed::Disconnect),
        4 => who().prop_map(Deed::Expire),
        2 => pause().prop_map(Deed::Pause),
        2 => pause().prop_map(Deed::Freeze),
        1 => pause().prop_map(Deed::Restart),
        28 => (1usize..40).prop_map(Deed::Turns),
    ]
}

/// Tries as many schedules as are asked for; of one that fails, the smallest that still does is shown.
#[track_caller]
pub(crate) fn try_schedules<P: Play>(begin: impl Fn() -> P) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ATALAYA_SEED").unwrap_or_else(rand::random);
    let cases = number("ATALAYA_CHAOS").and_then(|cases| cases.try_into().ok()).unwrap_or(CASES);
    // Tests run beside each other.
    let thread = std::thread::current();
    let name = thread.name().unwrap_or_default();
    println!("{name}: ATALAYA_SEED={seed} ATALAYA_CHAOS={cases}");
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
    let (played, found) = (Cell::new(0_u32), Cell::new(None));
    let schedules = prop::collection::vec(deed(P::acts()), 1..60).prop_map(Schedule);
    let result = runner.run(&schedules, |Schedule(deeds)| {
        played.set(played.get() + 1);
        if played.get().is_multiple_of(1_000) {
            println!("{name}: {} of {cases}", played.get());
        }
        play(begin(), deeds).map(drop).map_err(|what| {
            found.set(found.get().or(Some(played.get())));
            TestCaseError::fail(what)
        })
    });
    if let Err(error) = result {
        let first = found.get().unwrap_or_default();
        panic!("ATALAYA_SEED={seed}, schedule {first}, made smaller in {}: {error}", played.get() - first);
    }
}
