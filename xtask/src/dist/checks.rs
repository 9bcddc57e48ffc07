//! Checks of a package before it is distributed. If this machine lacks the tool for a check, the check is skipped, and a
//! message says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use atalaya_testbed::Scratch;
use atalaya_testbed::install::{self, Part};
use xtask::toolchain::Target;

use super::{SHELLS, output};

/// Version of glibc that the package requires, from node/Cargo.toml.
const GLIBC: (u32, u32) = (2, 34);

/// Checks the package with lintian, and that its program, completions and units work, as far as this machine can tell.
pub(super) fn package(package: &Path, target: Target, is_static: bool) -> anyhow::Result<()> {
    install::ensure(&[Part::Lintian])?;
    // Without a source package, the changelog of an unreleased version and the group of static binaries are tags.
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error", "--allow-root", "--no-cfg"]);
    if is_static {
        lintian.args(["--suppress-tags", "statically-linked-binary"]);
    }
    output(lintian.arg(package))?;
    passed("lintian reports no error");
    let scratch = Scratch::new("dist");
    let root = scratch.path().join("root");
    output(Command::new("dpkg-deb").arg("--extract").arg(package).arg(&root))?;
    glibc_version(&root, is_static)?;
    completions(&root)?;
    program(&root, target, is_static)?;
    units(&root)
}

/// Checks that the program needs no newer glibc than the package declares. The versions are among its strings.
fn glibc_version(root: &Path, is_static: bool) -> anyhow::Result<()> {
    let needed = glibc(&fs::read(root.join("usr/bin/atalaya"))?).filter(|_| !is_static);
    ensure!(
        needed <= Some(GLIBC),
        "the program needs glibc {needed:?}, and the package declares {GLIBC:?}; build it on Debian 12, or with --static"
    );
    passed(&format!("it needs glibc {:?}", needed.unwrap_or_default()));
    Ok(())
}

/// Returns the newest glibc version whose symbols a program requires, such as (2, 34).
fn glibc(file: &[u8]) -> Option<(u32, u32)> {
    const NAME: &[u8] = b"GLIBC_";
    let places = file.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    places.filter_map(|(at, _)| version(&file[at + NAME.len()..])).max()
}

fn version(text: &[u8]) -> Option<(u32, u32)> {
    let end = text.iter().position(|byte| !byte.is_ascii_digit() && *byte != b'.')?;
    let text = std::str::from_utf8(&text[..end.min(16)]).ok()?;
    let mut numbers = text.split('.').map(|part| part.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

/// Checks that each shell can read its completion script.
fn completions(root: &Path) -> anyhow::Result<()> {
    let places = [
        "usr/share/bash-completion/completions/atalaya",
        "usr/share/zsh/vendor-completions/_atalaya",
        "usr/share/fish/vendor_completions.d/atalaya.fish",
    ];
    for (shell, place) in SHELLS.into_iter().zip(places) {
        if exists(shell) {
            output(Command::new(shell).arg("-n").arg(root.join(place)))?;
            passed(&format!("{shell} can read its completions"));
        } else {
            skipped(&format!("the completions for {shell}, which is not installed"));
        }
    }
    Ok(())
}

/// Checks that the program of the package runs and accepts the boards.toml of the package.
fn program(root: &Path, target: Target, is_static: bool) -> anyhow::Result<()> {
    let program = root.join("usr/bin/atalaya");
    let Some(command) = runner(&program, target, is_static) else {
        skipped(&format!(
            "whether it runs: there is no qemu-user for {}; `cargo xtask pi --binary FILE` boots an emulated Pi with it",
            target.name()
        ));
        return Ok(());
    };
    let version = String::from_utf8(output(command().arg("--version"))?)?;
    ensure!(version.trim() == concat!("atalaya ", env!("CARGO_PKG_VERSION")), "its version is {version}");
    let checked = output(command().arg("check").arg(root.join("etc/atalaya/boards.toml")))?;
    let checked = String::from_utf8_lossy(&checked);
    ensure!(
        checked.contains(": valid") && checked.contains("pi (1 sensor)"),
        "of its boards.toml: {checked}"
    );
    passed("it runs, and accepts the boards.toml of the package");
    Ok(())
}

/// Returns a function that creates commands which run a program for that machine on this one.
fn runner(program: &Path, target: Target, is_static: bool) -> Option<impl Fn() -> Command> {
    let emulator = match target.is_here() {
        true => None,
        false => Some(target.emulators().into_iter().find(|name| exists(name))?),
    };
    let libraries = (!is_static).then(|| target.libraries()).flatten();
    if emulator.is_some() && !is_static && !libraries.as_ref().is_some_and(|folder| folder.is_dir()) {
        return None;
    }
    let program = program.to_owned();
    Some(move || {
        let mut command = Command::new(emulator.as_ref().map_or(program.as_path(), Path::new));
        command.envs(libraries.iter().map(|folder| ("QEMU_LD_PREFIX", folder)));
        command.args(emulator.as_ref().map(|_| &program));
        command
    })
}

fn units(root: &Path) -> anyhow::Result<()> {
    if !exists("systemd-analyze") {
        skipped("the units: there is no systemd-analyze");
        return Ok(());
    }
    let folder = root.join("usr/lib/systemd/system");
    let program = root.join("usr/bin/atalaya").display().to_string();
    for (name, instance) in [
        ("atalaya.service", "atalaya.service"),
        ("atalaya@.service", "atalaya@2.service"),
        ("atalaya-collector.service", "atalaya-collector.service"),
    ] {
        // The units contain the paths of installed programs.
        let copy = root.join(instance);
        fs::write(&copy, fs::read_to_string(folder.join(name))?.replace("/usr/bin/atalaya", &program))?;
        let mut command = Command::new("systemd-analyze");
        let result = command.args(["verify", "--man=no"]).arg(&copy).output();
        let stderr = result.context("cannot run systemd-analyze")?.stderr;
        let stderr = String::from_utf8_lossy(&stderr);
        // The tool reports problems in the units of this machine, too.
        let ours: Vec<&str> = stderr.lines().filter(|line| line.contains("atalaya")).collect();
        ensure!(ours.is_empty(), "systemd-analyze reports of {name}:\n{}", ours.join("\n"));
    }
    passed("systemd-analyze reports nothing about the units");
    Ok(())
}

/// Returns true if a program of that name exists.
fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(name).is_file())
}

fn passed(what: &str) {
    println!("  holds           {what}");
}

fn skipped(what: &str) {
    println!("  not checked     {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_glibc_version_counts() {
        assert_eq!(glibc(b"\0GLIBC_2.4\0GLIBC_2.34\0GLIBC_2.9\0"), Some((2, 34)));
        assert_eq!(glibc(b"\0GLIBC_PRIVATE\0GLIBC_2.2.5\0"), Some((2, 2)));
        assert_eq!(glibc(b"nothing GLIBC_"), None);
        assert_eq!(glibc(b""), None);
    }
}
