//! The in-memory server compared with Apache ZooKeeper: throughput, time to start, memory.
//!
//! Each server has a process of its own, as in operation; one load program (`zookeeper/benches/load`) sends requests to both.

mod load;
pub(super) mod servers;
mod start_and_memory;

use anyhow::Context as _;
use atalaya_testbed::{Process, ZooKeeper, parent_death_command};

use super::Bench;
use super::coprocess::Coprocess;
use super::cycle::TICK;
use super::machine::Machine;
use super::report::Section;
use servers::{Apache, InMemory};

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    let apache = Apache::take_over(server)?;
    let in_memory = InMemory::new(&bench.node).context("no port to listen on")?;
    let mut load_program = Coprocess::new(Process::spawn_piped(parent_death_command(&bench.load)));
    let load = load::measure(bench, &apache, &in_memory, &mut load_program)?;
    let start_and_memory = start_and_memory::measure(bench, &apache, &in_memory, &mut load_program)?;
    Ok([vec![load], start_and_memory].concat())
}
