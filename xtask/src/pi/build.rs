//! Programs that run on the Pi and beside it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

use crate::cargo::cargo;
use crate::toolchain::{Target, Toolchain};

/// Build options of the program for the Pi.
#[derive(Clone, Copy, Debug)]
pub(crate) struct How {
    /// Optimised, as the program is shipped.
    pub(crate) release: bool,
    /// Linked statically, so that no C library is needed.
    pub(crate) is_static: bool,
}

impl How {
    fn profile(self) -> &'static str {
        if self.release { "release" } else { "debug" }
    }
}

/// Builds the node for the Pi, and returns its bytes without the data that only debuggers read.
pub(crate) fn for_the_pi(how: How) -> anyhow::Result<Vec<u8>> {
    cross(how, &["--package", "atalaya", "--bin", "atalaya"], Path::new("atalaya"))
}

/// Builds an example of a package for the Pi.
pub(crate) fn example_for_the_pi(how: How, package: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    cross(how, &["--package", package, "--example", name], &Path::new("examples").join(name))
}

fn cross(how: How, what: &[&str], program: &Path) -> anyhow::Result<Vec<u8>> {
    let toolchain = Toolchain::ready(Target::Aarch64)?;
    let mut command = toolchain.build(how.is_static);
    command.args(what);
    if how.release {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "{} does not build for the Pi, see above", program.display());
    let built = target_dir().join(Target::Aarch64.triple()).join(how.profile()).join(program);
    let stripped = built.with_extension("stripped");
    toolchain.strip(&built, &stripped)?;
    std::fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}

/// Builds the node for this machine.
pub(crate) fn for_this_machine(how: How) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "atalaya", "--bin", "atalaya"]);
    if how.release {
        command.arg("--release");
    }
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the node does not build, see above");
    let node = target_dir().join(how.profile()).join(format!("atalaya{}", std::env::consts::EXE_SUFFIX));
    ensure!(node.exists(), "cargo built no {}", node.display());
    Ok(node)
}
