//! One cycle of a leader: list the znodes of the fleet, read all of them, average.

use anyhow::{Context as _, ensure};
use atalaya_testbed::ZooKeeper;

use super::Bench;
use super::coprocess::{Coprocess, milliseconds};
use super::machine::Machine;
use super::report::{Section, row};
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;

/// Tick time in milliseconds, as in production.
pub(crate) const TICK: u32 = 2_000;

/// An implementation of the cycle: the name of its row; true if the program with Kazoo measures it; and the JSON key of the
/// durations in the answer of the program.
type Variant = (&'static str, bool, &'static str);

const VARIANTS: [Variant; 6] = [
    ("Kazoo: list, `get` one by one", true, "each"),
    ("Kazoo: list, `get_async` for all", true, "async"),
    ("Atalaya: list, read, average", false, "listed"),
    ("Atalaya: read, average (the list is kept by a watch)", false, "read"),
    ("Atalaya: its first cycle (list, read in small batches, average)", false, "first"),
    ("floor: bare client, list and read, nothing parsed", false, "floor"),
];

/// A fleet size, with the number of cycles to measure.
struct Load {
    nodes: usize,
    rounds: usize,
    /// Consecutive cycles of each Rust variant per round.
    times: usize,
    /// Consecutive cycles of each Kazoo variant per round.
    kazoo_times: usize,
}

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let load = |nodes, rounds, times, kazoo_times| Load { nodes, rounds, times, kazoo_times };
    let loads = match bench.quick {
        false => [load(10, 20, 10, 5), load(1_000, 15, 10, 2), load(10_000, 10, 6, 1)],
        true => [load(10, 3, 5, 3), load(1_000, 3, 5, 1), load(10_000, 2, 4, 1)],
    };
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    let hosts = server.connect_string();
    let mut client = Coprocess::client(&bench.client, &hosts);
    let mut kazoo = Coprocess::new(bench.kazoo.piped("cycle.py", &[&hosts]));
    machine.kazoo(&serde_json::from_str(&kazoo.answer().text)?);

    let mut rows: Vec<Vec<String>> = VARIANTS.iter().map(|(name, ..)| vec![(*name).to_owned()]).collect();
    let mut largest = Vec::new();
    for load in &loads {
        eprintln!("cycles at {} nodes", load.nodes);
        client.ask(&format!("fill {}", load.nodes))?;
        // One-time work, such as loading, compiling and allocating, must not count: warm up first.
        round(&mut client, &mut kazoo, 2, 1)?;
        let mut samples = vec![Sample::default(); VARIANTS.len()];
        for _ in 0..load.rounds {
            let round = round(&mut client, &mut kazoo, load.times, load.kazoo_times)?;
            samples.iter_mut().zip(round).for_each(|(sample, times)| sample.extend(times));
        }
        for (row, sample) in rows.iter_mut().zip(&samples) {
            row.push(sample.with_middle_half());
        }
        largest = samples;
    }
    let [one_by_one, all_at_once, listed, floor] = ["each", "async", "listed", "floor"].map(|key| {
        let found = VARIANTS.iter().zip(&largest).find(|((.., known), _)| *known == key);
        found.map_or(f64::NAN, |(_, sample)| sample.median())
    });
    let counts = |load: &Load| {
        format!("{} and {} at {}", load.rounds * load.times, load.rounds * load.kazoo_times, load.nodes)
    };
    Ok(vec![Section {
        title: "One cycle of the leader".into(),
        method: format!(
            "Every znode holds a whole number as text; all programs compute the same mean. **Median** (middle half) of \
             these numbers of cycles of the Rust programs and of Kazoo: {}. They alternate: in each round every program has its \
             turn, and the Rust variants alternate cycle by cycle. Atalaya's rows run the node's own code \
             (`leader::read_fleet` on a `Members`, `leader::evaluation::evaluate`); the floor is one `list_children` and \
             `MultiReader`s of 1024 with the same client crate, all of them sent at once. The first cycle of a leader \
             knows no sizes yet, and reads in smaller batches.",
            loads.iter().map(counts).collect::<Vec<_>>().join(", "),
        ),
        head: row("ms", loads.iter().map(|load| format!("{} nodes", load.nodes))),
        rows,
        notes: vec![format!(
            "At 10000 nodes Atalaya is {} times as fast as `get_async` for all.",
            ThreeDigits(all_at_once / listed)
        )],
        targets: vec![
            Target::at_least(
                "cycle at 10000 nodes, speed relative to Kazoo one by one",
                200.0,
                " times",
                one_by_one / listed,
            ),
            Target::at_most(
                "cycle at 10000 nodes, duration relative to the floor",
                1.15,
                " times",
                listed / floor,
            ),
        ],
    }])
}

/// Runs one round of both programs. Returns the durations of each variant in milliseconds.
fn round(
    client: &mut Coprocess,
    kazoo: &mut Coprocess,
    times: usize,
    kazoo_times: usize,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let atalaya = client.ask(&format!("cycle {times}"))?;
    let kazoo = kazoo.ask(&kazoo_times.to_string())?;
    let means = [&atalaya, &kazoo].map(|answer| answer["mean"].as_f64());
    let [Some(atalaya_mean), Some(kazoo_mean)] = means else { anyhow::bail!("means are missing: {means:?}") };
    ensure!(
        (atalaya_mean - kazoo_mean).abs() < 1e-9,
        "Atalaya's mean is {atalaya_mean}, Kazoo's {kazoo_mean}"
    );
    let durations = |(name, is_by_kazoo, key): &Variant| {
        let times = milliseconds(if *is_by_kazoo { &kazoo } else { &atalaya }, key);
        (!times.is_empty()).then_some(times).with_context(|| format!("no durations of {name}"))
    };
    VARIANTS.iter().map(durations).collect()
}
