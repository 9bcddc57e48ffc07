//! Programs that run on the Pi and beside it.

use std::path::Path;

use anyhow::Context as _;
use atalaya_testbed::target_dir;

use crate::cargo::succeeds;
use crate::toolchain::{Target, Toolchain};

/// Build options of the program for the Pi.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// True for an optimised program, as it is shipped.
    pub release: bool,
    /// True for a static program, which needs no C library.
    pub is_static: bool,
}

/// Builds the node for the Pi, and returns its bytes without the data that only debuggers read.
pub fn for_the_pi(options: BuildOptions) -> anyhow::Result<Vec<u8>> {
    cross(options, &["--package", "atalaya", "--bin", "atalaya"], Path::new("atalaya"))
}

/// Builds an example of a package for the Pi, like [`for_the_pi`].
pub fn example_for_the_pi(options: BuildOptions, package: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    cross(options, &["--package", package, "--example", name], &Path::new("examples").join(name))
}

fn cross(options: BuildOptions, what: &[&str], program: &Path) -> anyhow::Result<Vec<u8>> {
    let toolchain = Toolchain::ready(Target::Aarch64)?;
    let mut command = toolchain.build(options.is_static);
    command.args(what);
    if options.release {
        command.arg("--release");
    }
    succeeds(&mut command)?;
    let profile = if options.release { "release" } else { "debug" };
    let built = target_dir().join(Target::Aarch64.triple()).join(profile).join(program);
    let stripped = built.with_extension("stripped");
    toolchain.strip(&built, &stripped)?;
    std::fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}
