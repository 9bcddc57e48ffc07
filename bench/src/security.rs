//! Cost of TLS, SASL and ACLs: time to the first measurement, a leader's cycle and memory, beside a plain connection.

use std::time::Duration;

use atalaya_testbed::{Api, Process, Security, ZooKeeper, node_command};

use super::Bench;
use super::coprocess::{Coprocess, milliseconds};
use super::proc;
use super::report::{self, Section, cells};
use super::start::first_measurement;
use super::stats::{Sample, ThreeDigits};
use super::targets::Target;

const USER: &str = "fleet";
/// Measurements of the fleet in the cycle.
const NODES: usize = 1_000;
/// Consecutive cycles per round.
const TIMES: usize = 10;
/// Sampling period of the nodes whose memory is measured.
const PERIOD: &str = "100ms";
/// Time in which such a node makes first allocations.
const WARM_UP: Duration = Duration::from_secs(5);
const START_TIMEOUT: Duration = Duration::from_secs(30);
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);

/// A server, the environment of its clients, and a client.
struct Side {
    server: ZooKeeper,
    variables: Vec<(String, String)>,
    client: Coprocess,
    start: Sample,
    cycle: Sample,
    /// The same cycle with only the client library.
    floor: Sample,
    memory: Sample,
}

impl Side {
    fn new(bench: &Bench, server: ZooKeeper, variables: Vec<(String, String)>) -> Side {
        let client = Coprocess::client_with(&bench.client, &server.connect_string(), variables.clone());
        let (start, cycle, floor, memory) = Default::default();
        Side { server, variables, client, start, cycle, floor, memory }
    }
}

fn node(
    bench: &Bench,
    api: &Api,
    server: &ZooKeeper,
    variables: &[(String, String)],
    id: &str,
) -> std::process::Command {
    let mut command = node_command(&bench.node.to_string_lossy(), id, &server.connect_string());
    command.args(["--api-url", &api.url()]).envs(variables.iter().cloned());
    command
}

pub(crate) fn measure(bench: &Bench) -> anyhow::Result<Vec<Section>> {
    let (starts, rounds, samples) = if bench.quick { (3, 2, 2) } else { (20, 15, 10) };
    let security = Security::new();
    let api = Api::start();
    let secured = ZooKeeper::secured(&security);
    let mut sides = [
        Side::new(bench, ZooKeeper::start(), Vec::new()),
        Side::new(bench, secured, security.environment(USER)),
    ];
    eprintln!("{starts} starts");
    // The first round loads the programs from the disk and creates the parent znodes, so it does not count.
    for round in 0..=starts {
        for side in &mut sides {
            let Side { server, variables, client, .. } = &mut *side;
            let start = |id: &str| Process::spawn(node(bench, &api, server, variables, id));
            let time = first_measurement(client, &format!("start-{round}"), &start)?;
            if round > 0 {
                side.start.push(time);
            }
        }
    }
    eprintln!("memory of a leader");
    let nodes = sides.each_ref().map(|side| {
        let mut command = node(bench, &api, &side.server, &side.variables, "leader");
        command.args(["--sampling-period", PERIOD]);
        Process::start(command, " leading epoch=", START_TIMEOUT)
    });
    std::thread::sleep(WARM_UP);
    for _ in 0..samples {
        std::thread::sleep(WARM_UP / 10);
        for (side, node) in sides.iter_mut().zip(&nodes) {
            side.memory.push(proc::memory(node.pid())?.resident);
        }
    }
    // Killed nodes would leave their measurements until their sessions time out.
    for mut node in nodes {
        node.term();
        node.wait_exit(EXIT_TIMEOUT);
    }
    eprintln!("cycles at {NODES} nodes");
    for side in &mut sides {
        side.client.ask(&format!("fill {NODES}"))?;
        side.client.ask(&format!("cycle {TIMES}"))?;
    }
    for _ in 0..rounds {
        for side in &mut sides {
            let answer = side.client.ask(&format!("cycle {TIMES}"))?;
            side.cycle.extend(milliseconds(&answer, "listed"));
            side.floor.extend(milliseconds(&answer, "floor"));
        }
    }
    Ok(vec![section(&sides, starts, rounds)])
}

fn section([plain, secured]: &[Side; 2], starts: usize, rounds: usize) -> Section {
    let row = |name: &str, sample: fn(&Side) -> &Sample| {
        let (plain, secured) = (sample(plain), sample(secured));
        let ratio = ThreeDigits(secured.median() / plain.median()).to_string();
        report::row(name, [plain.with_middle_half(), secured.with_middle_half(), ratio])
    };
    let more_memory = secured.memory.median() - plain.memory.median();
    Section {
        title: "TLS, SASL and ACLs".into(),
        method: format!(
            "Two Apache servers at the same time: one plain, one with TLS 1.3, client certificates, SASL DIGEST-MD5 and \
             `acl = \"fleet\"`. Start: from the start of the process to the first measurement, {starts} starts on each. Cycle: \
             list, read and average {NODES} measurements, {} times on each. Memory: resident memory of a node that leads \
             itself every {PERIOD}. **Median** (middle half); the servers take turns.",
            rounds * TIMES,
        ),
        head: cells(["", "plain", "secured", "ratio"]),
        rows: vec![
            row("start to first measurement, ms", |side| &side.start),
            row("cycle at 1000 nodes, ms", |side| &side.cycle),
            row("  floor: bare client, nothing parsed", |side| &side.floor),
            row("resident memory of a leader, MiB", |side| &side.memory),
        ],
        notes: vec![format!(
            "The floor shows how much of the difference is in the servers and in TLS: the secured cycle takes {} times \
             its floor, the plain one {} times.",
            ThreeDigits(secured.cycle.median() / secured.floor.median()),
            ThreeDigits(plain.cycle.median() / plain.floor.median()),
        )],
        targets: vec![
            Target::at_most(
                "start to first measurement with TLS and SASL",
                100.0,
                " ms",
                secured.start.median(),
            ),
            Target::at_most(
                "cycle at 1000 nodes with TLS and SASL, relative to plain",
                1.3,
                " times",
                secured.cycle.median() / plain.cycle.median(),
            ),
            Target::at_most("memory for TLS and SASL", 1.5, " MiB", more_memory),
        ],
    }
}
