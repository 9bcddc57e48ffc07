//! The server in memory beside Apache ZooKeeper: what each of them does in a second, how soon it serves, how much memory
//! it takes.
//!
//! Each has a process of its own, as its users run it; one load program (`sim/benches/load`) asks both.

mod life;
mod load;
pub(super) mod servers;

use anyhow::Context as _;
use atalaya_testbed::{Process, ZooKeeper, guarded};

use super::Bench;
use super::coprocess::Coprocess;
use super::cycle::TICK;
use super::figures::Section;
use super::machine::Machine;
use servers::{Apache, InMemory};

pub(crate) fn measure(bench: &Bench, machine: &mut Machine) -> anyhow::Result<Vec<Section>> {
    let server = ZooKeeper::with_tick(TICK);
    machine.zookeeper(&server);
    let apache = Apache::instead_of(server)?;
    let in_memory = InMemory::new(&bench.node).context("no port to listen on")?;
    let mut asker = Coprocess::of(Process::spawn_piped(guarded(&bench.load)));
    let load = load::measure(bench, &apache, &in_memory, &mut asker)?;
    let life = life::measure(bench, &apache, &in_memory, &mut asker)?;
    Ok([vec![load], life].concat())
}
