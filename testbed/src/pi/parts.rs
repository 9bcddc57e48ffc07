//! Parts of an emulated Pi: QEMU, Debian's kernel for 64-bit ARM with its modules, busybox. They are downloaded into
//! the cache folder once, and used from there.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use crate::install::debian::{self, Debian};
use crate::install::{self, Part};

/// Debian's package that depends on the newest kernel.
const KERNEL: &str = "linux-image-arm64:arm64";
const BUSYBOX: &str = "busybox-static:arm64";
/// Device tree of a Raspberry Pi 3B, below the folder of a kernel's device trees.
const DEVICE_TREE: &str = "broadcom/bcm2837-rpi-3-b.dtb";
/// File that is written when everything is unpacked; contains the names of the packages.
const COMPLETE: &str = "complete";

#[derive(Clone, Debug)]
pub struct Parts {
    /// Kernel, in the form that QEMU loads.
    pub kernel: PathBuf,
    /// Device tree, which describes the board to the kernel.
    pub device_tree: PathBuf,
    /// `/lib/modules/RELEASE` of the kernel.
    pub modules: PathBuf,
    /// Busybox, statically linked.
    pub busybox: PathBuf,
    /// Image of an SD card, if the Pi has one. Its size is a power of two.
    pub card: Option<PathBuf>,
}

impl Parts {
    /// Finds the parts, and downloads or installs the missing ones. Several processes may call it at the same time.
    pub fn ready() -> anyhow::Result<Parts> {
        install::ensure(&[Part::Qemu, Part::Aarch64Gcc])?;
        let folder = install::cache_dir().join("pi");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let _one_at_a_time = install::locked(&folder.join("lock"))?;
        let root = folder.join("root");
        if !root.join(COMPLETE).exists() {
            fetch(&folder, &root)?;
        }
        let modules = root.join("lib/modules");
        let release =
            fs::read_dir(&modules)?.next().context("Debian's package contains no kernel modules")??;
        let version = release.file_name().to_string_lossy().into_owned();
        Ok(Parts {
            kernel: root.join("boot").join(format!("vmlinuz-{version}")),
            device_tree: root.join(format!("usr/lib/linux-image-{version}")).join(DEVICE_TREE),
            modules: release.path(),
            busybox: root.join("bin/busybox"),
            card: None,
        })
    }
}

fn fetch(folder: &Path, root: &Path) -> anyhow::Result<()> {
    eprintln!("fetching the parts of a Raspberry Pi into {}", folder.display());
    // Left over from an interrupted download.
    if root.exists() {
        fs::remove_dir_all(root)?;
    }
    let debian = Debian::ready(&folder.join("apt"), &["arm64"], false)?;
    let kernel = debian.dependency(KERNEL, "linux-image-")? + ":arm64";
    let packages = [kernel.as_str(), BUSYBOX];
    for deb in debian.download(&packages)? {
        debian::unpack(&deb, root)?;
    }
    Ok(fs::write(root.join(COMPLETE), packages.join("\n"))?)
}
