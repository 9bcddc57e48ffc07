//! `cargo xtask install`: installs and downloads the programs that `.ci/run` uses.

use std::process::ExitCode;

use anyhow::Context as _;
use atalaya_testbed::install::{self, Environment, Part};
#[cfg(unix)]
use atalaya_testbed::pi::Parts;
use xtask::toolchain::{Target, Toolchain};

use crate::containers;

/// Installs what is missing. The commands that use a part also install it, so this only saves them the time.
pub(crate) fn run() -> anyhow::Result<ExitCode> {
    for_tests()?;
    // One call for each group: QEMU is installed together with its group from the backports of Debian 12.
    install::ensure(&containers::PARTS).context("the containers need Docker")?;
    containers::download()?;
    #[cfg(unix)]
    Parts::ready().context("no parts for a Pi")?;
    Toolchain::ready(Target::Aarch64)?;
    Ok(ExitCode::SUCCESS)
}

/// Installs the programs that the tests use.
pub(crate) fn for_tests() -> anyhow::Result<()> {
    install::ensure(&Part::ALL).context("the tests need more than Rust")?;
    Environment::KAZOO.ready().context("the tests need Kazoo")?;
    Ok(())
}
