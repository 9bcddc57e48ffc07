//! Builds the program, and its manual pages and completions, which the program prints itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use atalaya_testbed::target_dir;

use xtask::cargo::cargo;
use xtask::toolchain::{Target, Toolchain};

/// Variant of the program.
#[derive(Clone, Copy, Debug)]
pub(super) struct How {
    /// Linked statically, so that no C library is needed.
    pub(super) is_static: bool,
    /// Without the simulator, the demo and the collector.
    pub(super) slim: bool,
}

impl How {
    /// Returns the suffix of this variant's file names.
    pub(super) fn suffix(self) -> &'static str {
        match (self.is_static, self.slim) {
            (false, false) => "",
            (true, false) => "-static",
            (false, true) => "-slim",
            (true, true) => "-static-slim",
        }
    }

    fn features(self) -> &'static [&'static str] {
        if self.slim { &["--no-default-features"] } else { &[] }
    }
}

/// Builds the program as it is shipped, and returns the path at which cargo stored it.
pub(super) fn program(toolchain: &Toolchain, target: Target, how: How) -> anyhow::Result<PathBuf> {
    let mut command = toolchain.build(how.is_static);
    command.args(["--release", "--package", "atalaya", "--bin", "atalaya"]).args(how.features());
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the node does not build for {}, see above", target.triple());
    Ok(target_dir().join(target.triple()).join("release/atalaya"))
}

/// Shells whose completions a package contains: clap's names, which are also the suffixes of the files.
pub(super) const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Fills `folder` with manual pages and completions. A program for another machine cannot run here, but one for this
/// machine with the same features prints the same.
pub(super) fn parts(program: &Path, folder: &Path, target: Target, how: How) -> anyhow::Result<()> {
    let here = match target.is_here() {
        true => program.to_owned(),
        false => for_this_machine(how)?,
    };
    // Delete files of an earlier version, which would be packaged, too.
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot empty {}", folder.display()));
        }
        _ => {}
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions).with_context(|| format!("cannot make {}", completions.display()))?;
    for shell in SHELLS {
        let script = said(Command::new(&here).args(["completions", shell]))?;
        let path = completions.join(format!("atalaya.{shell}"));
        fs::write(&path, script).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let manual = folder.join("man");
    said(Command::new(&here).args(["man", "--folder"]).arg(&manual))?;
    // cargo-deb compresses manual pages, but not those from the target folder.
    let mut gzip = Command::new("gzip");
    gzip.args(["-9", "--no-name"]);
    for page in fs::read_dir(&manual).with_context(|| format!("there is no {}", manual.display()))? {
        gzip.arg(page?.path());
    }
    said(&mut gzip)?;
    Ok(())
}

/// Builds the node for this machine without optimisation, which is fast.
fn for_this_machine(how: How) -> anyhow::Result<PathBuf> {
    let mut command = cargo();
    command.args(["build", "--package", "atalaya", "--bin", "atalaya"]).args(how.features());
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the node does not build for this machine, see above");
    Ok(target_dir().join("debug").join(format!("atalaya{}", std::env::consts::EXE_SUFFIX)))
}

/// Runs a command and returns its output, or an error if it fails.
pub(super) fn said(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let output = command.output().with_context(|| format!("cannot run {shown}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{shown} failed ({}):\n{}", output.status, complaint.trim_end());
    Ok(output.stdout)
}
