//! One cycle of a leader: list the znodes of the fleet, read all of them, average.

use anyhow::{Context as _, ensure};
use atalaya_testbed::ZooKeeper;

use super::Bench;
use super::coprocess::{Coprocess, milliseconds};
use super::figures::{Aim, Sample, Section, Short};
use super::machine::Machine;

/// As in production: ticks of 2 s.
pub(crate) const TICK: u32 = 2_000;

/// A way of going about it: what it is called, who does it, and under which name it answers.
struct Way {
    name: &'static str,
    by_kazoo: bool,
    key: &'static str,
}

const WAYS: [Way; 6] = [
    Way { name: "Kazoo: list, `get` one by one", by_kazoo: true, key: "each" },
    Way { name: "Kazoo: list, `get_async` for all", by_kazoo: true, key: "async" },
    Way { name: "Atalaya: list, read, average", by_kazoo: false, key: "listed" },
    Way { name: "Atalaya: read, average (the list is kept by a watch)", by_kazoo: false, key: "read" },
    Way {
        name: "Atalaya: its first cycle (list, read in small batches, average)",
        by_kazoo: false,
        key: "first",
    },
    Way { name: "floor: bare client, list and read, nothing parsed", by_kazoo: false, key: "floor" },
];

/// A size of fleet, and how often it is measured: so many rounds, and so many times in a row in each of them.
struct Load {
    nodes: usize,
    rounds: usize,
    times: usize,
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
    let mut kazoo = Coprocess::of(bench.kazoo.piped("cycle.py", &[&hosts]));
    machine.kazoo(&serde_json::from_str(&kazoo.answer().text)?);

    let mut rows: Vec<Vec<String>> = WAYS.iter().map(|way| vec![way.name.to_owned()]).collect();
    let mut largest = Vec::new();
    for load in &loads {
        eprintln!("cycles at {} nodes", load.nodes);
        client.ask(&format!("fill {}", load.nodes))?;
        // What is loaded, compiled and allocated once is not a cycle's.
        round(&mut client, &mut kazoo, 2, 1)?;
        let mut samples = vec![Sample::default(); WAYS.len()];
        for _ in 0..load.rounds {
            let round = round(&mut client, &mut kazoo, load.times, load.kazoo_times)?;
            samples.iter_mut().zip(round).for_each(|(sample, times)| sample.extend(times));
        }
        for (row, sample) in rows.iter_mut().zip(&samples) {
            row.push(format!("**{}** ({})", Short(sample.median()), sample.middle()));
        }
        largest = samples;
    }
    let [each, at_once, listed, floor] = ["each", "async", "listed", "floor"].map(|key| {
        let found = WAYS.iter().zip(&largest).find(|(way, _)| way.key == key);
        found.map_or(f64::NAN, |(_, sample)| sample.median())
    });
    let counts = |load: &Load| {
        format!("{} and {} at {}", load.rounds * load.times, load.rounds * load.kazoo_times, load.nodes)
    };
    let head = ["ms"].into_iter().map(str::to_owned);
    let head = head.chain(loads.iter().map(|load| format!("{} nodes", load.nodes))).collect();
    Ok(vec![Section {
        title: "One cycle of the leader".into(),
        method: format!(
            "Every znode holds a whole number as text; all programs come to the same mean. **Median** (middle half) of \
             so many cycles of the Rust programs and of Kazoo: {}. They alternate: in each round every program has its \
             turn, and the Rust ways alternate cycle by cycle. Atalaya's lines run the node's own code \
             (`leader::gather` on a `Roster`, `Aggregate::summaries`); the floor is one `list_children` and \
             `MultiReader`s of 1024 with the same client crate, all of them sent at once. The first cycle of a leader \
             knows no sizes yet, and asks for less at once.",
            loads.iter().map(counts).collect::<Vec<_>>().join(", "),
        ),
        head,
        rows,
        notes: vec![format!(
            "At 10000 nodes Atalaya is {} times as fast as `get_async` for all.",
            Short(at_once / listed)
        )],
        aims: vec![
            Aim::at_least(
                "cycle at 10000 nodes, faster than Kazoo one by one",
                100.0,
                " times",
                each / listed,
            ),
            Aim::at_most("cycle at 10000 nodes, longer than the floor", 1.5, " times", listed / floor),
        ],
    }])
}

/// One round of every program: the milliseconds of each way.
fn round(
    client: &mut Coprocess,
    kazoo: &mut Coprocess,
    times: usize,
    kazoo_times: usize,
) -> anyhow::Result<Vec<Vec<f64>>> {
    let atalaya = client.ask(&format!("cycle {times}"))?;
    let kazoo = kazoo.ask(&kazoo_times.to_string())?;
    let means = [&atalaya, &kazoo].map(|answer| answer["mean"].as_f64());
    let [Some(ours), Some(theirs)] = means else { anyhow::bail!("no means: {means:?}") };
    ensure!((ours - theirs).abs() < 1e-9, "Atalaya's mean is {ours}, Kazoo's {theirs}");
    let of = |way: &Way| {
        let times = milliseconds(if way.by_kazoo { &kazoo } else { &atalaya }, way.key);
        (!times.is_empty()).then_some(times).with_context(|| format!("no times of {}", way.name))
    };
    WAYS.iter().map(of).collect()
}
