//! Checks of a program and a package before they are distributed. If this machine lacks the tool for a check, the check
//! is skipped, and a message says so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use atalaya_testbed::Scratch;

use super::build::{How, SHELLS, said};
use super::elf::{Elf, glibc};
use xtask::toolchain::Target;

/// Version of glibc that the package requires, from node/Cargo.toml.
const GLIBC: (u32, u32) = (2, 34);

/// Files of every package.
const FILES: [&str; 16] = [
    "etc/atalaya/boards.toml",
    "etc/default/atalaya",
    "etc/default/atalaya-collector",
    "usr/bin/atalaya",
    "usr/lib/systemd/system/atalaya-collector.service",
    "usr/lib/systemd/system/atalaya.service",
    "usr/lib/systemd/system/atalaya@.service",
    "usr/lib/sysusers.d/atalaya.conf",
    "usr/share/bash-completion/completions/atalaya",
    "usr/share/doc/atalaya/changelog.Debian.gz",
    "usr/share/doc/atalaya/copyright",
    "usr/share/fish/vendor_completions.d/atalaya.fish",
    "usr/share/man/man1/atalaya.1.gz",
    "usr/share/man/man1/atalaya-run.1.gz",
    "usr/share/man/man1/atalaya-sensors-scan.1.gz",
    "usr/share/zsh/vendor-completions/_atalaya",
];

/// Checks that the program is for the requested machine, and that it needs no loader if it is static, or no newer glibc
/// than the package declares.
pub(super) fn program(path: &Path, target: Target, how: How) -> anyhow::Result<()> {
    let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let elf = Elf::read(&file).with_context(|| format!("{}", path.display()))?;
    ensure!(elf.target == target, "{} is for {}", path.display(), elf.target.name());
    ensure!(elf.needs_loader != how.is_static, "{}: static is {}", path.display(), !elf.needs_loader);
    if how.is_static {
        return Ok(());
    }
    let needed = glibc(&file).unwrap_or_default();
    ensure!(
        needed <= GLIBC,
        "{} needs glibc {}.{}, and the package promises to do with {}.{}; build it on Debian 12, or with --static",
        path.display(),
        needed.0,
        needed.1,
        GLIBC.0,
        GLIBC.1
    );
    holds(&format!("it needs glibc {}.{} and a processor for {}", needed.0, needed.1, target.name()));
    Ok(())
}

/// Checks that the package contains the expected files and that they work, as far as this machine can test it.
pub(super) fn package(package: &Path, program: &Path, target: Target, how: How) -> anyhow::Result<()> {
    if !exists("dpkg-deb") {
        return not_looked_at("what is in the package: there is no dpkg-deb");
    }
    let architecture =
        String::from_utf8(said(Command::new("dpkg-deb").arg("--field").arg(package).arg("Architecture"))?)?;
    ensure!(architecture.trim() == target.debian(), "the package is for {}", architecture.trim());
    let scratch = Scratch::new("dist");
    let root = scratch.path().join("root");
    said(Command::new("dpkg-deb").arg("--raw-extract").arg(package).arg(&root))?;
    let missing: Vec<&str> = FILES.into_iter().filter(|file| !root.join(file).is_file()).collect();
    ensure!(missing.is_empty(), "the package lacks {}", missing.join(", "));
    ensure!(
        fs::read(root.join("usr/bin/atalaya"))? == fs::read(program)?,
        "the program in the package is another one"
    );
    let kept = fs::read_to_string(root.join("DEBIAN/conffiles")).context("there are no conffiles")?;
    let kept: BTreeSet<&str> = kept.lines().collect();
    ensure!(
        kept == BTreeSet::from([
            "/etc/atalaya/boards.toml",
            "/etc/default/atalaya",
            "/etc/default/atalaya-collector"
        ]),
        "files that an upgrade keeps: {kept:?}"
    );
    holds("the package has all files, and an upgrade keeps those below /etc");
    for script in ["postinst", "prerm", "postrm"] {
        let path = root.join("DEBIAN").join(script);
        said(Command::new("sh").arg("-n").arg(&path))?;
        ensure!(!fs::read_to_string(&path)?.contains("#DEBHELPER#"), "{script} has lost what cargo-deb adds");
    }
    manual(&root)?;
    completions(&root)?;
    runs(&root, target, how)?;
    units(&root)
}

/// Checks that `man` reports no problem in any page.
fn manual(root: &Path) -> anyhow::Result<()> {
    if !exists("man") {
        return not_looked_at("the manual pages: there is no man");
    }
    let mut count = 0;
    for page in fs::read_dir(root.join("usr/share/man/man1"))? {
        let page = page?.path();
        let mut command = Command::new("man");
        command.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(&page);
        let output =
            command.env("LC_ALL", "C.UTF-8").env("MANWIDTH", "100").output().context("cannot run man")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success() && complaint.is_empty(), "{}: {complaint}", page.display());
        ensure!(output.stdout.len() > 300, "{} is as good as empty", page.display());
        count += 1;
    }
    holds(&format!("man shows {count} manual pages, and warns of nothing"));
    Ok(())
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
            said(Command::new(shell).arg("-n").arg(root.join(place)))?;
            holds(&format!("{shell} can read its completions"));
        } else {
            not_looked_at(&format!("the completions for {shell}: it is not here"))?;
        }
    }
    Ok(())
}

/// Checks that the program of the package accepts the boards.toml of the package.
fn runs(root: &Path, target: Target, how: How) -> anyhow::Result<()> {
    let program = root.join("usr/bin/atalaya");
    let Some(command) = runner(&program, target, how) else {
        return not_looked_at(&format!(
            "whether it runs: there is no qemu-user for {0}; `cargo xtask pi --binary FILE` boots an emulated Pi with it",
            target.name()
        ));
    };
    let version = String::from_utf8(said(command().arg("--version"))?)?;
    ensure!(version.trim() == concat!("atalaya ", env!("CARGO_PKG_VERSION")), "it says it is {version}");
    let checked = said(command().arg("check").arg(root.join("etc/atalaya/boards.toml")))?;
    let checked = String::from_utf8_lossy(&checked);
    ensure!(checked.contains("good") && checked.contains("pi (1 sensor)"), "of its boards.toml: {checked}");
    holds("it runs, and takes the boards.toml of the package");
    Ok(())
}

/// Returns a function that creates commands which run a program for that machine on this one.
fn runner(program: &Path, target: Target, how: How) -> Option<impl Fn() -> Command> {
    let emulator = match target {
        _ if target.is_here() => None,
        _ => Some(target.emulators().into_iter().find(|name| exists(name))?),
    };
    let libraries = (!how.is_static).then(|| target.libraries()).flatten();
    if emulator.is_some() && !how.is_static && !libraries.as_ref().is_some_and(|folder| folder.is_dir()) {
        return None;
    }
    let program = program.to_owned();
    Some(move || {
        let mut command = Command::new(emulator.map_or(program.as_path(), Path::new));
        if let Some(folder) = &libraries {
            command.env("QEMU_LD_PREFIX", folder);
        }
        if emulator.is_some() {
            command.arg(&program);
        }
        command
    })
}

/// Checks that systemd can read the units.
fn units(root: &Path) -> anyhow::Result<()> {
    if !exists("systemd-analyze") {
        return not_looked_at("the units: there is no systemd-analyze");
    }
    let folder = root.join("usr/lib/systemd/system");
    // The units contain the paths of installed programs.
    let here =
        |text: String| text.replace("/usr/bin/atalaya", &root.join("usr/bin/atalaya").display().to_string());
    for (name, instance) in [
        ("atalaya.service", "atalaya.service"),
        ("atalaya@.service", "atalaya@2.service"),
        ("atalaya-collector.service", "atalaya-collector.service"),
    ] {
        let copy = root.join(instance);
        fs::write(&copy, here(fs::read_to_string(folder.join(name))?))?;
        let mut command = Command::new("systemd-analyze");
        let output =
            command.args(["verify", "--man=no"]).arg(&copy).output().context("cannot run systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stderr);
        // The tool reports problems in the units of this machine, too.
        let ours: Vec<&str> = said.lines().filter(|line| line.contains("atalaya")).collect();
        if !ours.is_empty() {
            bail!("systemd-analyze says of {name}:\n{}", ours.join("\n"));
        }
    }
    holds("systemd-analyze has nothing to say against the units");
    Ok(())
}

/// Returns true if a program of that name exists.
fn exists(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder: PathBuf| folder.join(name).is_file())
}

fn holds(what: &str) {
    println!("  holds           {what}");
}

fn not_looked_at(what: &str) -> anyhow::Result<()> {
    println!("  not looked at   {what}");
    Ok(())
}
