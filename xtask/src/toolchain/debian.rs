//! Rust from Debian's packages, for machines on which rustup cannot add a target.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail, ensure};
use atalaya_testbed::install;
use atalaya_testbed::install::debian::{self, Debian};

use super::{Target, has_library};
use crate::cargo::succeeds;

/// Debian's packages of a Rust release that is newer than its default one. Debian builds its browsers with it, and it
/// includes the library for 64-bit ARM.
const DEBIAN_RUST: &str = "libstd-rust-web-dev";
/// Minimum version of Rust for the workspace.
const MINIMUM: &str = env!("CARGO_PKG_RUST_VERSION");

/// Returns a compiler from Debian's packages, unpacked into the cache folder.
pub(super) fn rustc(target: Target) -> anyhow::Result<PathBuf> {
    ensure!(target == Target::Aarch64, "Debian's Rust has no library for {}", target.triple());
    let folder = install::cache_dir().join("rust");
    let rustc = folder.join("rustc");
    if has_library(Some(&rustc), target) {
        return Ok(rustc);
    }
    let here = install::architecture();
    let debian = Debian::ready(&folder.join("apt"), &[&here, "arm64"], false)?;
    let version = debian.field(&format!("{DEBIAN_RUST}:{here}"), "Version").unwrap_or_default();
    ensure!(is_at_least(&version, MINIMUM), "Debian's Rust is {version}, and {MINIMUM} is needed");
    let library = debian.dependency(&format!("{DEBIAN_RUST}:{here}"), "libstd-rust-web-")?;
    let llvm = debian
        .dependency(&format!("{library}:{here}"), "libLLVM")
        .or_else(|_| debian.dependency(&format!("{library}:{here}"), "libllvm"))?;
    let packages: Vec<String> = ["rustc-web", &library, DEBIAN_RUST, &llvm]
        .iter()
        .map(|name| format!("{name}:{here}"))
        .chain([format!("{DEBIAN_RUST}:arm64")])
        .collect();
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let root = folder.join("root");
    for deb in debian.download(&names)? {
        debian::unpack(&deb, &root)?;
    }
    let script = format!(
        "#!/bin/sh\nLD_LIBRARY_PATH={0}/usr/lib/{1}-linux-gnu exec {0}/usr/bin/rustc \"$@\"\n",
        root.display(),
        std::env::consts::ARCH
    );
    fs::write(&rustc, script).with_context(|| format!("cannot write {}", rustc.display()))?;
    succeeds(Command::new("chmod").arg("+x").arg(&rustc))?;
    if !has_library(Some(&rustc), target) {
        bail!("Debian's Rust was unpacked into {} and does not work", root.display());
    }
    Ok(rustc)
}

/// Returns true if a version, such as `1.96.0+dfsg1`, is not below another one, such as `1.90`.
fn is_at_least(version: &str, minimum: &str) -> bool {
    let numbers = |text: &str| -> Vec<u32> {
        let parts = text.split(|c: char| !c.is_ascii_digit());
        parts.take(2).map(|part| part.parse().unwrap_or(0)).collect()
    };
    numbers(version) >= numbers(minimum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert!(is_at_least("1.96.0+dfsg1-1~deb12u2", "1.90"));
        assert!(is_at_least("1.100.0", "1.90") && is_at_least("1.90.0", "1.90"));
        assert!(!is_at_least("1.85.0", "1.90") && !is_at_least("", "1.90"));
    }
}
