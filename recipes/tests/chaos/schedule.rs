//! Steps of a schedule, and the number of schedules.

use std::cell::Cell;
use std::fmt::Debug;
use std::time::Duration;

use atalaya_zookeeper::{Disconnect, Operation};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

use crate::runner::{Scenario, play};

/// Number of clients, each with its own session.
pub(crate) const CLIENTS: usize = 4;
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);
/// Number of schedules if `ATALAYA_CHAOS` is not set.
const CASES: u32 = 12;

/// A step. The number identifies the client.
#[derive(Clone, Debug)]
pub(crate) enum Step<A> {
    /// The client starts an act, if it can beside its running one.
    Act(usize, A),
    /// The client starts an act. Everything runs until the act completes, waits, or has been polled N times: then it is
    /// dropped.
    ActFor(usize, A, usize),
    /// The running act of the client is dropped.
    Cancel(usize),
    /// The client's connection is lost at its next request (of this kind), before or after that takes effect.
    Cut(usize, Disconnect, Option<Operation>),
    Disconnect(usize),
    /// The client's session expires, after its connection is lost.
    Expire(usize),
    /// The server pauses for N milliseconds.
    Pause(u64),
    /// The server sends nothing for N milliseconds.
    Freeze(u64),
    /// The server is stopped, and restarted after N milliseconds.
    Restart(u64),
    /// All tasks run for N turns.
    Turns(usize),
}

#[derive(Clone)]
struct Schedule<A>(Vec<Step<A>>);

impl<A: Debug> Debug for Schedule<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "\n    {step:?}"))
    }
}

fn step<A: Clone + Debug + 'static>(act: BoxedStrategy<A>) -> impl Strategy<Value = Step<A>> {
    let who = || 0..CLIENTS;
    let cut = prop_oneof![Just(Disconnect::BeforeEffect), Just(Disconnect::BeforeReply)];
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
    // Long enough that some leases and sessions expire.
    let pause = || prop_oneof![4 => 1u64..60, 1 => 150u64..700];
    prop_oneof![
        50 => (who(), act).prop_map(|(who, act)| Step::Act(who, act)),
        8 => who().prop_map(Step::Cancel),
        12 => (who(), cut, kind).prop_map(|(who, cut, kind)| Step::Cut(who, cut, kind)),
        4 => who().prop_map(Step::Disconnect),
        4 => who().prop_map(Step::Expire),
        2 => pause().prop_map(Step::Pause),
        2 => pause().prop_map(Step::Freeze),
        1 => pause().prop_map(Step::Restart),
        28 => (1usize..40).prop_map(Step::Turns),
    ]
}

/// Runs the requested number of schedules, and shrinks one that fails.
#[track_caller]
pub(crate) fn try_schedules<P: Scenario>(begin: impl Fn() -> P) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seed = number("ATALAYA_SEED").unwrap_or_else(rand::random);
    let cases = number("ATALAYA_CHAOS").and_then(|cases| cases.try_into().ok()).unwrap_or(CASES);
    // Tests run in parallel.
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
    let schedules = prop::collection::vec(step(P::acts()), 1..60).prop_map(Schedule);
    let result = runner.run(&schedules, |Schedule(steps)| {
        played.set(played.get() + 1);
        if played.get().is_multiple_of(1_000) {
            println!("{name}: {} of {cases}", played.get());
        }
        play(begin(), steps).map(drop).map_err(|what| {
            found.set(found.get().or(Some(played.get())));
            TestCaseError::fail(what)
        })
    });
    if let Err(error) = result {
        let first = found.get().unwrap_or_default();
        panic!("ATALAYA_SEED={seed}, schedule {first}, made smaller in {}: {error}", played.get() - first);
    }
}
