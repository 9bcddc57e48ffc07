//! Programs that run on the Pi and beside it.

use std::path::Path;

use anyhow::Context as _;
use atalaya_testbed::target_dir;

use crate::cargo::{Profile, succeeds};
use crate::toolchain::{Target, Toolchain};

/// Build options of the program for the Pi.
#[derive(Clone, Copy, Debug)]
pub struct BuildOptions {
    /// Profile of cargo.
    pub profile: Profile,
    /// True for a static program, which needs no C library.
    pub is_static: bool,
    /// True for a program without simulator, demo and collector.
    pub is_slim: bool,
}

/// Builds the node for the Pi, with additional arguments, and returns its bytes without the data that only debuggers
/// read.
pub fn for_the_pi(options: BuildOptions, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
    let mut what = [&["--package", "atalaya", "--bin", "atalaya"], arguments].concat();
    if options.is_slim {
        what.extend(["--no-default-features", "--features", "chips"]);
    }
    cross(options, &what, Path::new("atalaya"))
}

/// Builds an example of a package for the Pi, like [`for_the_pi`].
pub fn example_for_the_pi(options: BuildOptions, package: &str, name: &str) -> anyhow::Result<Vec<u8>> {
    cross(options, &["--package", package, "--example", name], &Path::new("examples").join(name))
}

fn cross(options: BuildOptions, what: &[&str], program: &Path) -> anyhow::Result<Vec<u8>> {
    let toolchain = Toolchain::ready(Target::Aarch64)?;
    // Not the folder of the tests, which cargo locks: this program is compiled while they run.
    let folder = target_dir().join("pi");
    let mut command = toolchain.build(options.is_static);
    command.args(what).arg("--target-dir").arg(&folder);
    succeeds(command.args(["--profile", options.profile.name()]))?;
    let built = folder.join(Target::Aarch64.triple()).join(options.profile.folder()).join(program);
    let stripped = built.with_extension("stripped");
    toolchain.strip(&built, &stripped)?;
    std::fs::read(&stripped).with_context(|| format!("cannot read {}", stripped.display()))
}
